"""Stored rows become what a model takes, and what does not fit is told with both shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from modelhopper_contract.errors import SpecError
from modelhopper_trainer.encoding import Form
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.hop import HopTask, run_hop
from modelhopper_trainer.program import make_program
from tests.trainer.assembled import assembled, configuration, manifest

pytestmark = pytest.mark.xdist_group("tensorflow")

MODELS = """
import keras
from keras import layers


def words_and_image(dtype="int32"):
    words = keras.Input((3,), dtype=dtype, name="words")
    image = keras.Input((4, 4, 1), name="image")
    read = layers.Flatten()(layers.Embedding(20, 2)(words))
    seen = layers.Flatten()(layers.Conv2D(2, 3)(image))
    both = layers.Concatenate()([read, seen])
    return keras.Model(
        {"words": words, "image": image},
        {"kind": layers.Dense(3, "softmax", name="kind")(both), "size": layers.Dense(1, name="size")(both)},
    )


def as_lists():
    model = words_and_image()
    inputs, outputs = model.input, model.output
    return keras.Model([inputs["words"], inputs["image"]], [outputs["size"], outputs["kind"]])


def mlp(units=3, width=4):
    return keras.Sequential([keras.Input((width,)), layers.Dense(units)])


def any_width():
    return keras.Sequential([keras.Input((None, 2)), layers.GlobalAveragePooling1D(), layers.Dense(1)])


def numbers():
    x = keras.Input((1,), dtype="int32", name="another name")
    return keras.Model(x, layers.Lambda(lambda x: keras.ops.cast(x % 10, "float32"))(x))


class Free(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = layers.Dense(3)

    def call(self, x):
        return self.out(x)
"""

rng = np.random.default_rng(2)
WORDS = rng.integers(0, 20, (20, 3)).astype(np.int32)
IMAGES = rng.integers(0, 256, (20, 4, 4, 1)).astype(np.uint8)
KINDS = rng.integers(0, 3, 20).astype(np.uint8)
SIZES = rng.normal(size=20).astype(np.float32)
TWO: dict[str, Any] = {
    "loss": {"kind": "categorical_crossentropy", "size": "mse"},
    "metrics": {"kind": ["accuracy"], "size": ["mae"]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    (path / "models.py").write_text(MODELS)
    return path


def test_whole_numbers_stay_whole_and_pixels_are_scaled(folder: Path) -> None:
    described = manifest(
        {"words": WORDS, "image": IMAGES}, {"kind": KINDS, "size": SIZES}, {"kind": "abc"}, normalize=255.0
    )
    made = assembled("models.py:words_and_image", folder, described, configuration(**TWO))
    fields = {"words": tf.constant(WORDS), "image": tf.constant(IMAGES)}
    found = made.encoding.encode_inputs(fields)
    assert found["words"].dtype == tf.int32
    np.testing.assert_array_equal(found["words"], WORDS)
    np.testing.assert_array_equal(found["image"], IMAGES.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("build", ["words_and_image", "as_lists"])
def test_two_inputs_and_two_outputs_are_trained_and_evaluated(folder: Path, build: str) -> None:
    described = manifest(
        {"words": WORDS, "image": IMAGES}, {"kind": KINDS, "size": SIZES}, {"kind": "abc"}, normalize=255.0
    )
    one = configuration(**TWO)
    made = assembled(f"models.py:{build}", folder, described, one)
    feed = Feed({"words": WORDS, "image": IMAGES, "kind": KINDS, "size": SIZES}, 20)
    evaluator, program = Evaluator(made), make_program(made)
    before = evaluator.merge([evaluator.evaluate(feed.stored())])
    for hop in range(5):
        run_hop(program, feed, HopTask(1, one, hop, 0), 0)
    after = evaluator.merge([evaluator.evaluate(feed.stored())])
    assert set(after) == {"loss", "kind_loss", "size_loss", "kind_accuracy", "size_mae"}
    assert after["loss"] < before["loss"]
    assert after["loss"] == pytest.approx(after["kind_loss"] + after["size_loss"], rel=1e-6)


def test_a_single_input_of_whole_numbers_keeps_large_ones_whatever_it_is_called(folder: Path) -> None:
    """float32 holds no odd number above 2**24."""
    x = np.full((4, 1), 2**24 + 1, np.int32)
    described = manifest({"x": x}, {"y": np.zeros(4, np.float32)})
    made = assembled("models.py:numbers", folder, described, configuration())
    np.testing.assert_array_equal(made.model(made.encoding.encode_inputs({"x": tf.constant(x)})), x % 10)


@pytest.mark.parametrize(
    ("units", "classes", "loss", "form"),
    [
        (3, "abc", "categorical_crossentropy", Form.ONE_HOT),
        (3, "abc", "sparse_categorical_crossentropy", Form.INDEX),
        (3, "abc", {"name": "SparseCategoricalCrossentropy", "from_logits": True}, Form.INDEX),
        (1, "ab", "binary_crossentropy", Form.BINARY),
        (2, "ab", "binary_crossentropy", Form.ONE_HOT),
    ],
)
def test_classes_take_the_form_that_loss_and_units_ask_for(
    folder: Path, units: int, classes: str, loss: Any, form: Form
) -> None:
    (folder / f"m{units}.py").write_text(MODELS.replace("units=3", f"units={units}"))
    described = manifest({"x": np.zeros((4, 4), np.float32)}, {"y": np.array([0, 1, 0, 1], np.uint8)}, {"y": classes})
    made = assembled(f"m{units}.py:mlp", folder, described, configuration(loss=loss))
    assert made.encoding.forms == (form,)


@pytest.mark.parametrize(
    ("build", "x", "y", "classes", "message"),
    [
        ("mlp", (5, 7), KINDS, "abc", "the model takes inputs of shape (4,), and the data's `x` has (7,)"),
        ("mlp", (5, 4, 1), KINDS, "abc", "the model takes inputs of shape (4,), and the data's `x` has (4, 1)"),
        ("mlp", (5, 4), KINDS, "abcd", "has 3 units, and the data has 4 classes (a, b, c, d): give the last layer 4"),
        ("mlp", (5, 4), SIZES, None, "the model's output `y` has 3 units, and the data's label has 1"),
        ("any_width", (5, 9, 3), SIZES, None, "shape (None, 2), and the data's `x` has (9, 3)"),
        ("words_and_image", (5, 4), KINDS, "abc", "the model has the inputs image, words, and the data has x"),
    ],
)
def test_what_does_not_fit_is_told_with_both_shapes(
    folder: Path, build: str, x: tuple[int, ...], y: Any, classes: str | None, message: str
) -> None:
    described = manifest({"x": np.zeros(x, np.float32)}, {"y": y[: x[0]]}, {"y": classes} if classes else None)
    with pytest.raises(SpecError) as found:
        assembled(f"models.py:{build}", folder, described, configuration())
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_an_unknown_size_of_the_model_takes_any(folder: Path) -> None:
    described = manifest({"x": np.zeros((5, 9, 2), np.float32)}, {"y": SIZES[:5]})
    assert assembled("models.py:any_width", folder, described, configuration()).encoding.forms == (Form.AS_STORED,)


def test_a_subclassed_model_takes_what_the_data_has(folder: Path) -> None:
    described = manifest({"x": np.zeros((5, 6), np.float32)}, {"y": KINDS[:5]}, {"y": "abc"})
    made = assembled("models.py:Free", folder, described, configuration(loss="categorical_crossentropy"))
    assert made.model.count_params() == 6 * 3 + 3


def test_the_wrong_number_of_outputs_is_told(folder: Path) -> None:
    described = manifest({"x": np.zeros((5, 4), np.float32)}, {"a": SIZES[:5], "b": SIZES[:5]})
    with pytest.raises(SpecError, match="the model has 1 outputs, and the data has 2: a, b"):
        assembled("models.py:mlp", folder, described, configuration())
