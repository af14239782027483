"""Dealing configurations their offsets when they begin, beside those that have theirs already. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelhopper_contract.records import Configuration, Measurement
from modelhopper_contract.specification import Specification
from modelhopper_scheduler.offsets import offsets_together
from modelhopper_scheduler.programs import convoys


def dealt(
    specification: Specification,
    found: Mapping[int, Configuration],
    planned: Sequence[Configuration],
    measurement: Measurement | None,
) -> list[Configuration]:
    """Return configurations, given by number, with their offsets; `planned` have theirs.

    Those of different groups of the data never meet at a shard, so each group is dealt for by itself. Where hops are
    merged, each is on all its shards at once, and nothing is to be dealt.
    """
    if specification.ring.merges:
        return list(found.values())

    def pool(one: Configuration) -> int | None:
        return one.part if specification.group_names else None

    return [
        one
        for part in dict.fromkeys(map(pool, found.values()))
        for one in _dealt_together(
            {number: one for number, one in found.items() if pool(one) == part},
            [one for one in planned if pool(one) == part],
            measurement,
            specification.ring.shards,
        )
    ]


def _dealt_together(
    found: Mapping[int, Configuration],
    planned: Sequence[Configuration],
    measurement: Measurement | None,
    shards: int,
) -> list[Configuration]:
    """Return configurations with their offsets, in the order in which they are dealt these.

    Costs are estimates, also where times were measured: with these, two runs would not see the data in the same order.
    """
    there = {one.number: one for one in planned}
    together = convoys([*planned, *found.values()], measurement)
    # A program that is not full takes as long as a full one: those in it share its cost.
    costs = {
        number: found[number].cost * found[number].program.lanes / len(convoy)
        for convoy in together
        for number in convoy
        if number in found
    }
    # A kill in the middle of a convoy: the rest of it begins where the first part does.
    begun = [(convoy, there[convoy[0]].offset) for convoy in together if convoy[0] in there]
    starts = {number: offset for convoy, offset in begun for number in convoy if number in found}
    loads = [(one.offset, one.cost) for one in planned] + [(starts[number], costs[number]) for number in starts]
    new = [convoy for convoy in together if convoy[0] not in there]
    starts |= offsets_together(new, costs, shards, loads)
    return [found[number].model_copy(update={"offset": starts[number], "cost": costs[number]}) for number in starts]
