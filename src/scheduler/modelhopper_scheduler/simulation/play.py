"""A search that is played: asked turn after turn, as a run's judge asks it, and told values of curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelhopper_contract.decisions import Arrival, Start, Turn, Verdict
from modelhopper_contract.errors import SpecError
from modelhopper_contract.metrics import Metric
from modelhopper_scheduler.searches.search import Past, Search, Trial, next_turn
from modelhopper_scheduler.simulation.curves import Curves

MOST_TURNS = 20_000  # one that is played for longer most likely never ends


@dataclass(frozen=True)
class Rung:
    """How many configurations came to a number of iterations, and what became of them there."""

    iterations: int
    reached: int
    went_on: int
    stopped: int
    finished: int
    failed: int


class Play:
    """One search and its past. Turns are made as in a run: one arrival at a time, in the order that it is told."""

    def __init__(self, search: Search, metric: Metric, iterations: int, curves: Curves) -> None:
        self.past = Past(metric, iterations)
        self._search = search
        self._curves = curves
        self._turns = 0

    def begin(self) -> Turn:
        """Return the first turn."""
        return self._turn(None)

    def arrive(self, number: int) -> Turn:
        """Return the turn that follows when a configuration has trained as far as it was allowed to."""
        trial = self.past.trial(number)
        value = self._curves.value(trial.start, trial.until)
        arrival = Arrival(
            configuration=number,
            iteration=trial.until,
            value=value,
            ended="failed" if value is None else None,
        )
        return self._turn(arrival)

    def _turn(self, arrival: Arrival | None) -> Turn:
        if self._turns > MOST_TURNS:
            raise SpecError(
                f"this search has not ended after {MOST_TURNS:,} arrivals, with {len(self.past.trials):,} "
                "configurations: let it start nothing any more at some time.",
                ("search",),
            )
        turn = next_turn(self._search, self.past, self._turns, arrival)
        self._turns += 1
        past = self.past if arrival is None else self.past.arrived(arrival)
        self.past = past.decided(turn.decisions)
        return turn


@dataclass(frozen=True)
class Together:
    """The search of which there is nothing to ask: all configurations start, and train to the end."""

    choices: Sequence[Mapping[str, Any]]
    iterations: int

    @property
    def rungs(self) -> Sequence[int]:
        """None: nobody waits."""
        return ()

    def start(self, past: Past) -> Sequence[Start]:
        """Return all configurations at the beginning."""
        if past.trials:
            return []
        return [
            Start(configuration=number, choice=dict(choice), until=self.iterations, reason="chosen before the run")
            for number, choice in enumerate(self.choices, start=1)
        ]

    def judge(self, past: Past) -> Sequence[Verdict]:  # noqa: ARG002 -- the protocol's
        """Return nothing."""
        return []


def model_iterations(past: Past, shards: int) -> int:
    """Return the iterations that all configurations trained together, what was copied not counted again."""
    return sum(_reached(trial) - trial.start.first_hop // shards for trial in past.trials if trial.values)


def longest(past: Past) -> int:
    """Return the most iterations that one configuration has reached."""
    return max(map(_reached, past.trials), default=0)


def rungs(past: Past) -> tuple[Rung, ...]:
    """Return where configurations arrived and what became of them there, by iterations."""
    counts: Counter[tuple[int, str]] = Counter()
    for trial in past.trials:
        *before, last = sorted(trial.values) or [0]
        counts.update((at, "went on") for at in before)
        counts[last, trial.state] += 1
    found = []
    for at in sorted({at for at, _ in counts if at}):
        went_on, stopped, finished, failed = (counts[at, s] for s in ("went on", "stopped", "finished", "failed"))
        found.append(Rung(at, went_on + stopped + finished + failed, went_on, stopped, finished, failed))
    return tuple(found)


def _reached(trial: Trial) -> int:
    return max(trial.values, default=0)
