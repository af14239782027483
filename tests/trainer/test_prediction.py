"""Models with a checkpoint's state: to the bit, with exact metrics, and predictions scaled as in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification
from modelhopper_trainer.assembly import Assembly, assemble_for
from modelhopper_trainer.device import configure
from modelhopper_trainer.packing import pack
from modelhopper_trainer.prediction import compiled_model, evaluate, predictor, restore, save
from modelhopper_trainer.shards import DataSet, open_data

pytestmark = pytest.mark.xdist_group("tensorflow")

# Keras' own save copies its variables in a way that numpy 2 warns of.
KERAS_COPIES = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")

MODELS = """
import keras

def scaled(units=3, activation="softmax"):
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(units, activation)])

def own_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred), -1)
"""
ROWS = np.arange(24, dtype=np.uint8).reshape(12, 2)
Array = npt.NDArray[Any]


class Case:
    """A model and data, with a state that no initialization gives."""

    def __init__(self, folder: Path, labels: Any, loss: Any, kind: str = "classes", **parameters: Any) -> None:
        configure(threads=1, gpu=False, deterministic=True)
        (folder / "models.py").write_text(MODELS)
        pack((ROWS, labels), folder / "train", shards=3, normalize=10.0, kind=kind, seed=0)
        self.data: DataSet = open_data(folder / "train")
        value = {"name": "x", "data": {"train": "train"}, "models": "models.py:scaled"}
        search = {"method": "grid", "space": {"batch_size": [4]}}
        self.specification = Specification(
            experiment=validated(Experiment, value | {"search": search}),
            folder=str(folder),
            shards=3,
            validation_shards=0,
            digests={},
        )
        self.configuration = Configuration(
            number=1,
            name="x",
            model="model",
            parameters=parameters,
            compile={"optimizer": {"name": "Adam"}, "loss": loss, "metrics": ["mae"]},
            fit={"batch_size": 4, "epochs": 1},
        )
        fresh = assemble_for(self.specification, self.configuration, self.data.manifest).variables.read()
        draw = np.random.default_rng(0)
        self.state = {name: draw.normal(size=array.shape).astype(array.dtype) for name, array in fresh.items()}

    def restored(self, **changes: Any) -> Assembly:
        configuration = self.configuration.model_copy(update=changes)
        return restore(self.specification, configuration, self.data.manifest, self.state)


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("flowers"), np.array(["a", "b", "c"] * 4), "categorical_crossentropy")


def softmax(values: Array) -> Array:
    raised = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def linear(case: Case, rows: Array) -> Array:
    """Return what the model's one layer computes, in numpy."""
    kernel, bias = case.state["model/0000/kernel"], case.state["model/0001/bias"]
    return np.asarray(rows.astype(np.float32) / np.float32(10) @ kernel + bias)


def test_the_state_is_the_checkpoints_to_the_bit_optimizer_included(flowers: Case) -> None:
    found = flowers.restored().variables.read()
    assert found.keys() == flowers.state.keys()
    assert all(np.array_equal(found[name], flowers.state[name]) for name in found)


def test_compiling_with_metrics_keeps_the_state(flowers: Case) -> None:
    assembly = flowers.restored()
    model = compiled_model(assembly)
    found = assembly.variables.read()
    assert all(np.array_equal(found[name], flowers.state[name]) for name in found)
    logs = model.evaluate(ROWS / 10, np.eye(3)[np.arange(12) % 3], verbose=0, return_dict=True)
    assert logs.keys() == {"loss", "mean_absolute_error"}


def test_predictions_are_scaled_as_in_training(flowers: Case) -> None:
    found = predictor(flowers.restored())({"x": ROWS}, 5)
    assert np.allclose(next(iter(found.values())), softmax(linear(flowers, ROWS)), atol=1e-6)


@settings(max_examples=8)
@given(st.integers(1, 15))
def test_the_batch_size_changes_no_prediction(flowers: Case, batch_size: int) -> None:
    predict = predictor(flowers.restored())
    one, other = predict({"x": ROWS}, 12), predict({"x": ROWS}, batch_size)
    assert all(np.allclose(one[name], other[name], rtol=1e-6) for name in one)


def test_no_rows_give_no_predictions(flowers: Case) -> None:
    found = predictor(flowers.restored())({"x": ROWS[:0]}, 5)
    assert next(iter(found.values())).shape == (0, 3)


def test_logits_become_probabilities(tmp_path: Path) -> None:
    loss = {"name": "CategoricalCrossentropy", "from_logits": True}
    case = Case(tmp_path, np.array(["a", "b", "c"] * 4), loss, activation=None)
    found = predictor(case.restored())({"x": ROWS}, 12)
    assert np.allclose(next(iter(found.values())), softmax(linear(case, ROWS)), atol=1e-6)


def test_one_sigmoid_unit_gives_the_probabilities_of_both_classes(tmp_path: Path) -> None:
    case = Case(tmp_path, np.array(["no", "yes"] * 6), "binary_crossentropy", units=1, activation="sigmoid")
    (found,) = predictor(case.restored())({"x": ROWS}, 12).values()
    assert found.shape == (12, 2)
    assert np.allclose(found[:, 1:], 1 / (1 + np.exp(-linear(case, ROWS))), atol=1e-6)
    assert np.allclose(found.sum(-1), 1)


def test_numbers_come_as_they_are(tmp_path: Path) -> None:
    case = Case(tmp_path, np.arange(12) / 3.0, "mse", kind="number", units=1, activation=None)
    (found,) = predictor(case.restored())({"x": ROWS}, 12).values()
    assert np.allclose(found, linear(case, ROWS), rtol=1e-5)


def test_metrics_are_those_of_the_predictions(tmp_path: Path) -> None:
    labels = np.arange(12) / 3.0
    case = Case(tmp_path, labels, "mse", kind="number", units=1, activation=None)
    errors = linear(case, ROWS)[:, 0] - labels
    assert evaluate(case.restored(), case.data) == pytest.approx(
        {"loss": np.mean(errors**2), "mae": np.mean(np.abs(errors))}, rel=1e-5
    )


@KERAS_COPIES
def test_a_saved_model_is_whole_for_keras_alone(flowers: Case, tmp_path: Path) -> None:
    assembly = flowers.restored()
    save(assembly, tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    assert np.array_equal(loaded(ROWS / 10), assembly.model(ROWS / 10))
    pairs = zip(loaded.optimizer.variables, assembly.model.optimizer.variables, strict=True)
    assert all(np.array_equal(mine, theirs) for mine, theirs in pairs)


@KERAS_COPIES
def test_a_model_with_a_loss_of_the_users_is_saved_for_prediction(tmp_path: Path) -> None:
    case = Case(tmp_path, np.arange(12) / 3.0, "models.py:own_loss", kind="number", units=1, activation=None)
    assembly = case.restored()
    save(assembly, tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    assert np.array_equal(loaded(ROWS / 10), assembly.model(ROWS / 10))
    assert compiled_model(case.restored()).loss.__name__ == "own_loss"


def test_a_model_that_is_another_now_is_refused_with_both_shapes(flowers: Case) -> None:
    other = flowers.state | {"model/0000/kernel": np.zeros((2, 4), np.float32)}
    with pytest.raises(SpecError, match=r"its `model/0000/kernel` is of shape \(2, 3\), and of shape \(2, 4\)"):
        restore(flowers.specification, flowers.configuration, flowers.data.manifest, other)
    more = flowers.state | {"model/0009/more": ROWS}
    with pytest.raises(SpecError, match="`model/0009/more` is missing, and of shape"):
        restore(flowers.specification, flowers.configuration, flowers.data.manifest, more)
