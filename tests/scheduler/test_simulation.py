"""Claims about the simulated engine: searches in simulated time."""

from __future__ import annotations

import time
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.decisions import Start
from modelhopper_contract.errors import UserError
from modelhopper_contract.metrics import Metric
from modelhopper_contract.ring import Ring
from modelhopper_contract.searches import Hyperband as HyperbandPart
from modelhopper_scheduler.searches.hyperband import Hyperband
from modelhopper_scheduler.searches.rehearsal import rehearse
from modelhopper_scheduler.searches.search import Search, Setting
from modelhopper_scheduler.simulation.curves import Curves, Modelled, Recorded
from modelhopper_scheduler.simulation.engine import Best, Conditions, Simulation, simulate
from modelhopper_scheduler.simulation.play import Rung, Together
from tests.project import tree
from tests.project.test_docs import tables
from tests.scheduler.copying import Copying
from tests.scheduler.halving import ACCURACY, Halving
from tests.scheduler.test_ring_simulation import lower_bound, makespan

MODELLED = Modelled(ACCURACY, seed=0)


def played(search: Search, iterations: int, shards: int, curves: Curves = MODELLED, **conditions: Any) -> Simulation:
    ring = Ring(shards, iterations, iterations, rungs=tuple(search.rungs))
    return simulate(search, ACCURACY, ring, Conditions(**{"hop_s": 10.0, **conditions}), curves)


def together(count: int, iterations: int) -> Together:
    return Together([{"value": at} for at in range(count)], iterations)


def start(number: int) -> Start:
    return Start(configuration=number, choice={"value": number}, until=1, reason="")


@st.composite
def searches(draw: st.DrawFn) -> Search:
    sizes = draw(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=4))
    return Halving(tuple(sizes), in_turn=draw(st.booleans()))


# --- Without decisions ------------------------------------------------------------------------------------------------


def test_one_configuration_alone_takes_its_hops() -> None:
    found = played(together(1, 3), 3, shards=4, stations=4)
    assert (found.makespan_s, found.bound_s, found.busy, found.hops) == (120.0, 120.0, 0.25, 12)


def test_a_configuration_for_each_station_keeps_all_busy() -> None:
    found = played(together(4, 3), 3, shards=4, stations=4)
    assert (found.makespan_s, found.busy, found.idle) == (120.0, 1.0, 0.0)
    assert found.busy_by_tenth == pytest.approx((1.0,) * 10)


@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 6), st.integers(1, 3), st.integers(0, 10**6))
def test_it_agrees_with_another_simulation(count: int, stations: int, shards: int, iterations: int, seed: int) -> None:
    drawn = Random(seed)
    costs = {number: drawn.uniform(1, 10) for number in range(1, count + 1)}
    found = played(together(count, iterations), iterations, shards, stations=stations, hop_s=costs)
    ring = Ring(shards, iterations, iterations)
    assert found.makespan_s == pytest.approx(makespan(ring, stations, costs))
    assert found.bound_s == pytest.approx(lower_bound(ring, stations, costs))


def test_a_configuration_of_unknown_time_takes_the_median() -> None:
    found = played(together(4, 1), 1, shards=1, stations=1, hop_s={1: 1.0, 2: 2.0, 3: 30.0})
    assert found.makespan_s == 1 + 2 + 30 + 2


@pytest.mark.parametrize(("kind", "jitter", "most"), [("mixed", 0, 1.05), ("equal", 0.2, 1.10), ("mixed", 0.2, 1.15)])
@pytest.mark.parametrize("count", [12, 16, 32])
def test_stations_hardly_wait_from_one_and_a_half_configurations_each_on(
    kind: str, jitter: float, most: float, count: int
) -> None:
    draws = Random(count)
    costs = {number: 8 ** draws.random() if kind == "mixed" else 1.0 for number in range(1, count + 1)}
    found = played(together(count, 10), 10, shards=8, stations=8, hop_s=costs, jitter=jitter)
    assert found.makespan_s <= most * found.bound_s


@pytest.mark.parametrize("stations", [4, 32])
def test_more_stations_with_as_many_more_configurations_are_as_busy(stations: int) -> None:
    found = played(together(4 * stations, 2), 2, shards=stations, stations=stations, jitter=0.2)
    assert found.busy >= 0.95


# --- With decisions ---------------------------------------------------------------------------------------------------


def test_whoever_waits_goes_on_when_the_last_has_come() -> None:
    # Both need stations 0 and 1 once, together from 0 to 20; the better one then goes on alone.
    found = played(Halving((2,)), 2, shards=2, stations=2)
    assert (found.makespan_s, found.bound_s, found.hops, found.model_iterations) == (40.0, 40.0, 6, 3)
    assert found.rungs == (Rung(1, 2, 1, 1, 0, 0), Rung(2, 1, 0, 0, 1, 0))
    assert found.busy == 60 / 80


def test_evaluating_takes_stations_time_and_comes_before_a_decision() -> None:
    # One station: hops end at 10 and 20, evaluations at 23 and 26 (first come, first served), then 10 and 3 more.
    found = played(Halving((2,)), 2, shards=1, stations=1, evaluation_s=3.0)
    assert found.makespan_s == 10 + 10 + 3 + 3 + 10 + 3
    assert found.busy == 1.0


def test_a_configuration_trains_on_while_an_iteration_is_evaluated_that_nobody_waits_for() -> None:
    ring = Ring(2, 2, evaluate_every=1)
    found = simulate(together(1, 2), ACCURACY, ring, Conditions(2, 10.0, evaluation_s=1.0), MODELLED)
    # Station 0 trains 0 to 10 and 20 to 31, with its share of the first evaluation from 20 to 21.
    assert found.makespan_s == 10 + 10 + 1 + 10 + 10 + 1


@given(searches(), st.integers(1, 6), st.integers(1, 9), st.booleans())
def test_no_run_beats_the_bound_and_all_work_is_done(
    search: Search, shards: int, stations: int, one_by_one: bool
) -> None:
    iterations = max(search.rungs)
    found = played(search, iterations, shards, stations=stations, jitter=0.3, one_by_one=one_by_one)
    assert found.makespan_s >= found.bound_s * (1 - 1e-9)
    assert found.hops == found.model_iterations * shards
    assert sum(found.busy_by_tenth) / 10 == pytest.approx(found.busy)
    assert all(rung.reached == rung.went_on + rung.stopped + rung.finished for rung in found.rungs)


@given(st.integers(1, 6), st.integers(1, 9), st.booleans())
def test_where_a_search_waits_for_its_rungs_stations_change_only_the_time(
    shards: int, stations: int, one_by_one: bool
) -> None:
    search = Halving((8, 4, 2))
    found = played(search, 8, shards, stations=stations, one_by_one=one_by_one)
    rehearsed = rehearse(search, ACCURACY, 8, shards)
    assert found.rungs == rehearsed.rungs
    assert found.model_iterations == rehearsed.model_iterations
    assert found.best == played(search, 8, shards, stations=1).best


def test_one_by_one_each_group_begins_when_the_one_before_has_ended() -> None:
    alone = [played(Halving((size,)), size, shards=2, stations=2).makespan_s for size in (8, 4, 2)]
    search = Halving((8, 4, 2))
    assert played(search, 8, shards=2, stations=2, one_by_one=True).makespan_s == sum(alone)
    assert played(search, 8, shards=2, stations=2).makespan_s < sum(alone)


def test_a_copy_begins_where_the_other_was() -> None:
    found = played(Copying(shards=4), 3, shards=4, stations=4)
    assert found.configurations == 3
    assert found.hops == 4 * (1 + 3 + 2)


def test_what_fails_is_heard_of_and_the_others_go_on() -> None:
    curves = Recorded("runs/x", {1: {1: None}, 2: {1: 0.5, 2: 0.6}})
    found = played(Halving((2,)), 2, shards=2, stations=2, curves=curves)
    assert found.rungs == (Rung(1, 2, 1, 0, 0, 1), Rung(2, 1, 0, 0, 1, 0))
    assert found.best == Best(2, 2, 0.6)


def test_jitter_changes_times_and_not_the_work() -> None:
    even = played(together(16, 4), 4, shards=8, stations=8)
    uneven = played(together(16, 4), 4, shards=8, stations=8, jitter=0.5)
    assert uneven == played(together(16, 4), 4, shards=8, stations=8, jitter=0.5)
    assert uneven.makespan_s > even.makespan_s
    assert uneven.hops == even.hops
    # A hop takes the same whoever makes it: the sum over all stations does not depend on how many there are.
    few = played(together(16, 4), 4, shards=8, stations=3, jitter=0.5)
    work_s = [one.busy * one.stations * one.makespan_s for one in (uneven, few)]
    assert work_s[0] == pytest.approx(work_s[1])
    assert work_s[0] == pytest.approx(16 * 4 * 8 * 10.0, rel=0.1)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"stations": 0, "hop_s": 1.0}, "0 is not a number of stations: give 1 or more."),
        ({"stations": 1, "hop_s": 0.0}, "A hop cannot take 0 seconds: give more than 0."),
        ({"stations": 1, "hop_s": {1: 1.0, 2: -1.0}}, "A hop cannot take -1 seconds: give more than 0."),
        ({"stations": 1, "hop_s": float("nan")}, "A hop cannot take nan seconds: give more than 0."),
        ({"stations": 1, "hop_s": 1.0, "jitter": -0.1}, "-0.1 cannot be jitter: give 0 or more."),
        ({"stations": 1, "hop_s": 1.0, "evaluation_s": -1}, "-1 cannot be the time of an evaluation: give 0 or more."),
    ],
)
def test_a_condition_that_cannot_be_is_refused(conditions: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        Conditions(**conditions)
    assert str(raised.value) == message


# --- Curves -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 100), st.integers(1, 1000), st.integers(1, 500))
def test_modelled_values_are_scores_and_the_same_each_time(seed: int, number: int, iteration: int) -> None:
    curves = Modelled(ACCURACY, seed)
    value = curves.value(start(number), iteration)
    assert 0 <= value <= 1
    assert value == Modelled(ACCURACY, seed).value(start(number), iteration)
    loss = Modelled(Metric("validation", "loss", lower_is_better=True), seed)
    assert loss.value(start(number), iteration) == pytest.approx(1 - value)


def test_modelled_values_get_better_with_training() -> None:
    gains = [MODELLED.value(start(n), 81) - MODELLED.value(start(n), 1) for n in range(1, 101)]
    assert min(gains) > -0.05
    assert sum(gains) / 100 > 0.1


def test_recorded_values_are_held_between_and_after_records() -> None:
    curves = Recorded("runs/x", {1: {2: 0.2, 4: 0.4}, 2: {2: 0.1, 3: None}})
    assert [curves.value(start(1), at) for at in range(1, 7)] == [0.2, 0.2, 0.2, 0.4, 0.4, 0.4]
    assert [curves.value(start(2), at) for at in (2, 3, 9)] == [0.1, None, None]


def test_a_configuration_without_a_record_is_a_mistake() -> None:
    with pytest.raises(UserError, match="runs/x recorded values of 1 configurations and none of number 2, which"):
        played(Halving((2,)), 2, shards=1, stations=1, curves=Recorded("runs/x", {1: {1: 0.5}}))


# --- Size, and the brackets of Hyperband ------------------------------------------------------------------------------


def test_a_thousand_configurations_on_64_stations_take_seconds() -> None:
    began_s = time.monotonic()
    found = played(together(1000, 2), 2, shards=64, stations=64, jitter=0.2)
    assert found.hops == 128_000
    assert time.monotonic() - began_s < 20


def test_merged_brackets_leave_stations_as_idle_as_the_documentation_says() -> None:
    part = HyperbandPart(space={"batch_size": {"linear": [1, 10_000]}}, eta=3)
    search = Hyperband(Setting(part, iterations=81, seed=1, shards=16))
    rows = []
    for stations in (4, 8, 16, 32):
        merged, apart = (played(search, 81, 16, stations=stations, one_by_one=given) for given in (False, True))
        ratio = apart.makespan_s / merged.makespan_s
        rows.append([str(stations), f"{100 * merged.idle:.0f} %", f"{100 * apart.idle:.0f} %", f"{ratio:.1f}"])
    (table,) = [one for one in tables(tree.ROOT / "docs/simulate.md") if "brackets together" in one[0]]
    assert table[1:] == rows
