"""A bracket of successive halving: those that began together, and at each rung the best of those that are left.

Judged when everybody in it has arrived at the rung or has ended, so the order of arrival cannot matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelhopper_contract.decisions import GoOn, Start, Stop, Verdict
from modelhopper_scheduler.searches.newcomers import newcomer
from modelhopper_scheduler.searches.search import Past, Setting, Trial


@dataclass(frozen=True)
class Rung:
    """Where those that are left in a bracket wait for each other."""

    iterations: int  # of each, from the beginning
    count: int  # configurations that train to it


@dataclass(frozen=True)
class Bracket:
    """Configurations that are judged against each other, and by nobody else."""

    name: str  # for people, "bracket 4"; "" where there is only one
    rungs: tuple[Rung, ...]

    def starts(self, setting: Setting, number: int) -> list[Start]:
        """Return the starts of all its configurations, numbered from `number`."""
        first = self.rungs[0]
        return [newcomer(setting, number + at, first.iterations, self.name) for at in range(first.count)]

    def verdicts(self, past: Past) -> list[Verdict]:
        """Return what becomes of those that wait: nothing before the last of them is there."""
        members = [trial for trial in past.trials if trial.start.group == self.name]
        waiting = [trial for trial in members if trial.state == "waiting"]
        if not waiting:
            return []
        at = [rung.iterations for rung in self.rungs].index(waiting[0].until)
        if at + 1 == len(self.rungs):
            return [self._finish(past, trial) for trial in waiting]
        if any(trial.state == "training" for trial in members):
            return []
        # Whoever has ended cannot go on, so it must not take a place from those that can.
        ended = [trial for trial in members if trial.until == waiting[0].until and trial.state != "waiting"]
        alive, ended = (past.ranked(some, waiting[0].until) for some in (waiting, ended))
        return self._verdicts(past, at, alive, [*alive, *ended])

    def _verdicts(self, past: Past, at: int, alive: Sequence[Trial], ranking: Sequence[Trial]) -> list[Verdict]:
        rung, following = self.rungs[at], self.rungs[at + 1]
        left = min(following.count, len(alive))
        words = f"{f' in {self.name}' if self.name else ''}; {left} {'go' if left > 1 else 'goes'} on"
        verdicts: list[Verdict] = []
        for rank, trial in enumerate(alive, start=1):
            reason = past.standing(trial, rung.iterations, ranking) + words
            if rank <= left:
                reason = f"{reason}: past rung {at} to iteration {following.iterations}"
                verdicts.append(GoOn(configuration=trial.number, until=following.iterations, reason=reason))
            else:
                verdicts.append(Stop(configuration=trial.number, reason=f"{reason}: stopped at rung {at}"))
        return verdicts

    def _finish(self, past: Past, trial: Trial) -> Stop:
        # Without a rank: nobody waits for the others here, and the words must not depend on who came first.
        value = past.told(trial, trial.until)
        where = self.name or "the search"
        return Stop(configuration=trial.number, state="finished", reason=f"{value}, the last rung of {where}: finished")
