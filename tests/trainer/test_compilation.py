"""Compiled models: the loop, the optimizer, seeds, precision and XLA are what Keras would make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from modelhopper_contract.errors import SpecError
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.compilation import make_loss, make_metric, make_optimizer
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.hop import HopTask, run_hop
from modelhopper_trainer.program import KerasLoop, Program, make_program
from tests.trainer.assembled import Array, assembled, configuration, manifest

pytestmark = pytest.mark.xdist_group("tensorflow")

MODELS = """
import keras
from keras import layers


def mlp(dropout=0.0):
    parts = [layers.Dense(6, "tanh"), *([layers.Dropout(dropout)] if dropout else []), layers.Dense(3, "softmax")]
    return keras.Sequential([keras.Input((4,)), *parts])


def dropping():
    return mlp(0.5)


class Own(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


def own_step():
    return Own(mlp().layers)


class Noise(layers.Layer):
    def call(self, x, training=False):
        return x + keras.random.normal(keras.ops.shape(x)) if training else x


def noisy():
    return keras.Sequential([keras.Input((4,)), Noise(), layers.Dense(3, "softmax")])


def noisy_own_step():
    return Own([keras.Input((4,)), Noise(), layers.Dense(3, "softmax")])


def mixed():
    keras.mixed_precision.set_global_policy("mixed_float16")
    hidden = [layers.Dense(6, "tanh"), layers.Dense(3, "softmax", dtype="float32")]
    return keras.Sequential([keras.Input((4,)), *hidden])
"""

X = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
LABELS = np.argmax(X[:, :3], axis=1).astype(np.uint8)
FEED = {"x": X, "y": LABELS}
DESCRIBED = manifest({"x": X}, {"y": LABELS}, {"y": "abc"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    (path / "models.py").write_text(MODELS)
    return path


def made(folder: Path, build: str, **settings: Any) -> Assembly:
    settings = {"loss": "categorical_crossentropy", "metrics": ["accuracy"], **settings}
    return assembled(f"models.py:{build}", folder, DESCRIBED, configuration(**settings))


def hops(program: Program, numbers: range = range(3)) -> dict[str, Array]:
    for hop in numbers:
        run_hop(program, Feed(FEED, 30), HopTask(1, program.assembly.configuration, hop, 0), 0)
    return program.read()


def close(one: dict[str, Array], other: dict[str, Array], tolerance: float) -> None:
    left = [array for name, array in one.items() if "seed" not in name]
    right = [array for name, array in other.items() if "seed" not in name]
    assert len(left) == len(right)
    for ours, theirs in zip(left, right, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def equal(one: dict[str, Array], other: dict[str, Array]) -> bool:
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_an_own_train_step_that_adds_nothing_changes_nothing(folder: Path) -> None:
    adam = {"name": "Adam", "learning_rate": 0.01}
    own, plain = (
        make_program(made(folder, "own_step", optimizer=adam)),
        make_program(made(folder, "mlp", optimizer=adam)),
    )
    assert isinstance(own, KerasLoop)
    assert not isinstance(plain, KerasLoop)
    close(hops(own), hops(plain), 1e-6)


SCHEDULE = {"name": "ExponentialDecay", "initial_learning_rate": 0.1, "decay_steps": 3, "decay_rate": 0.5}


@pytest.mark.parametrize("build", ["mlp", "own_step", "dropping", "noisy", "noisy_own_step"])
@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "SGD", "learning_rate": 0.1, "momentum": 0.9},
        {"name": "Adam", "learning_rate": SCHEDULE},
    ],
    ids=["momentum", "schedule"],
)
def test_everything_survives_a_hop_to_another_process(folder: Path, build: str, optimizer: dict[str, Any]) -> None:
    """Another program of the same kind that takes over the state goes on to the same bytes."""
    stays = make_program(made(folder, build, optimizer=optimizer))
    state = hops(stays, range(2))
    goes_on = hops(stays, range(2, 4))
    made(folder, "mlp")  # whatever else was built in between
    taken_over = make_program(made(folder, build, optimizer=optimizer))
    hops(taken_over, range(7, 9))
    taken_over.load(state)
    assert equal(hops(taken_over, range(2, 4)), goes_on)
    assert any("iteration" in name for name in state)


@pytest.mark.parametrize("build", ["dropping", "noisy", "noisy_own_step"])
def test_random_draws_differ_between_hops_and_repeat_for_the_same_hop(folder: Path, build: str) -> None:
    program = make_program(made(folder, build, shuffle=False))
    start = program.read()

    def after(hop: int) -> dict[str, Array]:
        program.load(start)
        found = hops(program, range(hop, hop + 1))
        return {name: array for name, array in found.items() if "seed_generator" not in name}

    assert equal(after(1), after(1))
    assert not equal(after(1), after(2))


def test_mixed_precision_trains_and_does_not_leak_into_the_next_model(folder: Path) -> None:
    assembly = made(folder, "mixed")
    assert assembly.model.layers[0].compute_dtype == "float16"
    evaluator = Evaluator(assembly)
    program = make_program(assembly)
    before = evaluator.merge([evaluator.evaluate(Feed(FEED, 30).stored())])
    state = hops(program, range(4))
    assert all(np.isfinite(array).all() for array in state.values())
    after = evaluator.merge([evaluator.evaluate(Feed(FEED, 30).stored())])
    assert after["loss"] < before["loss"]
    assert made(folder, "mlp").model.layers[0].compute_dtype == "float32"


def test_mixed_precision_survives_a_hop(folder: Path) -> None:
    stays = make_program(made(folder, "mixed"))
    state = hops(stays, range(2))
    goes_on = hops(stays, range(2, 3))
    taken_over = make_program(made(folder, "mixed"))
    taken_over.load(state)
    assert equal(hops(taken_over, range(2, 3)), goes_on)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_xla_agrees(folder: Path, optimizer: str) -> None:
    chosen = {"name": optimizer, "learning_rate": 0.01}
    compiled = hops(make_program(made(folder, "mlp", optimizer=chosen, jit_compile=True)))
    close(compiled, hops(make_program(made(folder, "mlp", optimizer=chosen))), 1e-4)


@pytest.mark.parametrize("name", ["adam", "Adam", "ADAM", "sgd", "rmsprop", "RMSprop", "AdamW", "adam_w", "lion"])
def test_optimizers_are_found_however_they_are_written(tmp_path: Path, name: str) -> None:
    assert type(make_optimizer(name, tmp_path)).__name__.lower() == name.lower().replace("_", "")


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("mse", "MeanSquaredError"),
        ("mean_squared_error", "MeanSquaredError"),
        ("MSE", "MeanSquaredError"),
        ("mae", "MeanAbsoluteError"),
        ("categorical_crossentropy", "CategoricalCrossentropy"),
        ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy"),
        ("kl_divergence", "KLDivergence"),
        ("kld", "KLDivergence"),
        ("huber", "Huber"),
        ("log_cosh", "LogCosh"),
        ("hinge", "Hinge"),
    ],
)
def test_losses_are_found_by_every_name_that_keras_knows(tmp_path: Path, short: str, whole: str) -> None:
    assert type(make_loss(short, tmp_path)).__name__ == whole
    assert type(keras.losses.get(short)).__name__ in (whole, "function")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("Adm", "`Adm` is not an optimizer of Keras"),
        ("Adm", "Did you mean `Adam`?"),
        ({"name": "Adam", "learning_rte": 0.1}, "`learning_rte` is not a parameter of the optimizer Adam"),
        ({"name": "Adam", "learning_rte": 0.1}, "Did you mean `learning_rate`?"),
        ({"learning_rate": 0.1}, "give a name, or a dictionary with a `name` and parameters"),
        ({"name": "SGD", "momentum": 5}, "the optimizer SGD cannot be made from {'momentum': 5}"),
        ({"name": "SGD", "learning_rate": {"name": "Expo"}}, "`Expo` is not a learning rate schedule"),
        ({"name": "SGD", "learning_rate": {"name": "CosineDecay"}}, "needs the parameter `initial_learning_rate`"),
        ("absent.py:make", "there is no file"),
    ],
)
def test_a_wrong_optimizer_is_told(tmp_path: Path, given: Any, message: str) -> None:
    with pytest.raises(SpecError) as found:
        make_optimizer(given, tmp_path)
    assert message in str(found.value)


def test_an_own_loss_and_an_own_metric_take_parameters(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def power(y_true, y_pred, n=2):\n    return abs(y_true - y_pred) ** n\n")
    y, p = tf.constant([[0.0], [0.0]]), tf.constant([[2.0], [1.0]])
    assert float(make_loss({"name": "own.py:power", "n": 3}, tmp_path)(y, p)) == 4.5
    assert float(make_metric({"name": "own.py:power", "n": 3}, tmp_path)(y, p)) == 4.5
    with pytest.raises(SpecError, match="`m` is not a parameter of the loss"):
        make_loss({"name": "own.py:power", "m": 3}, tmp_path)
