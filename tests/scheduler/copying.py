"""A search of two configurations, of which the worse is replaced by a copy of the better at the first rung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelhopper_contract.decisions import GoOn, Start, Stop, Verdict
from modelhopper_contract.records import Origin
from modelhopper_scheduler.searches.search import Past


@dataclass(frozen=True)
class Copying:
    shards: int
    iterations: int = 3

    @property
    def rungs(self) -> Sequence[int]:
        return [1, self.iterations]

    def start(self, past: Past) -> Sequence[Start]:
        if not past.trials:
            return [Start(configuration=n, choice={"value": n}, until=1, reason="first") for n in (1, 2)]
        if len(past.trials) > 2 or past.training == [] or any(one.state == "waiting" for one in past.trials):
            return []
        if not all(one.values for one in past.trials):
            return []
        (best,) = past.training
        origin = Origin(configuration=best.number, hop=self.shards)
        return [Start(configuration=3, choice={"value": 3}, until=self.iterations, reason="a copy", origin=origin)]

    def judge(self, past: Past) -> Sequence[Verdict]:
        if len(past.waiting) < 2:
            return []
        best, worst = past.ranked(past.waiting, 1)
        return [
            GoOn(configuration=best.number, until=self.iterations, reason="the better"),
            Stop(configuration=worst.number, reason="the worse"),
        ]
