"""The folder that a data set is built in, and the moment it appears under its name."""

from __future__ import annotations

import contextlib
import errno
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from modelhopper_contract.errors import ConflictError, DataError, StoreUnavailable
from modelhopper_contract.manifest import MANIFEST_NAME

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def refuse_existing(out: Path, *, overwrite: bool) -> None:
    """Raise ConflictError when something is at `out` that may not be replaced.

    Only a folder that holds a manifest, shards and nothing else is ever replaced, and only with `overwrite`.
    """
    if not out.exists():
        return
    if not overwrite:
        raise ConflictError(
            f"{out} exists already. Choose another name, or say overwrite to replace a packed data set."
        )
    names = [entry.name for entry in out.iterdir()] if out.is_dir() else []
    foreign = sorted(name for name in names if name != MANIFEST_NAME and not re.fullmatch(r"\d{5,}", name))
    if MANIFEST_NAME not in names:
        raise ConflictError(f"{out} is not a packed data set, so it is not overwritten. Choose another name.")
    if foreign:
        raise ConflictError(
            f"{out} holds more than a packed data set ({foreign[0]}), so it is not overwritten. "
            "Choose another name, or move that elsewhere."
        )


@contextlib.contextmanager
def building(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give an empty folder beside `out`, and rename it to `out` at the end.

    Atomic: after an error, or a crash at any moment, nothing is at `out`, or what was there before. Only a crash
    between the two renames of an overwrite leaves the old data set under its hidden name. A full disk is
    StoreUnavailable, and the folder is removed.
    """
    target = out.resolve()
    folder = _beside(target)
    try:
        folder.mkdir(parents=True)
        yield folder
        _publish(folder, target, out, overwrite=overwrite)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreUnavailable(
                f"{out} cannot be written: no room left ({error.strerror}). What was written is removed; "
                "make room and pack again."
            ) from error
        raise DataError(f"{out} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, target: Path, out: Path, *, overwrite: bool) -> None:
    refuse_existing(out, overwrite=overwrite)  # again: it may have appeared meanwhile
    if not target.exists():
        folder.rename(target)
        return
    old = _beside(target)
    target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.packing")
