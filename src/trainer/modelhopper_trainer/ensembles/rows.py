"""Rows of packed data: those that stacking learns from, and those that an ensemble is evaluated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelhopper_contract.errors import DataError
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.room import Room
from modelhopper_trainer.shards import DataSet, ShardArrays

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Rows of one shard with their labels."""

    fields: Mapping[str, Array]  # by name, rows first
    fold: int | None = None  # only members that were not trained on this fold may predict them

    @property
    def count(self) -> int:
        """How many rows."""
        return len(next(iter(self.fields.values())))


def all_rows(data: DataSet, folds: int | None = None) -> list[Rows]:
    """Return all real rows of a data set. `folds`: of as many folds, of which every shard is in one."""
    numbers = range(len(data.manifest.shards))
    return [Rows(_real(data.shard(number)), number % folds if folds else None) for number in numbers]


def held_out(data: DataSet, share: float, seed: int) -> tuple[list[Rows], list[Rows]]:
    """Return all rows but a share that is drawn by the seed, and those that were drawn.

    As many of each shard as rounding allows, and always the same ones. Raises DataError where either has none.
    """
    rest: list[Rows] = []
    held: list[Rows] = []
    for rows in [_real(data.shard(number)) for number in range(len(data.manifest.shards))]:
        count = len(next(iter(rows.values())))
        order = np.random.default_rng([seed, len(rest)]).permutation(count)
        cut = round(count * share)
        for part, chosen in ((held, order[:cut]), (rest, order[cut:])):
            part.append(Rows({name: array[np.sort(chosen)] for name, array in rows.items()}))
    for found, what in ((rest, "to learn from"), (held, "to evaluate")):
        if not sum(part.count for part in found):
            raise DataError(f"{data.place} has too few rows to hold out {share:g} of them: none would be left {what}.")
    return rest, held


def evaluate_rows(assembly: Assembly, rows: Sequence[Rows]) -> dict[str, float]:
    """Return the exact metrics on these rows, as a run records them."""
    evaluator = Evaluator(assembly)
    feeds = [Feed(dict(part.fields), part.count, Room(0)) for part in rows if part.count]
    return evaluator.merge([evaluator.evaluate(feed.stored()) for feed in feeds])


def _real(shard: ShardArrays) -> dict[str, Array]:
    return {name: array[: shard.real_rows] for name, array in {**shard.inputs, **shard.outputs}.items()}
