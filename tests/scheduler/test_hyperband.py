"""Hyperband and successive halving: who goes on, who stops, and that nobody waits for another bracket."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from modelhopper_contract import searches as parts
from modelhopper_contract.decisions import GoOn, Stop
from modelhopper_contract.experiment import validated
from modelhopper_contract.metrics import Metric
from modelhopper_scheduler.searches.hyperband import Halving, Hyperband
from modelhopper_scheduler.searches.search import Search, Setting
from tests.search_contract import ACCURACY, SPACE, Game, SearchContract, Table, play


def hyperband(iterations: int = 9, **given: Any) -> Setting:
    return Setting(validated(parts.Hyperband, {"space": SPACE, **given}), iterations, seed=0, shards=2)


def halving(configurations: int, iterations: int = 9, **given: Any) -> Setting:
    value = {"space": SPACE, "configurations": configurations, **given}
    return Setting(validated(parts.Halving, value), iterations, seed=0, shards=2)


class TestHyperband(SearchContract):
    is_synchronous = True

    def setting(self) -> Setting:
        return hyperband()

    def search(self) -> Search:
        return Hyperband(self.setting())


class TestAdditiveHyperband(TestHyperband):
    def setting(self) -> Setting:
        return hyperband(budget="additive", rounding="down")


class TestHyperbandWithoutItsLastRungs(TestHyperband):
    def setting(self) -> Setting:
        return hyperband(iterations=16, eta=2, skip_last=2)


class TestHalving(SearchContract):
    is_synchronous = True

    def setting(self) -> Setting:
        return halving(7, iterations=10, first=2, eta=2)

    def search(self) -> Search:
        return Halving(self.setting())


def test_all_brackets_begin_at_once_numbered_the_largest_first() -> None:
    trials = Table(Hyperband(hyperband()), 9).past.trials
    assert [trial.start.group for trial in trials] == ["bracket 2"] * 9 + ["bracket 1"] * 5 + ["bracket 0"] * 3
    assert [trial.until for trial in trials] == [1] * 9 + [3] * 5 + [9] * 3
    assert [trial.number for trial in trials] == list(range(1, 18))


def test_budgets_are_iterations_from_the_beginning() -> None:
    assert list(Hyperband(hyperband(81)).rungs) == [1, 3, 9, 27, 81]


def test_additive_budgets_are_on_top_of_those_before() -> None:
    search = Hyperband(hyperband(budget="additive"))
    assert list(search.rungs) == [1, 3, 4, 9, 12, 13]
    table = Table(search, 9)
    decided = table.arrive({15: 0.5})
    assert decided[15] == Stop(
        configuration=15,
        state="finished",
        reason="validation accuracy 0.5 at iteration 9, the last rung of bracket 0: finished",
    )


def test_the_best_of_a_rung_go_on_and_the_words_say_why() -> None:
    table = Table(Halving(halving(6)), 9)
    values: dict[int, float | None] = {1: 0.31, 2: 0.9, 3: 0.2, 4: 0.7, 5: 0.1, 6: 0.3}
    decided = table.arrive(values)
    assert {number: type(one) for number, one in decided.items() if isinstance(one, GoOn)} == {2: GoOn, 4: GoOn}
    assert (
        decided[4].reason == "validation accuracy 0.7 at iteration 1, rank 2 of 6; 2 go on: past rung 0 to iteration 3"
    )
    assert decided[1].reason == "validation accuracy 0.31 at iteration 1, rank 3 of 6; 2 go on: stopped at rung 0"


def test_nothing_is_decided_before_the_last_has_arrived() -> None:
    table = Table(Halving(halving(3)), 9)
    assert table.arrive({2: 0.1}) == {}
    assert table.arrive({3: 0.2}) == {}
    assert [one.configuration for one in table.arrive({1: 0.3}).values()] == [1, 3, 2]


def test_a_bracket_does_not_wait_for_another() -> None:
    table = Table(Hyperband(hyperband()), 9)
    decided = table.arrive({number: number / 100 for number in range(10, 15)})
    assert [number for number, one in decided.items() if isinstance(one, GoOn)] == [14]
    assert "rank 1 of 5 in bracket 1; 1 goes on: past rung 0 to iteration 9" in decided[14].reason


def test_a_failed_one_is_ranked_last_and_does_not_go_on() -> None:
    table = Table(Halving(halving(6)), 9)
    decided = table.arrive({1: None, 3: None, 4: None, 5: None, 6: None, 2: 0.1})
    assert {number: type(one) for number, one in decided.items()} == {2: GoOn}
    assert "rank 1 of 6; 1 goes on" in decided[2].reason


def test_the_last_arrival_can_be_a_failure() -> None:
    table = Table(Halving(halving(6)), 9)
    table.arrive({1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.5})
    assert {number for number, one in table.arrive({6: None}).items() if isinstance(one, GoOn)} == {4, 5}


def test_one_that_ended_early_takes_no_place() -> None:
    table = Table(Halving(halving(6)), 9)
    table.arrive({1: 0.9}, ended="stopped")
    decided = table.arrive({2: 0.1, 3: 0.2, 4: 0.3, 5: 0.4, 6: 0.5})
    assert {number for number, one in decided.items() if isinstance(one, GoOn)} == {5, 6}
    assert "rank 1 of 6" in decided[6].reason


def test_equal_values_are_ranked_by_number_and_nan_after_all_numbers() -> None:
    table = Table(Halving(halving(6)), 9)
    decided = table.arrive({6: 0.5, 5: 0.5, 4: 0.5, 3: math.nan, 2: math.nan, 1: 0.1})
    assert {number for number, one in decided.items() if isinstance(one, GoOn)} == {4, 5}
    assert "rank 5 of 6" in decided[2].reason


def test_a_lower_loss_is_better() -> None:
    table = Table(Halving(halving(3)), 9, Metric("training", "loss", True))
    decided = table.arrive({1: 0.3, 2: 0.1, 3: 0.2})
    assert [number for number, one in decided.items() if isinstance(one, GoOn)] == [2]


def test_what_is_left_after_skipped_rungs_is_finished() -> None:
    table = Table(Hyperband(hyperband(skip_last=1)), 9)
    decided = table.arrive({10: 0.4})
    assert isinstance(decided[10], Stop)
    assert decided[10].state == "finished"


def test_at_least_one_goes_to_the_end() -> None:
    setting = halving(2, iterations=27)
    game = Game(ACCURACY, 0, 0, failing=0.0)
    steps = play(lambda: Halving(setting), setting, game)
    past = steps[-1].judged
    assert Counter(trial.state for trial in past.trials) == {"finished": 1, "stopped": 1}


@pytest.mark.parametrize(("rounding", "sizes"), [("up", [81, 34, 15, 8, 5]), ("down", [81, 27, 9, 6, 5])])
def test_the_published_sizes_are_started(rounding: str, sizes: list[int]) -> None:
    trials = Table(Hyperband(hyperband(81, rounding=rounding)), 81).past.trials
    assert list(Counter(trial.start.group for trial in trials).values()) == sizes
