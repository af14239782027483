"""The chains of a Workflow: which configurations travel together, from which shard, how far. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from modelhopper_contract.record import Record
from modelhopper_contract.records import Configuration
from modelhopper_contract.ring import Ring


class Chain(Record):
    """Configurations that go from shard to shard in the same pods. Text throughout: Argo's parameters are."""

    configurations: str  # their numbers, joined by commas
    shard: str  # of the first hop
    hops: str  # in this Workflow


def chains(
    configurations: Iterable[Configuration],
    done: Mapping[int, int],
    ring: Ring,
    *,
    convoy: int = 1,
    most_chains: int | None = None,
    most_hops: int | None = None,
) -> list[Chain]:
    """Return the chains of all configurations that have hops left; `done` says how many each has done.

    At most `convoy` configurations travel together: those whose next hop is on the same shard, whatever its number is,
    for they meet the same shards from there on. A Workflow of at most `most_chains` takes those first that have most
    left to do.
    """
    by_shard: dict[int, list[int]] = {}
    for one in configurations:
        if done[one.number] < ring.hops:
            by_shard.setdefault(ring.shard(one.offset, done[one.number]), []).append(one.number)
    left = {number: ring.hops - hops for number, hops in done.items()}
    found = [
        (max(left[number] for number in group), shard, group)
        for shard, numbers in by_shard.items()
        for group in groups(sorted(numbers, key=lambda number: (-left[number], number)), convoy)
    ]
    found.sort(key=lambda one: (-one[0], min(one[2])))
    return [
        Chain(
            configurations=",".join(str(number) for number in sorted(group)),
            shard=str(shard),
            hops=str(min(most, most_hops or most)),
        )
        for most, shard, group in found[:most_chains]
    ]


def groups(numbers: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yield numbers in order, so many at a time."""
    rest = iter(numbers)
    while group := list(islice(rest, size)):
        yield group
