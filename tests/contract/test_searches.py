"""Searches and their spaces as users say them: ranges in their normal form, and one message for each mistake."""

from __future__ import annotations

from typing import Any

import pytest

from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.searches import Custom, Grid, Random, Several
from tests.scheduler.planned import experiment_value

SGD = "optimizer", 0, "learning_rate"


def read(search: Any) -> Any:
    return validated(Experiment, experiment_value(search=search)).search


def random(space: dict[str, Any], configurations: int = 1) -> dict[str, Any]:
    return {"method": "random", "configurations": configurations, "space": space}


def rate(value: Any) -> dict[str, Any]:
    return random({"optimizer": [{"name": "SGD", "learning_rate": value}]})


def units(value: Any) -> dict[str, Any]:
    return random({"model": [{"name": "small", "units": value}]})


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ({"linear": [4, 64]}, {"linear": [4, 64], "integer": True}),
        ({"linear": [1.0, 1e3]}, {"linear": [1, 1000], "integer": True}),
        ({"log": (4, 64), "integer": True}, {"log": [4, 64], "integer": True}),
        (4, [4]),
        ((4, 8), [4, 8]),
    ],
)
def test_batch_sizes_are_whole(given: Any, normal: Any) -> None:
    assert read(random({"batch_size": given})).space == {"batch_size": normal}


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ({"linear": [1, 4]}, {"linear": [1, 4], "integer": True}),
        ({"linear": [1.0, 4]}, {"linear": [1.0, 4], "integer": False}),
        ({"linear": [1, 4], "integer": False}, {"linear": [1, 4], "integer": False}),
        ({"linear": [1.0, 4.0], "integer": True}, {"linear": [1, 4], "integer": True}),
        ({"any": [1, 4]}, {"any": [1, 4]}),
        ({"linear": 4, "conv": 2}, {"linear": 4, "conv": 2}),
        ({"lines": [3, 4]}, {"lines": [3, 4]}),
        ([[1, 2], [3]], [[1, 2], [3]]),
        (3, 3),
    ],
)
def test_a_model_s_parameter_is_whole_where_both_bounds_are_written_so(given: Any, normal: Any) -> None:
    assert read(units(given)).space["model"][0]["units"] == normal


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ({"log": [1e-4, 1]}, {"log": [1e-4, 1]}),
        ({"linear": [1, 4]}, {"linear": [1, 4]}),
        ({"linear": [1, 4], "integer": True}, {"linear": [1, 4], "integer": True}),
        ({"log_near_one": [0, 0.99]}, {"log_near_one": [0, 0.99]}),
        ({"name": "CosineDecay", "decay_steps": 9}, {"name": "CosineDecay", "decay_steps": 9}),
    ],
)
def test_an_optimizer_s_parameter_is_whole_on_request_only(given: Any, normal: Any) -> None:
    assert read(rate(given)).space["optimizer"][0]["learning_rate"] == normal


def test_the_normal_form_is_its_own_normal_form() -> None:
    space = {
        "model": ["small", {"name": "small", "a": {"linear": [1, 4]}, "b": {"linear": [0.5, 4]}, "c": [1, 2]}],
        "optimizer": {"name": "SGD", "learning_rate": {"log": [1e-4, 1]}, "momentum": {"log_near_one": [0.5, 0.99]}},
        "loss": {"linear": "mse", "log": "mae"},
        "loss_weights": {"linear": 0.5},
        "batch_size": {"log": [4, 64]},
    }
    once = read(random(space))
    assert read(once.model_dump()) == once
    made: Experiment = validated(Experiment, experiment_value(search=once))
    assert Experiment.model_validate_json(made.model_dump_json()) == made


def test_dictionaries_by_output_are_no_ranges() -> None:
    space = {"loss": [{"linear": "mse", "log": "mae"}], "metrics": [{"linear": ["mse", "mae"]}]}
    assert read(random(space)).space == space


MISTAKES: list[tuple[Any, str, tuple[str | int, ...]]] = [
    (rate({"logg": [1e-4, 1]}), "`logg` is not a key of a range: use linear, log, log_near_one, integer.", SGD),
    (rate({"logg": [1e-4, 1]}), "Did you mean `log`? A range is {linear: [low, high]}", SGD),
    (rate({"log": [1e-4, 1], "int": True}), "`int` is not a key of a range", SGD),
    (rate({"log": [1e-4, 1], "linear": [0, 1]}), "a range has one scale, but linear and log was given", SGD),
    (rate({"integer": True}), "a range has one scale, but none was given", SGD),
    (rate({"log": [1e-4]}), "two numbers, {log: [low, high]}, but [0.0001] was given", SGD),
    (rate({"log": 1e-4}), "two numbers, {log: [low, high]}, but 0.0001 was given", SGD),
    (rate({"log": [1, 2, 3]}), "two numbers, {log: [low, high]}, but [1, 2, 3] was given", SGD),
    (rate({"log": ["a", 2]}), "bounds of a range are finite numbers, but 'a' was given", SGD),
    (rate({"log": [False, True]}), "finite numbers, but False was given", SGD),
    (rate({"linear": [0, float("inf")]}), "finite numbers, but inf was given", SGD),
    (rate({"linear": [0, float("nan")]}), "finite numbers, but nan was given", SGD),
    (rate({"linear": [2, 1]}), "below the high one, but [2, 1] was given: write {linear: [1, 2]}", SGD),
    (rate({"linear": [1, 1]}), "below the high one, but [1, 1] was given: give that number alone", SGD),
    (rate({"log": [0, 1]}), "a logarithmic range lies above 0, but it begins at 0", SGD),
    (rate({"log_near_one": [0.5, 1]}), "log_near_one is for numbers from 0 to below 1, but [0.5, 1] was given", SGD),
    (rate({"log_near_one": [-1, 0.5]}), "log_near_one is for numbers from 0 to below 1", SGD),
    (rate({"log": [1e-4, 1], "integer": True}), "a range of whole numbers has whole bounds, but [0.0001, 1]", SGD),
    (rate({"log": [1, 4], "integer": "yes"}), "`integer` is true or false, but 'yes' was given", SGD),
    (rate([0.1, {"log": [1e-4, 1]}]), "a range inside a list: give the range alone", SGD),
    (rate([1e-4, 0.1, "log"]), "as a range, write {log: [0.0001, 0.1]}", SGD),
    (rate([]), "`learning_rate` has no values: give at least one", SGD),
    (rate({"name": "X", "rate": {"log": [1e-4, 1]}}), "`rate` inside `learning_rate` is a range", SGD),
    (random({"optimizer": [{"name": {"linear": [1, 2]}}]}), "`name` cannot be a range", ("optimizer", 0, "name")),
    (random({"optimizer": {"linear": [1, 2]}}), "`optimizer` cannot be a range", ("optimizer",)),
    (random({"optimizer": [{"linear": [1, 2]}]}), "`optimizer` cannot be a range", ("optimizer", 0)),
    (random({"optimizer": ["SGD", {}]}), "`optimizer` has an empty dictionary among its values", ("optimizer", 1)),
    (
        random({"jit_compile": {"linear": [0, 1]}}),
        "`jit_compile` cannot be a range: only numbers can",
        ("jit_compile",),
    ),
    (
        random({"batch_size": {"linear": [0, 8]}}),
        "`batch_size` is always a whole number: give bounds of 1",
        ("batch_size",),
    ),
    (random({"epochs": {"linear": [1, 8], "integer": False}}), "`epochs` is always a whole number", ("epochs",)),
    (random({"epochs": {"linear": [1.5, 8]}}), "a range of whole numbers has whole bounds", ("epochs",)),
    (random({"batch_size": {"lin": [1, 8]}}), "`lin` is not a key of a range", ("batch_size",)),
    (units({"linar": [1, 8]}), "`linar` is not a key of a range", ("model", 0, "units")),
    (units({"linear": [1, 8, 9]}), "the bounds of a range are two numbers", ("model", 0, "units")),
]


@pytest.mark.parametrize(("search", "message", "path"), MISTAKES)
def test_a_mistake_in_a_space_is_told_with_its_place(search: Any, message: str, path: tuple[str | int, ...]) -> None:
    with pytest.raises(SpecError) as found:
        read(search)
    assert message in str(found.value)
    assert "\n" not in str(found.value)
    assert found.value.path == ("search", "space", *path)


@pytest.mark.parametrize(
    ("search", "message", "path"),
    [
        (
            {"method": "grid", "space": {"batch_size": {"log": [4, 64]}}},
            "`batch_size` is a range, {log: [4, 64]}, and a grid takes every value of a list: give a list, or draw",
            ("space", "batch_size"),
        ),
        (
            {"method": "list", "configurations": [{}, {"optimizer": {"name": "SGD", "momentum": {"linear": [0, 1]}}}]},
            "`momentum` is a range, and a list of configurations holds their values",
            ("configurations", 1, "optimizer", "momentum"),
        ),
        ({"method": "random", "space": {}}, "random needs `configurations`: how many", ()),
        ({"method": "grid"}, "grid needs `space`: what varies", ()),
        ({"method": "list"}, "list needs `configurations`: a list of at least one", ()),
        (random({}, 0), "configurations: input should be greater than 0, but 0 was given", ("configurations",)),
        ({**random({}), "eta": 3}, "`eta` is not a key of random: use space, configurations. It is a key of", ("eta",)),
        ({**random({}), "eta": 3}, "It is a key of hyperband, halving, asha.", ("eta",)),
        ({**random({}), "spce": {}}, "Did you mean `space`?", ("spce",)),
        ({"method": "grid", "batch_size": [4]}, "What varies stands inside `space`.", ("batch_size",)),
        ({"method": "grid", "batch_size": [4], "space": {}}, "What varies stands inside `space`.", ("batch_size",)),
        (random({"batch_size": [4, 8]}, 3), "`configurations` is 3, and the space has only 2", ("configurations",)),
        ({"method": "hyperbnd", "space": {}}, "Did you mean `hyperband`?", ("method",)),
        ({"method": "search.py:a b"}, "`search.py:a b` is not a search method", ("method",)),
        (
            {"method": "tpe", "configurations": 2, "space": {}, "sampler": "GPSampler"},
            "use `method: optuna`",
            ("sampler",),
        ),
        (
            {"method": "halving", "configurations": 3, "space": {"batch_size": [4, 8]}},
            "the space has only 2",
            ("configurations",),
        ),
        ([], "the list of searches is empty", ()),
        ({"method": "pbt", "configurations": 4, "factors": [0], "space": {}}, "greater than 0", ("factors", 0)),
        ([random({}), {"method": "asha", "space": {}}], "`asha` decides while configurations train", (1, "method")),
        ([random({}), {"method": "gird"}], "`gird` is not a search method", (1, "method")),
        ([random({}), [random({})]], "a list of searches cannot hold another list", (1,)),
        ([{"method": "grid", "space": {"epochs": []}}], "`epochs` has no values", (0, "space", "epochs")),
        ([random({}), {"method": "grid", "space": {}, "eta": 3}], "`eta` is not a key of grid", (1, "eta")),
        ("grid", "a search is a mapping with a `method`, or a list of them, but 'grid' was given", ()),
    ],
)
def test_a_mistake_in_a_search_is_told_with_its_place(search: Any, message: str, path: tuple[str | int, ...]) -> None:
    with pytest.raises(SpecError) as found:
        read(search)
    assert message in str(found.value)
    assert found.value.path == ("search", *path)


def test_a_list_of_searches_is_several() -> None:
    grid = {"method": "grid", "space": {"batch_size": [4]}}
    made = read([grid, random({"batch_size": [4, 8]}, 2)])
    assert made == Several(searches=[Grid(batch_size=[4]), Random(configurations=2, space={"batch_size": [4, 8]})])
    assert read(made.model_dump()) == made


def test_a_search_of_one_s_own_keeps_its_options() -> None:
    made = read({"method": "mine.py:Mine", "space": {"batch_size": {"linear": [1, 4]}}, "patience": 3})
    assert isinstance(made, Custom)
    assert made.options == {"patience": 3}
    assert made.space == {"batch_size": {"linear": [1, 4], "integer": True}}


def test_a_name_that_is_also_a_method_s_stays_in_the_path_of_a_mistake() -> None:
    with pytest.raises(SpecError) as found:
        validated(Experiment, experiment_value(models={"random": "models.py"}))
    assert found.value.path == ("models", "random", "build")
