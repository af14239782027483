"""Population based training: at each rung the worst are replaced by changed copies of the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from modelhopper_contract import searches as parts
from modelhopper_contract.decisions import GoOn, Start, Stop, Verdict
from modelhopper_contract.records import Origin
from modelhopper_scheduler.searches.newcomers import newcomer
from modelhopper_scheduler.searches.perturbation import Perturbation, differences
from modelhopper_scheduler.searches.search import Past, Setting, Trial
from modelhopper_scheduler.searches.space import uniform


@dataclass(frozen=True)
class Exchange:
    """A member that is replaced: by the configuration `number`, which begins as a copy of the one of `best`."""

    worst: Trial
    best: Trial
    number: int


class Pbt:
    """A population whose members copy each other, in generations.

    Jaderberg et al., 2017, with truncation selection: of all members the worst `quantile`, at least one, are replaced
    by copies of some of the best `quantile`. Generations are synchronous: judged when every member has arrived at the
    rung or has ended, so the order of arrival cannot matter. One that has ended counts as worse than all that have
    not, and nobody copies it; in the next generation it is among the worst again.

    A replaced configuration is stopped, and a new one takes its place. It begins with the other's state at that hop
    (`Start.origin`; weights are not stored twice) and changes what `Perturbation` says.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._part = cast(parts.Pbt, setting.part)
        self._rungs: list[int] = [*range(self._part.every, setting.iterations, self._part.every), setting.iterations]

    @property
    def rungs(self) -> Sequence[int]:
        """The iterations every, 2 * every, ..., and the last."""
        return self._rungs

    def start(self, past: Past) -> Sequence[Start]:
        """Return the population in the first turn, then the copies in the turn in which a generation is judged."""
        if not past.trials:
            members = range(1, self._part.configurations + 1)
            return [newcomer(self._setting, at, self._rungs[0], f"member {at}") for at in members]
        at = self._judged(past)
        if at is None or any(self._begins(trial) == at for trial in past.trials):
            return []
        return [self._copy(past, at, exchange) for exchange in self._exchanges(past, at)]

    def judge(self, past: Past) -> Sequence[Verdict]:
        """Return who goes on and who is replaced, once the whole generation has arrived or ended."""
        if not past.waiting or past.training:
            return []
        at = past.waiting[0].until
        replaced = {exchange.worst.number: exchange for exchange in self._exchanges(past, at)}
        return [self._verdict(past, trial, replaced.get(trial.number)) for trial in past.waiting]

    def _verdict(self, past: Past, trial: Trial, exchange: Exchange | None) -> Verdict:
        standing = past.standing(trial, trial.until, self._ranking(past, trial.until))
        if exchange is None:
            following = self._following(trial.until)
            reason = f"{standing}: goes on to iteration {following}"
            return GoOn(configuration=trial.number, until=following, reason=reason)
        reason = f"{standing}: replaced by {exchange.number}, a changed copy of {exchange.best.number}"
        return Stop(configuration=trial.number, reason=reason)

    def _copy(self, past: Past, at: int, exchange: Exchange) -> Start:
        worst, best = exchange.worst, exchange.best
        choice = Perturbation(self._part, self._setting.seed, exchange.number).of(best.start.choice)
        standing = past.standing(best, at, self._ranking(past, at))
        changes = differences(best.start.choice, choice)
        return Start(
            configuration=exchange.number,
            choice=choice,
            until=self._following(at),
            reason=f"in place of {worst.number}, a copy of {best.number} ({standing}); {changes}",
            group=worst.start.group,
            origin=Origin(configuration=best.number, hop=at * self._setting.shards),
            offset=worst.start.offset,
        )

    # What follows is asked before and after the verdicts of one turn, and must answer the same: so it looks at what
    # arrived at the rung, and never at a trial's present state.

    def _exchanges(self, past: Past, at: int) -> list[Exchange]:
        ranking = self._ranking(past, at)
        count = max(1, int(len(ranking) * Decimal(repr(self._part.quantile))))
        best = [trial for trial in ranking[:count] if trial.number in _alive(past, at)]
        worst = sorted(ranking[-count:], key=lambda trial: trial.number) if best else []
        first = sum(self._begins(trial) < at for trial in past.trials) + 1
        return [
            Exchange(trial, best[int(uniform(self._setting.seed, at, trial.number) * len(best))], first + place)
            for place, trial in enumerate(worst)
        ]

    def _ranking(self, past: Past, at: int) -> list[Trial]:
        """Return the members of the generation that arrived at a rung, the best first, those that had ended last."""
        members = {trial.start.group: trial for trial in past.trials if self._begins(trial) < at}
        alive = _alive(past, at)
        return [
            *past.ranked([trial for trial in members.values() if trial.number in alive], at),
            *past.ranked([trial for trial in members.values() if trial.number not in alive], at),
        ]

    def _begins(self, trial: Trial) -> int:
        """Return the iteration at which a trial was copied; 0 for one of the first generation."""
        return trial.start.first_hop // self._setting.shards

    def _judged(self, past: Past) -> int | None:
        """Return the rung that the members that train have left behind."""
        ahead = min((trial.until for trial in past.training), default=0)
        return max((rung for rung in self._rungs if rung < ahead), default=None)

    def _following(self, at: int) -> int:
        return self._rungs[self._rungs.index(at) + 1]


def _alive(past: Past, at: int) -> set[int]:
    return {arrival.configuration for arrival in past.arrivals if arrival.iteration == at and arrival.ended is None}
