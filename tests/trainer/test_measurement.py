"""What is measured before a run begins: which configurations are of a kind, and what each way to compile them takes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.checkpoint import State
from modelhopper_contract.errors import HopError, SpecError
from modelhopper_contract.records import Configuration, HopRecord, Kind, Measurement, Program, Variant
from modelhopper_contract.specification import Specification
from modelhopper_trainer.crew import Crew
from modelhopper_trainer.device import configure
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.hop import HopTask
from modelhopper_trainer.measurement import Patience, combinations, measure, sizes
from modelhopper_trainer.trial import Ground, Trial, check_lanes
from modelhopper_trainer.workshop import Workshop
from tests.trainer.assembled import configuration
from tests.trainer.small_run import experiment_in

pytestmark = pytest.mark.xdist_group("tensorflow")

THOROUGH = Patience(is_thorough=True)
LOSS = {"loss": "categorical_crossentropy", "metrics": ["accuracy"]}
RATES = [{"name": "Adam", "learning_rate": [0.001, 0.01, 0.1]}]


def asking(jit_compile: bool | str = False, precision: str = "float32") -> Configuration:
    one = configuration()
    return one.model_copy(update={"compile": {**one.compile, "jit_compile": jit_compile, "precision": precision}})


def grid(folder: Path, compile: Mapping[str, Any] = LOSS, **given: Any) -> tuple[Specification, list[Configuration]]:  # noqa: A002
    """Return an experiment over some models; `fuse` and the like are its keys, everything else its space."""
    changes = {key: given.pop(key) for key in ("fuse", "iterations") if key in given}
    space = {"model": ["plain"], "batch_size": [4], "optimizer": RATES, **given}
    return experiment_in(folder, compile=compile, search={"method": "grid", "space": space}, **changes)


def measured(given: tuple[Specification, list[Configuration]], **options: Any) -> Measurement:
    configure(threads=1, gpu=False, deterministic=True)
    specification, chosen = given
    return measure(specification, chosen, Workshop(specification), **options)


def notes(kind: Kind) -> list[str]:
    return [variant.note for variant in kind.variants if variant.note is not None]


# Which ways there are


@pytest.mark.parametrize(
    ("asked", "gpu", "expected"),
    [
        (asking(), False, ["float32"]),
        (asking(jit_compile=True), False, ["float32 XLA"]),
        (asking(jit_compile="auto"), False, ["float32", "float32 XLA"]),
        (asking(precision="mixed_float16"), False, ["mixed_float16"]),
        (asking(precision="auto"), False, ["float32", "mixed_bfloat16"]),
        (asking(precision="auto"), True, ["float32", "mixed_bfloat16", "mixed_float16"]),
        (asking("auto", "auto"), False, ["float32", "mixed_bfloat16", "float32 XLA", "mixed_bfloat16 XLA"]),
        (asking("auto", "mixed_bfloat16"), True, ["mixed_bfloat16", "mixed_bfloat16 XLA"]),
    ],
)
def test_only_what_the_experiment_allows_is_tried(asked: Configuration, gpu: bool, expected: list[str]) -> None:
    found = [f"{one.precision}{' XLA' * one.jit_compile}" for one in combinations(asked, gpu=gpu)]
    assert found == expected


@given(st.sampled_from([False, "auto", 2, 5, 1000]), st.integers(1, 2000))
def test_lanes_are_never_more_than_members(fuse: Any, members: int) -> None:
    found = sizes(fuse, members)
    assert all(2 <= lanes <= members for lanes in found)
    assert bool(found) == (fuse is not False and members > 1)
    if isinstance(fuse, int) and fuse and members > 1:
        assert found == [min(fuse, members)]


@pytest.mark.parametrize(
    ("members", "expected"), [(2, [2]), (3, [3, 2]), (12, [12, 6, 3, 2]), (500, [128, 64, 32, 16])]
)
def test_automatic_lanes_are_all_members_half_of_them_and_so_on(members: int, expected: list[int]) -> None:
    assert sizes("auto", members) == expected


# What is found


def test_configurations_that_differ_in_numbers_are_of_a_kind_and_others_are_not(tmp_path: Path) -> None:
    adam = {"name": "Adam", "learning_rate": 0.01}
    search = [
        {"model": "plain", "optimizer": {**adam, "beta_1": 0.8}},
        {"model": "norm", "optimizer": adam},
        {"model": "plain", "optimizer": {**adam, "beta_1": 0.9}},
        {"model": "plain", "optimizer": adam, "batch_size": 8},
    ]
    given = experiment_in(tmp_path, compile=LOSS, fuse=4, search={"method": "list", "configurations": search})
    found = measured(given)
    assert (found.device, found.rows) == ("CPU", 16)
    assert [kind.configurations for kind in found.kinds] == [(1, 3), (2,), (4,)]
    assert [variant.program for variant in found.kinds[0].variants] == [Program(), Program(lanes=2)]
    assert all(variant.seconds is not None and variant.seconds > 0 for variant in found.kinds[0].variants)


def test_what_was_asked_for_is_tried_however_short_the_run_is(tmp_path: Path) -> None:
    (kind,) = measured(
        grid(tmp_path, {**LOSS, "precision": "mixed_bfloat16"}, fuse=64, iterations=2, batch_size=[8]),
        patience=Patience(kind_s=0.0),
    ).kinds
    alone = Program(precision="mixed_bfloat16")
    assert [variant.program for variant in kind.variants] == [Program(), alone, alone.model_copy(update={"lanes": 3})]
    assert notes(kind) == []


def test_where_there_is_nothing_to_choose_nothing_is_tried(tmp_path: Path) -> None:
    (kind,) = measured(grid(tmp_path)).kinds
    assert kind.variants == (Variant(program=Program(), note="not tried: there is nothing to choose"),)


def test_one_way_that_was_written_is_not_tried_either(tmp_path: Path) -> None:
    found = measured(grid(tmp_path, {**LOSS, "jit_compile": True}))
    assert {note for kind in found.kinds for note in notes(kind)} == {"not tried: there is nothing to choose"}
    assert all(kind.variants[0].program.jit_compile for kind in found.kinds)


def test_a_number_of_lanes_is_tried_also_where_another_key_is_to_be_measured(tmp_path: Path) -> None:
    found = measured(grid(tmp_path, {**LOSS, "precision": "auto"}, fuse=2))
    lanes = [one for kind in found.kinds for one in kind.variants if one.program == Program(lanes=2)]
    assert lanes
    assert all(one.seconds is not None for one in lanes)


def test_a_model_that_only_trains_alone_says_why(tmp_path: Path) -> None:
    (kind,) = measured(grid(tmp_path, fuse=2, model=["own"])).kinds
    assert kind.variants[0].seconds is not None
    (note,) = notes(kind)
    assert "train_step" in note


def test_a_model_that_cannot_train_is_left_to_its_hop_to_fail(tmp_path: Path) -> None:
    specification, chosen = grid(tmp_path, fuse=2, model=["raising"])
    (kind,) = measured((specification, chosen)).kinds
    assert kind.variants[0].seconds is None
    assert "Raising.call" in (kind.variants[0].note or "")
    assert [variant.program.lanes for variant in kind.variants] == [1]


def test_a_mistake_is_told_with_its_place_and_its_configuration(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"`learning_rte`.*\(configuration 1 \(") as caught:
        measured(grid(tmp_path, fuse=2, optimizer=[{"name": "Adam", "learning_rte": [0.1, 0.2]}]))
    assert caught.value.path[0] == "optimizer"


def test_measuring_never_takes_longer_than_training(tmp_path: Path) -> None:
    (kind,) = measured(grid(tmp_path, {**LOSS, "precision": "auto"}, iterations=2, fuse="auto")).kinds
    assert kind.variants[0].seconds is not None
    assert kind.variants[-1].seconds is None
    assert (kind.variants[-1].note or "").startswith("not tried: training alone takes about")


def test_when_the_time_is_over_what_is_left_is_named(tmp_path: Path) -> None:
    seconds = itertools.count(0, 6)
    given = grid(tmp_path, {**LOSS, "precision": "auto"}, model=["plain", "norm"])
    found = measured(given, patience=THOROUGH, clock=lambda: next(seconds))
    first, second = found.kinds
    assert first.variants[0].seconds is not None
    assert {*notes(first), *notes(second)} == {"not tried: the time for measuring was over"}
    assert len(notes(second)) == 2 - sum(variant.seconds is not None for variant in second.variants)


# Lanes are not trusted


class Crooked:
    """Trains in lanes, and then changes what is in one of them."""

    def __init__(self, crew: Crew, lane: int, by: float) -> None:
        self._crew, self._lane, self._by = crew, lane, by

    def load(self, states: Sequence[State]) -> None:
        self._crew.load(states)

    def hop(self, feed: Feed, tasks: Sequence[HopTask], steps_before: Sequence[int]) -> list[HopRecord | HopError]:
        return self._crew.hop(feed, tasks, steps_before)

    def read(self) -> list[State]:
        states = [{**state} for state in self._crew.read()]
        lanes = list(range(len(states))) if self._lane < 0 else [self._lane]
        for lane in lanes if len(states) > 1 else []:
            name = next(name for name in states[lane] if "kernel" in name)
            states[lane][name] = (states[lane][name] + np.float32(self._by)).astype(np.float32)
        return list[State](states)


@pytest.mark.parametrize(
    ("lane", "by", "complaint"),
    [(0, 1e-6, "depends on its place"), (2, 1e-6, "depends on its place"), (-1, 0.1, "differ from those of training")],
)
def test_lanes_that_compute_something_else_are_found(
    crooked: tuple[Ground, list[Configuration]],
    monkeypatch: pytest.MonkeyPatch,
    lane: int,
    by: float,
    complaint: str,
) -> None:
    ground, chosen = crooked
    workshop = ground.workshop.apart()
    straight = ground.workshop.crew
    monkeypatch.setattr(workshop, "crew", lambda members: Crooked(straight(members), lane, by))
    ground = ground._replace(workshop=workshop)
    trial = Trial(ground, Program(lanes=3), [chosen[0], chosen[2], chosen[2]])
    with pytest.raises(HopError, match=complaint):
        check_lanes(ground, trial, chosen[0], chosen[2])


@pytest.fixture(scope="module")
def crooked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ground, list[Configuration]]:
    configure(threads=1, gpu=False, deterministic=True)
    specification, chosen = grid(tmp_path_factory.mktemp("crooked"), fuse=3)
    return Ground(specification, Workshop(specification), 16, {}, {}), chosen
