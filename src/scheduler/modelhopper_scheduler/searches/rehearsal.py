"""What a search costs, told before anything runs: it is played to its end with made-up values. Pure."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

from modelhopper_contract.decisions import Start, Turn
from modelhopper_contract.metrics import Metric
from modelhopper_contract.specification import Specification
from modelhopper_scheduler.searches.checking import Checked
from modelhopper_scheduler.searches.making import objective, search_of
from modelhopper_scheduler.searches.search import Search
from modelhopper_scheduler.simulation.curves import Modelled
from modelhopper_scheduler.simulation.play import Play, Rung, longest, model_iterations, rungs


@dataclass(frozen=True)
class Rehearsal:
    """What a search does when nothing fails."""

    configurations: int
    model_iterations: int  # of all together; times the number of shards, these are the hops
    longest: int  # iterations that one configuration trains at most
    rungs: tuple[Rung, ...]  # where configurations arrive, and how many
    is_counted: bool  # False: how many configurations there are depends on values or on who comes first
    is_exact: bool  # False: how many go on does, so other runs come out near it


def rehearsed(specification: Specification, search: Search | None = None) -> Rehearsal | None:
    """Return what the search that judges a run costs; None where none does.

    `search`: that one, where it is not to be made from the specification.
    """
    search = search or search_of(specification)
    if search is None:
        return None
    return rehearse(search, objective(specification), specification.ring.iterations, specification.shards)


def rehearse(search: Search, metric: Metric, iterations: int, shards: int = 1) -> Rehearsal:
    """Return what a search costs.

    All configurations train equally fast and there is a station for each; who arrives first is a matter of iterations
    and numbers. Played twice, the second time with other values and the opposite order among equals: where both count
    the same, the counts are taken for exact. So they are for searches that fill a rung before they judge it, such as
    Hyperband; asynchronous ones may stop anything at any time. `iterations`: that a configuration trains at most.
    `shards`: of the training data, for searches that copy checkpoints.
    """
    first = _played(search, metric, iterations, shards, seed=0, order=1)
    second = _played(search, metric, iterations, shards, seed=1, order=-1)
    if isinstance(search, Checked):  # what a search of the user's own depends on, nobody knows
        return replace(first, is_counted=False, is_exact=False)
    is_counted = first.configurations == second.configurations
    return replace(first, is_counted=is_counted, is_exact=first == second)


def _played(search: Search, metric: Metric, iterations: int, shards: int, *, seed: int, order: int) -> Rehearsal:
    play = Play(search, metric, iterations, Modelled(metric, seed))
    due: list[tuple[int, int, int]] = []  # when, in iterations since the beginning; rank among equals; number

    def carry_out(turn: Turn, now: int) -> None:
        for decision in turn.decisions:
            if decision.kind == "stop":
                continue
            number = decision.configuration
            done = decision.first_hop // shards if isinstance(decision, Start) else reached[number]
            heapq.heappush(due, (now + decision.until - done, order * number, number))
            reached[number] = decision.until

    reached: dict[int, int] = {}
    carry_out(play.begin(), 0)
    while due:
        now, _, number = heapq.heappop(due)
        carry_out(play.arrive(number), now)
    past = play.past
    iterations_of_all = model_iterations(past, shards)
    return Rehearsal(len(past.trials), iterations_of_all, longest(past), rungs(past), is_counted=True, is_exact=True)
