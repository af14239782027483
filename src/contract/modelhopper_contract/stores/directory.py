"""The store in a directory: one file per object, for one machine or a shared file system."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from modelhopper_contract.errors import ObjectNotFound
from modelhopper_contract.store import Entry
from modelhopper_contract.stores.disk_errors import explain
from modelhopper_contract.stores.durability import in_threads
from modelhopper_contract.stores.names import SCRATCH, check_name, check_prefix, is_name

LEFTOVER_AGE_S = 3600.0  # a file in the scratch folder that was not written to for so long has lost its writer

_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class DirectoryStore:
    """Objects as files under `root`, which the first put makes.

    A put writes a file in `root/.tmp`, flushes it to the disk, renames it to its name, and flushes the folder: a reader
    sees the old object or the new one, and so does a crash. A soft put flushes nothing: a reader sees the same, but
    after a power failure the object may be there empty, in part, or not at all. Objects are regular files; links inside
    are not listed. A delete is not flushed: one undone by a power failure is a delete to be repeated.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._swept = threading.Lock()  # held for ever by the first put
        self._settled: set[Path] = set()  # folders whose own entry, and those above, this process has flushed

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
        self._put(name, data, is_soft=False)

    def put_soft(self, name: str, data: bytes) -> None:
        """Write the object atomically, and leave it to the system when it comes to the disk. Raises what `put` does."""
        self._put(name, data, is_soft=True)

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Put objects at the same time: a file system flushes several files together."""
        in_threads(self.put, objects)

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

    def _put(self, name: str, data: bytes, *, is_soft: bool) -> None:
        check_name(name)
        path = self._root / name
        try:
            if self._swept.acquire(blocking=False):
                _sweep(self._root / SCRATCH)
            self._write(self._root / SCRATCH / uuid.uuid4().hex, path, data, is_soft=is_soft)
        except OSError as error:
            raise explain(error, path, f"writing {_amount(len(data))}") from error

    def _write(self, scratch: Path, path: Path, data: bytes, *, is_soft: bool) -> None:
        try:
            self._fill(scratch, data, is_soft=is_soft)
            self._rename(scratch, path)
        except BaseException:
            with contextlib.suppress(OSError):
                scratch.unlink()
            raise
        if not is_soft:
            _flush_folder(path.parent)
            self._settle(path.parent)

    def _fill(self, scratch: Path, data: bytes, *, is_soft: bool) -> None:
        try:
            file = scratch.open("xb", buffering=0)
        except FileNotFoundError:
            self._make_folder(scratch.parent)
            file = scratch.open("xb", buffering=0)
        with file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]  # Linux writes at most 2 GiB at a time
            if not is_soft:
                os.fsync(file.fileno())

    def _rename(self, scratch: Path, path: Path) -> None:
        try:
            scratch.replace(path)
        except FileNotFoundError:
            self._make_folder(path.parent)
            scratch.replace(path)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and those above it. Who puts durably flushes their entries; those of the root are, here."""
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            self._settled.discard(each)
            if not each.is_relative_to(self._root) or each == self._root:
                _flush_folder(each.parent)

    def _settle(self, folder: Path) -> None:
        """Flush the entries of a folder and of those above it, once: a soft put, of any process, may have made them."""
        below_root = (folder, *folder.parents)[: len(folder.relative_to(self._root).parts)]
        for each in reversed(below_root):  # from the top: one that is settled must not hang in one that is not
            if each not in self._settled:
                _flush_folder(each.parent)
                self._settled.add(each)


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
