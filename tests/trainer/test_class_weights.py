"""Class weights: scikit-learn's balance, and Keras' effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from modelhopper_contract.errors import SpecError
from modelhopper_contract.records import Configuration
from modelhopper_trainer import seeds
from modelhopper_trainer.class_weights import class_weights
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.hop import HopTask, run_hop
from modelhopper_trainer.program import make_program
from tests.trainer.assembled import assembled, configuration, manifest

pytestmark = pytest.mark.xdist_group("tensorflow")

NAMES = ["a", "b", "c"]
X = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
LABELS = (np.arange(30) % 7 // 3).astype(np.uint8)
DESCRIBED = manifest({"x": X}, {"y": LABELS}, {"y": NAMES})


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_balanced_is_what_scikit_learn_computes(labels: list[int]) -> None:
    given_labels = np.array(labels, np.uint8)
    described = manifest({"x": np.zeros((len(labels), 1))}, {"y": given_labels}, {"y": list("abcde")})
    found = class_weights("balanced", described)
    assert found is not None
    present = np.unique(given_labels)
    expected = compute_class_weight("balanced", classes=present, y=given_labels)
    np.testing.assert_allclose(found[present], expected, rtol=1e-6)
    assert set(found[np.setdiff1d(np.arange(5), present)]) <= {1.0}


def test_a_class_without_a_weight_weighs_one() -> None:
    np.testing.assert_array_equal(class_weights({"b": 3.0}, DESCRIBED), [1, 3, 1])


def test_padding_classes_weigh_one() -> None:
    output = DESCRIBED.outputs[0].model_copy(update={"num_classes": 5})
    padded = DESCRIBED.model_copy(update={"outputs": (output,), "class_rows": {"y": (10, 10, 10, 0, 0)}})
    np.testing.assert_array_equal(class_weights({"a": 2.0}, padded), [2, 1, 1, 1, 1])
    np.testing.assert_array_equal(class_weights("balanced", padded), [1, 1, 1, 1, 1])


def test_no_weights_are_none() -> None:
    assert class_weights(None, DESCRIBED) is None


@pytest.mark.parametrize("classes", [[False, True], [0, 1], [0.5, 1.5], [None, "a"], ["no", "yes"], [-1, 10]])
def test_class_values_of_any_kind_are_keys_before_and_after_the_store(classes: list[Any]) -> None:
    described = manifest({"x": X[:2]}, {"y": np.array([0, 1], np.uint8)}, {"y": classes})
    one = configuration(class_weight={classes[0]: 2.0, classes[1]: 3.0})
    stored = Configuration.from_json(one.to_json())
    for each in (one, stored):
        np.testing.assert_array_equal(class_weights(each.fit["class_weight"], described), [2, 3])


def test_an_unknown_class_is_told() -> None:
    with pytest.raises(SpecError, match=r"`class_weight` is for z, and the classes are a, b, c") as found:
        class_weights({"z": 1.0}, DESCRIBED)
    assert found.value.path == ("class_weight",)


def test_numbers_have_no_class_weights() -> None:
    with pytest.raises(SpecError, match="for one output of classes"):
        class_weights("balanced", manifest({"x": X}, {"y": X[:, 0]}))


def test_an_encoded_label_s_classes_are_positions() -> None:
    described = manifest({"x": X}, {"y": np.eye(3, dtype=np.float32)[LABELS]})
    np.testing.assert_array_equal(class_weights({1: 4.0}, described), [1, 4, 1])
    with pytest.raises(SpecError, match="packed as classes"):
        class_weights("balanced", described)


@pytest.mark.parametrize("form", ["classes", "encoded", "sparse"])
def test_training_with_weights_is_training_with_keras_sample_weights(tmp_path: Path, form: str) -> None:
    (tmp_path / "models.py").write_text(
        "import keras\n\n\ndef mlp():\n"
        "    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, 'softmax')])\n"
    )
    one_hot = np.eye(3, dtype=np.float32)[LABELS]
    stored = one_hot if form == "encoded" else LABELS
    described = manifest({"x": X}, {"y": stored}, None if form == "encoded" else {"y": NAMES})
    loss = "sparse_categorical_crossentropy" if form == "sparse" else "categorical_crossentropy"
    one = configuration(loss=loss)
    weights = np.array([0.5, 2.0, 3.0], np.float32)
    ours, theirs = (assembled("models.py:mlp", tmp_path, described, one) for _ in range(2))
    run_hop(make_program(ours), Feed({"x": X, "y": stored}, 30), HopTask(1, one, 0, 0, weights), 0)
    model, targets = theirs.model, LABELS if form == "sparse" else one_hot
    (order,) = seeds.row_order(1, 1, 0, 30, 1, shuffle=True)
    for start in range(0, 30, 8):
        chosen = order[start : start + 8]
        model.train_on_batch(X[chosen], targets[chosen], sample_weight=weights[LABELS[chosen]])
    for mine, other in zip(ours.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-6)
