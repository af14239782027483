"""How far a run is: a pure fold over the events of its stations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelhopper_contract.messages import Built, Ended, Evaluated, Event, Idle, Started, Trained
from modelhopper_contract.records import Configuration, Outcome
from modelhopper_contract.ring import Ring

from modelhopper.display.objective import Objective


@dataclass(frozen=True)
class Bench:
    """One station: what it does, and how long it has had work. It is busy from a start until it says that it is idle."""

    doing: Started | None = None
    since_s: float = 0.0  # when it began what it does
    closed_s: float = 0.0  # busy before that

    def started(self, event: Started, now_s: float) -> Bench:
        """Return the station after it began something."""
        return Bench(event, now_s, self.busy_s(now_s))

    def idle(self, now_s: float) -> Bench:
        """Return the station after its inbox was empty."""
        return Bench(None, now_s, self.busy_s(now_s))

    def busy_s(self, now_s: float) -> float:
        """Return how long it has been busy until now."""
        return self.closed_s + (now_s - self.since_s if self.doing else 0.0)


@dataclass(frozen=True)
class Earlier:
    """What was there when this run began: nothing, or what an earlier one left."""

    done: Mapping[int, int] = field(default_factory=dict)  # hops, by configuration
    values: Mapping[int, float] = field(default_factory=dict)  # of the objective, by configuration
    outcomes: Mapping[int, Outcome] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far a run is. Times are in seconds of one clock, which whoever calls reads."""

    ring: Ring
    stations: int
    objective: Objective
    began_s: float
    earlier: Earlier
    costs: Mapping[int, float]  # of a hop, by configuration
    done: Mapping[int, int]  # hops, by configuration
    values: Mapping[int, float]  # of the objective at the newest evaluation, by configuration
    outcomes: Mapping[int, Outcome]
    built: int = 0
    serving_s: float | None = None  # when the first station began the first hop
    benches: Mapping[int, Bench] = field(default_factory=dict)
    estimate: tuple[float, float] | None = None  # when it was made, and the time that was left then

    @classmethod
    def of(
        cls, configurations: Sequence[Configuration], ring: Ring, stations: int, objective: Objective, now_s: float,
        earlier: Earlier | None = None,
    ) -> Progress:  # fmt: skip
        """Return the progress of a run that begins now, or goes on from what an earlier one left."""
        earlier = earlier or Earlier()
        done = {one.number: earlier.done.get(one.number, 0) for one in configurations}
        costs = {one.number: one.cost for one in configurations}
        return cls(ring, stations, objective, now_s, earlier, costs, done, earlier.values, earlier.outcomes)

    def heard(self, event: Event, now_s: float) -> Progress:
        """Return the progress after an event. Events of work that is done twice change nothing."""
        match event:
            case Built(problem=None):
                costs = {**self.costs, event.configuration: event.cost}
                return replace(self, costs=costs, built=self.built + 1)
            case Started():
                serving_s = now_s if self.serving_s is None else self.serving_s
                bench = self.bench(event.station).started(event, now_s)
                return replace(self, serving_s=serving_s, benches={**self.benches, event.station: bench})
            case Idle():
                return replace(self, benches={**self.benches, event.station: self.bench(event.station).idle(now_s)})
            case Trained():
                hops = max(event.end_hop, self.done[event.configuration])
                return replace(self, done={**self.done, event.configuration: hops})._estimated(now_s)
            case Evaluated():
                return self._evaluated(event)
            case Ended():
                outcomes = {**self.outcomes, event.outcome.configuration: event.outcome}
                return replace(self, outcomes=outcomes)._estimated(now_s)
        return self

    @property
    def configurations(self) -> int:
        """How many configurations there are."""
        return len(self.done)

    @property
    def hops_done(self) -> int:
        """Hops whose checkpoints are safe, those of earlier runs with them."""
        return sum(self.done.values())

    @property
    def hops(self) -> int:
        """Hops of the whole run; those that a failed configuration will not do are not counted."""
        return sum(self.done[n] if self._is_failed(n) else self.ring.hops for n in self.done)

    @property
    def finished(self) -> int:
        """How many configurations are finished."""
        return sum(outcome.state == "finished" for outcome in self.outcomes.values())

    @property
    def failed(self) -> list[Outcome]:
        """Configurations that cannot go on, by number."""
        return [outcome for _, outcome in sorted(self.outcomes.items()) if outcome.state == "failed"]

    @property
    def best(self) -> tuple[int, float] | None:
        """The best configuration so far, by its newest evaluation, and its value."""
        known = {number: value for number, value in self.values.items() if not math.isnan(value)}
        if not known:
            return None
        sign = 1 if self.objective.is_higher_better else -1
        number = max(known, key=lambda n: (sign * known[n], -n))
        return number, known[number]

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
        """Return the time that is left, or None while it is too early to tell."""
        if self.estimate is None:
            return None
        made_s, left_s = self.estimate
        return max(0.0, left_s - (now_s - made_s))

    def _evaluated(self, event: Evaluated) -> Progress:
        value = self.objective.of(event.history)
        return self if value is None else replace(self, values={**self.values, event.history.configuration: value})

    def _is_failed(self, number: int) -> bool:
        return number in self.outcomes and self.outcomes[number].state == "failed"

    def _estimated(self, now_s: float) -> Progress:
        # Work is counted when a stay is over, so busy time is, too: the stays in progress are left out of the speed.
        busy_s = sum(bench.closed_s for bench in self.benches.values())
        work = sum((hops - self.earlier.done.get(n, 0)) * self.costs[n] for n, hops in self.done.items())
        hops = self.hops_done - sum(self.earlier.done.values())
        if hops < 2 * self.stations or busy_s <= 0 or work <= 0:
            return self
        remaining = [(self.ring.hops - hops) * self.costs[n] for n, hops in self.done.items() if n not in self.outcomes]
        # A configuration is at one station at a time, so the run takes at least as long as its longest one.
        at_least = max(sum(remaining) / self.stations, max(remaining, default=0.0))
        return replace(self, estimate=(now_s, at_least * busy_s / work))
