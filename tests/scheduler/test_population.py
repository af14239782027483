"""Population based training: who is copied by whom, and what may differ in a copy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract import searches as parts
from modelhopper_contract.decisions import GoOn, Start, Stop
from modelhopper_contract.experiment import validated
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Origin
from modelhopper_scheduler.searches.perturbation import Perturbation, differences
from modelhopper_scheduler.searches.population import Pbt
from modelhopper_scheduler.searches.search import Search, Setting
from modelhopper_scheduler.searches.space import draw
from tests.search_contract import Game, SearchContract, Table, final, games, play

SPACE: dict[str, Any] = {
    "model": ["small", {"name": "deep", "layers": [2, 3]}],
    "optimizer": [
        {"name": "SGD", "learning_rate": {"log": [0.001, 0.1]}, "momentum": {"log_near_one": [0.5, 0.99]}},
        {"name": "Adam", "learning_rate": [0.001, 0.01, 0.1], "amsgrad": [True, False]},
        {"name": "SGD", "learning_rate": 0.5, "momentum": [0, 0.5, 0.9]},
    ],
    "loss": ["mse", "mae"],
    "batch_size": {"linear": [2, 40]},
    "epochs": [1, 2, 3],
    "shuffle": [True, False],
}
ITERATIONS = 4
SHARDS = 3


def part(**given: Any) -> parts.Pbt:
    made: parts.Pbt = validated(parts.Pbt, {"space": SPACE, "configurations": 4, **given})
    return made


def setting(iterations: int = ITERATIONS, **given: Any) -> Setting:
    return Setting(part(**given), iterations, seed=0, shards=SHARDS)


class TestPbt(SearchContract):
    is_synchronous = True

    def setting(self) -> Setting:
        return setting(configurations=6, quantile=0.4)

    def search(self) -> Search:
        return Pbt(self.setting())


class TestPbtOfTwo(TestPbt):
    def setting(self) -> Setting:
        return setting(iterations=7, configurations=2, every=2)


def table(**given: Any) -> Table:
    return Table(Pbt(setting(**given)), ITERATIONS)


def test_the_population_begins_at_once() -> None:
    trials = table().past.trials
    assert [(trial.start.group, trial.until) for trial in trials] == [(f"member {at}", 1) for at in range(1, 5)]


def test_the_worst_is_replaced_by_a_copy_of_the_best() -> None:
    decided = table().arrive({1: 0.3, 2: 0.9, 3: 0.1, 4: 0.5})
    assert {number: type(one) for number, one in decided.items()} == {1: GoOn, 2: GoOn, 3: Stop, 4: GoOn, 5: Start}
    assert decided[3].reason == (
        "validation accuracy 0.1 at iteration 1, rank 4 of 4: replaced by 5, a changed copy of 2"
    )
    start = decided[5]
    assert isinstance(start, Start)
    assert start.origin == Origin(configuration=2, hop=SHARDS)
    assert (start.group, start.until) == ("member 3", 2)
    assert start.reason.startswith("in place of 3, a copy of 2 (validation accuracy 0.9 at iteration 1, rank 1 of 4); ")


def test_a_copy_is_a_member_like_any_other() -> None:
    search = table()
    search.arrive({1: 0.3, 2: 0.9, 3: 0.1, 4: 0.5})
    decided = search.arrive({1: 0.1, 2: 0.2, 4: 0.3, 5: 0.4})
    assert isinstance(decided[1], Stop)
    start = decided[6]
    assert isinstance(start, Start)
    assert start.origin == Origin(configuration=5, hop=2 * SHARDS)
    assert start.group == "member 1"


def test_nothing_is_decided_before_the_generation_is_there() -> None:
    search = table()
    assert search.arrive({4: 0.3, 2: 0.9, 3: 0.1}) == {}


def test_a_failed_member_is_among_the_worst_and_its_place_is_filled() -> None:
    search = table()
    decided = search.arrive({1: 0.3, 2: 0.9, 4: 0.5, 3: None})
    assert {number: type(one) for number, one in decided.items()} == {1: GoOn, 2: GoOn, 4: GoOn, 5: Start}
    assert "in place of 3" in decided[5].reason


def test_more_failures_than_places_are_filled_one_generation_after_another() -> None:
    search = table()
    decided = search.arrive({1: None, 2: 0.9, 3: None, 4: 0.1})
    assert {number: type(one) for number, one in decided.items()} == {2: GoOn, 4: GoOn, 5: Start}
    assert "in place of 3" in decided[5].reason
    decided = search.arrive({2: 0.9, 4: 0.1, 5: 0.4})
    assert "in place of 1" in decided[6].reason


def test_nobody_copies_one_that_has_ended() -> None:
    search = table()
    search.arrive({2: 0.9}, ended="stopped")
    decided = search.arrive({1: 0.3, 3: 0.1, 4: 0.5})
    start = decided[5]
    assert isinstance(start, Start)
    assert start.origin is not None
    assert start.origin.configuration == 4
    assert start.group == "member 2"


def test_nobody_begins_after_the_last_iteration() -> None:
    search = table(every=2)
    search.arrive({1: 0.3, 2: 0.9, 3: 0.1, 4: 0.5})
    assert search.arrive({1: None, 2: 0.9, 4: 0.4, 5: 0.3}) == {}
    assert not search.past.training


@given(games())
def test_the_population_never_grows(game: Game) -> None:
    made = setting(configurations=6, quantile=0.5)
    for step in play(lambda: Pbt(made), made, game):
        assert len(step.judged.decided(step.turn.decisions).training) <= 6


@given(games(failing=(0.0,)))
def test_each_generation_replaces_the_quantile(game: Game) -> None:
    made = setting(configurations=6, quantile=0.4)
    assert len(final(play(lambda: Pbt(made), made, game)).trials) == 6 + (ITERATIONS - 1) * 2


# --- What may differ in a copy ---


@given(st.integers(0, 1000), st.integers(1, 1000), st.sampled_from([0.0, 0.5, 1.0]))
def test_a_copy_is_a_point_of_the_space_whose_state_has_the_same_form(seed: int, number: int, resample: float) -> None:
    made = part(resample=resample)
    before = draw(made.space, seed, number)
    after = Perturbation(made, seed, number + 1).of(before)
    for key in ("model", "loss"):
        assert after[key] == before[key]
    old, new = before["optimizer"], after["optimizer"]
    assert (new["name"], new.get("amsgrad"), new.keys()) == (old["name"], old.get("amsgrad"), old.keys())
    assert (new.get("momentum") == 0) == (old.get("momentum") == 0)
    assert isinstance(after["batch_size"], int)
    assert 2 <= after["batch_size"] <= 40
    assert after["epochs"] in (1, 2, 3)
    # Copies are copied again.
    Perturbation(made, seed, number + 2).of(after)


@pytest.mark.parametrize(
    ("space", "before", "allowed"),
    [
        ({"linear": [1, 100]}, 10, {8, 12}),
        ({"linear": [1, 100]}, 2, {1, 3}),
        ({"linear": [1, 100]}, 1, {1, 2}),
        ({"linear": [1, 100]}, 100, {80, 100}),
        ([4, 8, 16], 8, {4, 16}),
        ([16, 8, 4], 16, {8}),
    ],
)
def test_whole_numbers_stay_whole_and_in_their_bounds(space: Any, before: int, allowed: set[int]) -> None:
    made = part(space={"batch_size": space}, resample=0.0)
    assert {Perturbation(made, 0, number).of({"batch_size": before})["batch_size"] for number in range(50)} == allowed


def test_a_rate_is_multiplied_and_a_momentum_s_distance_from_one_is() -> None:
    made = part(space={"optimizer": [SPACE["optimizer"][0]]}, resample=0.0)
    before = {"optimizer": {"name": "SGD", "learning_rate": 0.01, "momentum": 0.9}}
    found = [Perturbation(made, 0, number).of(before)["optimizer"] for number in range(50)]
    assert {one["learning_rate"] for one in found} == {0.008, 0.012}
    assert {one["momentum"] for one in found} == {0.92, 0.88}
    assert len({(one["learning_rate"], one["momentum"]) for one in found}) == 4


def test_a_value_drawn_anew_is_the_one_of_the_copy_s_own_number() -> None:
    made = part(space={"batch_size": {"linear": [1, 1000]}}, resample=1.0)
    assert Perturbation(made, 5, 7).of({"batch_size": 10}) == draw(made.space, 5, 7)


def test_a_choice_that_went_through_json_is_found_in_its_space() -> None:
    made = part(space={"model": [{"name": "deep", "sizes": [(8, 8), (4,)]}], "class_weight": [None, {0: 1.0, 1: 2.0}]})
    before = {"model": {"name": "deep", "sizes": [8, 8]}, "class_weight": {"0": 1.0, "1": 2.0}}
    after = Perturbation(made, 0, 1).of(before)
    assert canonical_json(after["model"]) == canonical_json(before["model"])


def test_differences_are_told_by_name() -> None:
    before = {"optimizer": {"name": "SGD", "learning_rate": 0.1}, "batch_size": 8}
    after = {"optimizer": {"name": "SGD", "learning_rate": 0.12}, "batch_size": 6}
    assert differences(before, after) == "learning_rate 0.1 to 0.12, batch_size 8 to 6"
    assert differences(before, before) == "nothing changed"
