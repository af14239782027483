"""Scattering rows to shards at random, in bounded memory.

Rows are dealt like cards: each run of as many rows as there are shards gives every shard one, in random order, so
shards differ by at most one row. Every row also draws a random 64-bit key, and a shard is shuffled by putting its rows
in the order of their keys. Both draws depend on the seed and the row's number only, so neither batches nor the memory
allowed change a byte.

A shard can be larger than memory, so its rows first go to several files by the leading bits of their keys; each such
file is then read, put in order and appended. Rao (1961) and Sandelius (1962) shuffle cards in this way.

All of it is moving bytes, so it takes care of the processor's cache: rows are copied in blocks that fit into it, and
big arrays are allocated once.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from modelhopper_contract.manifest import File, Shard, file_name
from modelhopper_trainer.packing.columns import Array
from modelhopper_trainer.packing.draws import Dealer, Keys, in_order

BUCKET_BYTES = 16 << 20  # of a file that is put in order in memory
MOST_BUCKETS = 4096  # of all shards together; beyond 64 GiB of data the files grow instead
WAITING_BYTES = 48 << 20  # of rows that wait in memory until each file gets its part of them; twice
BLOCK_BYTES = 256 << 10  # of rows that are copied at a time: half of a small second-level cache
MOST_WRITERS = 4  # shards that are put in order at the same time, each with a bucket in memory


@dataclass(frozen=True)
class Layout:
    """One stored field: its name, and the dtype and shape of a row."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Batch(Protocol):
    """Some neighbouring rows."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def fill(self, records: Array) -> None:
        """Put the rows into as many records of `record_dtype`, all but their keys."""


def scatter(
    batches: Iterable[Batch],
    layouts: Sequence[Layout],
    folder: Path,
    *,
    rows: int,
    shards: int,
    seed: int,
) -> tuple[Shard, ...]:
    """Write the rows of all batches to `shards` shards in `folder`, and return what was written.

    `rows` only decides how many files are used on the way; the shards' rows are counted. Raises OSError.
    """
    record = record_dtype(layouts)
    buckets = _buckets(rows * record.itemsize, shards)
    waiting = folder / "waiting"
    waiting.mkdir()
    room = max(1, min(rows, WAITING_BYTES // record.itemsize))
    memory = np.empty(room, record), np.empty(room, record)
    counts = _distribute(batches, memory, waiting, (shards, buckets, seed))
    del memory

    def write(shard: int) -> Shard:
        paths = [waiting / str(shard * buckets + bucket) for bucket in range(buckets)]
        files = _write_shard(folder, shard, layouts, _in_order(paths, record), int(counts[shard]))
        return Shard(rows=int(counts[shard]), files=files)

    with ThreadPoolExecutor(min(shards, MOST_WRITERS, os.cpu_count() or 1)) as pool:
        written = tuple(pool.map(write, range(shards)))
    waiting.rmdir()
    return written


def record_dtype(layouts: Sequence[Layout]) -> np.dtype[Any]:
    """Return the dtype of one row on its way: its key, then its fields."""
    return np.dtype([("key", np.uint64), *((f"f{i}", field.dtype, field.shape) for i, field in enumerate(layouts))])


def _buckets(size_bytes: int, shards: int) -> int:
    wanted = -(-size_bytes // (shards * BUCKET_BYTES))
    return max(1, min(wanted, MOST_BUCKETS // shards))


def _distribute(batches: Iterable[Batch], memory: Sequence[Array], folder: Path, plan: tuple[int, int, int]) -> Array:
    """Append every row to the file of its shard and key; return the rows of each shard.

    `memory`: two arrays of records; while one is written, the other one is filled.
    """
    shards, buckets, seed = plan
    dealer, keys = Dealer(seed, shards), Keys(seed)
    counts, writing = np.zeros(shards, np.int64), None
    with ThreadPoolExecutor(1) as pool:
        for full in _filled(batches, memory):
            full["key"] = drawn = keys.draw(len(full))
            dealt = dealer.deal(len(full))
            counts += np.bincount(dealt, minlength=shards)
            leading = (drawn >> np.uint64(32)).astype(np.int64)
            if writing is not None:
                writing.result()
            writing = pool.submit(_append, folder, full, dealt * buckets + ((leading * buckets) >> 32))
        if writing is not None:
            writing.result()
    return counts


def _filled(batches: Iterable[Batch], memory: Sequence[Array]) -> Iterator[Array]:
    """Give the rows of all batches, without keys, as many at a time as the arrays in turn have room for."""
    records, other = memory
    used = 0
    for batch in batches:
        if used and used + len(batch) > len(records):
            yield records[:used]
            records, other, used = other, records, 0
        if len(batch) > len(records):
            records = np.empty(len(batch), records.dtype)
        batch.fill(records[used : used + len(batch)])
        used += len(batch)
    if used:
        yield records[:used]


def _append(folder: Path, records: Array, places: Array) -> None:
    counts = np.bincount(places)
    # Numbers of 16 bits are sorted by counting.
    order = np.argsort(places.astype(np.uint16) if len(counts) <= 1 << 16 else places, kind="stable")
    ends = np.cumsum(counts)
    for place in np.flatnonzero(counts).tolist():
        with (folder / str(place)).open("ab") as file:
            for block in _blocks(records, order[ends[place] - counts[place] : ends[place]]):
                file.write(block.view(np.uint8).data)


def _in_order(paths: Sequence[Path], record: np.dtype[Any]) -> Iterator[Array]:
    """Give a shard's rows in the order of their keys, block by block. A file that was read is removed."""
    rows = {path: path.stat().st_size // record.itemsize for path in paths if path.exists()}
    memory = np.empty(max(rows.values(), default=0), record)
    for path, count in rows.items():
        records = memory[:count]
        with path.open("rb") as file:
            if file.readinto(records.view(np.uint8).data) < records.nbytes:
                raise OSError(errno.EIO, "what was written cannot be read again")
        path.unlink()
        yield from _blocks(records, in_order(records["key"]))


def _blocks(records: Array, order: Array) -> Iterator[Array]:
    """Give records in an order, some at a time; each time in the same memory."""
    # As opaque bytes, which numpy copies several times faster than field by field.
    opaque = records.view(f"V{records.itemsize}")
    rows = max(1, BLOCK_BYTES // records.itemsize)
    block = np.empty(min(rows, len(order)), opaque.dtype)
    for start in range(0, len(order), rows):
        piece = order[start : start + rows]
        # "clip" only says that there is nothing to check: "raise" would copy twice.
        yield np.take(opaque, piece, out=block[: len(piece)], mode="clip").view(records.dtype)


def _write_shard(
    folder: Path, shard: int, layouts: Sequence[Layout], blocks: Iterable[Array], rows: int
) -> dict[str, File]:
    with contextlib.ExitStack() as stack:
        files = []
        for field in layouts:
            path = folder / file_name(shard, field.name)
            path.parent.mkdir(exist_ok=True)
            files.append(_ArrayFile(stack.enter_context(path.open("wb")), field, rows))
        for block in blocks:
            for i, file in enumerate(files):
                file.append(block[f"f{i}"])
        return {field.name: file.written() for field, file in zip(layouts, files, strict=True)}


class _ArrayFile:
    """An `.npy` file that is written in pieces and digested on the way."""

    def __init__(self, file: IO[bytes], layout: Layout, rows: int) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        header = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(layout.dtype)
        np.lib.format.write_array_header_1_0(
            header, {"descr": descr, "fortran_order": False, "shape": (rows, *layout.shape)}
        )
        self._write(header.getbuffer())

    def append(self, values: Array) -> None:
        self._write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)

    def written(self) -> File:
        return File(size_bytes=self._size_bytes, sha256=self._digest.hexdigest())

    def _write(self, data: memoryview) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._size_bytes += len(data)
