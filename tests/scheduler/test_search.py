"""Searches: which configurations, in which order, under which names."""

from __future__ import annotations

from typing import Any

import pytest

from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.records import Configuration
from modelhopper_scheduler.searches.configurations import configurations, varying
from tests.scheduler.planned import experiment_value


def searched(search: dict[str, Any], **changes: Any) -> list[Configuration]:
    experiment: Experiment = validated(Experiment, experiment_value(search=search, **changes))
    return configurations(experiment)


def grid(**space: Any) -> list[Configuration]:
    return searched({"method": "grid", "space": {"model": ["small"], **space}})


def listed(*choices: dict[str, Any], **changes: Any) -> list[Configuration]:
    return searched(
        {"method": "list", "configurations": [{"model": "small", **choice} for choice in choices]}, **changes
    )


def test_the_last_key_varies_fastest() -> None:
    found = grid(loss=["mse", "mae"], batch_size=[4, 8, 16])
    assert [(one.compile["loss"], one.fit["batch_size"]) for one in found] == [
        (loss, size) for loss in ("mse", "mae") for size in (4, 8, 16)
    ]


def test_configurations_are_numbered_from_one() -> None:
    assert [one.number for one in grid(batch_size=[4, 8, 16])] == [1, 2, 3]


def test_one_optimizer_s_parameters_never_meet_another() -> None:
    found = grid(
        optimizer=[
            {"name": "Adam", "learning_rate": [0.1, 0.01], "beta_1": [0.8, 0.9]},
            {"name": "SGD", "momentum": [0.0, 0.9]},
            "Lion",
        ]
    )
    optimizers = [one.compile["optimizer"] for one in found]
    assert optimizers == [
        *({"name": "Adam", "learning_rate": rate, "beta_1": beta} for rate in (0.1, 0.01) for beta in (0.8, 0.9)),
        {"name": "SGD", "momentum": 0.0},
        {"name": "SGD", "momentum": 0.9},
        {"name": "Lion"},
    ]


def test_a_model_s_parameters_expand_by_their_own_product() -> None:
    found = grid(model=["small", {"name": "deep", "units": [4, 8], "norm": [True, False]}])
    assert [one.parameters for one in found] == [
        {},
        *({"layers": 3, "units": units, "norm": norm} for units in (4, 8) for norm in (True, False)),
    ]


def test_a_search_s_parameter_wins_over_the_model_s() -> None:
    (found,) = grid(model=[{"name": "deep", "layers": [5]}])
    assert found.parameters == {"layers": 5}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"optimizer": "adam"}, {"optimizer": {"name": "Adam"}}),
        ({"batch_size": 32}, {}),
        ({"optimizer": {"name": "SGD", "momentum": 0.9}}, {"optimizer": {"momentum": 0.9, "name": "SGD"}}),
        ({"loss": "mse"}, {"loss": "mse"}),
    ],
)
def test_what_says_the_same_is_trained_once(one: dict[str, Any], other: dict[str, Any]) -> None:
    found = listed(one, other, {"batch_size": 5})
    assert [made.number for made in found] == [1, 2]


def test_what_is_said_outside_the_search_holds_for_all() -> None:
    found = listed({}, {"batch_size": 2}, fit={"batch_size": 7, "epochs": 3}, compile={"loss": "mae"})
    assert [(one.fit["batch_size"], one.fit["epochs"]) for one in found] == [(7, 3), (2, 3)]
    assert {one.compile["loss"] for one in found} == {"mae"}


def test_labels_hold_what_varies_and_no_more() -> None:
    found = listed({"batch_size": 4}, {"batch_size": 8, "optimizer": {"name": "SGD", "momentum": 0.9}})
    assert [one.name for one in found] == ["rmsprop  batch_size 4", "SGD  batch_size 8  momentum 0.9"]
    assert listed({})[0].name == "small"


def test_varying_tells_the_settings_by_number() -> None:
    found = listed({"batch_size": 4}, {"batch_size": 8})
    assert varying(found) == {1: {"batch_size": 4}, 2: {"batch_size": 8}}


@pytest.mark.parametrize(
    ("choice", "message", "path"),
    [
        ({"model": "smal"}, "`smal` is not one of the models: small, deep. Did you mean `small`?", "model"),
        ({"batch_size": 0}, "batch_size: input should be greater than 0, but 0 was given.", "batch_size"),
        ({"batch_size": "many"}, "batch_size: input should be a valid integer", "batch_size"),
        ({"class_weight": "balance"}, "class_weight", "class_weight"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(choice: dict[str, Any], message: str, path: str) -> None:
    with pytest.raises(SpecError) as found:
        listed({}, choice)
    assert message in str(found.value)
    assert found.value.path[:3] == ("search", "configurations", 1)
    assert path in found.value.path


def test_with_several_models_one_must_be_said() -> None:
    with pytest.raises(SpecError, match=r"there are 2 models \(small, deep\): say which in `model`"):
        searched({"method": "list", "configurations": [{"batch_size": 4}]})


def test_a_json_model_takes_no_parameters() -> None:
    models = {"plain": "plain.json"}
    with pytest.raises(SpecError, match=r"the model `plain` \(plain\.json\) takes no parameters: only a function does"):
        searched({"method": "grid", "space": {"model": [{"name": "plain", "layers": [1]}]}}, models=models)


@pytest.mark.parametrize("given", [{"layers": 3}, 5, None, ["small"]])
def test_a_model_that_is_no_name_is_a_mistake(given: object) -> None:
    with pytest.raises(SpecError):
        listed({"model": given})


@pytest.mark.parametrize("given", [{"learning_rate": 0.1}, {"name": None}])
def test_an_optimizer_without_a_name_still_makes_a_configuration_that_building_refuses(given: dict[str, Any]) -> None:
    assert listed({"optimizer": given})[0].compile["optimizer"] == given
