"""A model as users say it: its function's parameters, and beside them the weights it begins with and frozen layers."""

from __future__ import annotations

from typing import Any

import pytest

from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import Model, validated

CNN = "models.py:cnn"


def test_given_weights_and_frozen_layers_stand_beside_parameters() -> None:
    short = {"build": CNN, "layers": 3, "initial_weights": "base.keras", "frozen_layers": ["conv*", "stem"]}
    long = {"build": CNN, "parameters": {"layers": 3}, **{key: short[key] for key in list(short)[2:]}}
    made = validated(Model, short)
    assert made == validated(Model, long)
    assert made.parameters == {"layers": 3}
    assert (made.initial_weights, made.frozen_layers) == ("base.keras", ["conv*", "stem"])


def test_a_function_may_have_parameters_of_these_names_in_the_long_form() -> None:
    own = {"initial_weights": "zeros", "frozen_layers": 2}
    made = validated(Model, {"build": CNN, "parameters": own, "frozen_layers": ["stem"]})
    assert made.parameters == own
    assert (made.initial_weights, made.frozen_layers) == (None, ["stem"])


@pytest.mark.parametrize("build", ["model.json", "model.keras"])
def test_models_from_files_take_them_too(build: str) -> None:
    made = validated(Model, {"build": build, "initial_weights": "a/b.weights.h5", "frozen_layers": ["*"]})
    assert (made.parameters, made.initial_weights) == ({}, "a/b.weights.h5")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"build": CNN, "initial_weights": "base.pt"}, "`base.pt` is not a file of weights: give a `.keras` or a"),
        ({"build": CNN, "initial_weights": "base.h5"}, "of weights of Keras 3: load it with `keras.models.load_model`"),
        ({"build": CNN, "initial_weights": 3}, "initial_weights: input should be a valid string, but 3 was given"),
        ({"build": CNN, "frozen_layers": "conv*"}, "frozen_layers: input should be a valid list, but 'conv*'"),
        ({"build": CNN, "frozen_layers": [""]}, "frozen_layers.0: string should have at least 1 character"),
        ({"build": "a.json", "frozen_layer": ["a"]}, "only a function does. Did you mean `frozen_layers`?"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as found:
        validated(Model, given)
    assert message in str(found.value)
