"""A configuration that cannot go on fails alone, with its reason; the others do not notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.messages import Built
from modelhopper_contract.records import Outcome
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.device import configure
from modelhopper_trainer.station import Station
from tests.trainer.small_run import SEARCH, SmallRun, experiment_in

pytestmark = pytest.mark.xdist_group("tensorflow")

SGD = {"name": "SGD", "learning_rate": 0.1}


def finished(tmp_path: Path, *choices: dict[str, object], **changes: Any) -> tuple[SmallRun, MemoryStore]:
    run = SmallRun.prepare(tmp_path, search={"method": "list", "configurations": list(choices)}, **changes)
    store = MemoryStore()
    run.begin(store)
    run.finish(store, 2)
    return run, store


def outcome(run: SmallRun, store: MemoryStore, number: int) -> Outcome:
    return Outcome.from_json(store.get(run.names.outcome(number)))


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"model": "plain", "optimizer": {"name": "SGD", "learning_rate": 1e30}}, "loss is NaN"),
        ({"model": "raising", "optimizer": SGD}, "RuntimeError"),
        ({"model": "drawing", "optimizer": SGD}, "random numbers with TensorFlow's own state (RandomUniform)"),
    ],
)
def test_a_bad_configuration_fails_alone(tmp_path: Path, choice: dict[str, object], reason: str) -> None:
    run, store = finished(tmp_path, SEARCH[0], choice)
    failed = outcome(run, store, 2)
    assert failed.state == "failed"
    assert failed.failure is not None
    assert reason in failed.failure.reason
    assert "\n" not in failed.failure.reason
    assert outcome(run, store, 1).state == "finished"
    alone, only = finished(tmp_path / "alone", SEARCH[0])
    kept = alone.names.checkpoint(1, alone.specification.ring.hops)
    # Its place in the ring is the same with and without the other, so the bytes are, too.
    assert run.planned[0].offset == alone.planned[0].offset
    assert store.get(kept) == only.get(kept)


def test_a_failure_keeps_its_traceback(tmp_path: Path) -> None:
    run, store = finished(tmp_path, {"model": "raising", "optimizer": SGD})
    failure = outcome(run, store, 1).failure
    assert failure is not None
    assert failure.hop == 0
    assert "this layer cannot train" in str(failure.traceback)


def test_a_corrupt_checkpoint_is_told_and_never_read_as_a_start(tmp_path: Path) -> None:
    run = SmallRun.prepare(tmp_path)
    store = MemoryStore()
    run.begin(store)
    name = run.names.checkpoint(2, 0)
    data = bytearray(store.get(name))
    data[-3] ^= 1
    store.put(name, bytes(data))
    with pytest.raises(CorruptObject, match=f"{name} is damaged: its digest is"):
        run.finish(store, 1)


def test_a_corrupt_shard_is_told(tmp_path: Path) -> None:
    run = SmallRun.prepare(tmp_path)
    path = tmp_path / "train/00001/x.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 128
    path.write_bytes(bytes(data))
    store = MemoryStore()
    run.begin(store)
    with pytest.raises(CorruptObject, match="was changed after packing"):
        run.finish(store, 1)


def test_a_model_file_that_changed_since_the_run_began_stops_the_station(tmp_path: Path) -> None:
    run = SmallRun.prepare(tmp_path)
    (tmp_path / "models.py").write_text("# another\n")
    with pytest.raises(Exception, match="has changed since small began"):
        Station(MemoryStore(), run.specification, 0, 1, run.report)


def problem(tmp_path: Path, **changes: Any) -> Built:
    """Build one configuration that has a mistake; return what is said."""
    configure(threads=1, gpu=False, deterministic=True)
    specification, chosen = experiment_in(tmp_path, **changes)
    heard: list[Built] = []
    station = Station(MemoryStore(), specification, 0, 1, heard.append)  # type: ignore[arg-type]
    station.prepare(chosen)
    return heard[0]


@pytest.mark.parametrize(
    ("choice", "message", "path"),
    [
        (
            {"optimizer": {"name": "Adam", "learning_rte": 0.1}},
            "Did you mean `learning_rate`?",
            ("optimizer", "learning_rte"),
        ),
        ({"optimizer": "adamm"}, "Did you mean `Adam`?", ("optimizer",)),
        ({"optimizer": {"name": "Adam", "learning_rate": "fast"}}, "learning_rate", ("optimizer",)),
        ({"loss": "categorical_crosentropy"}, "Did you mean `CategoricalCrossentropy`?", ("loss",)),
        ({"metrics": ["acuracy"]}, "Did you mean", ("metrics",)),
        ({"metrics": ["accuracy", "accuracy"]}, "two metrics are named `accuracy`", ("metrics",)),
        (
            {"class_weight": {"setosaa": 2}},
            "setosaa, and the classes are setosa, versicolor, virginica",
            ("class_weight",),
        ),
        ({"loss": "models.py:nothing"}, "has no `nothing`", ("loss",)),
        ({"model": {"name": "plain", "dropuot": 0.1}}, "Did you mean `dropout`?", ("model", "dropuot")),
        ({"loss_weights": {"z": 2.0}}, "the data's outputs are y", ("loss_weights",)),
    ],
)
def test_a_mistake_is_told_before_any_training(
    tmp_path: Path, choice: dict[str, object], message: str, path: tuple[str, ...]
) -> None:
    search = {"method": "list", "configurations": [{"model": "plain", **choice}]}
    built = problem(tmp_path, search=search)
    assert built.problem is not None
    assert message in built.problem
    assert built.path == path


def test_a_model_that_does_not_fit_the_data_is_told_with_both_shapes(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(
        "import keras\n"
        "def narrow():\n    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])\n"
        "def wide():\n    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])\n"
        "def nothing():\n    return 3\n"
        "def broken():\n    raise ZeroDivisionError('no')\n"
    )
    said = [
        problem(tmp_path, models={"m": f"wrong.py:{name}"}, search={"method": "list", "configurations": [{}]}).problem
        for name in ("narrow", "wide", "nothing", "broken")
    ]
    assert "the model takes inputs of shape (3,), and the data's `x` has (4,)" in str(said[0])
    assert "has 5 units, and the data has 3 classes (setosa, versicolor, virginica)" in str(said[1])
    assert "returned a int: it must return a keras.Model" in str(said[2])
    assert "building the model raised ZeroDivisionError: no" in str(said[3])


def test_a_metric_that_does_not_fit_the_labels_is_told_before_any_training(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(
        "import keras\n"
        "def mlp():\n    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])\n"
        "def picky(y_true, y_pred):\n    return keras.ops.reshape(y_true, (-1, 7))\n"
    )
    search = {"method": "list", "configurations": [{"metrics": ["wrong.py:picky"]}]}
    built = problem(tmp_path, models={"m": "wrong.py:mlp"}, search=search)
    assert "the loss and metrics cannot be computed for this model and data: " in str(built.problem)
    assert built.path == ("metrics",)


def test_a_metric_whose_result_is_no_number_is_told_before_any_training(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(
        "import keras\n"
        "def mlp():\n    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])\n"
        "class Pair(keras.metrics.Metric):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.both = self.add_weight(shape=(2,), initializer='zeros', name='both')\n"
        "    def update_state(self, y_true, y_pred, sample_weight=None):\n"
        "        self.both.assign(self.both + 1.0)\n"
        "    def result(self):\n"
        "        return {'both': self.both}\n"
    )
    search = {"method": "list", "configurations": [{"metrics": ["wrong.py:Pair"]}]}
    built = problem(tmp_path, models={"m": "wrong.py:mlp"}, search=search)
    assert "the loss and metrics cannot be computed for this model and data: " in str(built.problem)
