"""Who may train side by side, and with which numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
import tensorflow as tf

from modelhopper_contract.errors import HopError
from modelhopper_trainer.blueprint import Blueprint, blueprint
from modelhopper_trainer.lanes import LaneNumber
from tests.trainer.assembled import assembled, configuration
from tests.trainer.side_by_side import rows

pytestmark = pytest.mark.xdist_group("tensorflow")

MODEL = """
import keras
import numpy as np
from keras import layers

class Scale(layers.Layer):
    def __init__(self, by, **rest):
        super().__init__(**rest)
        self.by = by
    def get_config(self):
        return super().get_config()  # and not what it scales by
    def call(self, x):
        return x * self.by

class Own(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.dense = layers.Dense(units)
        self.out = layers.Dense(3)
    def call(self, x):
        return self.out(self.dense(x))

class Trains(keras.Sequential):
    def train_step(self, data):
        return {"loss": 0.0}

def make(units=5, rate=0.2, activation="relu", start="zeros", name=None, frozen=False, penalty=None):
    return keras.Sequential([
        keras.Input((4,)),
        layers.Dense(
            units, activation, kernel_initializer=start, name=name, kernel_regularizer=penalty, trainable=not frozen
        ),
        layers.Dropout(rate), layers.Dense(3),
    ], name=name and name + "_model")

def branches(units=5, rate=0.2, name=None, crossed=False):
    start = keras.Input((4,), name=name and name + "_in")
    one, other = layers.Dense(units, "tanh", name=name)(start), layers.Dense(units)(start)
    mixed = layers.Subtract()([other, one] if crossed else [one, other])
    return keras.Model(start, layers.Dense(3)(layers.Dropout(rate)(mixed)))

def hidden(by=2.0, units=5):
    return keras.Sequential([keras.Input((4,)), layers.Dense(units), Scale(by), layers.Dense(3)])

def closed(by=2.0):
    return keras.Sequential([keras.Input((4,)), layers.Dense(5, activation=lambda x: x * by), layers.Dense(3)])

def adapted(by=2.0):
    layer = layers.Normalization()
    layer.adapt(by * np.arange(8, dtype="float32").reshape(2, 4))
    return keras.Sequential([keras.Input((4,)), layer, layers.Dense(3)])

def subclassed(units=5):
    model = Own(units)
    model(np.zeros((1, 4)))
    return model

def trains():
    return Trains([keras.Input((4,)), layers.Dense(3)])
"""

Make = Callable[..., Blueprint]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("model")
    (folder / "model.py").write_text(MODEL)
    described = rows().manifest

    def make(function: str = "make", parameters: dict[str, Any] | None = None, **compiled: Any) -> Blueprint:
        one = configuration(1, parameters, **{"loss": "sparse_categorical_crossentropy", **compiled})
        return blueprint(assembled(f"model.py:{function}", folder, described, one))

    return make


@pytest.mark.parametrize(
    ("function", "one", "other"),
    [
        ("make", {"rate": 0.2}, {"rate": 0.6}),
        ("make", {"start": "zeros"}, {"start": "ones"}),
        ("make", {}, {"name": "mine"}),
        ("branches", {"rate": 0.1}, {"rate": 0.2, "name": "mine"}),
    ],
)
def test_what_does_not_change_the_step_does_not_part_configurations(
    made: Make, function: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert made(function, one).kind == made(function, other).kind
    assert made(function, one).numbers.keys() == made(function, other).numbers.keys()


@pytest.mark.parametrize(
    ("function", "one", "other"),
    [
        ("make", {"units": 5}, {"units": 6}),
        ("make", {"activation": "relu"}, {"activation": "tanh"}),
        ("make", {"rate": 0.0}, {"rate": 0.2}),
        ("make", {"rate": 1.0}, {"rate": 0.2}),
        ("make", {}, {"frozen": True}),
        ("make", {}, {"penalty": "l2"}),
        ("branches", {}, {"crossed": True}),
        ("hidden", {"by": 2.0}, {"by": 3.0}),
        ("closed", {"by": 2.0}, {"by": 3.0}),
        ("adapted", {"by": 2.0}, {"by": 3.0}),
        ("subclassed", {"units": 5}, {"units": 6}),
    ],
)
def test_what_changes_the_step_parts_configurations(
    made: Make, function: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert made(function, one).kind != made(function, other).kind


@pytest.mark.parametrize("function", ["hidden", "closed", "adapted", "subclassed"])
def test_models_that_may_hide_something_are_known_by_their_parameters(made: Make, function: str) -> None:
    assert made(function).kind == made(function, optimizer={"name": "SGD", "learning_rate": 0.5}).kind


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"learning_rate": 0.1}, {"learning_rate": 0.2}, True),
        ({"momentum": 0.5}, {"momentum": 0.9}, True),
        ({"momentum": 0.0}, {"momentum": 0.9}, False),
        ({"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, False),
        ({"weight_decay": 0.1}, {"weight_decay": 0.01}, True),
        ({"weight_decay": 0.1}, {}, False),
        ({"clipnorm": 0.1}, {"clipnorm": 5.0}, True),
        ({"clipnorm": 0.1}, {"clipvalue": 0.1}, False),
        ({"loss_scale_factor": 2.0}, {"loss_scale_factor": 4.0}, False),
    ],
)
def test_optimizers(made: Make, one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    first, second = (made(optimizer={"name": "SGD", **options}) for options in (one, other))
    assert (first.kind == second.kind) == same
    assert made(optimizer={"name": "Adam", **{k: v for k, v in one.items() if "m" not in k[0]}}).kind != first.kind


def test_losses_part_configurations(made: Make) -> None:
    assert made(loss="sparse_categorical_crossentropy").kind != made(loss="mse").kind


def test_asking_changes_nothing(made: Make) -> None:
    found = made(parameters={"rate": 0.35}, optimizer={"name": "SGD", "momentum": 0.7})
    assert sorted(found.numbers.values()) == [0.35, 0.7]
    assert made(parameters={"rate": 0.35}, optimizer={"name": "SGD", "momentum": 0.7}) == found


def test_a_model_with_its_own_train_step_trains_alone(made: Make) -> None:
    with pytest.raises(HopError, match="own train_step"):
        made("trains")


def test_a_number_of_a_lane_computes_in_double_precision_as_python_does() -> None:
    number = LaneNumber(tf.constant(0.999, tf.float64), 0.0, 1.0)
    alone = 0.999
    for one, other in [(1 - number, 1 - alone), (number * 3, alone * 3), (2 / number, 2 / alone), (-number, -alone)]:
        assert float(one.value) == other
        assert tf.convert_to_tensor(one, tf.float32).numpy() == tf.constant(other, tf.float32).numpy()
    assert keras.ops.multiply(tf.constant(2.0), number).numpy() == tf.constant(2 * alone, tf.float32).numpy()


def test_a_number_of_a_lane_is_only_compared_where_all_lanes_agree() -> None:
    number = LaneNumber(tf.constant(0.5, tf.float64), 0.0, 1.0)
    assert number
    assert number > 0
    assert number != 1.0
    assert number < 1
    assert number is not None
    for unknown in (lambda: number > 0.5, lambda: number == 0.7, lambda: float(number), lambda: number < -number):
        with pytest.raises(TypeError, match="lane"):
            unknown()
