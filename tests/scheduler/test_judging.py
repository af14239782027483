"""A search's decisions: the same whoever is killed when, in whatever order stations serve, and all are carried out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhopper_contract.decisions import Stop, Turn, read_turns
from modelhopper_contract.ending import give_up
from modelhopper_contract.errors import CorruptObject, SpecError, StoreUnavailable
from modelhopper_contract.messages import Ended, Evaluated, Event
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, Failure, History, Outcome
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.conduct import conduct
from modelhopper_scheduler.judging import Judge, judge_of
from modelhopper_scheduler.searches.making import planned, search_of
from tests.decided import decided
from tests.scheduler.fake_stations import FakeStations
from tests.scheduler.planned import specification as plan
from tests.trainer.small_run import Mortal

NAMES = Names("planned")
RATES = {"model": ["small"], "optimizer": [{"name": "SGD", "learning_rate": {"log": [1e-4, 1.0]}}]}
SEARCHES: dict[str, dict[str, Any]] = {
    "hyperband": {"method": "hyperband", "eta": 3, "space": RATES},
    "additive": {"method": "hyperband", "eta": 3, "budget": "additive", "space": RATES},
    "halving": {"method": "halving", "configurations": 9, "eta": 3, "space": RATES},
    "asha": {"method": "asha", "configurations": 12, "eta": 3, "parallel": 4, "space": RATES},
    "median": {"method": "median", "configurations": 6, "parallel": 3, "space": RATES},
    "tpe": {"method": "tpe", "configurations": 6, "parallel": 3, "space": RATES},
    "pbt": {"method": "pbt", "configurations": 4, "every": 3, "space": RATES},
}
SYNCHRONOUS = ("hyperband", "additive", "halving", "pbt")


def specification(kind: str, shards: int = 3, **changes: Any) -> Specification:
    value = {"iterations": 9, "compile": {"loss": "mse", "metrics": ["accuracy"]}, "seed": 7, **changes}
    made = plan(shards, **{"search": SEARCHES[kind], **value})
    found = search_of(made)
    assert found is not None
    return made.model_copy(update={"rungs": tuple(found.rungs)})


def curve(number: int, iteration: int) -> float | None:
    """Return some order that changes between iterations; configuration 5 fails."""
    if number == 5:
        return None
    return 1 - 1 / (2 + (number * 7 + iteration * 3) % 11 + iteration / 10)


def run(spec: Specification, store: Store, *, stations: int = 3, seed: int = 0) -> FakeStations:
    engine = FakeStations(store, curve, stations, seed)
    conduct(spec, planned(spec), store, engine, nobody_listens)
    return engine


@cache
def undisturbed(kind: str) -> MemoryStore:
    """Return what a run leaves that nobody kills."""
    store = MemoryStore()
    run(specification(kind), store)
    return store


def nobody_listens(_: Event) -> None:
    return None


def results(store: Store) -> dict[str, bytes]:
    parts = (NAMES.outcomes(), NAMES.configurations(), NAMES.histories(), NAMES.checkpoints())
    return {entry.name: store.get(entry.name) for part in parts for entry in store.list(part)}


@pytest.mark.parametrize("kind", SEARCHES)
def test_every_search_ends_with_an_outcome_for_each_configuration(kind: str) -> None:
    store = MemoryStore()
    run(specification(kind), store)
    turns = read_turns(store, NAMES)
    assert turns[-1].is_last
    assert [turn.order for turn in turns] == list(range(len(turns)))
    started = {start.configuration for turn in turns for start in turn.starts}
    assert started == set(range(1, len(started) + 1))
    ended = [Outcome.from_json(store.get(entry.name)) for entry in store.list(NAMES.outcomes())]
    assert {outcome.configuration for outcome in ended} == started
    assert not store.list(NAMES.inbox())
    if 5 in started:
        assert next(one for one in ended if one.configuration == 5).state == "failed"


@pytest.mark.parametrize("kind", SEARCHES)
def test_whoever_is_stopped_has_trained_no_further_and_keeps_its_checkpoint(kind: str) -> None:
    store, spec = MemoryStore(), specification(kind)
    engine = run(spec, store)
    turns = read_turns(store, NAMES)
    for outcome in (Outcome.from_json(store.get(entry.name)) for entry in store.list(NAMES.outcomes())):
        if outcome.state == "failed":
            continue
        hops = [hop for number, hop in engine.trained if number == outcome.configuration]
        assert max(hops) + 1 == outcome.hops
        assert len(hops) == len(set(hops)), "a hop was done twice"
        assert [e.name for e in store.list(NAMES.checkpoints(outcome.configuration))] == [
            NAMES.checkpoint(outcome.configuration, outcome.hops)
        ]
        if outcome.state == "stopped":
            assert outcome.reason == _stop(turns, outcome.configuration).reason


@pytest.mark.parametrize("kind", SYNCHRONOUS)
@settings(max_examples=5)
@given(seed=st.integers(0, 1000), stations=st.integers(1, 4))
def test_a_synchronous_search_decides_the_same_in_any_order_of_arrival(kind: str, seed: int, stations: int) -> None:
    spec, first, other = specification(kind), undisturbed(kind), MemoryStore()
    run(spec, other, stations=stations, seed=seed)
    assert decided(other, "planned") == decided(first, "planned")
    assert results(other) == results(first)


@pytest.mark.parametrize("kind", SYNCHRONOUS)
@settings(max_examples=7)
@given(kills=st.lists(st.integers(0, 120), max_size=4), seed=st.integers(0, 1000))
def test_a_killed_search_goes_on_to_the_same_decisions(kind: str, kills: list[int], seed: int) -> None:
    spec, first, other = specification(kind), undisturbed(kind), MemoryStore()
    for left in kills:
        try:
            run(spec, Mortal(other, left), seed=seed)
        except StoreUnavailable:
            continue
    run(spec, other, stations=2)
    assert decided(other, "planned") == decided(first, "planned")
    assert results(other) == results(first)


@pytest.mark.parametrize("kind", ["asha", "median", "tpe"])
@settings(max_examples=4)
@given(kills=st.lists(st.integers(0, 120), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_a_killed_asynchronous_search_takes_back_nothing(kind: str, kills: list[int], seed: int) -> None:
    spec, store = specification(kind), MemoryStore()
    for left in kills:
        before = [turn.to_json() for turn in read_turns(store, NAMES)]
        with suppress(StoreUnavailable):
            run(spec, Mortal(store, left), seed=seed)
        begun = bool(store.list(NAMES.specification()))
        assert not begun or [turn.to_json() for turn in read_turns(store, NAMES)][: len(before)] == before
    run(spec, store)
    turns = read_turns(store, NAMES)
    arrived = [(t.arrival.configuration, t.arrival.iteration) for t in turns if t.arrival is not None]
    assert len(arrived) == len(set(arrived)), "something was judged twice"
    assert turns[-1].is_last


def test_a_judge_that_was_thought_dead_finds_out_that_there_is_another() -> None:
    store, spec = MemoryStore(), specification("asha")
    search = search_of(spec)
    assert search is not None
    with pytest.raises(StoreUnavailable):
        run(spec, Mortal(store, 120))
    first, other = (Judge(spec, store, 3, nobody_listens, search) for _ in range(2))
    assert not other.is_over
    run(spec, store)
    before = results(store), read_turns(store, NAMES)
    late = next(turn.arrival for turn in read_turns(store, NAMES)[len(first.turns) :] if turn.arrival is not None)
    history = store.get(NAMES.history(late.configuration, late.iteration))
    for judge in (first, other):
        with pytest.raises(StoreUnavailable, match="somebody else judges"):
            judge.hear(Evaluated(history=History.from_json(history)))
    assert (results(store), read_turns(store, NAMES)) == before


class Unlucky(FakeStations):
    """Stations that give configuration 3 up just after it came to its first rung."""

    def serve(
        self, specification: Specification, is_over: Callable[[], bool], on_event: Callable[[Event], None]
    ) -> None:
        def heard(event: Event) -> None:
            on_event(event)
            if isinstance(event, Evaluated) and event.history.configuration == 3:
                failure = Failure(reason="killed", hop=3, shard=None, station=0, traceback=None, output=None)
                on_event(Ended(outcome=give_up(self.store, NAMES, 3, failure)))

        super().serve(specification, is_over, heard)


@pytest.mark.parametrize("seed", range(4))  # it is not always the last to come
def test_one_that_fails_while_it_waits_holds_up_nobody(seed: int) -> None:
    store, spec = MemoryStore(), specification("halving")
    engine = Unlucky(store, lambda number, _: 0.9 if number == 3 else number / 100, seed=seed)
    conduct(spec, planned(spec), store, engine, nobody_listens)
    turns = read_turns(store, NAMES)
    assert turns[-1].is_last
    assert [turn.arrival.iteration for turn in turns if turn.arrival and turn.arrival.configuration == 3] == [1, 3]


@pytest.mark.parametrize("lost", [0, 3])
def test_a_turn_that_was_lost_is_no_beginning(lost: int) -> None:
    store, spec = MemoryStore(), specification("halving")
    run(spec, store)
    for entry in store.list(NAMES.turns()) if lost == 0 else [NAMES.turn(lost)]:
        store.delete(entry if isinstance(entry, str) else entry.name)
    with pytest.raises(CorruptObject, match=f"{NAMES.turn(lost)} is missing"):
        run(spec, store)


@settings(max_examples=5)
@given(order=st.permutations(range(1, 10)))
def test_whoever_does_not_record_the_objective_comes_last_whenever_it_arrives(order: list[int]) -> None:
    varied = {**SEARCHES["halving"], "space": {**RATES, "metrics": [["accuracy"], ["mae"]]}}
    store, spec = MemoryStore(), specification("halving", objective="validation accuracy", search=varied)
    conduct(spec, planned(spec), store, Idle(store, curve), nobody_listens)
    judge, chosen = judge_of(spec, store, 3, nobody_listens), planned(spec)
    assert judge is not None
    for number in order:
        [metric] = chosen[number - 1].compile["metrics"]
        values = {metric: number / 10, "loss": number / 10}
        history = History(configuration=number, iteration=1, training=values, validation=values)
        store.put(NAMES.history(number, 1), history.to_json())
        judge.hear(Evaluated(history=history))
    accurate = [one.number for one in chosen if one.compile["metrics"] == ["accuracy"]]
    stops = {one.configuration: one.reason for one in judge.turns[-1].decisions if isinstance(one, Stop)}
    assert {one.number for one in chosen} - stops.keys() == set(accurate[-3:])
    assert all(("no validation accuracy" in reason) == (one not in accurate) for one, reason in stops.items())


def test_a_search_that_varies_metrics_needs_an_objective() -> None:
    varied = {**SEARCHES["halving"], "space": {**RATES, "metrics": [["accuracy"], ["mae"]]}}
    with pytest.raises(SpecError, match="give an `objective`") as found:
        specification("halving", search=varied)
    assert found.value.path == ("search", "space", "metrics")


class Idle(FakeStations):
    """Stations that do nothing."""

    def serve(self, *_: object) -> None:
        return None


def test_the_log_alone_tells_the_past() -> None:
    store, spec = MemoryStore(), specification("hyperband")
    run(spec, store)
    count = len(store.list(NAMES.configurations()))
    for entry in store.list(NAMES.configurations())[3:]:
        store.delete(entry.name)
    from modelhopper_scheduler.conduct import begun

    found = begun(spec, store)
    assert found is not None
    assert [one.number for one in found] == list(range(1, count + 1))
    assert all(isinstance(one, Configuration) for one in found)


def _stop(turns: list[Turn], number: int) -> Stop:
    (found,) = [d for t in turns for d in t.decisions if isinstance(d, Stop) and d.configuration == number]
    return found
