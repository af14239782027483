"""Metrics are exact, and merging them disturbs nothing that goes on beside it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhopper_trainer import feeding
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.functions import load_function
from modelhopper_trainer.room import Room
from tests.trainer.assembled import Array, assembled, configuration, manifest
from tests.trainer.small_run import SmallRun

pytestmark = pytest.mark.xdist_group("tensorflow")


def test_merging_while_another_checkpoint_is_evaluated_changes_neither(tmp_path: Path) -> None:
    """As in a station, whose writing thread merges while its training thread is at the next token."""
    run = SmallRun.prepare(tmp_path)
    evaluator = run.workshop.tools(run.planned[0]).evaluator
    feeds = [run.workshop.feed("training", shard) for shard in range(3)]
    shards = [evaluator.evaluate(feed.stored()) for feed in feeds]
    merged = evaluator.merge(shards)
    with ThreadPoolExecutor(1) as writer:
        merging = writer.submit(lambda: [evaluator.merge(shards) for _ in range(200)])
        evaluated = []
        while not merging.done():
            evaluated.append([evaluator.evaluate(feed.stored()) for feed in feeds])
    assert evaluated
    assert all(one == shards for one in evaluated)
    assert all(one == merged for one in merging.result())


MODELS = """
import keras
from keras import layers


def classifier(units=3, activation="softmax", regularized=False):
    l2 = keras.regularizers.L2(0.01) if regularized else None
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(6, "tanh", kernel_regularizer=l2), layers.Dense(units, activation)]
    )


def two():
    x = keras.Input((4,), name="x")
    hidden = layers.Dense(5, "relu")(x)
    kind = layers.Dense(3, "softmax", name="kind")(hidden)
    size = layers.Dense(1, name="size")(hidden)
    return keras.Model(x, {"kind": kind, "size": size})


def two_as_list():
    model = two()
    return keras.Model(model.inputs, [model.output["size"], model.output["kind"]])


def far(y_true, y_pred):
    return keras.ops.max(keras.ops.abs(y_true - y_pred), axis=-1)


def fourth(y_true, y_pred):
    return keras.ops.mean((y_true - y_pred) ** 4, axis=-1)
"""

ROWS = 2500
CUTS = st.lists(st.integers(0, ROWS), max_size=4)
rng = np.random.default_rng(4)
X = rng.normal(size=(ROWS, 4)).astype(np.float32)
KINDS = rng.integers(0, 3, ROWS).astype(np.uint8)
FLAGS = (X[:, 0] + rng.normal(size=ROWS) > 0).astype(np.uint8)
SIZES = (X @ [1.0, 2.0, 0.0, -1.0] + 0.1 * rng.normal(size=ROWS)).astype(np.float32)
CLASSES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    (path / "models.py").write_text(MODELS)
    return path


@dataclass(frozen=True)
class Case:
    """A kind of model, data and compile parameters, and the same targets as Keras takes them."""

    function: str
    outputs: Mapping[str, Array]
    targets: Any
    settings: Mapping[str, Any]
    classes: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)


ONE_HOT = np.eye(3, dtype=np.float32)[KINDS]
CASES = {
    "one-hot": Case(
        "classifier",
        {"y": KINDS},
        ONE_HOT,
        {
            "loss": "categorical_crossentropy",
            "metrics": ["accuracy", "AUC", "Precision", "Recall", "F1Score"],
        },
        {"y": CLASSES},
    ),
    "sparse": Case(
        "classifier",
        {"y": KINDS},
        KINDS.astype(np.int32),
        {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy", "SparseTopKCategoricalAccuracy"]},
        {"y": CLASSES},
    ),
    "binary": Case(
        "classifier",
        {"y": FLAGS},
        FLAGS.astype(np.float32)[:, None],
        {"loss": "binary_crossentropy", "metrics": ["accuracy", "AUC", "Precision"]},
        {"y": [False, True]},
        {"units": 1, "activation": "sigmoid"},
    ),
    "binary as a number": Case(
        "classifier",
        {"y": FLAGS.astype(np.float32)},
        FLAGS.astype(np.float32)[:, None],
        {"loss": "binary_crossentropy", "metrics": ["accuracy"]},
        {},
        {"units": 1, "activation": "sigmoid"},
    ),
    "regression": Case(
        "classifier",
        {"y": SIZES},
        SIZES[:, None],
        {
            "loss": "mse",
            "metrics": ["mse", "mae", "RootMeanSquaredError", "R2Score", "models.py:far", "CosineSimilarity"],
        },
        {},
        {"units": 1, "activation": "linear"},
    ),
    "own loss": Case(
        "classifier",
        {"y": SIZES},
        SIZES[:, None],
        {"loss": "models.py:fourth", "metrics": ["mae"]},
        {},
        {"units": 1, "activation": "linear"},
    ),
    "regularized": Case(
        "classifier",
        {"y": KINDS},
        ONE_HOT,
        {"loss": "categorical_crossentropy", "metrics": ["accuracy"]},
        {"y": CLASSES},
        {"regularized": True},
    ),
    "two outputs": Case(
        "two",
        {"kind": KINDS, "size": SIZES},
        {"kind": ONE_HOT, "size": SIZES[:, None]},
        {
            "loss": {"kind": "categorical_crossentropy", "size": "mse"},
            "loss_weights": {"kind": 2.0, "size": 0.25},
            "metrics": {"kind": ["accuracy"], "size": ["mae"]},
        },
        {"kind": CLASSES},
    ),
    "two outputs as a list": Case(
        "two_as_list",
        {"kind": KINDS, "size": SIZES},
        [SIZES[:, None], ONE_HOT],
        {
            "loss": {"kind": "categorical_crossentropy", "size": "mse"},
            "loss_weights": {"kind": 2.0, "size": 0.25},
            "metrics": {"kind": ["accuracy"], "size": ["mae"]},
        },
        {"kind": CLASSES},
    ),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest, folder: Path) -> tuple[Case, Assembly, Evaluator]:
    found = CASES[request.param]
    described = manifest({"x": X}, found.outputs, found.classes)
    one = configuration(parameters=found.parameters, **found.settings)
    assembly = assembled(f"models.py:{found.function}", folder, described, one)
    return found, assembly, Evaluator(assembly)


def shard_of(case: Case, start: int, stop: int) -> dict[str, Any]:
    fields = {"x": X, **case.outputs}
    return {name: tf.constant(array[start:stop]) for name, array in fields.items()}


def test_all_metrics_agree_with_keras_evaluate(case: tuple[Case, Assembly, Evaluator]) -> None:
    found, assembly, evaluator = case
    merged = evaluator.merge([evaluator.evaluate([shard_of(found, 0, ROWS)])])
    model = assembly.model
    model.compile(
        loss=model.loss,
        loss_weights=found.settings.get("loss_weights"),
        metrics=_keras_metrics(found.settings["metrics"], assembly.folder, found.function.endswith("list")),
    )
    expected = model.evaluate(X, found.targets, batch_size=500, verbose=0, return_dict=True)
    assert merged.pop("loss") == pytest.approx(expected.pop("loss"), rel=2e-6, abs=1e-6)
    for name, value in _flat(expected).items():
        assert merged[name] == pytest.approx(value, rel=1e-5, abs=2e-6), name
    assert merged.keys() == _flat(expected).keys()


def _keras_metrics(given: Any, folder: Path, as_list: bool) -> Any:
    if isinstance(given, Mapping):
        return [given["size"], given["kind"]] if as_list else given
    return [
        keras.metrics.MeanMetricWrapper(load_function(name, folder), name="far") if ".py:" in name else name
        for name in given
    ]


def _flat(expected: Mapping[str, Any]) -> dict[str, float]:
    """Name Keras' values as users write the metrics."""
    short = {"AUC": "AUC", "auc": "AUC", "precision": "Precision", "recall": "Recall", "f1_score": "F1Score"}
    short |= {
        "root_mean_squared_error": "RootMeanSquaredError",
        "r2_score": "R2Score",
        "cosine_similarity": "CosineSimilarity",
    }
    short |= {
        "sparse_top_k_categorical_accuracy": "SparseTopKCategoricalAccuracy",
        "mean_squared_error": "mse",
        "mean_absolute_error": "mae",
    }
    found: dict[str, float] = {}
    for name, value in expected.items():
        ours = short.get(name, name)
        array = np.asarray(value)
        found |= {ours: float(array)} if array.ndim == 0 else {f"{ours}_{i}": float(v) for i, v in enumerate(array)}
    return found


@settings(max_examples=6)
@given(cuts=CUTS)
def test_any_cut_into_shards_gives_the_same_metrics(case: tuple[Case, Assembly, Evaluator], cuts: list[int]) -> None:
    found, _, evaluator = case
    whole = evaluator.merge([evaluator.evaluate([shard_of(found, 0, ROWS)])])
    edges = sorted({0, ROWS, *cuts})
    shards = [evaluator.evaluate([shard_of(found, *edge)]) for edge in pairwise(edges)]
    merged = evaluator.merge(shards)
    for name, value in whole.items():
        counts = name in ("accuracy", "kind_accuracy", "AUC", "Precision", "Recall", "SparseTopKCategoricalAccuracy")
        # A matrix product of another number of rows may differ in its last bits, and so may what is computed from it.
        assert merged[name] == (value if counts else pytest.approx(value, rel=1e-6, abs=1e-6)), name


def test_the_order_of_shards_does_not_show(case: tuple[Case, Assembly, Evaluator]) -> None:
    found, _, evaluator = case
    shards = [evaluator.evaluate([shard_of(found, *edge)]) for edge in ((0, 700), (700, 800), (800, ROWS))]
    assert evaluator.merge(shards) == evaluator.merge(shards[::-1])


def test_equal_rows_in_other_shards_are_equal_to_the_bit(case: tuple[Case, Assembly, Evaluator]) -> None:
    found, _, evaluator = case
    batch = evaluator.evaluate([shard_of(found, 0, 1024), shard_of(found, 1024, 2048)])
    apart = [evaluator.evaluate([shard_of(found, *edge)]) for edge in ((0, 1024), (1024, 2048))]
    assert evaluator.merge(apart) == evaluator.merge([batch])


def test_a_shard_that_comes_in_pieces_has_the_metrics_of_a_whole_one_to_the_bit(
    case: tuple[Case, Assembly, Evaluator], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _, evaluator = case
    monkeypatch.setattr(feeding, "PIECE_BYTES", 1)
    in_pieces = list(Feed({"x": X, **found.outputs}, ROWS, Room(0)).stored())
    assert [len(fields["x"]) for fields in in_pieces] == [1024, 1024, ROWS - 2048]
    assert evaluator.evaluate(in_pieces) == evaluator.evaluate([shard_of(found, 0, ROWS)])
