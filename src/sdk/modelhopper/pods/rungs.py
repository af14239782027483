"""Chains to rungs: what a search that judges gives rise to in a Workflow, and how much of it one Workflow takes. Pure.

A Workflow has so many pods at most, and how many a search needs is not known before. So `begin` says how much room its
own chains leave, and from which turn of the log on others draw on it. What a turn takes is computed from the log alone:
a judge that is killed and started again says the same of its turns as before, whatever others have decided meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from modelhopper.pods.chains import Chain, groups
from modelhopper_contract.decisions import GoOn, Start, Turn, limits
from modelhopper_contract.names import Names
from modelhopper_contract.progress import Progress, newest_checkpoints
from modelhopper_contract.records import Configuration
from modelhopper_contract.ring import Ring
from modelhopper_scheduler.render.plan import AT_A_RUNG


class RungChain(Chain):
    """Configurations that go from shard to shard in the same pods until they come to a rung, where a judge follows."""

    until: str  # how many iterations are complete at the rung


@dataclass(frozen=True)
class Departure:
    """A configuration sets out for a rung."""

    configuration: int
    hop: int  # its next
    until: int  # iterations

    def hops(self, ring: Ring) -> int:
        """Return how many hops it is to the rung; 0 for one that is there, and to be evaluated."""
        return max(0, self.until * ring.shards - self.hop)


@dataclass(frozen=True)
class Budget:
    """What a Workflow has for what its judges give rise to."""

    since: int  # the first turn of the log that may be one of its judges'
    room: int  # pods


def due_departures(names: Names, turns: Sequence[Turn], progress: Progress) -> list[Departure]:
    """Return who is on its way to a rung, as the store has it: all who may train on, or are not evaluated there."""
    newest = newest_checkpoints(progress.checkpoints)
    starts = {start.configuration: start.first_hop for turn in turns for start in turn.starts}
    return [
        Departure(number, newest.get(number, starts[number]), until)
        for number, until in limits(turns).items()
        if names.outcome(number) not in progress.outcomes and names.history(number, until) not in progress.histories
    ]


def departures_after(
    turns: Sequence[Turn], arrived: Collection[int], until: int, budget: Budget, ring: Ring
) -> list[Departure]:
    """Return who sets out because of those that arrived at a rung, as far as the Workflow has room.

    Once there is no room for what a turn gives rise to, nobody sets out any more, for this turn or a later one: the
    next Workflow begins with all of them.
    """
    found, spent, last = [], 0, limits(turns)
    for turn, departures in zip(turns, _departures(turns, ring), strict=True):
        if turn.order < budget.since:
            continue
        # As if nobody travelled together: who does depends on which turns a judge has made.
        spent += sum(pods(departure.hops(ring), ring) for departure in departures)
        if spent > budget.room:
            break
        if turn.arrival and turn.arrival.configuration in arrived and turn.arrival.iteration == until:
            found += departures
    # One that has been judged again since has set out before.
    return [one for one in found if one.until == last[one.configuration]]


def chains_to_rungs(
    departures: Iterable[Departure],
    configurations: Iterable[Configuration],
    ring: Ring,
    convoy: int,
    partners: Mapping[int, int] = MappingProxyType({}),
) -> list[RungChain]:
    """Return the chains of those that set out, the longest first.

    At most `convoy` travel together, of those who go on at the same shard to the same rung, so far away. `partners`:
    see `chains.groups`.
    """
    offsets = {one.number: one.offset for one in configurations}
    together: dict[tuple[int, int, int], list[int]] = {}
    for one in departures:
        shard = ring.shard(offsets[one.configuration], one.hop)
        together.setdefault((-one.hops(ring), one.until, shard), []).append(one.configuration)
    return [
        RungChain(configurations=",".join(map(str, group)), shard=str(shard), hops=str(-hops), until=str(until))
        for (hops, until, shard), numbers in sorted(together.items())
        for group in groups(sorted(numbers), convoy, partners)
    ]


def within(chains: Sequence[RungChain], ring: Ring, room: int, longest: int) -> list[RungChain]:
    """Return chains as far as a Workflow takes them, which has room for so many pods.

    All of them at once with fewer hops, so that all GPUs work; fewer of them only where all do not fit. One that is cut
    leads to no rung in this Workflow. `longest`: hops of one chain at most.
    """
    hops = [int(chain.hops) for chain in chains]
    most = min(longest, max(hops, default=0))
    # One of which hops are due does some.
    caps = range(min(1, most), most + 1)
    fits = [cap for cap in caps if sum(pods(min(cap, one), ring) for one in hops) <= room]
    if not fits:
        return within(chains[: room // pods(1, ring)], ring, room, 1)
    return [chain.model_copy(update={"hops": str(min(max(fits), int(chain.hops)))}) for chain in chains]


def pods(hops: int, ring: Ring) -> int:
    """Return the pods of a chain to a rung: one for each hop, for each shard one that evaluates, and the judge."""
    return hops + ring.shards + AT_A_RUNG


def _departures(turns: Iterable[Turn], ring: Ring) -> Iterator[list[Departure]]:
    """Yield who sets out by each turn."""
    known: dict[int, int] = {}
    for turn in turns:
        found = []
        for decision in turn.decisions:
            number = decision.configuration
            if isinstance(decision, Start):
                found.append(Departure(number, decision.first_hop, decision.until))
            if isinstance(decision, GoOn):
                found.append(Departure(number, known[number] * ring.shards, decision.until))
            if isinstance(decision, Start | GoOn):
                known[number] = decision.until
        yield found
