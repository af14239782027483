"""Where hops are merged: which tokens are due, what is left over, where configurations begin, and how long it takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.methods import Method
from modelhopper_contract.names import Names, replica_number
from modelhopper_contract.ring import Ring
from modelhopper_scheduler.dealing import dealt
from modelhopper_scheduler.forecast import Workload, choose, forecasts
from modelhopper_scheduler.forecast.shapes import STATION_HOP_S
from modelhopper_scheduler.resumption import Progress, due_tokens, stale_replicas
from tests.scheduler.planned import configuration, specification

NAMES = Names("planned")
ELASTIC = {"name": "easgd", "alpha": 0.1, "beta": 0.9}


def progress(hop: int, replicas: set[int], *, ended: bool = False) -> Progress:
    return Progress(
        checkpoints=frozenset({NAMES.checkpoint(1, hop)}),
        histories=frozenset(),
        outcomes=frozenset({NAMES.outcome(1)} if ended else ()),
        replicas=frozenset(NAMES.replica(1, n) for n in replicas),
    )


@given(st.sets(st.integers(3, 5)), st.integers(1, 5))
def test_a_hop_is_due_where_its_replica_is_missing(there: set[int], stations: int) -> None:
    made = specification(method="average")
    due = due_tokens(made, [configuration(1)], progress(3, there | {0, 1}), stations)
    # Where all are there, one of them is enough to have them merged.
    assert sorted(token.hop for token in due.values()) == sorted({3, 4, 5} - there or {3})


def test_nothing_is_trained_after_the_last_iteration() -> None:
    due = due_tokens(specification(method="average"), [configuration(1)], progress(9, {6, 7, 8}), 2)
    assert {token.action for token in due.values()} == {"evaluate"}


@pytest.mark.parametrize(
    ("method", "ended", "stale"),
    [
        ("average", False, {0, 1, 2}),
        ("average", True, {0, 1, 2, 3, 4}),
        (ELASTIC, False, set()),
        (ELASTIC, True, {3, 4}),
    ],
)
def test_replicas_that_nobody_needs_are_stale(method: str | dict[str, float], ended: bool, stale: set[int]) -> None:
    found = stale_replicas(specification(method=method), progress(3, {0, 1, 2, 3, 4}, ended=ended))
    assert {replica_number(name)[1] for name in found} == stale


def test_every_configuration_begins_at_all_its_shards() -> None:
    planned = {number: configuration(number) for number in (1, 2, 3)}
    assert [one.offset for one in dealt(specification(method="average"), planned, (), None)] == [0, 0, 0]


def test_the_bound_of_one_configuration_is_shared_by_the_shards() -> None:
    ring = Ring(shards=4, iterations=10, evaluate_every=10, merges=Method(name="average").merges)
    four, two = (Workload(ring, 1, gpus, 5.0, 3.0) for gpus in (4, 2))
    assert (four.bound_s, two.bound_s) == (30.0, 60.0)


@pytest.mark.parametrize(("stations", "shards"), [(4, 1), (2, 2), (3, 2), (8, 1)])
def test_stations_take_as_long_as_the_busiest_of_them(stations: int, shards: int) -> None:
    ring = Ring(shards=4, iterations=10, evaluate_every=10, merges=True)
    found = choose(forecasts(Workload(ring, 1, stations, 5.0, 3.0)), "station").times
    assert found is not None
    assert found.makespan_s == pytest.approx(15.0 + 10 * shards * (3.0 + STATION_HOP_S))
