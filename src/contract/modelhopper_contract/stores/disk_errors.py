"""What an error of the file system means to the user, and whether trying again can help."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelhopper_contract.errors import ConflictError, ModelhopperError, StoreError, StoreUnavailable, UserError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}
_WRONG_PLACE = {errno.EXDEV, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
_PASSING = {
    errno.EIO,
    errno.EAGAIN,
    errno.EBUSY,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOENT,  # the folder was removed under our hands
    errno.ENOLCK,
    errno.ENOMEM,
    errno.ENOTCONN,
    errno.ESTALE,
    errno.ETIMEDOUT,
}


def explain(error: OSError, path: Path, doing: str) -> ModelhopperError:
    """Return the error to raise for `error`, which came while `doing` something ("writing 12 bytes") at `path`."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    what = f"{path}: {reason.lower()} while {doing}"
    if error.errno in NO_ROOM:
        return StoreUnavailable(f"{what}; free some space and run the same command again.")
    if error.errno in _PASSING:
        return StoreUnavailable(f"{what}; check the disk and run the same command again.")
    if error.errno in _FORBIDDEN:
        return UserError(f"{what}. Choose a directory that this user may write, or change its permissions.")
    if error.errno in _IN_THE_WAY:
        return ConflictError(f"{what}: a file stands where a folder is needed, or the other way round. Move it away.")
    if error.errno in _WRONG_PLACE:
        return UserError(f"{what}. A store is one directory tree in one file system, with names it can hold.")
    return StoreError(f"{what}.")


@contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Raise what `explain` says for an error of the file system inside."""
    try:
        yield
    except OSError as error:
        raise explain(error, path, doing) from error
