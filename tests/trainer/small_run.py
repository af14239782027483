"""A small experiment with everything that can go wrong between hops: moments, dropout, batch norm, partial batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modelhopper.specify import specify
from modelhopper_contract.checkpoint import to_bytes
from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.messages import Built, Event
from modelhopper_contract.names import Names, token_configuration
from modelhopper_contract.records import Configuration, Program
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Entry, Store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.conduct import restore
from modelhopper_scheduler.offsets import offsets_together
from modelhopper_scheduler.searches.making import planned
from modelhopper_trainer.device import configure
from modelhopper_trainer.packing import pack
from modelhopper_trainer.station import Station
from modelhopper_trainer.workshop import Workshop

MODELS = """
import keras
from keras import layers


def mlp(dropout=0.0, norm=False):
    parts = [keras.Input((4,)), layers.Dense(8, "relu")]
    parts += [layers.BatchNormalization()] if norm else []
    parts += [layers.Dropout(dropout)] if dropout else []
    return keras.Sequential([*parts, layers.Dense(3, "softmax")])


class OwnStep(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = layers.Dense(8, "relu"), layers.Dense(3, "softmax")

    def call(self, x, training=False):
        return self.out(self.hidden(x))

    def train_step(self, data):
        return super().train_step(data)


def own_step():
    return OwnStep()


def raising():
    model = mlp()

    class Raising(layers.Layer):
        def call(self, x, training=False):
            if training:
                raise RuntimeError("this layer cannot train")
            return x

    return keras.Sequential([*model.layers, Raising()])


def deadly():
    import os

    class Deadly(layers.Layer):
        def call(self, x, training=False):
            if training:
                os.kill(os.getpid(), 9)  # as the kernel does to a process that takes too much memory
            return x

    return keras.Sequential([keras.Input((4,)), Deadly(), layers.Dense(3, "softmax")])


def deadly_evaluation():
    import os

    import tensorflow as tf

    def die_of_many_rows(x):
        if len(x) > 2:  # not when it is tried before training
            os.kill(os.getpid(), 9)
        return x

    class Deadly(layers.Layer):
        def call(self, x, training=False):
            return x if training else tf.ensure_shape(tf.numpy_function(die_of_many_rows, [x], x.dtype), x.shape)

    return keras.Sequential([keras.Input((4,)), Deadly(), layers.Dense(3, "softmax")])


def drawing():
    import tensorflow as tf

    class Noise(layers.Layer):
        def call(self, x, training=False):
            return x + tf.random.uniform(tf.shape(x)) if training else x

    return keras.Sequential([keras.Input((4,)), Noise(), layers.Dense(3, "softmax")])
"""

SEARCH = [
    {"model": "plain", "optimizer": {"name": "Adam", "learning_rate": 0.01}, "batch_size": 4},
    {"model": "plain", "optimizer": {"name": "Adam", "learning_rate": 0.03}, "batch_size": 5},
    {"model": "dropout", "optimizer": {"name": "SGD", "learning_rate": 0.1, "momentum": 0.9}, "batch_size": 8},
    {"model": "norm", "optimizer": {"name": "RMSprop", "learning_rate": 0.005}, "epochs": 2, "batch_size": 8},
]


def rows(count: int, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return flowers of three kinds: features (count, 4) and names (count,)."""
    generator = np.random.default_rng(seed)
    kinds = np.arange(count) % 3
    x = (generator.normal(size=(count, 4)) + kinds[:, None]).astype(np.float32)
    return x, np.array(["setosa", "versicolor", "virginica"])[kinds]


def experiment_in(folder: Path, shards: int = 3, **changes: Any) -> tuple[Specification, list[Configuration]]:
    """Pack data and write models into a folder; return the specification and the configurations, not yet built."""
    folder.mkdir(exist_ok=True)
    (folder / "models.py").write_text(MODELS)
    if not (folder / "train").exists():
        pack(rows(47), folder / "train", shards=shards, seed=3)
        pack(rows(20, seed=1), folder / "valid", shards=2, against=folder / "train")
    value: dict[str, Any] = {
        "name": "small",
        "data": {"train": "train", "validation": "valid"},
        "models": {
            "plain": "models.py:mlp",
            "dropout": {"build": "models.py:mlp", "dropout": 0.4},
            "norm": {"build": "models.py:mlp", "norm": True},
            "own": "models.py:own_step",
            "raising": "models.py:raising",
            "drawing": "models.py:drawing",
            "deadly": "models.py:deadly",
            "deadly_evaluation": "models.py:deadly_evaluation",
        },
        "compile": {"loss": "categorical_crossentropy", "metrics": ["accuracy", "AUC"]},
        "search": {"method": "list", "configurations": SEARCH},
        "iterations": 3,
        "evaluate_every": 2,
        "seed": 7,
    }
    experiment: Experiment = validated(Experiment, {**value, **changes})
    specification = specify(experiment, folder)
    return specification, planned(specification)


@dataclass
class Mortal:
    """A store seen by a process that is killed before its `left`-th change: nothing it does after that arrives."""

    store: Store
    left: int

    @property
    def url(self) -> str:
        return self.store.url

    def get(self, name: str) -> bytes:
        self._live()
        return self.store.get(name)

    def put(self, name: str, data: bytes) -> None:
        self.left -= 1
        self._live()
        self.store.put(name, data)

    def list(self, prefix: str) -> list[Entry]:
        self._live()
        return self.store.list(prefix)

    def delete(self, name: str) -> None:
        self.left -= 1
        self._live()
        self.store.delete(name)

    def _live(self) -> None:
        if self.left < 0:
            raise StoreUnavailable("killed")


def in_lanes(chosen: Sequence[Configuration], convoys: Sequence[Sequence[int]]) -> list[Configuration]:
    """Return configurations of which these travel together, in as many lanes as the largest convoy needs."""
    lanes = max(map(len, convoys), default=1)
    fused = {number for convoy in convoys for number in convoy}
    return [one.model_copy(update={"program": Program(lanes=lanes)}) if one.number in fused else one for one in chosen]


def _nobody_listens(event: Event) -> None:
    return None


@dataclass(repr=False)
class SmallRun:
    """An experiment prepared once, so that many runs of it start from the same compiled programs."""

    specification: Specification
    planned: list[Configuration]
    prepared: Mapping[str, bytes]
    workshop: Workshop
    report: Callable[[Event], None] = field(default=_nobody_listens)

    @classmethod
    def prepare(cls, folder: Path, convoys: Sequence[Sequence[int]] = (), **changes: Any) -> SmallRun:
        """Build every configuration, plan, and keep what the store holds before the first hop.

        `convoys`: configurations that train in as many lanes of one program as there are in the largest.
        """
        configure(threads=1, gpu=False, deterministic=True)
        specification, chosen = experiment_in(folder, **changes)
        chosen = in_lanes(chosen, convoys)
        store, workshop, built = MemoryStore(), Workshop(specification), dict[int, Built]()

        def hear(event: Event) -> None:
            assert isinstance(event, Built)
            assert event.problem is None, event.problem
            built[event.configuration] = event

        Station(store, specification, 0, 1, hear, workshop=workshop).prepare(chosen)
        singles = [[one.number] for one in chosen if one.program.lanes == 1]
        costs = {number: one.cost for number, one in built.items()}
        starts = offsets_together([*convoys, *singles], costs, specification.ring.shards)
        planned = [one.model_copy(update={"offset": starts[one.number]}) for one in chosen]
        names = Names(specification.experiment.name)
        for one in planned:
            store.put(names.configuration(one.number), one.to_json())
        store.put(names.specification(), specification.to_json())
        prepared = {entry.name: store.get(entry.name) for entry in store.list("")}
        return cls(specification, planned, prepared, workshop)

    @property
    def names(self) -> Names:
        return Names(self.specification.experiment.name)

    def begin(self, store: Store) -> None:
        """Put what is there before the first hop."""
        for name, data in self.prepared.items():
            store.put(name, data)

    def stations(self, store: Store, count: int) -> list[Station]:
        """Put the inboxes right and return fresh stations, as a restart does."""
        restore(self.specification, self.planned, store, count)
        return [
            Station(store, self.specification, number, count, self.report, workshop=self.workshop)
            for number in range(count)
        ]

    def finish(self, store: Store, count: int, choose: Callable[[int], int] = lambda n: 0) -> None:
        """Run to the end; `choose(n)` picks which of n stations that have work serves next."""
        stations = self.stations(store, count)
        while busy := [station for station in stations if station._waiting()]:
            chosen = busy[choose(len(busy))]
            chosen.step()
            chosen.flush()

    def finish_only(self, store: Store, numbers: Sequence[int]) -> None:
        """Let one station serve only the tokens of these configurations, to the end, one by one."""
        (station,) = self.stations(store, 1)
        while tokens := [name for name in station._waiting() if token_configuration(name) in numbers]:
            station.serve_only(tokens[:1], lambda: False)

    def move(self, offsets: Mapping[int, int]) -> None:
        """Let configurations begin at these shards, as those of another run do."""
        self.planned = [one.model_copy(update={"offset": offsets[one.number]}) for one in self.planned]
        records = {self.names.configuration(one.number): one.to_json() for one in self.planned}
        self.prepared = {**self.prepared, **records}

    def results(self, store: Store) -> dict[str, bytes]:
        """Return everything of the store that must not depend on how a run went."""
        kept = ("checkpoints/", "metrics/", "history/", "outcomes/")
        listed = store.list(self.names.root())
        return {e.name: store.get(e.name) for e in listed if e.name.split("/")[1] + "/" in kept}

    def alone(self) -> dict[str, bytes]:
        """Train each configuration along its itinerary in one go, never saving, loading or hopping."""
        from modelhopper_contract.records import HopRecord
        from modelhopper_trainer.hop import HopTask, run_hop

        found = {}
        for one in self.planned:
            ring = self.specification.ring_of(one)
            assembly = self._assembled(one)
            record = HopRecord(configuration=one.number, hop=-1, shard=None, steps=0, loss=None)
            for hop in range(ring.hops):
                shard = ring.shard(one.offset, hop)
                task = HopTask(self.specification.experiment.seed, one, hop, shard)
                record = run_hop(assembly, self.workshop.feed("training", shard), task, record.steps)
            found[self.names.checkpoint(one.number, ring.hops)] = to_bytes(assembly.read(), record)
        return found

    def _assembled(self, configuration: Configuration) -> Any:
        from modelhopper_trainer.assembly import assemble_for
        from modelhopper_trainer.program import make_program

        return make_program(assemble_for(self.specification, configuration, self.workshop.manifest))
