"""Where the files of a packed data set's shards are, and that they are what was packed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelhopper_contract.digest import digest_file
from modelhopper_contract.errors import CorruptObject, UserError
from modelhopper_contract.manifest import File, file_name

PACK_AGAIN = "Pack the data set again, or copy it again from where it is whole."
_FILL_AGAIN = "Fill the volume again, as `modelhopper stage` does, or mount the one that holds this shard."


class ShardFiles(Protocol):
    """Gives the files of shards. A call may take long, and may be repeated with the same effect."""

    def path(self, shard: int, field: str, expected: File) -> Path:
        """Return a file that holds exactly what was packed; raise CorruptObject when there is none."""


@dataclass(frozen=True)
class InDataSet:
    """Files of a data set's folder, as `modelhopper pack` leaves it."""

    folder: Path

    def path(self, shard: int, field: str, expected: File) -> Path:
        """Return a file of the folder, read once to check its digest."""
        return _checked(self.folder / file_name(shard, field), expected, PACK_AGAIN)


@dataclass(frozen=True)
class Mounted:
    """Files of mounted volumes: `pattern`, with {shard} for the shard's number, names the folder that holds them.

    That is 3, as `modelhopper stage` makes it, or 00003, as in a packed folder that was copied there.
    """

    pattern: str

    def path(self, shard: int, field: str, expected: File) -> Path:
        """Return a file of the shard's folder, read once to check its digest."""
        numbers = (str(shard), file_name(shard, field).partition("/")[0])
        paths = [Path(self.pattern.replace("{shard}", number), f"{field}.npy") for number in numbers]
        return _checked(next(filter(Path.exists, paths), paths[0]), expected, _FILL_AGAIN)


@dataclass(frozen=True)
class OutOfReach:
    """Files that this process cannot read; `why` is told to whoever asks for one."""

    why: str

    def path(self, shard: int, field: str, expected: File) -> Path:  # noqa: ARG002
        """Raise UserError."""
        raise UserError(self.why)


def is_whole(path: Path, expected: File) -> bool:
    """Say whether a file is there and is what was packed; reads it when its size is right."""
    try:
        return path.stat().st_size == expected.size_bytes and digest_file(path) == expected.sha256
    except OSError:
        return False


def _checked(path: Path, expected: File, advice: str) -> Path:
    try:
        size_bytes = path.stat().st_size
        digest = digest_file(path) if size_bytes == expected.size_bytes else ""
    except OSError as error:
        raise CorruptObject(f"{path} cannot be read: {error.strerror}. {advice}") from error
    if size_bytes != expected.size_bytes:
        raise CorruptObject(f"{path} has {size_bytes} bytes, but {expected.size_bytes} were packed. {advice}")
    if digest != expected.sha256:
        raise CorruptObject(
            f"{path} was changed after packing: its digest is {digest}, but {expected.sha256} was packed. {advice}"
        )
    return path
