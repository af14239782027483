"""Models from functions, JSON of any age, and `.keras` files; and what cannot be one."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import Model
from modelhopper_trainer.device import configure
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.hop import HopTask, run_hop
from modelhopper_trainer.models import build_model
from modelhopper_trainer.program import make_program
from tests.trainer.assembled import assembled, configuration, manifest

pytestmark = pytest.mark.xdist_group("tensorflow")

MODELS = """
import random

import keras
import numpy as np


def mlp(units=6):
    random.random()
    np.random.rand()
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(3)])


def nothing():
    return None


def three():
    return 3
"""

UNIFORM = {"distribution": "uniform", "mode": "fan_avg", "scale": 1.0, "seed": None}


def dense(units: int, activation: str, **first: Any) -> dict[str, Any]:
    """Return a Dense layer as Keras 2.1 wrote it."""
    config = {
        "name": f"dense_{units}_{activation}",
        "trainable": True,
        "units": units,
        "activation": activation,
        "use_bias": True,
        "kernel_initializer": {"class_name": "VarianceScaling", "config": UNIFORM},
        "bias_initializer": {"class_name": "Zeros", "config": {}},
        "kernel_regularizer": None,
        "bias_regularizer": None,
        "activity_regularizer": None,
        "kernel_constraint": None,
        "bias_constraint": None,
    }
    return {"class_name": "Dense", "config": {**config, **first}}


LAYERS = [
    dense(10, "relu", batch_input_shape=[None, 4], dtype="float32", name="dense_1"),
    dense(10, "relu", name="dense_2"),
    dense(3, "softmax", name="dense_3"),
]
KERAS_2_1 = {"class_name": "Sequential", "config": LAYERS, "keras_version": "2.1.6", "backend": "tensorflow"}
KERAS_2_15 = {
    "class_name": "Sequential",
    "config": {
        "name": "sequential",
        "layers": [
            {
                "class_name": "InputLayer",
                "config": {
                    "batch_input_shape": [None, 4],
                    "dtype": "float32",
                    "sparse": False,
                    "ragged": False,
                    "name": "dense_1_input",
                },
            },
            *LAYERS,
        ],
    },
    "keras_version": "2.15.0",
    "backend": "tensorflow",
}


def node(name: str) -> list[Any]:
    return [[[name, 0, 0, {}]]]


FUNCTIONAL_2 = {
    "class_name": "Functional",
    "config": {
        "name": "model",
        "layers": [
            {
                "class_name": "InputLayer",
                "config": {
                    "batch_input_shape": [None, 4],
                    "dtype": "float32",
                    "sparse": False,
                    "ragged": False,
                    "name": "input_1",
                },
                "name": "input_1",
                "inbound_nodes": [],
            },
            {**dense(10, "relu", name="dense_1"), "name": "dense_1", "inbound_nodes": node("input_1")},
            {**dense(10, "relu", name="dense_2"), "name": "dense_2", "inbound_nodes": node("dense_1")},
            {**dense(3, "softmax", name="dense_3"), "name": "dense_3", "inbound_nodes": node("dense_2")},
        ],
        "input_layers": [["input_1", 0, 0]],
        "output_layers": [["dense_3", 0, 0]],
    },
    "keras_version": "2.15.0",
    "backend": "tensorflow",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    (path / "models.py").write_text(MODELS)
    configure(threads=1, gpu=False, deterministic=True)
    return path


def built(folder: Path, build: str = "models.py:mlp", seed: int = 1, **parameters: Any) -> keras.Model:
    return build_model(Model(build=build), parameters, folder, seed)


def save(model: keras.Model, path: Path) -> None:
    with warnings.catch_warnings():
        # h5py asks Keras' variables for arrays in a way that NumPy 2 finds old.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        model.save(path)


def keras_3() -> dict[str, Any]:
    parts = [keras.Input((4,)), *(keras.layers.Dense(10, "relu") for _ in range(2)), keras.layers.Dense(3, "softmax")]
    found: dict[str, Any] = json.loads(keras.Sequential(parts).to_json())
    return found


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(lambda: KERAS_2_1, id="2.1"),
        pytest.param(lambda: {**KERAS_2_1, "config": {"name": "s", "layers": LAYERS}}, id="2.3"),
        pytest.param(lambda: KERAS_2_15, id="2.15"),
        pytest.param(lambda: FUNCTIONAL_2, id="functional 2.15"),
        pytest.param(lambda: {**FUNCTIONAL_2, "class_name": "Model"}, id="functional 2.1"),
        pytest.param(keras_3, id="3"),
        pytest.param(lambda: json.dumps(KERAS_2_1), id="JSON in a string"),
    ],
)
def test_json_of_any_age_is_the_same_model(folder: Path, value: Any) -> None:
    (folder / "model.json").write_text(json.dumps(value()))
    model = built(folder, "model.json")
    assert [tuple(weight.shape) for weight in model.weights] == [(4, 10), (10,), (10, 10), (10,), (10, 3), (3,)]
    x = np.ones((2, 4), np.float32)
    found = np.asarray(model(x))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(built(folder, "model.json")(x)), found)


def test_a_keras_file_s_weights_are_the_start_and_frozen_layers_stay_frozen(folder: Path) -> None:
    source = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5, "tanh"), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    )
    source.layers[0].trainable = False
    source.layers[1].trainable = False
    save(source, folder / "start.keras")
    before = source.get_weights()
    x, y = np.ones((20, 4), np.float32), np.zeros((20, 3), np.float32)
    one = configuration(loss="mse", optimizer={"name": "Adam", "learning_rate": 0.1})
    made = assembled("start.keras", folder, manifest({"x": x}, {"y": y}), one)
    for ours, theirs in zip(made.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    run_hop(make_program(made), Feed({"x": x, "y": y}, 20), HopTask(1, one, 0, 0), 0)
    frozen = {id(v) for layer in made.model.layers[:2] for v in layer.variables}
    for variable, theirs in zip(made.model.variables, before, strict=True):
        same = np.array_equal(variable.numpy(), theirs)
        assert same == (id(variable) in frozen), variable.path


def test_equal_seeds_give_equal_weights_and_others_do_not(folder: Path) -> None:
    one, same, other = (built(folder, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_building_leaves_random_states_as_they_were(folder: Path) -> None:
    python, numpy = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    built(folder)
    with pytest.raises(SpecError):
        built(folder, "models.py:nothing")
    assert random.getstate() == python
    assert np.random.get_state()[1].tolist() == numpy  # type: ignore[index]  # noqa: NPY002


@pytest.mark.parametrize(
    ("build", "parameters", "message"),
    [
        ("models.py:nothing", {}, "`models.py:nothing` returned a NoneType: it must return a keras.Model."),
        ("models.py:three", {}, "returned a int"),
        ("models.py:mpl", {}, "models.py has no `mpl`. Did you mean `mlp`?"),
        ("model.py:mlp", {}, "Did you mean `models.py`?"),
        ("models.py:mlp", {"unit": 3}, "`unit` is not a parameter of `models.py:mlp`: it takes units."),
        ("absent.json", {}, "the model `absent.json` is not there"),
        ("absent.keras", {}, "the model `absent.keras` is not there"),
    ],
)
def test_a_mistake_is_told_in_one_message(folder: Path, build: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as found:
        built(folder, build, **parameters)
    assert message in str(found.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '"text"',
        "{}",
        '{"class_name": "Sequential", "config": []}',
        '{"class_name": "Sequential", "config": null}',
        '{"class_name": "Sequential", "config": [3]}',
        '{"class_name": "Sequential", "config": [{"class_name": "Dense"}]}',
        '{"class_name": "Sequential", "config": [{"class_name": "Dens", "config": {"units": 3}}]}',
        '{"class_name": "Dense", "config": {"units": 3}}',
        json.dumps({**FUNCTIONAL_2, "config": {**FUNCTIONAL_2["config"], "output_layers": [["absent", 0, 0]]}}),  # type: ignore[dict-item]
        json.dumps({**FUNCTIONAL_2, "config": {**FUNCTIONAL_2["config"], "output_layers": [["dense_3", 7, 0]]}}),  # type: ignore[dict-item]
        "[" * 5000,
        "\xff\xfe",
    ],
)
def test_json_that_is_no_model_is_a_mistake(folder: Path, text: str) -> None:
    (folder / "broken.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(SpecError, match=r"broken\.json"):
        built(folder, "broken.json")


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_keras_file_is_a_mistake(folder: Path, part: float) -> None:
    refused(folder, whole_file(folder)[: int(len(whole_file(folder)) * part)])


def test_a_damaged_keras_file_is_a_mistake(folder: Path) -> None:
    refused(folder, whole_file(folder).replace(b'"class_name"', b'"class_nome"'))


def whole_file(folder: Path) -> bytes:
    save(keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)]), folder / "whole.keras")
    return (folder / "whole.keras").read_bytes()


def refused(folder: Path, content: bytes) -> None:
    (folder / "broken.keras").write_bytes(content)
    with pytest.raises(SpecError, match=r"broken\.keras cannot be loaded as a Keras model"):
        built(folder, "broken.keras")
