"""The median stopping rule: whoever does worse than the others did on average by then is stopped."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import cast

from modelhopper_contract import searches as parts
from modelhopper_contract.decisions import GoOn, Start, Stop, Verdict
from modelhopper_scheduler.searches.newcomers import replenished
from modelhopper_scheduler.searches.search import Past, Setting, Trial


class Median:
    """Stops a configuration whose best value so far is worse than the median of the others' running averages.

    Golovin et al., KDD 2017 (Google Vizier). An average is over the iterations at which there were decisions, up to the
    one of the trial in question; those that have not reached it have none, nor have failed ones. Asynchronous:
    decisions depend on the order of arrival.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._part = cast(parts.Median, setting.part)
        self._rungs: list[int] = [*range(self._part.grace, setting.iterations, self._part.every), setting.iterations]

    @property
    def rungs(self) -> Sequence[int]:
        """The iterations grace, grace + every, ..., and the last."""
        return self._rungs

    def start(self, past: Past) -> Sequence[Start]:
        """Return new configurations for the free places."""
        return replenished(self._setting, past, self._part.configurations, self._rungs[0])

    def judge(self, past: Past) -> Sequence[Verdict]:
        """Return a verdict about everybody who waits."""
        return [self._verdict(past, trial) for trial in past.waiting]

    def _verdict(self, past: Past, trial: Trial) -> Verdict:
        at = trial.until
        following = self._rungs[self._rungs.index(at) + 1]
        averages = [average for other in past.trials if other is not trial for average in _averages(other, at)]
        best = min(trial.values.values(), key=past.metric.rank)
        value = f"best {past.metric} up to iteration {at}: {'none' if best is None else format(best, '.4g')}"
        if not averages:
            reason = f"{value}, with no other to compare it with: goes on to iteration {following}"
            return GoOn(configuration=trial.number, until=following, reason=reason)
        median = statistics.median(averages)
        value = f"{value}; the median of {len(averages)} other{'s' * (len(averages) > 1)} is {median:.4g}"
        if past.metric.rank(best) > past.metric.rank(median):
            return Stop(configuration=trial.number, reason=f"{value}: stopped")
        return GoOn(configuration=trial.number, until=following, reason=f"{value}: goes on to iteration {following}")


def _averages(trial: Trial, at: int) -> list[float]:
    """Return the running average of a trial's numbers up to an iteration; empty where it has none at it."""
    if not _numbers([trial.values.get(at)]):
        return []
    found = _numbers([value for iteration, value in trial.values.items() if iteration <= at])
    return _numbers([sum(found) / len(found)])


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None and not math.isnan(value)]
