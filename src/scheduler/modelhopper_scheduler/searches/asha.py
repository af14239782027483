"""Asynchronous successive halving: whoever is among the best that have been at a rung so far goes on at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from modelhopper_contract import searches as parts
from modelhopper_contract.decisions import GoOn, Start, Verdict
from modelhopper_scheduler.searches.newcomers import replenished
from modelhopper_scheduler.searches.schedule import growing
from modelhopper_scheduler.searches.search import Past, Setting, Trial


class Asha:
    """Fills every free place with a promotion from the highest rung that has one, else with a new configuration.

    Li et al., MLSys 2020, algorithm 2. Asynchronous: decisions depend on the order of arrival. Nobody is stopped before
    the search is over, because whoever waits can still become one of the best 1/eta as others arrive.

    The paper's search never ends; this one has a number of configurations. Where these are too few for anybody to
    reach the last iteration, the best goes on alone, rung by rung, so that one is trained to the end.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._part = cast(parts.Asha, setting.part)
        self._rungs = growing(self._part.first, self._part.eta, setting.iterations)

    @property
    def rungs(self) -> Sequence[int]:
        """The iterations first, first * eta, ..., and the last."""
        return self._rungs

    def start(self, past: Past) -> Sequence[Start]:
        """Return new configurations for the places that promotions left free."""
        return replenished(self._setting, past, self._part.configurations, self._rungs[0])

    def judge(self, past: Past) -> Sequence[Verdict]:
        """Return promotions, from the highest rung down, for as many as there are free places."""
        room = self._setting.parallel - len(past.training)
        promotions = [one for at in reversed(range(len(self._rungs) - 1)) for one in self._promotions(past, at)]
        return promotions[: max(room, 0)] or self._last_promotion(past)

    def _promotions(self, past: Past, at: int) -> list[GoOn]:
        iterations, following = self._rungs[at : at + 2]
        ranking = past.ranked([trial for trial in past.trials if iterations in trial.values], iterations)
        best = ranking[: len(ranking) // self._part.eta]
        words = f"so far; {len(best)} {'go' if len(best) > 1 else 'goes'} on: past rung {at} to iteration {following}"
        return [
            GoOn(
                configuration=trial.number,
                until=following,
                reason=f"{past.standing(trial, iterations, ranking)} {words}",
            )
            for trial in best
            if trial.state == "waiting" and trial.until == iterations
        ]

    def _last_promotion(self, past: Past) -> list[GoOn]:
        is_open = past.training or len(past.trials) < self._part.configurations
        if is_open or not past.waiting or any(trial.state == "finished" for trial in past.trials):
            return []
        best = self._furthest(past)
        following = self._rungs[self._rungs.index(best.until) + 1]
        reason = f"{past.told(best, best.until)}, the best of those that got furthest, and nobody else trains: "
        return [GoOn(configuration=best.number, until=following, reason=f"{reason}goes on to iteration {following}")]

    def _furthest(self, past: Past) -> Trial:
        iterations = max(trial.until for trial in past.waiting)
        return past.ranked([trial for trial in past.waiting if trial.until == iterations], iterations)[0]
