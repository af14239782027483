"""Claims about what a search is said to cost before it runs."""

from __future__ import annotations

import pytest

from modelhopper_contract.metrics import Metric
from modelhopper_contract.searches import Hyperband as HyperbandPart
from modelhopper_scheduler.searches.checking import Checked
from modelhopper_scheduler.searches.hyperband import Hyperband
from modelhopper_scheduler.searches.rehearsal import rehearse
from modelhopper_scheduler.searches.search import Setting
from modelhopper_scheduler.simulation.play import Rung, Together
from tests.scheduler.copying import Copying
from tests.scheduler.halving import ACCURACY, Halving


def test_a_search_without_decisions_trains_everything() -> None:
    found = rehearse(Together([{"value": at} for at in range(7)], iterations=5), ACCURACY, 5)
    assert (found.configurations, found.model_iterations, found.longest) == (7, 35, 5)
    assert found.rungs == (Rung(5, reached=7, went_on=0, stopped=0, finished=7, failed=0),)
    assert found.is_exact


def test_a_halving_costs_what_its_rungs_say() -> None:
    found = rehearse(Halving((4, 2)), ACCURACY, 4)
    assert found.configurations == 6
    assert found.model_iterations == (4 + 2 * 1 + 1 * 2) + (2 + 1)
    assert found.longest == 4
    assert found.rungs == (Rung(1, 6, 3, 3, 0, 0), Rung(2, 3, 1, 2, 0, 0), Rung(4, 1, 0, 0, 1, 0))
    assert found.is_exact


def test_a_search_that_does_not_wait_for_a_rung_to_fill_is_about_what_it_is() -> None:
    found = rehearse(Halving((64,), in_turn=True), ACCURACY, 64)
    assert not found.is_exact
    assert found.is_counted
    assert found.configurations == 64
    assert 64 < found.model_iterations <= 64 * 64


@pytest.mark.parametrize("lower_is_better", [False, True])
def test_hyperband_of_the_paper_is_exact_whatever_the_metric(lower_is_better: bool) -> None:
    part = HyperbandPart(space={"optimizer": ["sgd"], "batch_size": {"linear": [1, 10_000]}}, eta=3)
    search = Hyperband(Setting(part, iterations=81, seed=1, shards=4))
    found = rehearse(search, Metric("validation", "x", lower_is_better), 81, shards=4)
    brackets = {
        4: ((81, 1), (27, 3), (9, 9), (3, 27), (1, 81)),
        3: ((34, 3), (11, 9), (3, 27), (1, 81)),
        2: ((15, 9), (5, 27), (1, 81)),
        1: ((8, 27), (2, 81)),
        0: ((5, 81),),
    }
    trained = [
        count * (until - before)
        for rungs in brackets.values()
        for (count, until), before in zip(rungs, [0, *(until for _, until in rungs)], strict=False)
    ]
    assert found.is_exact
    assert (found.configurations, found.longest) == (143, 81)
    assert found.model_iterations == sum(trained)
    reached = {at: sum(n for rungs in brackets.values() for n, until in rungs if until == at) for at in search.rungs}
    assert {rung.iterations: rung.reached for rung in found.rungs} == reached


def test_what_is_copied_from_another_is_not_counted_again() -> None:
    # One trains 1 iteration and is stopped, the other 3; a third begins at the other's iteration 1 and trains 2 more.
    assert rehearse(Copying(shards=4), ACCURACY, 3, shards=4).model_iterations == 1 + 3 + 2


def test_a_search_of_the_users_own_is_about_what_it_is() -> None:
    part = HyperbandPart(space={"batch_size": [4, 8]})
    own = Checked(Hyperband(Setting(part, iterations=9, seed=0, shards=1)), "`searches.py:Mine`", shards=1)
    found = rehearse(own, ACCURACY, 9)
    assert (found.configurations, found.is_counted, found.is_exact) == (17, False, False)
