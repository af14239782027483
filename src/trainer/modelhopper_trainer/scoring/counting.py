"""Counts that a confusion matrix and curves are made of: whole numbers, so that parts add up exactly, in any order.

Scores are not kept, but counted in the steps of one fixed grid of thresholds, so memory does not grow with rows.
At every threshold of the grid the counts are exact. The grid is finer towards 0 and 1, where the scores of rare classes
and of sure models are: from each power of two to the next, from 2**-17 to 1/2, lie 128 thresholds, and as many mirrored
above 1/2. So thresholds differ by at most 0.002, and by 1 % of the smaller of the threshold and its distance from 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from modelhopper_contract.scoring import Counts

Array = npt.NDArray[Any]

_OCTAVES, _STEPS = 16, 128  # 1 - t is a float32, too, for every t of them


@cache
def grid() -> Array:
    """Return the thresholds, ascending, 0 first, as float32. None is 1, above which there is no probability."""
    octaves = [2.0**-at * np.arange(_STEPS, 2 * _STEPS) / (2 * _STEPS) for at in range(1, _OCTAVES + 1)]
    low = np.concatenate([[0.0], *octaves[::-1]])
    middle = np.array([0.5])
    found = np.concatenate([low, middle, 1 - low[:0:-1]]).astype(np.float32)
    found.flags.writeable = False
    return found


def count(probabilities: Array, actual: Array, chosen: Array, *, curves: Iterable[int]) -> Counts:
    """Return what rows add: `probabilities` (rows, classes), the actual and the chosen class of each row.

    `curves`: the classes whose scores are counted.
    """
    width = max(probabilities.shape[1], int(actual.max(initial=0)) + 1)
    table = np.bincount(actual.astype(np.int64) * width + chosen, minlength=width * width)
    cells = np.flatnonzero(table)
    confusion = tuple((int(at) // width, int(at) % width, int(table[at])) for at in cells)
    scores = {one: _scores(probabilities[:, one], actual == one) for one in curves}
    return Counts(confusion=confusion, scores=scores)


class Tally:
    """Adds up counts of parts."""

    def __init__(self) -> None:
        self._confusion: dict[tuple[int, int], int] = {}
        self._scores: dict[int, Array] = {}

    def add(self, part: Counts) -> None:
        """Add those of one part."""
        for actual, predicted, rows in part.confusion:
            self._confusion[actual, predicted] = self._confusion.get((actual, predicted), 0) + rows
        for one, found in part.scores.items():
            into = self._scores.setdefault(one, np.zeros((len(grid()) + 1, 2), np.int64))
            for step, own, others in found:
                into[step] += own, others

    def total(self) -> Counts:
        """Return the counts of all parts together."""
        return Counts(
            confusion=tuple((*cell, rows) for cell, rows in sorted(self._confusion.items())),
            scores={one: _sparse(into) for one, into in sorted(self._scores.items())},
        )


def steps(counts: Counts, one: int) -> Array:
    """Return a class's counts by step, shape (steps, 2): rows of the class, and others.

    Step n holds scores above threshold n - 1 of the grid, and not above threshold n.
    """
    found = np.zeros((len(grid()) + 1, 2), np.int64)
    for step, own, others in counts.scores.get(one, ()):
        found[step] = own, others
    return found


def _scores(scores: Array, is_own: Array) -> tuple[tuple[int, int, int], ...]:
    step = np.searchsorted(grid(), scores.astype(np.float32), side="left")
    size = len(grid()) + 1
    return _sparse(np.stack([np.bincount(step[is_own], minlength=size), np.bincount(step[~is_own], minlength=size)], 1))


def _sparse(table: Array) -> tuple[tuple[int, int, int], ...]:
    held = np.flatnonzero(table.any(axis=1))
    return tuple((int(at), int(table[at, 0]), int(table[at, 1])) for at in held)
