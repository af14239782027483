"""Hyperband, and successive halving alone: brackets that are judged each by itself, all at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import cast

from modelhopper_contract import searches as parts
from modelhopper_contract.decisions import Start, Verdict
from modelhopper_scheduler.searches.bracket import Bracket, Rung
from modelhopper_scheduler.searches.schedule import growing, hyperband_schedule
from modelhopper_scheduler.searches.search import Past, Setting


class Brackets:
    """A search in brackets. All begin in the first turn, numbered one after another; none waits for another."""

    def __init__(self, setting: Setting, brackets: Sequence[Bracket]) -> None:
        self._setting = setting
        self._brackets = tuple(brackets)

    @property
    def rungs(self) -> Sequence[int]:
        """The iterations at which any bracket judges or ends."""
        return sorted({rung.iterations for bracket in self._brackets for rung in bracket.rungs})

    def start(self, past: Past) -> Sequence[Start]:
        """Return all configurations of all brackets in the first turn, and none later."""
        starts: list[Start] = []
        if not past.trials:
            for bracket in self._brackets:
                starts += bracket.starts(self._setting, len(starts) + 1)
        return starts

    def judge(self, past: Past) -> Sequence[Verdict]:
        """Return each bracket's verdicts."""
        return [verdict for bracket in self._brackets for verdict in bracket.verdicts(past)]


class Hyperband(Brackets):
    """Brackets that begin with many configurations and few iterations, and others with fewer and more.

    Li et al., JMLR 2018, with `hyperband_schedule`'s numbers; the experiment's `iterations` are the paper's R. Budgets
    are counted from the beginning; `additive` ones on top of those before, as in MADlib, where the survivor of R=9
    trains for 1 + 3 + 9 iterations.
    """

    def __init__(self, setting: Setting) -> None:
        part = cast(parts.Hyperband, setting.part)
        rows = hyperband_schedule(setting.iterations, part.eta, part.skip_last, rounding=part.rounding)
        brackets = []
        for s, group in groupby(rows, key=lambda row: row.s):
            counts, budgets = zip(*[(row.n_i, row.r_i) for row in group], strict=True)
            iterations = accumulate(budgets) if part.budget == "additive" else budgets
            brackets.append(Bracket(f"bracket {s}", tuple(map(Rung, iterations, counts))))
        super().__init__(setting, brackets)


class Halving(Brackets):
    """One bracket: the best of every `eta` go on, to `eta` times as many iterations; at least one goes to the end.

    Jamieson and Talwalkar, AISTATS 2016.
    """

    def __init__(self, setting: Setting) -> None:
        part = cast(parts.Halving, setting.part)
        rungs = [
            Rung(iterations, max(1, part.configurations // part.eta**at))
            for at, iterations in enumerate(growing(part.first, part.eta, setting.iterations))
        ]
        super().__init__(setting, [Bracket("", tuple(rungs))])
