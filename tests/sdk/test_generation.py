"""generate_model_configs: MADlib's parameters and forms, and lists that an experiment takes."""

from __future__ import annotations

from typing import Any

import pytest

import modelhopper as mh
from modelhopper_contract.errors import SpecError
from modelhopper_scheduler.searches.configurations import configurations

GRID = {
    "optimizer_params_list": [
        {"optimizer": ["Adam", "SGD"], "lr": [0.1, 0.01]},
        {"optimizer": ["SGD"], "learning_rate": [0.5], "momentum": [0.9, 0.95]},
        {"decay": [0.1]},
    ],
    "loss": ["categorical_crossentropy"],
    "metrics": ["accuracy"],
}
FIT = {"batch_size": [4, 8], "epochs": [1]}
RANGES = {
    "optimizer_params_list": [
        {"optimizer": ["Adam"], "lr": [0.0001, 0.1, "log"], "beta_1": [0.9, 0.999, "log_near_one"]},
        {"optimizer": ["SGD"], "lr": [0.1, 1.0, "LINEAR"]},
    ]
}


def generated(**changes: Any) -> list[dict[str, Any]]:
    given = {"models": ["small", "deep"], "compile_params_grid": GRID, "fit_params_grid": FIT, **changes}
    found: list[dict[str, Any]] = mh.generate_model_configs(**given)
    return found


def test_each_dictionary_expands_by_itself_times_all_else() -> None:
    found = generated()
    assert len(found) == 2 * (2 * 2 + 2 + 1) * 2
    assert found[0] == {
        "model": "small",
        "optimizer": {"name": "Adam", "learning_rate": 0.1},
        "loss": "categorical_crossentropy",
        "metrics": ["accuracy"],
        "batch_size": 4,
        "epochs": 1,
    }
    assert {"name": "RMSprop", "decay": 0.1} in [one["optimizer"] for one in found]


def test_a_list_is_what_explicit_takes_and_two_can_be_joined() -> None:
    twice = generated() + generated(fit_params_grid={"batch_size": [8, 16]})
    experiment = mh.Experiment(
        name="generated",
        data=mh.Data(train="train"),
        models={"small": "models.py:mlp", "deep": "models.py:mlp"},
        search=mh.Explicit(twice),
    )
    assert len(configurations(experiment)) == 2 * 7 * 3


def test_what_says_the_same_is_there_once() -> None:
    grid = {"optimizer_params_list": [{"optimizer": ["adam", "Adam"], "lr": [1, 1.0]}]}
    assert len(generated(models=["small", "small"], compile_params_grid=grid, fit_params_grid={})) == 1


@pytest.mark.parametrize("kind", ["random", "RAND", "r"])
def test_random_draws_from_madlib_s_ranges(kind: str) -> None:
    found = generated(
        compile_params_grid=RANGES, fit_params_grid={"batch_size": [4, 64, "log"]}, search_type=kind, num_configs=40
    )
    assert len(found) == 40
    for one in found:
        assert type(one["batch_size"]) is int
        low, high = (0.0001, 0.1) if one["optimizer"]["name"] == "Adam" else (0.1, 1.0)
        assert low <= one["optimizer"]["learning_rate"] <= high
        assert ("beta_1" in one["optimizer"]) == (one["optimizer"]["name"] == "Adam")


def test_random_is_decided_by_the_seed_and_0_is_one() -> None:
    def drawn(seed: int | None) -> list[dict[str, Any]]:
        return generated(compile_params_grid=RANGES, search_type="random", num_configs=5, random_state=seed)

    assert drawn(0) == drawn(0) == drawn(None) != drawn(1)


def test_random_without_repetition_finds_every_point() -> None:
    found = generated(search_type="random", num_configs=28)
    assert sorted(map(str, found)) == sorted(map(str, generated()))


def test_today_s_forms_are_taken_too() -> None:
    found = generated(
        models=[{"name": "deep", "layers": [2, 3]}],
        compile_params_grid={"optimizer": [{"name": "SGD", "momentum": mh.log_near_one(0.5, 0.99)}, "Adam"]},
        fit_params_grid={"batch_size": mh.linear(1, 100)},
        search_type="random",
        num_configs=20,
    )
    assert {one["model"]["layers"] for one in found} == {2, 3}
    assert any(one["optimizer"] == "Adam" for one in found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_configs": 3}, "`num_configs` is 3, and a grid takes every combination"),
        ({"random_state": 0}, "`random_state` is 0, and a grid takes every combination"),
        ({"search_type": "random"}, "a random search needs `num_configs`, a whole number above 0, but None was given"),
        ({"search_type": "random", "num_configs": 0}, "but 0 was given"),
        ({"search_type": "random", "num_configs": 3, "random_state": 0.5}, "`random_state` is a whole number or None"),
        ({"search_type": "random", "num_configs": 29}, "num_configs is 29, and the space has only 28 different ones"),
        ({"search_type": "gird"}, "but `gird` was given. Did you mean `grid`?"),
        ({"search_type": ""}, "search_type is `grid` or `random`"),
        ({"compile_params_grid": RANGES}, "`learning_rate` is a range, [0.0001, 0.1, 'log'], and a grid takes every"),
        ({"fit_params_grid": {"batch_size": mh.linear(1, 4)}}, "`batch_size` is a range"),
        ({"fit_params_grid": {"batchsize": [1]}}, "Did you mean `batch_size`?"),
        ({"fit_params_grid": [1]}, "fit_params_grid is a dictionary of lists of values, but [1] was given"),
        ({"compile_params_grid": {"lr": [1]}}, "An optimizer's parameters stand inside optimizer_params_list."),
        ({"compile_params_grid": {"optimizer_params_list": [{}]}}, "optimizer_params_list is a list of dictionaries"),
        ({"compile_params_grid": {"optimizer_params_list": ["SGD"]}}, "but it holds 'SGD'"),
        ({"compile_params_grid": {**GRID, "optimizer": ["SGD"]}}, "`optimizer` stands inside optimizer_params_list"),
        ({"compile_params_grid": {"optimizer_params_list": [{"lr": [1], "learning_rate": [1]}]}}, "by two names"),
        ({"compile_params_grid": {"loss": []}}, "`loss` has no values: give at least one"),
    ],
)
def test_a_mistake_is_one_clear_message(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as found:
        generated(**changes)
    assert message in str(found.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [0.1, 1.0, "lineer"],
            "'lineer' is not a scale of a range: use linear, log, log_near_one. Did you mean `linear`?",
        ),
        ([0.1, "log"], "a range is [low, high, 'log'], but [0.1, 'log'] was given"),
        ([0.1, 0.2, 0.3, "log"], "a range is [low, high, 'log']"),
        ([1.0, 0.1, "log"], "below the high one"),
    ],
)
def test_a_wrong_range_is_told(values: list[Any], message: str) -> None:
    with pytest.raises(SpecError) as found:
        generated(
            compile_params_grid={"optimizer_params_list": [{"optimizer": ["SGD"], "lr": values}]},
            search_type="random",
            num_configs=3,
        )
    assert message in str(found.value)


def test_a_list_that_ends_in_a_text_is_no_range() -> None:
    grid = {"optimizer_params_list": [{"optimizer": ["SGD"], "x": [0.1, 0.2, "auto"]}]}
    assert len(generated(models="small", compile_params_grid=grid, fit_params_grid={})) == 3
