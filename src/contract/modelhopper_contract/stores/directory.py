"""The store in a directory: one file per object, for one machine or a shared file system."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from modelhopper_contract.errors import ObjectNotFound
from modelhopper_contract.store import Entry
from modelhopper_contract.stores.disk_errors import explain
from modelhopper_contract.stores.names import SCRATCH, check_name, check_prefix, is_name

LEFTOVER_AGE_S = 3600.0  # a file in the scratch folder that was not written to for so long has lost its writer

_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class DirectoryStore:
    """Objects as files under `root`, which the first put makes.

    A put writes a file in `root/.tmp`, flushes it to the disk, renames it to its name, and flushes the folder: a reader
    sees the old object or the new one, and so does a crash. Objects are regular files; links inside are not listed.
    A delete is not flushed: one undone by a power failure is a delete to be repeated.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._swept = threading.Lock()  # held for ever by the first put

    @property
    def url(self) -> str:
        """The directory's absolute path, so that it means the same in every process."""
        return str(self._root)

    def get(self, name: str) -> bytes:
        """Return the whole object; raise ObjectNotFound when there is none."""
        check_name(name)
        path = self._root / name
        try:
            return path.read_bytes()
        except _NOT_THERE as error:
            raise ObjectNotFound(f"{path}: there is no such object.") from error
        except OSError as error:
            raise explain(error, path, "reading it") from error

    def put(self, name: str, data: bytes) -> None:
        """Write the object, atomically and durably; folders are made as needed.

        Raises StoreUnavailable when the disk is full or fails, UserError when this user may not write here, and
        ConflictError when a folder has the object's name or an object has the name of one of its folders.
        """
        check_name(name)
        path = self._root / name
        try:
            if self._swept.acquire(blocking=False):
                _sweep(self._root / SCRATCH)
            _write(self._root / SCRATCH / uuid.uuid4().hex, path, data)
        except OSError as error:
            raise explain(error, path, f"writing {_amount(len(data))}") from error

    def list(self, prefix: str) -> list[Entry]:
        """Return all objects whose name begins with `prefix`, sorted by name.

        Reads the prefix's last folder and those below it, no other: cheap enough to ask every millisecond.
        """
        check_prefix(prefix)
        try:
            return sorted(_walk(f"{self._root}/", prefix))
        except OSError as error:
            raise explain(error, self._root / prefix, "listing it") from error

    def delete(self, name: str) -> None:
        """Remove the object; no error when there is none. Its folder stays."""
        check_name(name)
        path = self._root / name
        try:
            path.unlink()
        except _NOT_THERE:
            return
        except OSError as error:
            if not path.is_dir():  # some systems answer EPERM for a folder
                raise explain(error, path, "deleting it") from error


def _write(scratch: Path, path: Path, data: bytes) -> None:
    try:
        _write_through(scratch, data)
        _rename(scratch, path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise
    _flush_folder(path.parent)


def _write_through(path: Path, data: bytes) -> None:
    try:
        file = path.open("xb")
    except FileNotFoundError:
        _make_folder(path.parent)
        file = path.open("xb")
    with file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _rename(scratch: Path, path: Path) -> None:
    try:
        scratch.replace(path)
    except FileNotFoundError:
        _make_folder(path.parent)
        scratch.replace(path)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, flushing each one's entry in the folder that holds it."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _flush_folder(each.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # file systems that cannot flush a folder say so
            raise
    finally:
        os.close(descriptor)


def _sweep(scratch: Path) -> None:
    """Remove what killed processes left. No failure here may stop the put that it precedes."""
    with contextlib.suppress(OSError):
        for path in scratch.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > LEFTOVER_AGE_S:
                    path.unlink()


def _walk(root: str, prefix: str) -> Iterator[Entry]:
    """Yield the objects whose name begins with `prefix`, in any order; `root` ends with `/`."""
    pending = [prefix[: prefix.rfind("/") + 1]]
    while pending:
        folder = pending.pop()
        for found in _scan(root + folder):
            name = folder + found.name
            if not name.startswith(prefix) or not is_name(name):
                continue
            if found.is_dir(follow_symlinks=False):
                pending.append(name + "/")
            elif found.is_file(follow_symlinks=False):
                yield from _entry(name, found)


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except _NOT_THERE:
        return []


def _entry(name: str, found: os.DirEntry[str]) -> Iterator[Entry]:
    with contextlib.suppress(FileNotFoundError):  # deleted since the folder was read
        status = found.stat(follow_symlinks=False)
        yield Entry(name, status.st_size, status.st_mtime)


def _amount(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e5 else f"{size_bytes:,} bytes"
