"""A small search that judges, for tests of what plays one: groups of successive halving, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelhopper_contract.decisions import GoOn, Start, Stop, Verdict
from modelhopper_contract.metrics import Metric
from modelhopper_scheduler.searches.search import Past, Trial

ACCURACY = Metric("validation", "accuracy", lower_is_better=False)


@dataclass(frozen=True)
class Halving:
    """Each group begins with so many; the better half of it goes on, to twice as many iterations, until one is left.

    `in_turn`: judged one by one as they arrive, those that are among the better half so far going on; what comes of it
    depends on the order.
    """

    groups: tuple[int, ...]  # powers of two
    first: int = 1  # iterations before the first decision
    in_turn: bool = False

    @property
    def rungs(self) -> list[int]:
        return [self.first << at for at in range(max(self.groups).bit_length())]

    def start(self, past: Past) -> Sequence[Start]:
        if past.trials:
            return []
        groups = [f"group {at}" for at, size in enumerate(self.groups) for _ in range(size)]
        return [
            Start(configuration=number, choice={"value": number}, until=self.first, reason="first", group=group)
            for number, group in enumerate(groups, start=1)
        ]

    def judge(self, past: Past) -> Sequence[Verdict]:
        return [verdict for group in range(len(self.groups)) for verdict in self._judge(past, group)]

    def _judge(self, past: Past, group: int) -> Iterator[Verdict]:
        for at in self.rungs:
            own = [one for one in past.trials if one.start.group == f"group {group}" and one.until >= at]
            here = [one for one in own if at in one.values]
            if self.in_turn or len(here) == len(own):
                yield from self._among(past, here, at)

    def _among(self, past: Past, here: list[Trial], at: int) -> Iterator[Verdict]:
        keep = max(1, len(here) // 2) if len(here) > 1 or self.in_turn else 0
        for rank, trial in enumerate(past.ranked(here, at)):
            if trial.state != "waiting" or trial.until != at:
                continue
            if rank < keep and at < past.iterations:
                yield GoOn(configuration=trial.number, until=at * 2, reason="among the better half")
            else:
                yield Stop(configuration=trial.number, reason="among the worse half")
