"""Runs made of records alone, in any state, in any store: what reading results needs, without training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modelhopper_contract import checkpoint
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.names import Names
from modelhopper_contract.records import Failure, History, HopRecord, Outcome, Stay
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_scheduler.searches.configurations import configurations
from modelhopper_scheduler.searches.making import parted

BEGAN_S = 1_700_000_000.0
TRAIN_S, OVERHEAD_S = 2.0, 0.5  # of every stay, and stays follow each other without a break

EXPERIMENT: dict[str, Any] = {
    "name": "iris",
    "data": {"train": "train", "validation": "valid"},
    "models": {"small": "models.py:mlp", "deep": {"build": "models.py:mlp", "layers": 3}},
    "compile": {"loss": "categorical_crossentropy", "metrics": ["accuracy"]},
    "search": {"method": "grid", "space": {"model": ["small", "deep"], "batch_size": [4, 8]}},
    "iterations": 4,
    "evaluate_every": 2,
}


class SyntheticRun:
    """Writes the records of a run with two shards and two stations; each stay is one hop."""

    shards = 2

    def __init__(self, store: Store, **changes: Any) -> None:
        self.store = store
        experiment = validated(Experiment, EXPERIMENT | changes)
        self.names = Names(experiment.name)
        validation_shards = 1 if experiment.data.validation else 0
        self.specification = Specification(
            experiment=experiment, folder="/nowhere", shards=2, validation_shards=validation_shards, digests={}
        )
        self.configurations = parted(self.specification, configurations(experiment))
        store.put(self.names.specification(), self.specification.to_json())
        for one in self.configurations:
            store.put(self.names.configuration(one.number), one.to_json())
            self._checkpoint(one.number, 0)

    def trained(self, number: int, hops: int) -> None:
        """Let a configuration have reached a hop."""
        for hop in range(hops):
            stay = Stay(
                configuration=number,
                first_hop=hop,
                end_hop=hop + 1,
                station=hop % 2,
                started_s=BEGAN_S + hop * (TRAIN_S + OVERHEAD_S),
                train_s=TRAIN_S,
                overhead_s=OVERHEAD_S,
            )
            self.store.put(self.names.journal(number, hop + 1), stay.to_json())
        self._checkpoint(number, hops)

    def evaluated(self, number: int, iteration: int, **metrics: float) -> None:
        """Record an evaluation: `loss=` and the like on both splits, `training_loss=` on training data only."""
        own = {key.removeprefix("training_"): value for key, value in metrics.items() if key.startswith("training_")}
        both = {key: value for key, value in metrics.items() if not key.startswith("training_")}
        validation = both if self.specification.is_validated else None
        history = History(configuration=number, iteration=iteration, training=both | own, validation=validation)
        self.store.put(self.names.history(number, iteration), history.to_json())

    def finished(self, number: int, **metrics: float) -> None:
        """Let a configuration be finished, with these metrics after the last iteration."""
        ring = self.specification.ring
        self.trained(number, ring.hops)
        for iteration in ring.evaluated_iterations():
            self.evaluated(number, iteration, **metrics)
        self._ended(Outcome(configuration=number, state="finished", hops=ring.hops))

    def stopped(self, number: int, iteration: int, result: int, reason: str = "no better", **metrics: float) -> None:
        """Let a configuration be stopped after an iteration, with another one's weights for a result."""
        self.trained(number, result * self.specification.ring.shards)
        for at in range(1, iteration + 1):
            self.evaluated(number, at, **{key: value if at == result else value / 2 for key, value in metrics.items()})
        hops, trained = result * self.specification.ring.shards, iteration * self.specification.ring.shards
        self._ended(Outcome(configuration=number, state="stopped", hops=hops, trained=trained, reason=reason))

    def failed(self, number: int, hop: int, reason: str = "loss is NaN", **details: Any) -> None:
        """Let a configuration have failed at a hop."""
        self.trained(number, hop)
        told: Mapping[str, Any] = {"shard": None, "station": None, "traceback": None, "output": None, **details}
        failure = Failure(reason=reason, hop=hop, **told)
        self._ended(Outcome(configuration=number, state="failed", hops=hop, failure=failure))

    def _ended(self, outcome: Outcome) -> None:
        self.store.put(self.names.outcome(outcome.configuration), outcome.to_json())

    def _checkpoint(self, number: int, hop: int) -> None:
        record = HopRecord(configuration=number, hop=hop - 1, shard=None, steps=0, loss=None)
        data = checkpoint.to_bytes({"model/0000/kernel": np.zeros(1, np.float32)}, record)
        self.store.put(self.names.checkpoint(number, hop), data)


def whole_run(store: Store) -> SyntheticRun:
    """Write a complete run of four configurations: 2 is the best, 1 and 4 are equal but for their loss, 3 failed."""
    run = SyntheticRun(store)
    run.finished(1, accuracy=0.9, loss=0.3)
    run.finished(2, accuracy=0.95, loss=0.2)
    run.failed(3, 3, shard=1, station=1, traceback="Traceback of it\n", output="the last line\n")
    run.finished(4, accuracy=0.9, loss=0.25)
    return run
