"""Rows that wait in buckets until all have come, and are then put in order; both in the shards' own files.

A bucket holds the rows of one shard whose keys begin alike, and there are so many of them that each fits into memory.
Its rows wait in a region of the files that the shard has in the end. Regions lie in the order of keys and are a little
larger than what comes to them, so what is put in order and written from the front never reaches what still waits.
Writing in place takes half of the room on the disk, and the system need not find memory for the same rows twice.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelhopper_contract.manifest import File, Shard, file_name
from modelhopper_trainer.packing.columns import Array
from modelhopper_trainer.packing.draws import in_order

BUCKET_BYTES = 16 << 20  # of rows that are put in order in memory
MOST_BUCKETS = 4096  # of all shards together; beyond 64 GiB of data they grow instead
BLOCK_BYTES = 256 << 10  # of rows that are copied at a time: half of a small second-level cache


@dataclass(frozen=True)
class Layout:
    """One stored field: its name, and the dtype and shape of a row."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_kept: bool = True  # False: it goes with the rows only to say which shard they go to

    @property
    def row_bytes(self) -> int:
        """What a row takes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def memory(self, rows: int) -> Array:
        """Return an array of so many rows whose values are not set."""
        return np.empty((rows, *self.shape), self.dtype)


KEY = Layout("key", np.dtype(np.uint64), ())


class Buckets:
    """The buckets of all shards. First rows are added, then every shard is put in order, several at a time if wished.

    `largest` is the number of rows of the largest shard, of which buckets may hold more than their part only by chance.
    """

    def __init__(self, folder: Path, layouts: Sequence[Layout], *, shards: int, largest: int) -> None:
        size_bytes = largest * sum(layout.row_bytes for layout in layouts)
        self._buckets = max(1, min(-(-size_bytes // BUCKET_BYTES), MOST_BUCKETS // shards))
        self._room = _room(largest / self._buckets)
        self._rows = np.zeros((shards, self._buckets), np.int64)
        self._folder = folder / "keys"
        numbers = range(shards)
        self._keys = _Column(KEY, self._room, [self._folder / str(shard) for shard in numbers])
        self._fields = [
            _Column(layout, self._room, [folder / file_name(shard, layout.name) for shard in numbers])
            for layout in layouts
        ]
        for path in (path for column in self._columns for path in column.paths):
            path.parent.mkdir(exist_ok=True)
            path.touch()

    def add(self, shards: Array, keys: Array, fields: Sequence[Array]) -> None:
        """Add rows, each to the shard that is said. Raises OSError, and OverflowError for more rows than were said."""
        leading = (keys >> np.uint64(32)).astype(np.int64)
        places = shards * self._buckets + ((leading * self._buckets) >> 32)
        counts = np.bincount(places, minlength=self._rows.size).reshape(self._rows.shape)
        if (self._rows + counts > self._room).any():
            raise OverflowError(f"more than {self._room} rows came to a bucket")
        # Numbers of 16 bits are sorted by counting.
        order = np.argsort(places.astype(np.uint16) if counts.size <= 1 << 16 else places, kind="stable")
        ends = np.cumsum(counts).reshape(counts.shape)
        for shard in np.flatnonzero(counts.any(axis=1)).tolist():
            pieces = [order[end - count : end] for count, end in zip(counts[shard], ends[shard], strict=True)]
            for column, values in zip(self._columns, (keys, *fields), strict=True):
                column.append(shard, values, pieces, self._rows[shard].tolist())
        self._rows += counts

    def put_in_order(self, shard: int) -> Shard:
        """Put a shard's rows in the order of their keys, and return what its files hold. Raises OSError."""
        counts = self._rows[shard].tolist()
        memory = [column.layout.memory(max(counts)) for column in self._columns]
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(column.paths[shard].open("r+b")) for column in self._columns]
            done = [
                _ArrayFile(file, column.layout, sum(counts))
                for file, column in zip(files[1:], self._fields, strict=True)
            ]
            for bucket, count in enumerate(counts):
                keys, *fields = (values[:count] for values in memory)
                for column, file, values in zip(self._columns, files, (keys, *fields), strict=True):
                    column.read(file, bucket, values)
                order = in_order(keys)
                for array_file, values in zip(done, fields, strict=True):
                    array_file.append(_blocks(values, order))
            stored = {column.layout.name: file.finish() for column, file in zip(self._fields, done, strict=True)}
        self._keys.paths[shard].unlink()
        return Shard(rows=sum(counts), files=stored)

    def close(self) -> None:
        """Remove what is no part of a shard, when all were put in order."""
        self._folder.rmdir()

    @property
    def _columns(self) -> tuple[_Column, ...]:
        return self._keys, *self._fields


@dataclass(frozen=True)
class _Column:
    """The files of one field, one for each shard, with a region for each bucket."""

    layout: Layout
    room: int  # rows of a region
    paths: Sequence[Path]

    def append(self, shard: int, values: Array, pieces: Iterable[Array], rows: Iterable[int]) -> None:
        """Write a piece of the values, by their numbers, to each bucket that holds so many rows already."""
        with self.paths[shard].open("r+b") as file:
            for bucket, (piece, used) in enumerate(zip(pieces, rows, strict=True)):
                file.seek(self._start(bucket) + used * self.layout.row_bytes)
                for block in _blocks(values, piece):
                    file.write(block)

    def read(self, file: io.BufferedRandom, bucket: int, values: Array) -> None:
        """Read a bucket's first rows."""
        file.seek(self._start(bucket))
        if file.readinto(values.reshape(-1).view(np.uint8).data) < values.nbytes:
            raise OSError(errno.EIO, "what was written cannot be read again")

    def _start(self, bucket: int) -> int:
        return self._begin + bucket * self.room * self.layout.row_bytes

    @functools.cached_property
    def _begin(self) -> int:
        return len(header(self.layout, 0))


def header(layout: Layout, rows: int) -> bytes:
    """Return what an `.npy` file of so many rows begins with; as many bytes for any number of rows."""
    found = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(layout.dtype)
    np.lib.format.write_array_header_1_0(
        found, {"descr": descr, "fortran_order": False, "shape": (rows, *layout.shape)}
    )
    return found.getvalue()


def _room(rows: float) -> int:
    """Return for how many rows a bucket has room when so many are expected.

    How many come is nearly a Poisson number. Ten times its deviation more do not come in the life of the universe.
    """
    return math.ceil(rows + 10 * math.sqrt(rows)) + 32


def _blocks(values: Array, order: Array) -> Iterator[memoryview]:
    """Give rows in an order as bytes, some at a time; each time in the same memory."""
    row_bytes = math.prod(values.shape[1:]) * values.itemsize
    rows = max(1, BLOCK_BYTES // row_bytes)
    # As opaque bytes, which numpy copies several times faster than value by value.
    opaque = values.reshape(-1).view(f"V{row_bytes}")
    block = np.empty(min(rows, len(order)), opaque.dtype)
    for start in range(0, len(order), rows):
        piece = order[start : start + rows]
        # "clip" only says that there is nothing to check: "raise" would copy twice.
        yield np.take(opaque, piece, out=block[: len(piece)], mode="clip").view(np.uint8).data


class _ArrayFile:
    """An `.npy` file that is written from its beginning, over whatever it holds, and digested on the way."""

    def __init__(self, file: io.BufferedRandom, layout: Layout, rows: int) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        self.append([memoryview(header(layout, rows))])

    def append(self, blocks: Iterable[memoryview]) -> None:
        self._file.seek(self._size_bytes)
        for block in blocks:
            self._file.write(block)
            self._digest.update(block)
            self._size_bytes += len(block)

    def finish(self) -> File:
        self._file.truncate(self._size_bytes)
        return File(size_bytes=self._size_bytes, sha256=self._digest.hexdigest())
