"""Searches as Python parts: the same values and messages as in a file, and the same file again."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

import modelhopper as mh
from modelhopper.command.schema import experiment_schema
from modelhopper_contract.errors import SpecError
from modelhopper_contract.spaces import CHOICE_KEYS
from tests.scheduler.planned import experiment_value

RATE = {"name": "SGD", "learning_rate": mh.log(1e-4, 0.1), "momentum": mh.log_near_one(0.5, 0.99)}
SPACE: dict[str, Any] = {"optimizer": [RATE, "Adam"], "batch_size": mh.linear(4, 64, integer=True)}

SEARCHES: list[tuple[Any, dict[str, Any] | list[Any]]] = [
    (mh.Random(configurations=3, **SPACE), {"method": "random", "configurations": 3}),
    (mh.Hyperband(eta=4, skip_last=1, **SPACE), {"method": "hyperband", "eta": 4, "skip_last": 1}),
    (mh.Halving(configurations=9, **SPACE), {"method": "halving", "configurations": 9}),
    (mh.Asha(configurations=9, first=2, **SPACE), {"method": "asha", "configurations": 9, "first": 2}),
    (mh.Median(configurations=9, grace=2, **SPACE), {"method": "median", "configurations": 9, "grace": 2}),
    (mh.Tpe(configurations=9, parallel=2, **SPACE), {"method": "tpe", "configurations": 9, "parallel": 2}),
    (
        mh.Optuna(configurations=9, sampler="GPSampler", options={"deterministic_objective": True}, **SPACE),
        {
            "method": "optuna",
            "configurations": 9,
            "sampler": "GPSampler",
            "options": {"deterministic_objective": True},
        },
    ),
    (
        mh.Pbt(configurations=4, factors=[0.5, 2.0], **SPACE),
        {"method": "pbt", "configurations": 4, "factors": [0.5, 2.0]},
    ),
    (mh.Custom("mine.py:Mine", space=SPACE, patience=3), {"method": "mine.py:Mine", "patience": 3}),
]


def experiment(search: Any) -> mh.Experiment:
    return mh.Experiment(**experiment_value(search=search, iterations=81))


@pytest.mark.parametrize(("part", "written"), SEARCHES)
def test_a_part_says_what_a_file_says_and_becomes_one(part: Any, written: dict[str, Any]) -> None:
    made = experiment(part)
    assert made == experiment({**written, "space": SPACE})
    text = yaml.safe_load(made.to_yaml())
    assert {key: value for key, value in text["search"].items() if key != "space"} == written
    assert mh.Experiment(**text) == made


def test_several_searches_are_a_list_in_python_and_in_the_file() -> None:
    made = experiment([mh.Grid(batch_size=[4, 8]), mh.Random(configurations=3, **SPACE)])
    text = yaml.safe_load(made.to_yaml())
    assert [one["method"] for one in text["search"]] == ["grid", "random"]
    assert mh.Experiment(**text) == made


def test_the_space_is_given_by_keywords_or_as_a_whole() -> None:
    assert mh.Random(configurations=3, **SPACE) == mh.Random(configurations=3, space=SPACE)
    with pytest.raises(SpecError, match="give the space as `space`, or as keywords"):
        mh.Random(configurations=3, space={}, batch_size=[4])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mh.Random(bach_size=[4], configurations=1), "`bach_size` is not a key of random: use space"),
        (lambda: mh.Random(batch_size=[4]), "random needs `configurations`: how many, such as"),
        (lambda: mh.Random(configurations=1, batch_size=mh.linear(8, 4)), "write {linear: [4, 8]}"),
        (lambda: mh.Hyperband(eta=1, batch_size=[4]), "eta: input should be greater than 1, but 1 was given"),
        (lambda: mh.Asha(configurations=3, skip_last=1, space={}), "It is a key of hyperband."),
        (lambda: mh.Custom("mine"), "`mine` is not a class of yours: give file.py:Class"),
        (lambda: mh.Grid(batch_size=mh.linear(4, 8)), "a grid takes every value of a list"),
    ],
)
def test_a_mistake_in_a_part_is_one_clear_message(make: Any, message: str) -> None:
    with pytest.raises(SpecError) as found:
        make()
    assert message in str(found.value)


def validator() -> Any:
    return pytest.importorskip("jsonschema").Draft202012Validator(experiment_schema())


def errors(search: Any) -> list[Any]:
    return list(validator().iter_errors(experiment_value(search=search, iterations=81)))


@pytest.mark.parametrize("written", [written for _, written in SEARCHES])
def test_the_schema_accepts_every_search(written: dict[str, Any]) -> None:
    assert errors({**written, "space": SPACE}) == []


def test_the_schema_accepts_several_searches() -> None:
    assert errors([{"method": "grid", "space": {}}, {"method": "list", "configurations": [{"batch_size": 4}]}]) == []


@pytest.mark.parametrize(
    "search",
    [
        {"method": "random", "space": {}},
        {"method": "grid", "space": {"batch_size": {"linear": [4, 8]}}},
        {"method": "hyperband", "space": {}, "etta": 3},
        {"method": "random", "configurations": 3, "space": {"batch_size": {"linear": [4]}}},
        {"method": "random", "configurations": 3, "space": {"batch_size": {"lin": [4, 8]}}},
        {"method": "random", "configurations": 3, "space": {"batchsize": [4]}},
        {"method": "gird", "space": {}},
        [{"method": "asha", "configurations": 3, "space": {}}],
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(search: Any) -> None:
    assert errors(search) != []
    with pytest.raises(SpecError):
        experiment(search)


def test_the_schema_describes_every_key_of_a_search() -> None:
    parts = experiment_schema()["$defs"]
    for name in ("Grid", "Explicit", "Random", "Hyperband", "Halving", "Asha", "Median", "Optuna", "Pbt", "Custom"):
        for key, value in parts[name]["properties"].items():
            assert key == "space" or value.get("description"), (name, key)
    assert all(parts["Space"]["properties"][key]["description"] for key in CHOICE_KEYS)
