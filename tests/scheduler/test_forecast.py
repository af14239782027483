"""Claims about the prediction that is shown before a cluster run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.cluster import Shape
from modelhopper_contract.records import Stay
from modelhopper_contract.ring import Ring
from modelhopper_scheduler.forecast import Forecast, Times, Workload, choose, forecasts, hop_seconds, shapes
from modelhopper_scheduler.forecast.clock import Stop, end_s
from modelhopper_scheduler.forecast.shapes import STATION_HOP_S
from modelhopper_scheduler.render.plan import Plan, Windows

EVERY_SHAPE: tuple[Shape, ...] = ("hop", "convoy", "station")
CIFAR = Ring(shards=16, iterations=10, evaluate_every=10)


def times(workload: Workload, shape: Shape, convoy: int | None = None) -> Times:
    found = choose(forecasts(workload, convoy), shape).times
    assert found is not None
    return found


def predicted(shape: Shape, makespan_s: float | None, convoy: int = 1) -> Forecast:
    return Forecast(shape, convoy, 1, 1, None if makespan_s is None else Times(makespan_s, 0.1, 0.1, 1.0))


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    ring = Ring(draw(st.integers(1, 6)), draw(st.integers(1, 4)), 1)
    costs = tuple(draw(st.lists(st.floats(0.1, 100.0), min_size=1, max_size=12)))
    return Workload(ring, len(costs), draw(st.integers(1, 8)), draw(st.floats(0.1, 30.0)), costs, draw(st.booleans()))


@st.composite
def even_workloads(draw: st.DrawFn) -> Workload:
    """Equal configurations."""
    ring = Ring(draw(st.integers(1, 8)), draw(st.integers(1, 6)), 1)
    return Workload(ring, draw(st.integers(1, 20)), draw(st.integers(1, 8)), draw(st.floats(0.1, 30.0)), 1.0)


# --- The clock --------------------------------------------------------------------------------------------------------


def test_nobody_travels_in_no_time() -> None:
    assert end_s([], slots=2) == 0.0


@pytest.mark.parametrize(("slots", "expected_s"), [(1, 9.0), (2, 5.0), (3, 4.0)])
def test_slots_are_shared_first_come_first_served(slots: int, expected_s: float) -> None:
    travellers: list[Iterator[Stop]] = [iter([(0, 3.0), (0, 1.0)]), iter([(1, 1.0), (1, 1.0)]), iter([(2, 3.0)])]
    # With two: 0 until 3 and 1 until 1; 2 from 1 to 4; 1 again from 3 to 4; 0 again from 4 to 5.
    assert end_s(travellers, slots) == expected_s


def test_a_place_holds_one_at_a_time_however_many_slots_are_free() -> None:
    assert end_s([iter([(7, 2.0)]) for _ in range(3)], slots=3) == 6.0


# --- Small cases by hand ----------------------------------------------------------------------------------------------


def test_hop_pods_of_one_configuration_follow_each_other() -> None:
    found = times(Workload(Ring(4, 1, 1), 1, 4, pod_s=10.0, hop_s=5.0), "hop")
    assert found.makespan_s == 4 * 15.0 + 3 * 10.0  # beside the hops: begin, evaluate, report
    assert found.bound_s == 20.0
    assert found.overhead == pytest.approx(40.0 / (4 * 90.0))
    assert found.idle == pytest.approx(1 - (40.0 + 20.0) / (4 * 90.0))


def test_a_configuration_per_shard_moves_in_step() -> None:
    workload = Workload(Ring(4, 3, 3), 4, 4, pod_s=10.0, hop_s=5.0)
    assert times(workload, "hop").makespan_s == 12 * 15.0 + 30.0
    assert times(workload, "station").makespan_s == pytest.approx(12 * (5.0 + STATION_HOP_S) + 30.0)


def test_members_of_a_convoy_train_one_after_the_other_and_pay_for_one_pod() -> None:
    workload = Workload(Ring(2, 1, 1), 4, 2, pod_s=10.0, hop_s=5.0)
    assert times(workload, "hop").makespan_s == 4 * 15.0 + 30.0
    assert times(workload, "convoy", 2).makespan_s == 2 * (10.0 + 2 * 5.0) + 30.0
    assert choose(forecasts(workload, 2), "convoy").pods == 4


def test_a_convoy_too_large_for_the_gpus_leaves_some_idle() -> None:
    workload = Workload(Ring(2, 5, 5), 8, 4, pod_s=1.0, hop_s=10.0, is_shared=True)
    assert times(workload, "convoy", 4).makespan_s == 10 * (1.0 + 4 * 10.0) + 3.0  # two convoys for four GPUs
    assert times(workload, "convoy", 2).makespan_s == 10 * (1.0 + 2 * 10.0) + 3.0
    assert choose(forecasts(workload), "convoy").convoy == 2


def test_no_convoy_is_proposed_where_nobody_travels_together() -> None:
    workload = Workload(Ring(8, 1, 1), 4, 8, pod_s=1.0, hop_s=1.0)
    assert [one.shape for one in forecasts(workload)] == ["hop", "station"]
    assert [one.shape for one in forecasts(workload, convoy=4)] == ["hop", "convoy", "station"]


def test_gpus_beyond_the_shards_help_only_where_shards_are_shared() -> None:
    def makespan_s(gpus: int, *, is_shared: bool) -> float:
        return times(Workload(Ring(2, 5, 5), 8, gpus, 1.0, 10.0, is_shared), "hop").makespan_s

    assert makespan_s(4, is_shared=False) == makespan_s(2, is_shared=False)
    assert makespan_s(4, is_shared=True) < 0.6 * makespan_s(2, is_shared=True)


def test_more_stations_than_shards_need_shared_data() -> None:
    assert choose(forecasts(Workload(Ring(4, 1, 1), 8, 8, 1.0, 1.0)), "station").pods == 4
    assert choose(forecasts(Workload(Ring(4, 1, 1), 8, 8, 1.0, 1.0, is_shared=True)), "station").pods == 8


def test_a_workflow_more_is_a_barrier_more() -> None:
    workload = Workload(Ring(4, 3, 3), 4, 4, pod_s=10.0, hop_s=5.0)
    hop = forecasts(workload, divide=lambda _: Windows(workflows=3, most_chains=4, most_hops=5))[0]
    assert hop.workflows == 3
    assert hop.times
    assert hop.times.makespan_s == 12 * 15.0 + 3 * 30.0  # windows of 5, 5 and 2 hops; in step, so they lose nothing


def test_chains_that_do_not_fit_into_a_workflow_are_done_after_the_others() -> None:
    workload = Workload(Ring(4, 3, 3), 4, 4, pod_s=10.0, hop_s=5.0)
    hop = forecasts(workload, divide=lambda _: Windows(workflows=2, most_chains=2, most_hops=12))[0]
    assert hop.times
    assert hop.times.makespan_s == 2 * 12 * 15.0 + 2 * 30.0


def test_a_plan_divides_each_shape_in_its_own_way() -> None:
    def divide(convoy: int) -> Windows:
        return Plan("cifar", "convoy", convoy, 16, 96, 16, 0, CIFAR.hops).windows()

    hop, convoy, station = forecasts(Workload(CIFAR, 96, 16, 8.0, 9.4), 6, divide)
    assert hop.workflows == divide(1).workflows > convoy.workflows == divide(6).workflows > station.workflows == 1


# --- Always -----------------------------------------------------------------------------------------------------------


@given(workloads())
def test_nothing_beats_the_bound(workload: Workload) -> None:
    for one in forecasts(workload):
        assert one.times
        assert one.times.makespan_s >= one.times.bound_s * (1 - 1e-9)


@given(workloads())
def test_shares_of_the_gpus_time_add_up(workload: Workload) -> None:
    for one in forecasts(workload):
        assert one.times
        train = workload.train_s / (workload.gpus * one.times.makespan_s)
        assert one.times.overhead + one.times.idle + train == pytest.approx(1.0)
        assert 0 <= one.times.idle < 1
        assert 0 < one.times.overhead < 1


@given(workloads())
def test_a_forecast_is_the_same_each_time(workload: Workload) -> None:
    assert forecasts(workload) == forecasts(workload)


@given(even_workloads())
def test_a_station_per_shard_is_never_slower_than_its_hop_pods(workload: Workload) -> None:
    assert workload.pod_s > STATION_HOP_S
    there = Workload(workload.ring, workload.configurations, workload.ring.shards, workload.pod_s, 1.0)
    assert times(there, "station").makespan_s <= times(there, "hop").makespan_s * (1 + 1e-9)


@given(even_workloads(), st.booleans())
def test_more_gpus_are_not_slower(workload: Workload, is_shared: bool) -> None:
    def makespan_s(gpus: int) -> float:
        parts = workload.ring, workload.configurations, gpus, workload.pod_s, 1.0, is_shared
        return times(Workload(*parts), "hop").makespan_s

    # A queue that serves who came first can lose a hop in each turn of the ring at its end, and no more.
    a_hop_s = 1.0 + workload.pod_s
    assert makespan_s(workload.gpus + 1) <= makespan_s(workload.gpus) + a_hop_s * 1.001


@given(workloads())
def test_pods_are_counted_whether_or_not_times_are_known(workload: Workload) -> None:
    unknown = Workload(workload.ring, workload.configurations, workload.gpus, workload.pod_s)
    by_shape = {one.shape: one.pods for one in forecasts(unknown)}
    assert all(one.times is None for one in forecasts(unknown))
    assert by_shape["hop"] == workload.configurations * workload.ring.hops
    assert by_shape["station"] == min(workload.gpus, workload.ring.shards)


# --- Speed ------------------------------------------------------------------------------------------------------------


def test_a_day_on_a_cluster_is_predicted_at_once() -> None:
    began = time.process_time()
    found = forecasts(Workload(CIFAR, configurations=96, gpus=16, pod_s=8.0, hop_s=9.4))
    assert time.process_time() - began < 1.0
    assert [(one.shape, one.convoy, one.pods) for one in found] == [
        ("hop", 1, 15_360),
        ("convoy", 6, 2_560),
        ("station", 1, 16),
    ]
    assert choose(found).shape == "station"


def test_any_number_of_hops_is_predicted_in_seconds() -> None:
    began = time.process_time()
    forecasts(Workload(Ring(1024, 10, 10), configurations=2000, gpus=512, pod_s=8.0, hop_s=9.4), convoy=2)
    assert time.process_time() - began < 60.0


@pytest.mark.parametrize("gpus", [4, 10, 16])
def test_the_beginning_of_a_large_run_tells_of_the_whole(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = tuple(1.0 + number % 7 for number in range(30))
    workload = Workload(Ring(10, 20, 20), configurations=30, gpus=gpus, pod_s=2.0, hop_s=costs)
    exact = [times(workload, shape).makespan_s for shape in EVERY_SHAPE]
    monkeypatch.setattr(shapes, "MOST_STOPS", 2000)
    assert [times(workload, shape).makespan_s for shape in EVERY_SHAPE] == pytest.approx(exact, rel=0.02)


# --- The choice -------------------------------------------------------------------------------------------------------


def test_the_shortest_shape_is_chosen() -> None:
    assert (
        choose([predicted("hop", 200.0), predicted("convoy", 150.0, 4), predicted("station", 100.0)]).shape == "station"
    )


def test_the_simpler_of_nearly_equal_shapes_is_chosen() -> None:
    assert (
        choose([predicted("station", 100.0), predicted("convoy", 103.0, 4), predicted("hop", 120.0)]).shape == "convoy"
    )
    assert choose([predicted("station", 100.0), predicted("hop", 104.9)]).shape == "hop"
    assert choose([predicted("convoy", 100.0, 8), predicted("convoy", 101.0, 2)]).convoy == 2


def test_station_pods_are_chosen_when_times_are_not_known() -> None:
    assert choose([predicted("hop", None), predicted("convoy", None, 4), predicted("station", None)]).shape == "station"


def test_what_the_user_asks_for_is_chosen() -> None:
    assert choose([predicted("hop", 900.0), predicted("station", 1.0)], "hop").shape == "hop"


def test_long_hops_are_pods_of_their_own() -> None:
    assert choose(forecasts(Workload(CIFAR, 96, 16, pod_s=8.0, hop_s=600.0))).shape == "hop"


# --- Measured hops ----------------------------------------------------------------------------------------------------


def stay(hops: int, train_s: float) -> Stay:
    return Stay(configuration=1, first_hop=0, end_hop=hops, station=0, started_s=0.0, train_s=train_s, overhead_s=9.0)


def test_a_hop_takes_what_stays_take_by_their_hops() -> None:
    assert hop_seconds([stay(4, 8.0)]) == 2.0


def test_a_first_stay_that_traces_its_program_does_not_count_for_more() -> None:
    assert hop_seconds([stay(1, 60.0), stay(1, 2.0), stay(2, 4.0), stay(1, 1.0)]) == 2.0


def test_an_empty_journal_tells_nothing() -> None:
    assert hop_seconds([]) is None
