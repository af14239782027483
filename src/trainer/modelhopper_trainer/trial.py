"""A trial: one way to compile configurations of a kind, run on some batches to see that it works, and what it takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from modelhopper_contract.errors import HopError
from modelhopper_contract.records import Configuration, HopRecord, Precision, Program
from modelhopper_contract.specification import Specification
from modelhopper_trainer.class_weights import class_weights
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.hop import HopTask
from modelhopper_trainer.state import SEED_STATE, Array
from modelhopper_trainer.workshop import Workshop

State = Mapping[str, Array]

# How far the way that lanes go may be from the way of one alone, as a part of its length. Sums are taken in another
# order, and an optimizer such as Adam makes large steps of small gradients, whose last digits then count.
_TOLERANCE = {"float32": 0.02, "mixed_bfloat16": 0.2, "mixed_float16": 0.2}
_MOST_BATCHES = 32
_PASS_S = 0.2  # of one timed pass; shorter where so many batches are
_MOST_PASSES = 8  # at a time


class Ground(NamedTuple):
    """What all trials of a kind stand on."""

    specification: Specification
    workshop: Workshop  # of the trials only
    shard_rows: int
    feeds: dict[int, Feed]  # by rows
    states: dict[Precision, State]  # with which trials begin

    def feed(self, rows: int) -> Feed:
        """Return the first so many rows of shard 0."""
        if rows not in self.feeds:
            self.feeds[rows] = self.workshop.sample(rows)
        return self.feeds[rows]

    def state(self, configuration: Configuration) -> State:
        """Return the state that a configuration is built with. A float16's scale of losses is part of it."""
        precision = configuration.program.precision
        if precision not in self.states:
            alone = configuration.program.model_copy(update={"lanes": 1})
            tools = self.workshop.tools(configuration.model_copy(update={"program": alone}))
            self.states[precision] = tools.program.read()  # which nobody has trained yet
        return self.states[precision]


class Trial:
    """Some configurations, as many as the program has lanes, with a first state, ready to be trained again and again.

    Making one traces and compiles it. Raises HopError where the loss is not finite or the model cannot be trained so,
    and whatever TensorFlow raises.
    """

    def __init__(self, ground: Ground, program: Program, members: Sequence[Configuration]) -> None:
        self.program = program
        self.best_s = float("inf")  # the shortest timed pass
        self._ground = ground
        self._members = [as_tried(one, program) for one in members]
        self.state = ground.state(self._members[0])
        self._crew = ground.workshop.crew(self._members)
        self._batch = int(members[0].fit["batch_size"])
        self._epochs = int(members[0].fit["epochs"])
        # One batch of each size, because XLA compiles each.
        self.few = min(ground.shard_rows, self._batch + ground.shard_rows % self._batch)
        first_s, self._few_s = self._pass_s(self.few), self._pass_s(self.few)
        self.compile_s = max(0.0, first_s - self._few_s)
        self._rows = self._timed_rows()

    @property
    def estimate_s(self) -> float:
        """What one batch of one configuration takes, by the first look."""
        return self._few_s / -(-self.few // self._batch) / self.program.lanes

    @property
    def hop_s(self) -> float:
        """What a hop of one configuration takes on the whole shard, by the timed passes."""
        return self.best_s / self.program.lanes * self._ground.shard_rows / self._rows * self._epochs

    def time(self) -> None:
        """Take the time of some more passes, and keep the shortest: what it takes when nobody disturbs."""
        if self.best_s == float("inf"):
            self._pass_s(self._rows)  # which brings the rows to the device
        began_s = time.perf_counter()
        for _ in range(_MOST_PASSES):
            self.best_s = min(self.best_s, self._pass_s(self._rows))
            if time.perf_counter() - began_s > _PASS_S / 2:
                break

    def results(self) -> list[State]:
        """Train on a few rows, and return the states."""
        self._run(self._ground.feed(self.few))
        return list(self._crew.read())

    def _timed_rows(self) -> int:
        per_batch_s = self._few_s / -(-self.few // self._batch)
        batches = 2
        while batches < _MOST_BATCHES and 2 * batches * per_batch_s <= _PASS_S:
            batches *= 2
        return min(self._ground.shard_rows, batches * self._batch)

    def _pass_s(self, rows: int) -> float:
        return self._run(self._ground.feed(rows))

    def _run(self, feed: Feed) -> float:
        self._crew.load([self.state] * len(self._members))
        specification, manifest = self._ground.specification, self._ground.workshop.manifest
        weights = class_weights(self._members[0].fit["class_weight"], manifest)
        tasks = [HopTask(specification.experiment.seed, one, 0, 0, weights) for one in self._members]
        began_s = time.perf_counter()
        found = self._crew.hop(feed, tasks, [0] * len(tasks))
        took_s = time.perf_counter() - began_s
        for one in found:
            if not isinstance(one, HopRecord):
                raise one
        return took_s


def as_tried(configuration: Configuration, program: Program) -> Configuration:
    """Return a configuration that is compiled in this way, whatever it asks for, and trained for one epoch."""
    asked = {"jit_compile": program.jit_compile, "precision": program.precision}
    update = {
        "program": program,
        "compile": {**configuration.compile, **asked},
        "fit": {**configuration.fit, "epochs": 1},
    }
    return configuration.model_copy(update=update)


def check_lanes(ground: Ground, fused: Trial, one: Configuration, other: Configuration) -> None:
    """Raise HopError unless lanes compute what each configuration computes alone, wherever and beside whom it is."""
    lanes = fused.program.lanes
    alone = fused.program.model_copy(update={"lanes": 1})
    first = fused.results()
    turned = Trial(ground, fused.program, [*[other] * (lanes - 1), one]).results()
    if not (_same(first[0], turned[-1]) and _same(first[1], turned[0]) and _same(first[-1], turned[0])):
        raise HopError("what a configuration becomes depends on its place among the lanes")
    for member, found in ((one, first[0]), (other, first[1])):
        expected = Trial(ground, alone, [member]).results()[0]
        off = _distance(expected, found, fused.state)
        if not off <= _TOLERANCE[fused.program.precision]:
            raise HopError(f"its results differ from those of training alone by {100 * off:.0f} % of a step")


def reason_of(error: Exception) -> str:
    """Return in one line why a trial failed."""
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return "there is not enough memory on the device"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0][:200] if lines else ""
    return first if isinstance(error, HopError) else f"{type(error).__name__}: {first}".rstrip(": ")


def _same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def _distance(expected: State, found: State, start: State) -> float:
    """Return how far one state is from another, by the way that it has gone from the first."""
    # Of the weights only: among an optimizer's variables may be one, such as the scale of losses, that is far larger.
    weights = [name for name, array in start.items() if name.startswith("model/") and SEED_STATE not in name]
    names = [name for name in weights if start[name].dtype.kind == "f"]
    way = _length([expected[name] - start[name] for name in names])
    if way == 0:
        raise HopError("no weight changed in the batches that were tried, so nothing can be compared")
    return _length([found[name] - expected[name] for name in names]) / way


def _length(arrays: Sequence[Array]) -> float:
    return float(np.sqrt(sum(float(np.sum(np.square(array.astype(np.float64)))) for array in arrays)))
