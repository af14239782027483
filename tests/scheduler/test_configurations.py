"""Searches: which configurations, in which order, under which names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelhopper_contract.decisions import Start
from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration, Origin
from modelhopper_scheduler.searches.configurations import chosen, configurations, started
from modelhopper_scheduler.searches.labels import varying
from tests.scheduler.planned import experiment_value


def searched(search: Any, **changes: Any) -> list[Configuration]:
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


def drawn(count: int, seed: int = 0, **space: Any) -> list[Configuration]:
    return searched({"method": "random", "configurations": count, "space": {"model": ["small"], **space}}, seed=seed)


def test_random_configurations_are_those_of_the_seed_and_all_different() -> None:
    space: dict[str, Any] = {
        "optimizer": [{"name": "SGD", "learning_rate": [0.1, 0.2, 0.3]}],
        "batch_size": {"linear": [1, 4]},
    }
    found = drawn(12, **space)
    assert [one.number for one in found] == list(range(1, 13))
    assert len({canonical_json([one.compile, one.fit]) for one in found}) == 12
    assert drawn(12, **space) == found
    assert [one.fit for one in drawn(12, seed=1, **space)] != [one.fit for one in found]


def test_fewer_random_configurations_are_the_first_of_more() -> None:
    space: dict[str, Any] = {
        "optimizer": [{"name": "SGD", "learning_rate": {"log": [1e-4, 0.1]}}],
        "batch_size": {"linear": [1, 400]},
    }
    assert [one.compile for one in drawn(5, **space)] == [one.compile for one in drawn(9, **space)][:5]


def test_ints_are_whole_in_a_drawn_configuration() -> None:
    model = {"name": "deep", "layers": {"linear": [2, 5]}, "rate": {"linear": [0, 1], "integer": False}}
    for one in drawn(20, model=[model], batch_size={"log": [4, 64]}, epochs={"linear": [1.0, 3.0]}):
        assert type(one.parameters["layers"]) is type(one.fit["batch_size"]) is type(one.fit["epochs"]) is int
        assert type(one.parameters["rate"]) is float


def test_values_that_mean_the_same_make_too_few_draws() -> None:
    with pytest.raises(SpecError, match="only 2 of the 3 configurations to be drawn differ") as found:
        drawn(3, optimizer=["adam", "Adam", "SGD"])
    assert found.value.path == ("search", "configurations")


def test_a_second_search_continues_the_numbering_without_what_is_there() -> None:
    first = {"method": "grid", "space": {"model": ["small"], "batch_size": [4, 8]}}
    second = {"method": "list", "configurations": [{"model": "small", "batch_size": size} for size in (8, 16, 4, 32)]}
    third = {"method": "random", "configurations": 3, "space": {"model": ["small"], "batch_size": {"linear": [1, 9]}}}
    found = searched([first, second, third])
    assert [one.number for one in found] == [1, 2, 3, 4, 5, 6, 7]
    assert [one.fit["batch_size"] for one in found[:4]] == [4, 8, 16, 32]
    assert len({one.fit["batch_size"] for one in found}) == 7
    assert searched([first, second]) == searched([first, second, second])


def test_a_mistake_in_a_second_search_is_told_with_its_place() -> None:
    first = {"method": "grid", "space": {"model": ["small"]}}
    second = {"method": "list", "configurations": [{"model": "smal"}]}
    with pytest.raises(SpecError) as found:
        searched([first, second])
    assert found.value.path == ("search", 1, "configurations", 0, "model")


def test_a_search_that_decides_later_has_no_configurations_before() -> None:
    with pytest.raises(SpecError, match="`hyperband` chooses configurations while others train"):
        searched({"method": "hyperband", "space": {"model": ["small"]}})


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        ({"name": "SGD", "learning_rate": 1}, {"learning_rate": 1.0, "name": "sgd"}, 1),
        ({"name": "SGD", "nesterov": True}, {"name": "SGD", "nesterov": 1}, 2),
        ({"name": "SGD", "learning_rate": 0.1}, {"name": "SGD"}, 2),
    ],
)
def test_an_optimizer_s_numbers_are_compared_as_numbers(one: dict[str, Any], other: dict[str, Any], count: int) -> None:
    assert len(listed({"optimizer": one}, {"optimizer": other})) == count


def test_a_model_s_whole_number_is_not_its_fraction() -> None:
    found = listed({"model": {"name": "deep", "layers": 2}}, {"model": {"name": "deep", "layers": 2.0}})
    assert len(found) == 2


SPACE = {
    "model": ["small", {"name": "deep", "units": {"linear": [1, 64]}, "a": [1, 2]}],
    "loss": ["mse"],
    "optimizer": [{"name": "SGD", "momentum": {"log_near_one": [0.5, 0.99999]}, "learning_rate": {"log": [1e-5, 1]}}],
    "batch_size": {"linear": [1, 64]},
}
CHOICE = {
    "batch_size": 7,
    "loss": "mse",
    "optimizer": {"momentum": 0.9998765432, "learning_rate": 0.0001234567, "name": "SGD"},
    "model": {"units": 3, "name": "deep", "a": 2},
}


def judged(**changes: Any) -> Configuration:
    search = {"method": "hyperband", "space": SPACE}
    experiment: Experiment = validated(Experiment, experiment_value(search=search, iterations=9))
    start = Start(**{"configuration": 4, "choice": CHOICE, "until": 1, "reason": "", **changes})
    return started(experiment, start)


def test_a_started_configuration_is_what_was_chosen_and_the_experiment_s_rest() -> None:
    found = judged()
    assert (found.number, found.model, found.parameters) == (4, "deep", {"layers": 3, "units": 3, "a": 2})
    assert found.compile["optimizer"] == CHOICE["optimizer"]
    assert found.fit == {"batch_size": 7, "epochs": 1, "shuffle": True, "class_weight": None}
    assert (found.origin, found.first_hop) == (None, 0)


def test_its_name_is_the_same_after_json_and_short() -> None:
    name = "deep  a 2  units 3  SGD  learning_rate 0.0001235  momentum 0.9998765  batch_size 7"
    assert judged().name == name
    assert judged(choice=json.loads(canonical_json(CHOICE))).name == name


def test_it_goes_on_from_another_of_its_own_run_only() -> None:
    assert judged(origin=Origin(configuration=2, hop=12)).first_hop == 12
    copied = judged(origin=Origin(experiment="earlier", configuration=2, hop=12))
    assert (copied.first_hop, copied.origin) == (0, Origin(experiment="earlier", configuration=2, hop=12))


def test_a_choice_that_cannot_be_is_told_with_its_place() -> None:
    with pytest.raises(SpecError) as found:
        judged(choice={"model": "small", "batch_size": 0})
    assert found.value.path == ("search", "space", "batch_size")


def test_chosen_counts_what_is_the_same_too() -> None:
    search = [
        {"method": "grid", "space": {"model": ["small"], "batch_size": [4, 4, 8]}},
        {"method": "list", "configurations": [{"model": "small", "batch_size": 4}]},
    ]
    experiment = validated(Experiment, experiment_value(search=search))
    assert (chosen(experiment), len(configurations(experiment))) == (4, 2)
