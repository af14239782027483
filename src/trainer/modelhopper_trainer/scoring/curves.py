"""What counts say of an output: precision and recall by class, curves over thresholds, and thresholds by a rule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelhopper_contract.errors import UserError
from modelhopper_contract.scoring import Counts
from modelhopper_trainer.scoring.counting import grid, steps

Array = npt.NDArray[Any]

RULES = "f1, recall>=0.95 or precision>=0.9"

_RULE = re.compile(r"\s*(?:(f1)|(recall|precision)\s*>=\s*([0-9.eE+-]+))\s*")


@dataclass(frozen=True)
class ClassReport:
    """How well one class is told from the others. None where nothing can be divided: nobody has it, or was told it."""

    precision: float | None
    recall: float | None
    f1: float | None
    rows: int


@dataclass(frozen=True)
class Curve:
    """What a class's score says at every threshold of the grid, descending; the last tells all rows.

    `thresholds[i]` tells the class of each row whose score is strictly above it: `own[i]` of the class's rows, and
    `others[i]` of the others. The last is -1, which also tells rows of score 0.
    """

    thresholds: Array
    own: Array
    others: Array

    @property
    def precision(self) -> Array:
        """Part of the rows told that are of the class; 1 where none is told."""
        told = self.own + self.others
        return np.where(told > 0, self.own / np.maximum(told, 1), 1.0)

    @property
    def recall(self) -> Array:
        """Part of the class's rows that are told, also called the true positive rate."""
        return self.own / max(int(self.own[-1]), 1)

    @property
    def false_positive_rate(self) -> Array:
        """Part of the other rows that are told."""
        return self.others / max(int(self.others[-1]), 1)

    @property
    def f1(self) -> Array:
        """Harmonic mean of precision and recall."""
        wrong = self.others + (self.own[-1] - self.own)
        return np.asarray(2 * self.own / np.maximum(2 * self.own + wrong, 1))

    @property
    def area(self) -> float | None:
        """The area under the ROC curve, by trapezes; exact but for rows between the same two thresholds."""
        if not self.own[-1] or not self.others[-1]:
            return None
        x = np.concatenate([[0.0], self.false_positive_rate])
        y = np.concatenate([[0.0], self.recall])
        return float(np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1])) / 2)

    @property
    def average_precision(self) -> float | None:
        """The sum of precisions, each weighted by the recall that its threshold adds."""
        if not self.own[-1]:
            return None
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))

    def points(self) -> list[dict[str, float]]:
        """Return the points where something changes, as records."""
        changes = np.flatnonzero(np.diff(self.own + self.others, prepend=-1))
        table = zip(
            self.thresholds[changes].tolist(),
            self.precision[changes].tolist(),
            self.recall[changes].tolist(),
            self.false_positive_rate[changes].tolist(),
            strict=True,
        )
        keys = ("threshold", "precision", "recall", "false_positive_rate")
        return [dict(zip(keys, values, strict=True)) for values in table]


def curve(counts: Counts, one: int) -> Curve:
    """Return the curve of a class."""
    above = np.cumsum(steps(counts, one)[::-1], axis=0)  # rows in the last step and those before it, and so on
    thresholds = np.concatenate([grid()[::-1], [-1.0]])
    return Curve(thresholds.astype(np.float64), above[:, 0], above[:, 1])


def matrix(counts: Counts, classes: int) -> Array:
    """Return rows by actual class, and by the class that was told."""
    found = np.zeros((classes, classes), np.int64)
    for actual, predicted, rows in counts.confusion:
        found[actual, predicted] = rows
    return found


def class_reports(table: Array) -> list[ClassReport]:
    """Return a report of each class, from a confusion matrix."""
    right, actual, told = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    return [
        ClassReport(
            _ratio(right[one], told[one]),
            _ratio(right[one], actual[one]),
            _ratio(2 * right[one], told[one] + actual[one]),
            int(actual[one]),
        )
        for one in range(len(table))
    ]


def check_rule(rule: str) -> None:
    """Raise UserError for what is no rule by which a threshold can be chosen."""
    _parsed(rule)


def choose(found: Curve, rule: str) -> Mapping[str, float]:
    """Return the threshold that a rule chooses, with what it reaches.

    `f1`: the highest F1. `recall>=0.95`: of all that reach this recall, the most precise. `precision>=0.9`: of all that
    reach this precision, that of the highest recall. Among equals the highest. Raises UserError where none does.
    """
    kind, least = _parsed(rule)
    usable = found.thresholds >= 0
    if kind == "f1":
        best, allowed = found.f1, usable
    elif kind == "recall":
        best, allowed = found.precision, usable & (found.recall >= least)
    else:
        best, allowed = found.recall, usable & (found.precision >= least) & (found.own > 0)
    if not allowed.any():
        reached = found.recall if kind == "recall" else np.where(found.own > 0, found.precision, 0)
        raise UserError(
            f"no threshold reaches {rule}: the most is {kind} {reached[usable].max():.4g}. Ask for less, or train on."
        )
    at = int(np.argmax(np.where(allowed, best, -1.0)))  # the first, which is the highest threshold
    values = {"precision": found.precision, "recall": found.recall, "f1": found.f1}
    return {"threshold": float(found.thresholds[at]), **{name: float(value[at]) for name, value in values.items()}}


def _parsed(rule: str) -> tuple[str, float]:
    read = _RULE.fullmatch(rule)
    try:
        kind, least = ("", -1.0) if read is None else (read[1] or read[2], float(read[3] or 0))
    except ValueError:
        kind, least = "", -1.0
    if not kind or not 0 <= least <= 1:
        raise UserError(f"`{rule}` is not a rule for a threshold: use {RULES}, with a number between 0 and 1.")
    return kind, least


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None
