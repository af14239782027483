"""Planning a run is work in proportion to its configurations, and little of it: counted in calls, not in seconds."""

from __future__ import annotations

import cProfile
from collections.abc import Callable

import pytest

from modelhopper_contract.experiment import Experiment
from modelhopper_contract.names import Names
from modelhopper_contract.progress import Progress
from modelhopper_contract.specification import Specification
from modelhopper_scheduler.offsets import offsets
from modelhopper_scheduler.resumption import due_tokens
from modelhopper_scheduler.searches.making import planned

SHARDS = 64
RATES = {"log": [1e-5, 1e-1]}


def specification(search: dict[str, object]) -> Specification:
    experiment = Experiment.model_validate(
        {
            "name": "big",
            "data": {"train": "data"},
            "models": {"deep": {"build": "model.py:deep"}, "wide": {"build": "model.py:wide"}},
            "compile": {"loss": "mse"},
            "search": search,
            "iterations": 10,
        }
    )
    return Specification(experiment=experiment, folder="/", shards=SHARDS, validation_shards=0, digests={})


def grid(count: int) -> dict[str, object]:
    rates = [round(0.001 * n, 6) for n in range(1, count // 4 + 1)]
    optimizers = [{"name": "Adam", "learning_rate": rates}]
    return {"method": "grid", "space": {"model": ["deep", "wide"], "optimizer": optimizers, "batch_size": [16, 32]}}


def random(count: int) -> dict[str, object]:
    space = {"model": ["deep", "wide"], "optimizer": [{"name": "Adam", "learning_rate": RATES}], "batch_size": [16, 32]}
    return {"method": "random", "configurations": count, "space": space}


def listed(count: int) -> dict[str, object]:
    rates = [0.001 * n for n in range(1, count + 1)]
    chosen = [{"model": "deep", "optimizer": {"name": "Adam", "learning_rate": rate}} for rate in rates]
    return {"method": "list", "configurations": chosen}


def calls_to_plan(specification: Specification, count: int) -> int:
    """Return how many calls it takes to go from a specification to the tokens of all first hops."""
    names = Names(specification.experiment.name)
    begun = Progress(frozenset(names.checkpoint(n, 0) for n in range(1, count + 1)), frozenset(), frozenset())
    with cProfile.Profile() as profile:
        chosen = planned(specification)
        starts = offsets({one.number: 1 + one.number % 7 / 3 for one in chosen}, SHARDS)
        placed = [one.model_copy(update={"offset": starts[one.number]}) for one in chosen]
        assert len(due_tokens(specification, placed, begun, SHARDS)) == count
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize("search", [grid, random, listed])
def test_twice_as_many_configurations_are_twice_the_work(search: Callable[[int], dict[str, object]]) -> None:
    calls_to_plan(specification(search(4)), 4)  # what is made once
    few, many = (calls_to_plan(specification(search(count)), count) for count in (120, 240))
    assert many < 2.1 * few
    assert many < 240 * 800
