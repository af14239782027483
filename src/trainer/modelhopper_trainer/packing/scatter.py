"""Scattering rows to shards at random, in bounded memory.

Rows are dealt like cards: each run of as many rows as there are shards gives every shard one, in random order, so
shards differ by at most one row. Every row also draws a random 64-bit key, and a shard is shuffled by putting its rows
in the order of their keys. Both draws depend on the seed and the row's number only, so neither batches nor the memory
allowed change a byte.

A shard can be larger than memory, so its rows first go to several files by the leading bits of their keys; each such
file is then read, put in order and appended. Rao (1961) and Sandelius (1962) shuffle cards in this way.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from modelhopper_contract.manifest import File, Shard, file_name
from modelhopper_trainer.packing.columns import Array

BUCKET_BYTES = 16 << 20  # of a file that is put in order in memory
MOST_BUCKETS = 4096  # of all shards together; beyond 64 GiB of data the files grow instead


@dataclass(frozen=True)
class Layout:
    """One stored field: its name, and the dtype and shape of a row."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def scatter(
    batches: Iterable[Mapping[str, Array]],
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
    counts = _distribute(batches, layouts, record, waiting, (shards, buckets, seed))
    written = []
    for shard in range(shards):
        paths = [waiting / str(shard * buckets + bucket) for bucket in range(buckets)]
        files = _write_shard(folder, shard, layouts, _in_order(paths, record), int(counts[shard]))
        written.append(Shard(rows=int(counts[shard]), files=files))
    waiting.rmdir()
    return tuple(written)


def record_dtype(layouts: Sequence[Layout]) -> np.dtype[Any]:
    """Return the dtype of one row on its way: its key, then its fields."""
    return np.dtype([("key", np.uint64), *((f"f{i}", field.dtype, field.shape) for i, field in enumerate(layouts))])


class Dealer:
    """Deals rows to shards; row n's shard depends on the seed and n only."""

    def __init__(self, seed: int, shards: int) -> None:
        self._bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(0,)))
        self._shards = shards
        self._left = np.empty(0, np.int64)

    def deal(self, rows: int) -> Array:
        """Return the shards of the next rows."""
        rounds = -(-max(rows - len(self._left), 0) // self._shards)
        # Raw bits and a stable sort: both are the same in every release of numpy and on every machine.
        draws = self._bits.random_raw(rounds * self._shards).reshape(rounds, self._shards)
        dealt = np.concatenate([self._left, np.argsort(draws, axis=1, kind="stable").reshape(-1)])
        self._left = dealt[rows:]
        return dealt[:rows]


def _buckets(size_bytes: int, shards: int) -> int:
    wanted = -(-size_bytes // (shards * BUCKET_BYTES))
    return max(1, min(wanted, MOST_BUCKETS // shards))


def _distribute(
    batches: Iterable[Mapping[str, Array]],
    layouts: Sequence[Layout],
    record: np.dtype[Any],
    folder: Path,
    plan: tuple[int, int, int],
) -> Array:
    """Append every row to the file of its shard and key; return the rows of each shard."""
    shards, buckets, seed = plan
    dealer = Dealer(seed, shards)
    keys = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(1,)))
    counts = np.zeros(shards, np.int64)
    for batch in batches:
        records = np.empty(len(next(iter(batch.values()))), record)
        records["key"] = keys.random_raw(len(records))
        for i, field in enumerate(layouts):
            records[f"f{i}"] = batch[field.name]
        dealt = dealer.deal(len(records))
        counts += np.bincount(dealt, minlength=shards)
        leading = (records["key"] >> np.uint64(32)).astype(np.int64)
        _append(folder, records, dealt * buckets + ((leading * buckets) >> 32))
    return counts


def _append(folder: Path, records: Array, places: Array) -> None:
    order = np.argsort(places, kind="stable")
    ends = np.cumsum(np.bincount(places))
    sorted_records = records[order].view(np.uint8).reshape(len(records), -1)
    for place in np.unique(places).tolist():
        start = 0 if place == 0 else ends[place - 1]
        with (folder / str(place)).open("ab") as file:
            file.write(sorted_records[start : ends[place]].data)


def _in_order(paths: Sequence[Path], record: np.dtype[Any]) -> Iterator[Array]:
    """Give a shard's rows in the order of their keys, file by file. A file that was read is removed."""
    for path in paths:
        if path.exists():
            records = np.fromfile(path, record)
            path.unlink()
            yield records[np.argsort(records["key"], kind="stable")]


def _write_shard(
    folder: Path, shard: int, layouts: Sequence[Layout], pieces: Iterable[Array], rows: int
) -> dict[str, File]:
    with contextlib.ExitStack() as stack:
        files = []
        for field in layouts:
            path = folder / file_name(shard, field.name)
            path.parent.mkdir(exist_ok=True)
            files.append(_ArrayFile(stack.enter_context(path.open("wb")), field, rows))
        for piece in pieces:
            for i, file in enumerate(files):
                file.append(piece[f"f{i}"])
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
