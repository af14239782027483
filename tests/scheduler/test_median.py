"""The median stopping rule: compared with the others at the same iteration, and only with those that were there."""

from __future__ import annotations

import math
from typing import Any

from modelhopper_contract import searches as parts
from modelhopper_contract.decisions import GoOn, Start, Stop
from modelhopper_contract.experiment import validated
from modelhopper_contract.metrics import Metric
from modelhopper_scheduler.searches.median import Median
from modelhopper_scheduler.searches.search import Search, Setting
from tests.search_contract import ACCURACY, SPACE, SearchContract, Table


def setting(configurations: int = 9, iterations: int = 6, **given: Any) -> Setting:
    value = {"space": SPACE, "configurations": configurations, **given}
    return Setting(validated(parts.Median, value), iterations, seed=0, shards=2)


class TestMedian(SearchContract):
    def setting(self) -> Setting:
        return setting(8)

    def search(self) -> Search:
        return Median(self.setting())


class TestMedianNowAndThen(TestMedian):
    def setting(self) -> Setting:
        return setting(5, iterations=7, every=2, grace=2, parallel=2)


def table(metric: Metric = ACCURACY, **given: Any) -> Table:
    return Table(Median(setting(**given)), 6, metric)


def test_rungs_follow_the_iterations_of_grace() -> None:
    assert list(Median(setting(grace=3, every=2, iterations=8)).rungs) == [3, 5, 7, 8]


def test_the_first_at_a_rung_goes_on() -> None:
    decided = table(parallel=3).arrive({1: 0.1})
    assert isinstance(decided[1], GoOn)
    assert decided[1].reason == (
        "best validation accuracy up to iteration 1: 0.1, with no other to compare it with: goes on to iteration 2"
    )


def test_one_below_the_median_of_the_others_stops_and_another_begins() -> None:
    search = table(parallel=4)
    decided = search.arrive({1: 0.2, 2: 0.5, 3: 0.9, 4: 0.4})
    assert decided[4] == Stop(
        configuration=4,
        reason="best validation accuracy up to iteration 1: 0.4; the median of 3 others is 0.5: stopped",
    )
    assert isinstance(decided[5], Start)


def test_one_at_the_median_goes_on() -> None:
    assert isinstance(table(parallel=4).arrive({1: 0.2, 2: 0.5, 3: 0.9, 4: 0.5})[4], GoOn)


def test_the_others_count_with_their_average_and_oneself_with_the_best() -> None:
    search = table(parallel=2)
    search.arrive({1: 0.2})
    search.arrive({1: 1.0})  # 0.6 on average at iteration 2
    search.arrive({2: 0.7})
    assert isinstance(search.arrive({2: 0.1})[2], GoOn)


def test_only_those_that_were_there_are_compared() -> None:
    search = table(parallel=3)
    search.arrive({1: 0.9, 2: 0.95})
    assert "with no other" in search.arrive({1: 0.1})[1].reason


def test_a_lower_loss_is_better() -> None:
    search = table(Metric("training", "loss", True), parallel=3)
    search.arrive({1: 0.5})
    assert isinstance(search.arrive({2: 0.6})[2], Stop)
    assert isinstance(search.arrive({3: 0.4})[3], GoOn)


def test_nan_is_worse_than_every_number_and_sets_no_mark() -> None:
    search = table(parallel=4)
    assert isinstance(search.arrive({1: math.nan})[1], GoOn)
    assert "with no other" in search.arrive({2: 0.1})[2].reason
    assert isinstance(search.arrive({3: math.nan})[3], Stop)


def test_a_failure_sets_no_mark_and_frees_its_place() -> None:
    search = table(parallel=2)
    assert [type(one) for one in search.arrive({1: None}).values()] == [Start]
    assert "with no other" in search.arrive({2: 0.1})[2].reason


def test_infinite_losses_are_compared() -> None:
    search = table(Metric("training", "loss", True), parallel=3)
    search.arrive({1: math.inf})
    assert isinstance(search.arrive({2: 0.6})[2], GoOn)
