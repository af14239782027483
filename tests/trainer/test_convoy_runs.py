"""Configurations that train together: what each becomes is the same, whoever comes along and whatever goes wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhopper_contract.checkpoint import from_bytes, to_bytes
from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.messages import Event, Started, Trained
from modelhopper_contract.records import Outcome, Stay
from modelhopper_contract.store import Store
from modelhopper_contract.stores.memory import MemoryStore
from tests.trainer import test_early_stopping as early
from tests.trainer.small_run import Mortal, SmallRun

pytestmark = pytest.mark.xdist_group("tensorflow")


def adam(rate: float, model: str = "plain") -> dict[str, Any]:
    return {"model": model, "optimizer": {"name": "Adam", "learning_rate": rate}, "batch_size": 4}


# Two convoys of one kind, the second not full, one of dropout with rates of its own, and one that trains alone.
SEARCH = [
    *[adam(rate) for rate in (0.01, 0.03, 0.1, 0.003, 0.001)],
    *[{**adam(rate, "dropout"), "batch_size": 8} for rate in (0.01, 0.02)],
    {"model": "norm", "optimizer": {"name": "RMSprop", "learning_rate": 0.005}, "batch_size": 8},
]
CONVOYS = [[1, 2, 3], [4, 5], [6, 7]]
FUSED: dict[str, Any] = {"search": {"method": "list", "configurations": SEARCH}, "fuse": 3, "iterations": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return SmallRun.prepare(tmp_path_factory.mktemp("fused"), CONVOYS, **FUSED)


class Results(dict[str, bytes]):
    """Objects by name, printed short, because Hypothesis prints a test's arguments."""

    def __repr__(self) -> str:
        return f"{len(self)} objects"


@pytest.fixture(scope="module")
def expected(run: SmallRun) -> Results:
    """The results of an undisturbed run with one station."""
    return Results(finished(run, 1))


def finished(run: SmallRun, count: int, store: Store | None = None) -> dict[str, bytes]:
    into = store or MemoryStore()
    run.begin(into)
    run.finish(into, count)
    return run.results(into)


def test_each_becomes_what_it_becomes_when_it_travels_by_itself(run: SmallRun, expected: dict[str, bytes]) -> None:
    """Its program has as many lanes then, filled up with copies of itself."""
    alone = dict[str, bytes]()
    for one in run.planned:
        store = MemoryStore()
        run.begin(store)
        run.finish_only(store, [one.number])
        alone |= {name: data for name, data in run.results(store).items() if f"/{one.number:05d}" in name}
    assert {name: data for name, data in alone.items() if "/checkpoints/" in name} == {
        name: data for name, data in expected.items() if "/checkpoints/" in name
    }
    assert alone == expected


@settings(max_examples=4)
@given(st.integers(1, 5), st.integers(0, 1000))
def test_any_number_of_stations_in_any_order_makes_the_same_bytes(
    run: SmallRun, expected: dict[str, bytes], count: int, seed: int
) -> None:
    store = MemoryStore()
    run.begin(store)
    run.finish(store, count, random.Random(seed).randrange)
    assert run.results(store) == expected


@settings(max_examples=4)
@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 4)), max_size=4), st.integers(0, 1000))
def test_a_run_killed_anywhere_any_number_of_times_makes_the_same_bytes(
    run: SmallRun, expected: dict[str, bytes], lives: list[tuple[int, int]], seed: int
) -> None:
    store = MemoryStore()
    run.begin(store)
    for changes, count in lives:
        try:
            run.finish(Mortal(store, changes), count, random.Random(seed).randrange)
        except StoreUnavailable:
            continue
    run.finish(store, 2)
    assert run.results(store) == expected


def check_kill(run: SmallRun, expected: dict[str, bytes], changes: int) -> None:
    store = MemoryStore()
    run.begin(store)
    with pytest.raises(StoreUnavailable):
        run.finish(Mortal(store, changes), 3)
    run.finish(store, 3)
    assert run.results(store) == expected


# Eight tokens are put at first; then come three checkpoints, three tokens, three own tokens, journals and removals.
@pytest.mark.parametrize("changes", [9, 12, 15, 18])
def test_a_kill_in_each_part_of_a_convoy_s_stay_is_repaired(
    run: SmallRun, expected: dict[str, bytes], changes: int
) -> None:
    check_kill(run, expected, changes)


@pytest.mark.slow
@pytest.mark.parametrize("changes", range(8, 60))
def test_every_kill_point_of_a_convoy_s_stays_is_repaired(
    run: SmallRun, expected: dict[str, bytes], changes: int
) -> None:
    check_kill(run, expected, changes)


def test_members_of_a_convoy_stay_together_around_the_ring(run: SmallRun) -> None:
    heard = list[Event]()
    store = MemoryStore()
    run.begin(store)
    for station in (stations := run.stations(store, 3)):
        station._report = heard.append
    while busy := [station for station in stations if station._waiting()]:
        busy[0].step()
        busy[0].flush()
    started = [one for one in heard if isinstance(one, Started) and one.action == "train"]
    crews = list[set[int]]()
    for hop in range(run.specification.ring.hops):
        order = [one.configuration for one in started if one.hop == hop]
        assert sorted(order) == list(range(1, 9))
        crews += [set(order[at : at + 3]) for at, number in enumerate(order) if number == 3]
        # The oldest token's is told last.
        assert order.index(3) < order.index(2) < order.index(1)
    assert crews == [{1, 2, 3}] * run.specification.ring.hops


def test_the_times_of_a_convoy_add_up(run: SmallRun, expected: dict[str, bytes]) -> None:
    store, heard = MemoryStore(), list[Event]()
    run.begin(store)
    (station,) = run.stations(store, 1)
    station._report = heard.append
    station.step()
    station.flush()
    stays = [Stay.from_json(store.get(entry.name)) for entry in store.list(run.names.journals())]
    assert sorted(stay.configuration for stay in stays) == [1, 2, 3]
    assert len({(stay.train_s, stay.overhead_s, stay.started_s) for stay in stays}) == 1
    assert [one.busy_s for one in heard if isinstance(one, Trained)] == [stay.train_s for stay in stays]


@pytest.mark.slow
def test_it_agrees_with_training_alone_to_a_small_part(
    run: SmallRun, expected: dict[str, bytes], tmp_path: Path
) -> None:
    single = SmallRun.prepare(tmp_path, **{**FUSED, "fuse": False})
    offsets = {one.number: one.offset for one in run.planned}
    single.move({number: offsets[number] for number in offsets})
    found = finished(single, 1)
    for name in (name for name in found if "/checkpoints/" in name):
        ours, theirs = from_bytes(expected[name], name).state, from_bytes(found[name], name).state
        for key in theirs:
            np.testing.assert_allclose(ours[key], theirs[key], rtol=2e-3, atol=2e-4, err_msg=f"{name} {key}")


def test_a_member_whose_loss_is_not_finite_fails_alone(run: SmallRun, expected: dict[str, bytes]) -> None:
    store, name = MemoryStore(), run.names.checkpoint(2, 0)
    run.begin(store)
    state, record = from_bytes(run.prepared[name], name)
    key = next(key for key in state if "kernel" in key)
    store.put(name, to_bytes({**state, key: np.full_like(state[key], np.nan)}, record))
    run.finish(store, 2)
    found = run.results(store)
    ends = {name: Outcome.from_json(data) for name, data in found.items() if "/outcomes/" in name}
    assert [end.configuration for end in ends.values() if end.state == "failed"] == [2]
    (failure,) = [end.failure for end in ends.values() if end.failure is not None]
    assert (failure.reason, failure.hop, failure.traceback) == ("loss is NaN", 0, None)
    others = {name for name in expected if "/00002" not in name}
    assert {name: found[name] for name in others} == {name: expected[name] for name in others}


def test_where_a_convoy_raises_each_shows_whether_it_is_to_blame(
    run: SmallRun, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that cannot take the state of configuration 5, for whatever reason, wherever it travels."""
    crew_of = run.workshop.crew

    def crew(configurations: Sequence[Any]) -> Any:
        if 5 in [one.number for one in configurations]:
            raise RuntimeError("out of luck")
        return crew_of(configurations)

    monkeypatch.setattr(run.workshop, "crew", crew)
    found = finished(run, 2)
    ends = [Outcome.from_json(data) for name, data in found.items() if "/outcomes/" in name]
    assert [(end.configuration, end.failure and end.failure.reason) for end in ends if end.state == "failed"] == [
        (5, "RuntimeError: out of luck")
    ]
    others = {name for name in expected if "/00005" not in name}
    assert {name: found[name] for name in others} == {name: expected[name] for name in others}


def sgd(rate: float, model: str = "plain") -> dict[str, Any]:
    return {"model": model, "optimizer": {"name": "SGD", "learning_rate": rate, "momentum": 0.9}, "batch_size": 8}


STOPPED = {
    "search": {"method": "list", "configurations": [sgd(5.0), sgd(0.02), sgd(0.5), sgd(1e30), sgd(0.1)]},
    "fuse": 3,
    "iterations": 5,
    "evaluate_every": None,
    "early_stopping": {"metric": "validation loss", "patience": 1},
}


@pytest.fixture(scope="module")
def stopping(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return SmallRun.prepare(tmp_path_factory.mktemp("stopping"), [[1, 2, 3], [4, 5]], **STOPPED)


@pytest.mark.parametrize("count", [2, 3])
def test_members_of_a_convoy_are_stopped_each_at_its_own_iteration(stopping: SmallRun, count: int) -> None:
    """Whatever is evaluated first, also when the run is killed in between."""
    expected, broken, store = MemoryStore(), MemoryStore(), MemoryStore()
    for each in (expected, broken, store):
        stopping.begin(each)
    early.finish(stopping, expected, 1, "evaluate")
    states = {one.configuration: (one.state, one.hops) for one in early.outcomes(stopping, expected)}
    assert len({hops for _, hops in states.values()}) > 1
    assert "stopped" in {state for state, _ in states.values()}
    stopping.finish(store, count, random.Random(count).randrange)
    with pytest.raises(StoreUnavailable):
        stopping.finish(Mortal(broken, 40 * count), count)
    stopping.finish(broken, 2)
    assert early.ends(stopping, store) == early.ends(stopping, expected)
    assert early.ends(stopping, broken) == early.ends(stopping, expected)
