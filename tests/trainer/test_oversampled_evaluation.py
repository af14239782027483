"""What is made up is trained on, and changes no metric and no prediction by being there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelhopper_contract import checkpoint
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.packing import pack
from modelhopper_trainer.prediction import evaluate
from modelhopper_trainer.preparation import build
from modelhopper_trainer.room import Room
from modelhopper_trainer.shards import open_data
from tests.trainer.small_run import SmallRun

pytestmark = pytest.mark.xdist_group("tensorflow")

STILL = [{"model": "plain", "optimizer": {"name": "SGD", "learning_rate": 0.0}, "batch_size": 8}]


def rows(count: int, seed: int) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    kinds = np.digitize(generator.random(count), [0.7, 0.9])
    x = (generator.normal(size=(count, 4)) + kinds[:, None]).astype(np.float32)
    return x, np.array(["setosa", "versicolor", "virginica"])[kinds]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[SmallRun]:
    """The same experiment without and with oversampling, whose models keep their first weights."""
    found = []
    for oversample in (None, "duplicate"):
        folder = tmp_path_factory.mktemp("oversampled")
        pack(rows(90, 0), folder / "train", shards=3, stratify="y", oversample=oversample)
        pack(rows(20, 1), folder / "valid", shards=2, against=folder / "train")
        search = {"method": "list", "configurations": STILL}
        found.append(SmallRun.prepare(folder, search=search, iterations=1, evaluate_every=1))
    return found


def test_equal_weights_have_equal_metrics_and_all_rows_are_trained_on(runs: list[SmallRun]) -> None:
    metrics, steps = [], []
    for run in runs:
        store = MemoryStore()
        run.begin(store)
        run.finish(store, 1)
        results = run.results(store)
        metrics.append({name: data for name, data in results.items() if name.split("/")[1] in {"metrics", "history"}})
        last = run.names.checkpoint(1, 3)
        steps.append(checkpoint.from_bytes(store.get(last), last).record.steps)
        assert steps[-1] == sum(-(-shard.rows // 8) for shard in run.workshop.manifest.shards)
    assert metrics[0] == metrics[1]
    assert any("/training/" in name for name in metrics[0])
    assert steps[0] < steps[1]


def test_evaluation_in_pieces_or_of_a_data_set_leaves_out_what_is_made_up(runs: list[SmallRun]) -> None:
    plain = runs[0]
    assembly = build(plain.specification, plain.planned[0], plain.workshop)
    places = [Path(run.specification.folder) / "train" for run in runs]
    assert evaluate(assembly, open_data(places[0])) == evaluate(assembly, open_data(places[1]))
    shard = open_data(places[1]).shard(0)
    pieces = list(Feed(shard.inputs, shard.rows, Room(0), made_up=shard.made_up).stored())
    assert sum(len(piece["x"]) for piece in pieces) == shard.real_rows < shard.rows
