"""Configurations trained alone and side by side, for claims about both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from modelhopper_contract.errors import HopError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.records import Configuration, HopRecord
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.blueprint import blueprint
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.fused import FusedProgram
from modelhopper_trainer.hop import HopTask, run_hop, run_hops
from modelhopper_trainer.program import Program
from tests.trainer.assembled import assembled, configuration, manifest

Array = npt.NDArray[Any]
State = dict[str, Array]

SEED = 7
ROWS = 22  # batches of 8, 8 and 6


class Rows(NamedTuple):
    """A shard in memory, and what describes it."""

    feed: Feed
    manifest: Manifest


def rows(shape: Sequence[int] = (4,), *, classes: int = 3, count: int = ROWS, words: int = 0) -> Rows:
    """Return rows of numbers, or of `words` different word numbers, with classes as labels."""
    draw = np.random.default_rng(3)
    size = (count, *shape)
    x = draw.integers(0, words, size).astype(np.int32) if words else draw.normal(size=size).astype(np.float32)
    y = draw.integers(0, classes, count).astype(np.int32)
    described = manifest({"x": x}, {"y": y}, {"y": list(range(classes))})
    return Rows(Feed({"x": x, "y": y}, count), described)


class Lane(NamedTuple):
    """A configuration, built, with its first state."""

    assembly: Assembly
    state: State
    numbers: Mapping[str, float]

    @property
    def task(self) -> HopTask:
        """Its hop."""
        weights = np.array([1.0, 2.0, 0.5], np.float32) if self.assembly.configuration.fit["class_weight"] else None
        return HopTask(SEED, self.assembly.configuration, 2, 0, weights)


def lanes(build: Path, given: Rows, each: Sequence[Mapping[str, Any]]) -> list[Lane]:
    """Build a configuration from each of these settings; `parameters` are the model's."""
    made = []
    for number, settings in enumerate(each, 1):
        one = assembled(f"{build.name}:make", build.parent, given.manifest, _configuration(number, settings))
        made.append(Lane(one, one.variables.read(), blueprint(one).numbers))
    return made


def _configuration(number: int, settings: Mapping[str, Any]) -> Configuration:
    one = configuration(number, **{"loss": "sparse_categorical_crossentropy", "batch_size": 8, **settings})
    precision = settings.get("precision", "float32")
    return one.model_copy(update={"compile": {**one.compile, "precision": precision}})


def alone(lane: Lane, feed: Feed) -> tuple[HopRecord, State]:
    """Train one by itself."""
    program = Program(lane.assembly)
    program.load(lane.state)
    return run_hop(program, feed, lane.task, 0), program.read()


def fused(program: FusedProgram, each: Sequence[Lane], feed: Feed) -> list[tuple[HopRecord | HopError, State]]:
    """Train some side by side."""
    program.load([lane.state for lane in each], [lane.numbers for lane in each])
    records = run_hops(program, feed, [lane.task for lane in each], [0] * len(each))
    return list(zip(records, program.read(), strict=True))


def distance(one: State, other: State) -> float:
    """Return the largest difference of two states, relative to the largest number of each array."""
    assert one.keys() == other.keys()
    assert all(one[name].dtype == other[name].dtype for name in one)
    return max(_distance(one[name].astype(np.float64), other[name].astype(np.float64)) for name in one)


def _distance(one: Array, other: Array) -> float:
    return float(np.max(np.abs(one - other), initial=0.0) / (np.max(np.abs(one), initial=0.0) + 1e-3))


def same(one: State, other: State) -> bool:
    """Say whether two states are equal to the bit."""
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)
