"""How far a run is: a pure fold over the events of its stations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modelhopper.display.bench import Bench
from modelhopper_contract.decisions import limits
from modelhopper_contract.errors import UserError
from modelhopper_contract.messages import Built, Decided, Ended, Evaluated, Event, Idle, Started, Trained
from modelhopper_contract.metrics import Metric, choose, recorded
from modelhopper_contract.records import Configuration, History, Outcome
from modelhopper_contract.ring import Ring


@dataclass(frozen=True)
class Earlier:
    """What was there when this run began: nothing, or what an earlier one left."""

    done: Mapping[int, int] = field(default_factory=dict)  # hops, by configuration
    histories: Mapping[int, History] = field(default_factory=dict)  # newest evaluations, by configuration
    outcomes: Mapping[int, Outcome] = field(default_factory=dict)
    limits: Mapping[int, int] = field(default_factory=dict)  # iterations that a search lets each train
    is_decided: bool = True  # no search will let more configurations train, or these for longer


@dataclass(frozen=True)
class Progress:
    """How far a run is. Times are in seconds of one clock, which whoever calls reads."""

    configurations: tuple[Configuration, ...]
    ring: Ring
    stations: int
    objective: str | None  # as the user wrote it
    began_s: float
    earlier: Earlier
    costs: Mapping[int, float]  # of a hop, by configuration
    done: Mapping[int, int]  # hops, by configuration
    histories: Mapping[int, History]  # of results, or newest evaluations until then, by configuration
    outcomes: Mapping[int, Outcome]
    limits: Mapping[int, int]  # iterations that a search lets a configuration train; those that are not here train all
    last_s: float  # when something last happened
    built: int = 0
    serving_s: float | None = None  # when the first station began the first hop
    benches: Mapping[int, Bench] = field(default_factory=dict)
    settled_stays: int = 0  # stays that began with a compiled program
    settled_work: float = 0.0  # the cost of their hops
    estimate: tuple[float, float] | None = None  # when it was made, and the time that was left then
    is_decided: bool = True  # no search will let more configurations train, or these for longer
    evaluations: Mapping[int, tuple[History, ...]] = field(default_factory=dict)  # of which one may be the result
    notes: frozenset[str] = frozenset()  # that stations made while they built
    is_followed: bool = (
        False  # fed by looks at the store, which tell where things are, but not who was busy for how long
    )

    @classmethod
    def of(
        cls,
        configurations: Sequence[Configuration],
        ring: Ring,
        stations: int,
        now_s: float,
        objective: str | None = None,
        earlier: Earlier | None = None,
    ) -> Progress:
        """Return the progress of a run that begins now, or goes on from what an earlier one left."""
        before = earlier or Earlier()
        return cls(
            configurations=tuple(configurations),
            ring=ring,
            stations=stations,
            objective=objective,
            began_s=now_s,
            last_s=now_s,
            earlier=before,
            costs={one.number: one.cost for one in configurations},
            done={one.number: before.done.get(one.number, one.first_hop) for one in configurations},
            histories=before.histories,
            outcomes=before.outcomes,
            limits=before.limits,
            is_decided=before.is_decided,
        )

    def heard(self, event: Event, now_s: float) -> Progress:
        """Return the progress after an event. Work that is done twice counts once."""
        changed = replace(self, last_s=now_s, **self._change(event, now_s))
        if isinstance(event, Trained | Ended):
            return replace(changed, estimate=_estimate(changed, now_s) or changed.estimate)
        return changed

    def joined(self, stations: int) -> Progress:
        """Return the progress after at least so many stations were seen."""
        return replace(self, stations=stations) if stations > self.stations else self

    @property
    def hops_done(self) -> int:
        """Hops whose checkpoints are safe, those of earlier runs with them."""
        return sum(self.done.values()) - self._copied

    @property
    def hops_before(self) -> int:
        """Hops of earlier runs."""
        return sum(self.earlier.done.values()) - sum(
            one.first_hop for one in self.configurations if one.number in self.earlier.done
        )

    @property
    def hops(self) -> int:
        """Hops of the whole run, as far as is known: more when a search lets configurations train on.

        Those that a configuration will not do, because it has ended, are not counted.
        """
        return sum(self.done[n] if n in self.outcomes else self.limit(n) for n in self.done) - self._copied

    def limit(self, number: int) -> int:
        """Return the hop before which a configuration ends, or waits for a decision."""
        return min(self.ring.hops, self.limits.get(number, self.ring.iterations) * self.ring.shards)

    @property
    def finished(self) -> int:
        """How many configurations are finished."""
        return sum(outcome.state == "finished" for outcome in self.outcomes.values())

    @property
    def stopped(self) -> int:
        """How many configurations ended before all iterations, with a result."""
        return sum(outcome.state == "stopped" for outcome in self.outcomes.values())

    @property
    def is_complete(self) -> bool:
        """Say whether every configuration has ended, and no search will add one."""
        return self.is_decided and len(self.outcomes) >= len(self.configurations)

    @property
    def failed(self) -> list[Outcome]:
        """Configurations that cannot go on, by number."""
        return [outcome for _, outcome in sorted(self.outcomes.items()) if outcome.state == "failed"]

    @property
    def metric(self) -> Metric | None:
        """The metric that ranks configurations, or None before the first evaluation."""
        if not self.histories:
            return None
        known = recorded(self.histories.values())
        try:
            return choose(None, self.objective, self.configurations, known)
        except UserError:  # told with the results; a run does not end for it
            return choose(None, None, self.configurations, known)

    @property
    def best(self) -> tuple[int, float] | None:
        """The best configuration so far, by its newest evaluation, and its value."""
        metric = self.metric
        found = [(metric.of(history), number) for number, history in self.histories.items()] if metric else []
        known = [(value, number) for value, number in found if value is not None and not math.isnan(value)]
        if metric is None or not known:
            return None
        value, number = min(known, key=lambda one: (metric.rank(one[0]), one[1]))
        return number, value

    def bench(self, station: int) -> Bench:
        """Return what a station does."""
        return self.benches.get(station, Bench())

    def elapsed_s(self, now_s: float) -> float:
        """Return how long stations have been serving."""
        return now_s - self.serving_s if self.serving_s is not None else 0.0

    def busy_share(self, now_s: float, station: int | None = None) -> float:
        """Return which part of that time a station, or all together, had work to do."""
        elapsed_s = self.elapsed_s(now_s)
        chosen = range(self.stations) if station is None else [station]
        busy_s = sum(self.bench(one).busy_s(now_s) for one in chosen)
        return busy_s / (elapsed_s * len(chosen)) if elapsed_s > 0 else 0.0

    def left_s(self, now_s: float) -> float | None:
        """Return the time that is left, or None while it is too early to tell, or a search may let more train."""
        if self.estimate is None or not self.is_decided:
            return None
        made_s, left_s = self.estimate
        return max(0.0, left_s - (now_s - made_s))

    def _change(self, event: Event, now_s: float) -> dict[str, Any]:
        change: dict[str, Any] = {}
        match event:
            case Built(problem=None):
                notes = self.notes | ({event.note} if event.note else set())
                costs = {**self.costs, event.configuration: event.cost}
                change = {"costs": costs, "built": self.built + 1, "notes": notes}
            case Started():
                bench = self.bench(event.station).started(event, now_s)
                first_s = now_s if self.serving_s is None else self.serving_s
                change = {"benches": {**self.benches, event.station: bench}, "serving_s": first_s}
            case Idle():
                change = {"benches": {**self.benches, event.station: self.bench(event.station).idle(now_s)}}
            case Trained():
                bench = self.bench(event.station).trained(event, now_s)
                change = {"benches": {**self.benches, event.station: bench}, **self._trained(event)}
            case Evaluated():
                change = self._evaluated(event.history)
            case Decided():
                change = self._decided(event)
            case Ended():
                change = {"outcomes": {**self.outcomes, event.outcome.configuration: event.outcome}}
                change |= self._settled(event.outcome)
        return change

    def _trained(self, event: Trained) -> dict[str, Any]:
        number = event.configuration
        change: dict[str, Any] = {"done": {**self.done, number: max(self._reached(event), self.done[number])}}
        if not self.bench(event.station).is_first("train", number, event.first_hop):
            work = (event.end_hop - event.first_hop) * self.costs[number]
            change |= {"settled_stays": self.settled_stays + 1, "settled_work": self.settled_work + work}
        return change

    def _reached(self, event: Trained) -> int:
        """Return how many hops a configuration has done by an event; those that are merged come in any order."""
        if not self.ring.merges or self.is_followed:
            return event.end_hop
        first = self.ring.start(event.first_hop)
        return min(max(self.done[event.configuration], first) + 1, first + self.ring.shards)

    def _evaluated(self, history: History) -> dict[str, Any]:
        number = history.configuration
        evaluations = {**self.evaluations, number: (*self.evaluations.get(number, ()), history)}
        outcome = self.outcomes.get(number)
        is_late = outcome is not None and history.iteration != self.ring.iteration(outcome.hops)
        return {"evaluations": evaluations} | ({} if is_late else {"histories": {**self.histories, number: history}})

    def _settled(self, outcome: Outcome) -> dict[str, Any]:
        """Let the result's metrics count, which need not be the newest."""
        number, iteration = outcome.configuration, self.ring.iteration(outcome.hops)
        found = [one for one in self.evaluations.get(number, ()) if one.iteration == iteration]
        return {"histories": {**self.histories, number: found[-1]}} if found and outcome.state != "failed" else {}

    def _decided(self, event: Decided) -> dict[str, Any]:
        new = [one for one in event.configurations if one.number not in self.done]
        # Nobody has built them, so what they cost is not known: as much as the others do.
        cost = statistics.fmean(self.costs.values()) if self.costs else 1.0
        return {
            "configurations": (*self.configurations, *new),
            "costs": {**self.costs, **{one.number: cost for one in new}},
            "done": {**self.done, **{one.number: one.first_hop for one in new}},
            "limits": {**self.limits, **limits([event.turn])},
            "is_decided": event.turn.is_last,
        }

    @property
    def _copied(self) -> int:
        """Hops that configurations did not do, because they went on from a copy of another."""
        return sum(one.first_hop for one in self.configurations)


def _estimate(progress: Progress, now_s: float) -> tuple[float, float] | None:
    """Return the time now and the time left; None before each station has done about two stays."""
    speed = _speed_by_clock(progress, now_s) if progress.is_followed else _speed(progress)
    if speed is None:
        return None
    unfinished = {n: hops for n, hops in progress.done.items() if n not in progress.outcomes}
    remaining = [(progress.limit(n) - hops) * progress.costs[n] for n, hops in unfinished.items()]
    # A configuration is at one station at a time, so a run lasts at least as long as its longest one; where hops are
    # merged, it is on all its shards at once.
    at_once = progress.ring.shards if progress.ring.merges else 1
    at_least = max(sum(remaining) / progress.stations, max(remaining, default=0.0) / at_once)
    return now_s, at_least / speed


def _speed(progress: Progress) -> float | None:
    """Return the cost that a station works off in a second.

    Stays that compiled a program are left out, unless a tenth of the run brought no others. Work is counted when a stay
    is over, so busy time is, too: what is in progress adds to neither.
    """
    benches = progress.benches.values()
    settled_s = sum(bench.settled_s for bench in benches)
    if progress.settled_stays >= 2 * progress.stations and settled_s > 0:
        return progress.settled_work / settled_s
    hops, work = _new(progress)
    busy_s = sum(bench.closed_s for bench in benches)
    is_known = hops >= max(2 * progress.stations, progress.hops / 10)
    return work / busy_s if is_known and busy_s > 0 and work > 0 else None


def _speed_by_clock(progress: Progress, now_s: float) -> float | None:
    """Return the cost that a station works off in a second, all stations and all pauses taken together."""
    hops, work = _new(progress)
    elapsed_s = progress.elapsed_s(now_s)
    is_known = hops >= 2 * progress.stations and elapsed_s > 0
    return work / (elapsed_s * progress.stations) if is_known else None


def _new(progress: Progress) -> tuple[int, float]:
    """Return the hops that were done since the beginning, and their cost."""
    first = {one.number: one.first_hop for one in progress.configurations}
    new = {n: hops - progress.earlier.done.get(n, first[n]) for n, hops in progress.done.items()}
    return sum(new.values()), sum(hops * progress.costs[n] for n, hops in new.items())
