"""The chains of a Workflow: which configurations travel together, from which shard, how far. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from modelhopper_contract.record import Record
from modelhopper_contract.records import Configuration
from modelhopper_contract.ring import Ring

_NOBODY: Mapping[int, int] = MappingProxyType({})


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
    partners: Mapping[int, int] = _NOBODY,
) -> list[Chain]:
    """Return the chains of all configurations that have hops left; `done` says how many each has done.

    At most `convoy` configurations travel together: those whose next hop is on the same shard, whatever its number is,
    for they meet the same shards from there on. A Workflow of at most `most_chains` takes those first that have most
    left to do. `partners`: see `groups`.
    """
    by_shard: dict[int, list[int]] = {}
    for one in configurations:
        if done[one.number] < ring.hops:
            by_shard.setdefault(ring.shard(one.offset, done[one.number]), []).append(one.number)
    left = {number: ring.hops - hops for number, hops in done.items()}
    found = [
        (max(left[number] for number in group), shard, group)
        for shard, numbers in by_shard.items()
        for group in groups(sorted(numbers, key=lambda number: (-left[number], number)), convoy, partners)
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


def groups(numbers: Sequence[int], size: int, partners: Mapping[int, int] = _NOBODY) -> Iterator[list[int]]:
    """Yield numbers in order, so many at a time.

    Those of one partner, which train side by side, come together, and are parted only where they are more than `size`.
    """
    together: dict[int, list[int]] = {}
    for number in numbers:
        together.setdefault(partners.get(number, number), []).append(number)
    parts = [part[at : at + size] for part in together.values() for at in range(0, len(part), size)]
    group: list[int] = []
    for part in parts:
        if len(group) + len(part) > size:
            yield group
            group = []
        group = group + part
    if group:
        yield group
