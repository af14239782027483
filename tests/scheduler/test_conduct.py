"""Conducting a run: begins whole or not at all, goes on, and mixes with nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from modelhopper_contract.checkpoint import to_bytes
from modelhopper_contract.ending import give_up
from modelhopper_contract.errors import ConflictError, SpecError, StoreUnavailable
from modelhopper_contract.messages import Built, Event
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, Failure, HopRecord, Measurement, Outcome
from modelhopper_contract.ring import Stations
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_contract.tokens import training_token
from modelhopper_scheduler.conduct import begun, conduct
from modelhopper_scheduler.engines.engine import OnEvent
from tests.scheduler.planned import configuration, specification
from tests.trainer.small_run import Mortal

NAMES = Names("planned")


@dataclass
class FakeEngine:
    """Puts checkpoint 0 of what has no problem, and instead of serving only remembers who was to be served."""

    store: Store
    problems: dict[int, str] = field(default_factory=dict)
    stations: int = 2
    served: list[set[int]] = field(default_factory=list)
    prepared: int = 0
    is_inside: bool = False

    def __enter__(self) -> Self:
        self.is_inside = True
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.is_inside = False

    def measure(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: OnEvent
    ) -> Measurement:
        raise AssertionError("there is nothing to measure")

    def prepare(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: OnEvent
    ) -> list[Built]:
        self.prepared += 1
        for one in configurations:
            if one.number not in self.problems:
                record = HopRecord(configuration=one.number, hop=-1, shard=None, steps=0, loss=None)
                self.store.put(NAMES.checkpoint(one.number, 0), to_bytes({}, record))
        return [
            Built(configuration=one.number, cost=1.0, problem=self.problems.get(one.number), path=("model",))
            for one in configurations
        ]

    def serve(self, specification: Specification, is_over: Callable[[], bool], on_event: OnEvent) -> None:
        assert self.is_inside
        assert not is_over()
        numbers = {int(entry.name.split("/")[-1][:-5]) for entry in self.store.list(NAMES.configurations())}
        ended = {int(entry.name.split("/")[-1][:-5]) for entry in self.store.list(NAMES.outcomes())}
        self.served.append(numbers - ended)


def nobody_listens(event: Event) -> None:
    return None


def planned(count: int) -> list[Configuration]:
    return [configuration(number) for number in range(1, count + 1)]


def begin(store: Store, made: Specification | None = None, count: int = 3, *, extend: bool = False) -> FakeEngine:
    engine = FakeEngine(store)
    conduct(made or specification(), planned(count), store, engine, nobody_listens, extend=extend)
    return engine


def content(store: MemoryStore) -> dict[str, bytes]:
    return {entry.name: store.get(entry.name) for entry in store.list("")}


def end(store: Store, number: int, state: str = "finished") -> None:
    store.put(
        NAMES.outcome(number), Outcome.model_validate({"configuration": number, "state": state, "hops": 9}).to_json()
    )


def test_a_run_begins_with_a_token_for_every_configuration() -> None:
    store = MemoryStore()
    engine = begin(store)
    assert engine.served == [{1, 2, 3}]
    assert not engine.is_inside
    made = [Configuration.from_json(store.get(NAMES.configuration(number))) for number in (1, 2, 3)]
    assert sorted(one.offset for one in made) == [0, 1, 2]
    tokens = {name for one in made for name in training_token(specification(), 2, one, 0)}
    assert {entry.name for entry in store.list(NAMES.inbox())} == tokens


def test_the_same_command_goes_on_and_builds_nothing_again() -> None:
    store = MemoryStore()
    begin(store)
    before = content(store)
    end(store, 2)
    store.delete(store.list(NAMES.inbox())[0].name)
    engine = begin(store)
    assert engine.prepared == 0
    assert engine.served == [{1, 3}]
    assert {
        name: data for name, data in content(store).items() if "/inbox/" not in name and "/outcomes/" not in name
    } == {name: data for name, data in before.items() if "/inbox/" not in name}


def test_a_moved_folder_is_where_stations_look_from_then_on() -> None:
    store, made = MemoryStore(), specification()
    begin(store, made)
    moved = made.model_copy(update={"folder": "/elsewhere"})
    begin(store, moved)
    assert Specification.from_json(store.get(NAMES.specification())) == moved


def test_a_complete_run_serves_nobody() -> None:
    store = MemoryStore()
    begin(store)
    for number in (1, 2, 3):
        end(store, number)
    assert begin(store).served == []
    assert store.list(NAMES.inbox()) == []


def test_another_number_of_stations_moves_the_tokens() -> None:
    store = MemoryStore()
    begin(store)
    for count in (1, 3, 7):
        engine = FakeEngine(store, stations=count)
        conduct(specification(), planned(3), store, engine, nobody_listens)
        made = [Configuration.from_json(store.get(NAMES.configuration(number))) for number in (1, 2, 3)]
        holders = {Stations(count, 3).holder(one.offset, one.number) for one in made}
        assert {int(entry.name.split("/")[2]) for entry in store.list(NAMES.inbox())} == holders
        assert len(store.list(NAMES.inbox())) == 3


def test_another_experiment_of_this_name_is_refused_in_words() -> None:
    store = MemoryStore()
    begin(store)
    before = content(store)
    words = r"memory:/planned holds another experiment of this name: iterations was 3, is 20; seed was 0, is 1\."
    with pytest.raises(ConflictError, match=words):
        begin(store, specification(iterations=20, seed=1), extend=True)
    assert content(store) == before


def test_more_iterations_are_refused_unless_asked_for() -> None:
    store = MemoryStore()
    begin(store)
    before = content(store)
    with pytest.raises(ConflictError, match=r"iterations was 3, is 5\. .* extend it with --extend"):
        begin(store, specification(iterations=5))
    assert content(store) == before


@pytest.mark.parametrize("changed", [{"evaluate_every": 2}, {"objective": "loss"}])
def test_what_early_stopping_has_counted_cannot_be_changed(changed: dict[str, Any]) -> None:
    store = MemoryStore()
    begin(store, specification(early_stopping=2))
    with pytest.raises(ConflictError, match="Give it another name, or remove that folder"):
        begin(store, specification(iterations=5, early_stopping=2, **changed), extend=True)
    assert begun(specification(iterations=5, early_stopping=2), store, extend=True)


def test_a_configuration_that_has_ended_is_not_given_up() -> None:
    store, names = MemoryStore(), Names("planned")
    stopped = Outcome(configuration=1, state="stopped", hops=2, trained=6)
    store.put(names.outcome(1), stopped.to_json())
    store.put(names.evaluation_token(0, 1, 3), b"{}")
    failure = Failure(reason="killed", hop=6, shard=None, station=0, traceback=None, output=None)
    assert give_up(store, names, 1, failure) == stopped
    assert Outcome.from_json(store.get(names.outcome(1))) == stopped
    assert store.list(names.inbox()) == []


def test_fewer_iterations_are_refused_also_with_extend() -> None:
    store = MemoryStore()
    begin(store, specification(iterations=5))
    with pytest.raises(ConflictError, match=r"iterations was 5, is 3"):
        begin(store, specification(iterations=3), extend=True)


def test_extending_lets_finished_configurations_go_on_and_failed_ones_rest() -> None:
    store = MemoryStore()
    begin(store)
    end(store, 1)
    end(store, 2, "failed")
    record = HopRecord(configuration=1, hop=8, shard=0, steps=9, loss=0.1)
    store.put(NAMES.checkpoint(1, 9), to_bytes({}, record))
    store.put(NAMES.history(1, 3), b"{}")
    longer = specification(iterations=5)
    engine = begin(store, longer, extend=True)
    assert engine.served == [{1, 3}]
    assert Specification.from_json(store.get(NAMES.specification())) == longer
    assert [e.name for e in store.list(NAMES.inbox()) if "00001-train-00000009" in e.name]
    assert store.list(NAMES.outcome(2))


@pytest.mark.parametrize("changes", range(12))
def test_an_extension_killed_anywhere_deals_the_same_offsets(changes: int) -> None:
    """Whoever comes later is dealt a shard by what those before cost, whether it was put before the kill or after."""

    class Costly(FakeEngine):
        def prepare(self, *given: Any) -> list[Built]:
            return [
                one.model_copy(update={"cost": 1.0 + one.configuration // 4 * 0.2}) for one in super().prepare(*given)
            ]

    def extended(store: Store, count: int) -> None:
        conduct(specification(2), planned(count), store, Costly(store), nobody_listens)

    whole, store = MemoryStore(), MemoryStore()
    for each in (whole, store):
        extended(each, 2)
    extended(whole, 7)
    try:
        extended(Mortal(store, changes), 7)
    except StoreUnavailable:
        extended(store, 7)
    assert {e.name: store.get(e.name) for e in store.list(NAMES.configurations())} == {
        e.name: whole.get(e.name) for e in whole.list(NAMES.configurations())
    }


def test_a_problem_leaves_nothing_begun() -> None:
    store = MemoryStore()
    engine = FakeEngine(store, problems={2: "no such loss", 3: "no such loss"})
    with pytest.raises(SpecError, match=r"no such loss \(2 configurations, the first is 2") as found:
        conduct(specification(), planned(3), store, engine, nobody_listens)
    assert found.value.path[-1] == "model"
    assert engine.served == []
    assert store.list(NAMES.specification()) == []
    assert store.list(NAMES.inbox()) == []
    assert begin(store).served == [{1, 2, 3}]


def test_trained_checkpoints_without_a_specification_are_not_touched() -> None:
    store = MemoryStore()
    store.put(NAMES.checkpoint(1, 4), b"precious")
    with pytest.raises(ConflictError, match=r"holds checkpoints of planned but not planned/experiment\.json"):
        begin(store)
    assert content(store) == {NAMES.checkpoint(1, 4): b"precious"}


@pytest.mark.parametrize("changes", range(11))
def test_a_beginning_killed_anywhere_is_begun_anew(changes: int) -> None:
    whole, store = MemoryStore(), MemoryStore()
    begin(whole)
    try:
        begin(Mortal(store, changes))
    except StoreUnavailable:
        begin(store)
    assert content(store) == content(whole)


@pytest.mark.parametrize("changes", range(14))
def test_a_beginning_killed_anywhere_leaves_nothing_to_a_smaller_one(changes: int) -> None:
    """The search was made smaller after the kill: the configurations of before must not come back."""
    killed, store, whole = specification(seed=1), MemoryStore(), MemoryStore()
    with_two = specification(seed=2)
    try:
        begin(Mortal(store, changes), killed, count=5)
    except StoreUnavailable:
        if store.list(NAMES.specification()):
            return
        begin(store, with_two, count=2)
        assert begin(store, with_two, count=2).served == [{1, 2}]
        begin(whole, with_two, count=2)
        assert content(store) == content(whole)
