"""What every search is: two questions about the past, asked at every turn. And the past that it is asked about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from modelhopper_contract.decisions import Arrival, Decision, GoOn, Start, Stop, Turn, Verdict
from modelhopper_contract.metrics import Metric
from modelhopper_contract.part import Part

State = Literal["training", "waiting", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class Setting:
    """What a search is made of: its part of the experiment, and what it needs to know of the rest."""

    part: Part  # the experiment's `search`
    iterations: int  # that a configuration trains at most
    seed: int  # of the experiment; every random draw comes from it and a configuration's number
    shards: int  # of the training data

    @property
    def space(self) -> Mapping[str, Any]:
        """What varies, and how."""
        space: Mapping[str, Any] = getattr(self.part, "space", {})
        return space

    @property
    def parallel(self) -> int:
        """How many configurations an asynchronous search lets train at a time.

        By default twice as many as shards, so that stations are busy whatever a hop takes; never by the number of
        stations, which must not change results.
        """
        return getattr(self.part, "parallel", None) or 2 * self.shards


@dataclass(frozen=True)
class Trial:
    """A configuration as a search sees it."""

    start: Start
    until: int  # iterations; the last that it was allowed
    state: State
    values: Mapping[int, float | None]  # of the objective, by the iterations at which it arrived; None: it failed

    @property
    def number(self) -> int:
        """The configuration's number."""
        return self.start.configuration

    @property
    def value(self) -> float | None:
        """The newest value of the objective; None before the first, and for one that failed."""
        return self.values[max(self.values)] if self.values else None


@dataclass(frozen=True)
class Past:
    """All that has happened in a search.

    `trials` are sorted by number, so that what is decided from them cannot depend on the order of arrival. Only
    asynchronous searches look at `arrivals`, which are in that order.
    """

    metric: Metric  # the objective
    iterations: int  # that a configuration trains at most
    trials: tuple[Trial, ...] = ()
    arrivals: tuple[Arrival, ...] = ()

    @property
    def training(self) -> list[Trial]:
        """Those that train, or are on their way to it."""
        return [trial for trial in self.trials if trial.state == "training"]

    @property
    def waiting(self) -> list[Trial]:
        """Those that wait at a rung."""
        return [trial for trial in self.trials if trial.state == "waiting"]

    def trial(self, number: int) -> Trial:
        """Return one by its number."""
        return self.trials[number - 1]

    def ranked(self, trials: Iterable[Trial], iteration: int) -> list[Trial]:
        """Return trials by their value at an iteration, the best first; failed ones last, equal ones by number."""
        return sorted(trials, key=lambda trial: (self.metric.rank(trial.values.get(iteration)), trial.number))

    def told(self, trial: Trial, iteration: int) -> str:
        """Return a trial's value in words: "validation accuracy 0.71 at iteration 9"."""
        value = trial.values.get(iteration)
        return f"{f'no {self.metric}' if value is None else f'{self.metric} {value:.4g}'} at iteration {iteration}"

    def standing(self, trial: Trial, iteration: int, ranking: Sequence[Trial]) -> str:
        """Return in words how a trial did: "validation accuracy 0.71 at iteration 9, rank 2 of 27"."""
        rank = [other.number for other in ranking].index(trial.number) + 1
        return f"{self.told(trial, iteration)}, rank {rank} of {len(ranking)}"

    def arrived(self, arrival: Arrival) -> Past:
        """Return the past with one more arrival."""
        trial = self.trial(arrival.configuration)
        state: State = arrival.ended or ("finished" if arrival.iteration >= self.iterations else "waiting")
        changed = replace(trial, state=state, values={**trial.values, arrival.iteration: arrival.value})
        return replace(self._with(changed), arrivals=(*self.arrivals, arrival))

    def decided(self, decisions: Iterable[Decision]) -> Past:
        """Return the past with these decisions."""
        past = self
        for decision in decisions:
            past = past._decided(decision)
        return past

    def _decided(self, decision: Decision) -> Past:
        match decision:
            case Start():
                return replace(self, trials=(*self.trials, Trial(decision, decision.until, "training", {})))
            case GoOn():
                trial = self.trial(decision.configuration)
                return self._with(replace(trial, until=decision.until, state="training"))
            case Stop():
                return self._with(replace(self.trial(decision.configuration), state=decision.state))

    def _with(self, changed: Trial) -> Past:
        at = changed.number - 1
        return replace(self, trials=(*self.trials[:at], changed, *self.trials[at + 1 :]))


class Search(Protocol):
    """Decides which configurations to train, and how far. It has no memory: equal pasts get equal answers.

    Made anew from a `Setting` for every question, if need be. Both methods are pure; every random draw is seeded from
    `Setting.seed` and a configuration's number.
    """

    @property
    def rungs(self) -> Sequence[int]:
        """The iterations after which somebody may wait for a decision, ascending. Each `until` is one, or the last."""

    def start(self, past: Past) -> Sequence[Start]:
        """Return which configurations start now, numbered on from `len(past.trials) + 1`; asked after `judge`."""

    def judge(self, past: Past) -> Sequence[Verdict]:
        """Return what becomes of those that wait; nothing about one lets it wait on.

        When nobody trains any more and nothing starts, the search is over, and whoever waits is stopped.
        """


def retold(metric: Metric, iterations: int, turns: Iterable[Turn]) -> Past:
    """Return the past that a log tells."""
    past = Past(metric, iterations)
    for turn in turns:
        if turn.arrival is not None:
            past = past.arrived(turn.arrival)
        past = past.decided(turn.decisions)
    return past


def next_turn(search: Search, past: Past, order: int, arrival: Arrival | None) -> Turn:
    """Return the next turn of the log: what the search answers to an arrival, or at the beginning."""
    if arrival is not None:
        past = past.arrived(arrival)
    verdicts = list(search.judge(past))
    past = past.decided(verdicts)
    starts = list(search.start(past))
    past = past.decided(starts)
    is_last = not past.training
    left = _left(past) if is_last else []
    return Turn(order=order, arrival=arrival, decisions=(*verdicts, *starts, *left), is_last=is_last)


def _left(past: Past) -> list[Stop]:
    """Return the end of those that still wait when nothing more is decided."""
    reached = {trial.number: max(trial.values) for trial in past.waiting}
    rankings = {
        at: past.ranked([trial for trial in past.trials if at in trial.values], at) for at in {*reached.values()}
    }
    return [
        Stop(
            configuration=trial.number,
            reason=f"{past.standing(trial, at, rankings[at])}; the search is over",
        )
        for trial, at in ((trial, reached[trial.number]) for trial in past.waiting)
    ]
