"""Where each configuration enters the ring, so that stations start with equal expected work."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from fractions import Fraction


def offsets(costs: Mapping[int, float], shards: int, loads: Iterable[tuple[int, float]] = ()) -> dict[int, int]:
    """Return the shard of hop 0 by configuration number: longest processing time first (Graham, 1969).

    `loads`: the shard and the cost of each configuration that has its place already.

    Depends on the experiment only, never on how many stations there are, because the offset decides the order in
    which a configuration sees the data. Among equally loaded shards, those far apart come first, so that few
    configurations do not follow each other closely.
    """
    order = _far_apart(shards)
    taken = [Fraction(0)] * shards  # exact, so that it does not matter in which order costs are added
    for shard, cost in loads:
        taken[order.index(shard)] += Fraction(cost)
    heap = [(load, rank) for rank, load in enumerate(taken)]
    heapq.heapify(heap)
    found = {}
    for number in sorted(costs, key=lambda number: (-costs[number], number)):
        load, rank = heapq.heappop(heap)
        found[number] = order[rank]
        heapq.heappush(heap, (load + Fraction(costs[number]), rank))
    return found


def later_offset(number: int, shards: int) -> int:
    """Return the shard of hop 0 of a configuration that starts when others are on their way: evenly, by number."""
    return _far_apart(shards)[(number - 1) % shards]


def _far_apart(shards: int) -> list[int]:
    """Return all shards in van der Corput's order: 0, the middle, the quarters, the eighths, ..."""
    bits = max(1, (shards - 1).bit_length())
    fractions = [int(format(n, f"0{bits}b")[::-1], 2) for n in range(1 << bits)]  # in units of 2**-bits
    return list(dict.fromkeys(fraction * shards >> bits for fraction in fractions))
