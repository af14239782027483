"""Scattering rows to shards at random, in bounded memory.

Rows are dealt like cards: each run of as many rows as there are shards gives every shard one, in random order, so
shards differ by at most one row. Every row also draws a random 64-bit key, and a shard is shuffled by putting its rows
in the order of their keys. Both draws depend on the seed and the row's number only, so neither batches nor the memory
allowed change a byte.

A shard can be larger than memory, so its rows first go to several buckets by the leading bits of their keys; each
bucket is then read, put in order and written. Rao (1961) and Sandelius (1962) shuffle cards in this way.

All of it is moving bytes, so it takes care of the processor's cache: rows are copied in blocks that fit into it, and
big arrays are allocated once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import compress
from pathlib import Path
from typing import Protocol

from modelhopper_contract.manifest import Shard
from modelhopper_trainer.packing.buckets import Buckets, Layout
from modelhopper_trainer.packing.columns import Array
from modelhopper_trainer.packing.draws import Dealer, Keys

WAITING_BYTES = 48 << 20  # of rows that wait in memory until each bucket gets its part of them; twice
MOST_WRITERS = 4  # shards that are put in order at the same time, each with a bucket in memory

Deal = Callable[[Sequence[Array]], Array]  # from the values of all fields to the shard of each row


class Batch(Protocol):
    """Some neighbouring rows."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def fill(self, fields: Sequence[Array]) -> None:
        """Put the rows into arrays that have room for as many, one for each field."""


def scatter(
    batches: Iterable[Batch],
    layouts: Sequence[Layout],
    folder: Path,
    *,
    shards: int,
    largest: int,
    seed: int,
    deal: Deal | None = None,
) -> tuple[Shard, ...]:
    """Write the rows of all batches to `shards` shards in `folder`, and return what was written.

    `largest` is the number of rows of the largest shard. `deal` gives the shards of the next rows; by default they are
    dealt at random, evenly. Raises OSError, OverflowError for more rows than were said, and what `deal` raises.
    """
    buckets = Buckets(folder, [layout for layout in layouts if layout.is_kept], shards=shards, largest=largest)
    filled = _filled(batches, layouts, shards * largest)
    _distribute(filled, buckets, [layout.is_kept for layout in layouts], deal or _evenly(seed, shards), Keys(seed))
    with ThreadPoolExecutor(min(shards, MOST_WRITERS, os.cpu_count() or 1)) as pool:
        written = tuple(pool.map(buckets.put_in_order, range(shards)))
    buckets.close()
    return written


def _distribute(
    filled: Iterable[Sequence[Array]], buckets: Buckets, kept: Sequence[bool], deal: Deal, keys: Keys
) -> None:
    """Add all rows to the buckets of their shards; while some are written, the next ones are read and dealt."""
    with ThreadPoolExecutor(1) as pool:
        writing = None
        for fields in filled:
            dealt, drawn = deal(fields), keys.draw(len(fields[0]))
            if writing is not None:
                writing.result()
            writing = pool.submit(buckets.add, dealt, drawn, list(compress(fields, kept)))
        if writing is not None:
            writing.result()


def _evenly(seed: int, shards: int) -> Deal:
    dealer = Dealer(seed, shards)
    return lambda fields: dealer.deal(len(fields[0]))


def _filled(batches: Iterable[Batch], layouts: Sequence[Layout], rows: int) -> Iterator[list[Array]]:
    """Give the rows of all batches, many at a time, in two memories in turn."""
    room = max(1, min(rows, WAITING_BYTES // sum(layout.row_bytes for layout in layouts)))
    memory, other = ([layout.memory(room) for layout in layouts] for _ in range(2))
    used = 0
    for batch in batches:
        if used and used + len(batch) > len(memory[0]):
            yield [values[:used] for values in memory]
            memory, other, used = other, memory, 0
        if len(batch) > len(memory[0]):
            memory = [layout.memory(len(batch)) for layout in layouts]
        batch.fill([values[used : used + len(batch)] for values in memory])
        used += len(batch)
    if used:
        yield [values[:used] for values in memory]
