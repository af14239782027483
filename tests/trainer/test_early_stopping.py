"""Early stopping: whatever the timing, and wherever a run is killed, a configuration ends at the same iteration."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.records import Outcome
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.conduct import take_over
from modelhopper_trainer.station import Station
from tests.trainer.small_run import Mortal, SmallRun

pytestmark = pytest.mark.xdist_group("tensorflow")


def growing(decay: float) -> dict[str, Any]:
    """Return a configuration whose weights grow with every step, until its loss is NaN."""
    return {"model": "plain", "optimizer": {"name": "SGD", "learning_rate": 0.1, "weight_decay": -decay}}


SEARCH = [
    {"model": "plain", "optimizer": {"name": "SGD", "learning_rate": 5.0, "momentum": 0.9}, "batch_size": 4},
    {"model": "plain", "optimizer": {"name": "SGD", "learning_rate": 0.02}, "batch_size": 8},
    {**growing(100), "batch_size": 8},  # its hop 9 fails, the first after the iteration that stops it
    {**growing(300), "batch_size": 8},  # its hop 6 fails, before there is a reason to stop it
]
CHANGES: dict[str, Any] = {
    "search": {"method": "list", "configurations": SEARCH},
    "iterations": 6,
    "evaluate_every": None,
    "early_stopping": {"metric": "validation loss", "patience": 2},
}

Choose = Callable[[int], int]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return SmallRun.prepare(tmp_path_factory.mktemp("early"), **CHANGES)


def ends(run: SmallRun, store: Store) -> dict[str, bytes]:
    """Return what must not depend on how a run went; of a failure, not who told it."""
    found = {e.name: store.get(e.name) for e in store.list(run.names.checkpoints())}
    for one in run.planned:
        name = run.names.outcome(one.number)
        outcome = Outcome.from_json(store.get(name), name)
        if outcome.failure is not None:
            found = {n: data for n, data in found.items() if not n.startswith(run.names.checkpoints(one.number))}
            told = outcome.failure.model_copy(update={"station": None, "traceback": None, "output": None})
            outcome = outcome.model_copy(update={"failure": told})
        found[name] = outcome.to_json()
    return found


def outcomes(run: SmallRun, store: Store) -> list[Outcome]:
    return [Outcome.from_json(store.get(run.names.outcome(one.number))) for one in run.planned]


def finish(run: SmallRun, store: Store, count: int, prefers: str, choose: Choose = lambda _: 0) -> None:
    """Run to the end; of the tokens that wait, those that train, or those that evaluate, go first everywhere."""
    stations = run.stations(store, count)
    while waiting := [(s, n) for s in stations for n in s._waiting()]:
        first = [one for one in waiting if f"-{prefers}-" in one[1]] or waiting
        station, name = first[choose(len(first))]
        station.serve_only([name], lambda: False)


class Remembering(MemoryStore):
    """A store that remembers what it held after each change: what a kill of everybody would leave."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[dict[str, bytes]] = []

    def put(self, name: str, data: bytes) -> None:
        super().put(name, data)
        self._remember()

    def delete(self, name: str) -> None:
        super().delete(name)
        self._remember()

    def _remember(self) -> None:
        self.moments.append({entry.name: self.get(entry.name) for entry in self.list("")})


def shortened(run: SmallRun, iterations: int) -> Specification:
    """Return the specification of a run of fewer iterations."""
    experiment = run.specification.experiment.model_copy(update={"iterations": iterations})
    return run.specification.model_copy(update={"experiment": experiment})


def part(results: Mapping[str, bytes], run: SmallRun) -> dict[str, bytes]:
    """Return the results of a run of some of the configurations."""
    kept = [name for one in run.planned for name in (run.names.checkpoints(one.number), run.names.outcome(one.number))]
    return {name: data for name, data in results.items() if name.startswith(tuple(kept))}


class Late(MemoryStore):
    """A store seen by a station that is slow: much happens before the first checkpoint that it puts."""

    def __init__(self, store: MemoryStore, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self._objects = store._objects
        self._meanwhile = meanwhile

    def put(self, name: str, data: bytes) -> None:
        if "/checkpoints/" in name:
            self._meanwhile()
        super().put(name, data)


class Results(dict[str, bytes]):
    def __repr__(self) -> str:
        return f"{len(self)} objects"


@pytest.fixture(scope="module")
def expected(run: SmallRun) -> Results:
    store = MemoryStore()
    run.begin(store)
    finish(run, store, 1, "evaluate")
    return Results(ends(run, store))


def test_a_configuration_ends_where_it_has_not_improved_and_its_result_is_its_best(run: SmallRun) -> None:
    store = MemoryStore()
    run.begin(store)
    finish(run, store, 3, "train")
    found = outcomes(run, store)
    assert [(one.state, one.hops, one.hops_trained) for one in found] == [
        ("stopped", 6, 12),
        ("finished", 18, 18),
        ("stopped", 3, 9),
        ("failed", 6, 6),
    ]
    assert found[0].reason == ("validation loss has not improved for 2 evaluations: best 1.435 at iteration 2")
    assert found[3].failure is not None
    assert found[3].failure.reason == "loss is NaN"


def test_the_result_of_a_stopped_configuration_is_what_a_shorter_run_makes(run: SmallRun, expected: Results) -> None:
    short = SmallRun(specification=shortened(run, 2), planned=run.planned, prepared=run.prepared, workshop=run.workshop)
    store = MemoryStore()
    short.begin(store)
    finish(short, store, 1, "train")
    name = run.names.checkpoint(1, 6)
    assert store.get(name) == expected[name]


def test_nothing_is_left_of_configurations_that_ended(run: SmallRun) -> None:
    store = MemoryStore()
    run.begin(store)
    finish(run, store, 3, "train")
    left = sorted(entry.name for entry in store.list(run.names.checkpoints()))
    assert left == [run.names.checkpoint(number, hop) for number, hop in ((1, 6), (2, 18), (3, 3), (4, 6))]
    assert store.list(run.names.inbox()) == store.list(run.names.failures()) == []


@pytest.mark.parametrize("prefers", ["train", "evaluate", "neither"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_when_evaluations_are_complete_does_not_matter(
    run: SmallRun, expected: Results, count: int, prefers: str
) -> None:
    store = MemoryStore()
    run.begin(store)
    finish(run, store, count, prefers, random.Random(count).randrange)
    assert ends(run, store) == expected


@settings(max_examples=5)
@given(st.lists(st.tuples(st.integers(0, 150), st.integers(1, 4)), max_size=4), st.integers(0, 1000))
def test_a_run_killed_anywhere_any_number_of_times_ends_the_same(
    run: SmallRun, expected: Results, lives: list[tuple[int, int]], seed: int
) -> None:
    store = MemoryStore()
    run.begin(store)
    choose = random.Random(seed).randrange
    for changes, count in lives:
        try:
            finish(run, Mortal(store, changes), count, ("train", "evaluate", "neither")[seed % 3], choose)
        except StoreUnavailable:
            continue
    finish(run, store, 2, "neither", choose)
    assert ends(run, store) == expected


@pytest.mark.parametrize(("number", "count", "prefers"), [(3, 1, "evaluate"), (3, 3, "train"), (4, 3, "train")])
def test_after_a_kill_at_any_change_a_configuration_ends_the_same(
    run: SmallRun, expected: Results, number: int, count: int, prefers: str
) -> None:
    alone, store = replace(run, planned=[run.planned[number - 1]]), Remembering()
    alone.begin(store)
    finish(alone, store, count, prefers)
    # Before that, there is nothing to end by.
    evaluated = [moment for moment in store.moments if alone.names.history(number, 1) in moment]
    for at, moment in enumerate(evaluated):
        left = MemoryStore()
        for name, data in moment.items():
            left.put(name, data)
        finish(alone, left, count, prefers)
        assert part(ends(alone, left), alone) == part(expected, alone), f"killed after change {at}"


def test_a_station_that_was_thought_dead_leaves_nothing_after_the_end(run: SmallRun, expected: Results) -> None:
    """It has read its token and the checkpoint before the configuration was stopped, and publishes afterwards."""
    store, alone = MemoryStore(), replace(run, planned=run.planned[:1])
    alone.begin(store)
    (station,) = alone.stations(store, 1)
    while not (waiting := [name for name in station._waiting() if name.endswith("-train-00000012")]):
        station.serve_only([name for name in station._waiting() if "-train-" in name], lambda: False)
    late = Late(store, lambda: finish(alone, store, 1, "evaluate"))
    slow = Station(late, run.specification, 0, 1, lambda _: None, workshop=run.workshop)
    slow.serve_only(waiting, lambda: False)
    assert part(ends(alone, store), alone) == part(expected, alone)
    assert store.list(run.names.inbox()) == []


def test_a_longer_run_goes_on_to_what_it_would_have_become(run: SmallRun, expected: Results) -> None:
    store = MemoryStore()
    brief = replace(run, specification=shortened(run, 3))
    brief.begin(store)
    store.put(run.names.specification(), brief.specification.to_json())
    finish(brief, store, 2, "train")
    take_over(run.specification, store)
    finish(run, store, 2, "train")
    assert ends(run, store) == expected
