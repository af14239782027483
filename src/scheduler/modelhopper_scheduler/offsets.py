"""Where each configuration enters the ring, so that stations start with equal expected work."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction


def offsets(
    costs: Mapping[int, float | Fraction], shards: int, loads: Iterable[tuple[int, float]] = ()
) -> dict[int, int]:
    """Return the shard of hop 0 by configuration number: longest processing time first (Graham, 1969).

    `loads`: the shard and the cost of each configuration that has its place already.

    Depends on the experiment only, never on how many stations there are, because the offset decides the order in
    which a configuration sees the data. Among equally loaded shards, those far apart come first, so that few
    configurations do not follow each other closely.
    """
    order = _far_apart(shards)
    rank_of = {shard: rank for rank, shard in enumerate(order)}
    loads = list(loads)
    # Exact, so that it does not matter in which order costs are added; as whole numbers, which compare fast.
    exact = _whole([*costs.values(), *(cost for _, cost in loads)])
    whole = dict(zip(costs, exact, strict=False))
    taken = [0] * shards
    for (shard, _), cost in zip(loads, exact[len(costs) :], strict=True):
        taken[rank_of[shard]] += cost
    heap = [(load, rank) for rank, load in enumerate(taken)]
    heapq.heapify(heap)
    found = {}
    for number in sorted(whole, key=lambda number: (-whole[number], number)):
        load, rank = heapq.heappop(heap)
        found[number] = order[rank]
        heapq.heappush(heap, (load + whole[number], rank))
    return found


def offsets_together(
    convoys: Iterable[Sequence[int]], costs: Mapping[int, float], shards: int, loads: Iterable[tuple[int, float]] = ()
) -> dict[int, int]:
    """Return the same where configurations travel together: those of a convoy begin at one shard, and are dealt as one.

    A convoy costs what its members cost together, and goes by the number of the first. In the order in which they were
    dealt: the dearest convoy first.
    """
    members = {convoy[0]: convoy for convoy in convoys}
    sums = {
        first: costs[first] if len(convoy) == 1 else sum((Fraction(costs[one]) for one in convoy), Fraction(0))
        for first, convoy in members.items()
    }
    return {one: shard for first, shard in offsets(sums, shards, loads).items() for one in members[first]}


def later_offset(number: int, shards: int) -> int:
    """Return the shard of hop 0 of a configuration that starts when others are on their way: evenly, by number."""
    return _far_apart(shards)[(number - 1) % shards]


def _whole(costs: Sequence[float | Fraction]) -> list[int]:
    """Return costs as multiples of the largest unit of which all are multiples."""
    ratios = [cost.as_integer_ratio() for cost in costs]
    unit = math.lcm(*{denominator for _, denominator in ratios})
    return [numerator * (unit // denominator) for numerator, denominator in ratios]


def _far_apart(shards: int) -> list[int]:
    """Return all shards in van der Corput's order: 0, the middle, the quarters, the eighths, ..."""
    bits = max(1, (shards - 1).bit_length())
    fractions = [int(format(n, f"0{bits}b")[::-1], 2) for n in range(1 << bits)]  # in units of 2**-bits
    return list(dict.fromkeys(fraction * shards >> bits for fraction in fractions))
