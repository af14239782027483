"""Asynchronous successive halving: promotions as soon as there is room, from the highest rung."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from modelhopper_contract import searches as parts
from modelhopper_contract.decisions import GoOn, Start
from modelhopper_contract.experiment import validated
from modelhopper_scheduler.searches.asha import Asha
from modelhopper_scheduler.searches.search import Search, Setting
from tests.search_contract import SPACE, Game, SearchContract, Table, final, games, play


def setting(configurations: int = 9, iterations: int = 9, **given: Any) -> Setting:
    value = {"space": SPACE, "configurations": configurations, **given}
    return Setting(validated(parts.Asha, value), iterations, seed=0, shards=2)


class TestAsha(SearchContract):
    def setting(self) -> Setting:
        return setting(12)

    def search(self) -> Search:
        return Asha(self.setting())


class TestAshaWithTooFewToPromote(TestAsha):
    def setting(self) -> Setting:
        return setting(2, iterations=10, eta=4, first=2, parallel=1)


def table(**given: Any) -> Table:
    return Table(Asha(setting(**given)), 9)


def test_as_many_begin_as_may_train_at_a_time() -> None:
    assert [trial.number for trial in table(parallel=4).past.trials] == [1, 2, 3, 4]
    assert len(table().past.trials) == 4  # twice as many as shards
    assert len(table(configurations=3, parallel=5).past.trials) == 3


def test_a_new_one_takes_the_place_of_one_that_waits() -> None:
    decided = table(parallel=2).arrive({1: 0.5})
    assert isinstance(decided[3], Start)
    assert list(decided) == [3]


def test_the_best_third_goes_on_at_once() -> None:
    search = table(parallel=1)
    assert isinstance(search.arrive({1: 0.9})[2], Start)
    assert isinstance(search.arrive({2: 0.8})[3], Start)
    decided = search.arrive({3: 0.1})
    assert isinstance(decided[1], GoOn)
    assert decided[1].reason == (
        "validation accuracy 0.9 at iteration 1, rank 1 of 3 so far; 1 goes on: past rung 0 to iteration 3"
    )
    assert list(decided) == [1]


def test_promotions_come_from_the_highest_rung_first() -> None:
    search = table(parallel=1, eta=2)
    search.arrive({1: 0.9, 2: 0.8})  # 1 goes on to 2
    search.arrive({1: 0.9})  # alone at iteration 2
    search.arrive({3: 0.7, 4: 0.6})  # 2 goes on
    decided = search.arrive({2: 0.8})
    assert {number: one.until for number, one in decided.items() if isinstance(one, GoOn)} == {1: 4}


def test_who_waits_is_promoted_when_others_turn_out_worse() -> None:
    search = table(parallel=1, eta=3)
    search.arrive({1: 0.5, 2: 0.9})
    assert list(search.arrive({3: 0.4})) == [2]
    search.arrive({2: 0.9})  # waits at iteration 3
    search.arrive({4: 0.1, 5: 0.1})
    assert isinstance(search.arrive({6: 0.1})[1], GoOn)


def test_nobody_is_promoted_twice_from_a_rung() -> None:
    search = table(parallel=1, eta=3)
    search.arrive({1: 0.9, 2: 0.8, 3: 0.7})
    assert [type(one) for one in search.arrive({1: 0.9}).values()] == [Start]


def test_a_failure_counts_as_the_worst_and_frees_its_place() -> None:
    search = table(parallel=1)
    search.arrive({1: None, 2: None})
    assert isinstance(search.arrive({3: 0.1})[3], GoOn)


def test_too_few_for_a_promotion_still_train_one_to_the_end() -> None:
    search = table(configurations=2, parallel=2)
    decided = search.arrive({1: 0.5, 2: 0.9})
    assert isinstance(decided[2], GoOn)
    assert "goes on to iteration 3" in decided[2].reason
    assert isinstance(search.arrive({2: 0.9})[2], GoOn)
    assert (
        search.arrive({2: 0.9})[1].reason == "validation accuracy 0.5 at iteration 1, rank 2 of 2; the search is over"
    )


@given(games())
def test_no_place_is_empty_while_configurations_are_left_and_none_is_taken_twice(game: Game) -> None:
    made = setting(12, parallel=3)
    for step in play(lambda: Asha(made), made, game):
        after = step.judged.decided(step.turn.decisions)
        assert len(after.training) <= 3
        assert len(after.training) == 3 or len(after.trials) == 12


@given(games(failing=(0.0,)))
def test_nobody_is_stopped_before_the_search_is_over(game: Game) -> None:
    made = setting(12)
    steps = play(lambda: Asha(made), made, game)
    assert all(one.kind != "stop" for step in steps[:-1] for one in step.turn.decisions)
    assert len(final(steps).trials) == 12
