"""A run whose configurations train together: measured once, recorded, and the same after any kill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelhopper_contract.errors import SpecError, StoreUnavailable
from modelhopper_contract.messages import Chosen, Event
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, Measurement, Program
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.conduct import conduct
from modelhopper_scheduler.engines.engine import OnEvent
from modelhopper_scheduler.searches.making import planned, search_of
from tests.scheduler.fake_stations import FakeStations
from tests.scheduler.measured import compiled, fusing, kind, measurement, variant
from tests.scheduler.planned import specification
from tests.scheduler.test_conduct import FakeEngine, content
from tests.trainer.small_run import Mortal

NAMES = Names("planned")
FUSED = {"fuse": 3}
# Seven of a kind, which make a full convoy, another, and one that is not full; and one of another kind.
EIGHT = [compiled(number, "deep" if number == 5 else "small") for number in range(1, 9)]


@dataclass
class Measuring(FakeEngine):
    """Finds that lanes are right for all of a model; deep models cost more."""

    measured: list[list[int]] = field(default_factory=list)
    heard: list[Chosen] = field(default_factory=list)

    def measure(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: OnEvent
    ) -> Measurement:
        assert self.is_inside
        self.measured.append([one.number for one in configurations])
        return fusing(configurations, int(specification.experiment.fuse))

    def prepare(self, specification: Specification, configurations: Sequence[Configuration], on_event: Any) -> Any:
        costs = {one.number: (5.0 if one.model == "deep" else 1.0) for one in configurations}
        built = super().prepare(specification, configurations, on_event)
        return [one.model_copy(update={"cost": costs[one.configuration]}) for one in built]

    def hear(self, event: Event) -> None:
        if isinstance(event, Chosen):
            self.heard.append(event)


def run(store: Store, count: int = 8, shards: int = 3, **changes: Any) -> Measuring:
    engine = Measuring(store)
    conduct(specification(shards, **{**FUSED, **changes}), EIGHT[:count], store, engine, engine.hear)
    return engine


def stored(store: Store) -> dict[int, Configuration]:
    found = [Configuration.from_json(store.get(entry.name)) for entry in store.list(NAMES.configurations())]
    return {one.number: one for one in found}


def test_what_was_measured_is_chosen_recorded_and_told() -> None:
    store = MemoryStore()
    engine = run(store)
    assert engine.measured == [[1, 2, 3, 4, 5, 6, 7, 8]]
    made = stored(store)
    assert {number: one.program.lanes for number, one in made.items()} == {n: 1 if n == 5 else 3 for n in range(1, 9)}
    known = Measurement.from_json(store.get(NAMES.measurement()))
    assert [one.configurations for one in known.kinds] == [(1, 2, 3, 4, 6, 7, 8), (5,)]
    assert engine.heard == [Chosen(measurement=known, programs={n: one.program for n, one in made.items()})]


def test_a_convoy_begins_at_one_shard_and_costs_as_if_it_were_full() -> None:
    store = MemoryStore()
    run(store, shards=4)
    made = stored(store)
    offsets = {number: one.offset for number, one in made.items()}
    assert offsets[1] == offsets[2] == offsets[3]
    assert offsets[4] == offsets[6] == offsets[7]
    assert len({offsets[number] for number in (1, 4, 5, 8)}) == 4
    assert {number: one.cost for number, one in made.items()} == {**dict.fromkeys(made, 1.0), 5: 5.0, 8: 3.0}


def test_nothing_is_measured_where_everything_is_said() -> None:
    store = MemoryStore()
    engine = run(store, fuse=False)
    assert (engine.measured, engine.heard, store.list(NAMES.measurement())) == ([], [], [])
    assert {one.program for one in stored(store).values()} == {Program()}


def test_the_same_command_measures_nothing_again() -> None:
    store = MemoryStore()
    run(store)
    before = content(store)
    assert run(store).measured == []
    assert content(store) == before


def test_a_mistake_that_measuring_finds_leaves_nothing_begun() -> None:
    class Mistaken(Measuring):
        def measure(self, *given: Any) -> Measurement:
            raise SpecError("no such loss", ("loss",))

    store = MemoryStore()
    with pytest.raises(SpecError, match="no such loss"):
        conduct(specification(**FUSED), EIGHT, store, Mistaken(store), lambda _: None)
    assert content(store) == {}


@pytest.mark.parametrize("changes", range(0, 27, 2))
def test_a_beginning_killed_anywhere_is_begun_anew(changes: int) -> None:
    whole, store = MemoryStore(), MemoryStore()
    run(whole)
    try:
        run(Mortal(store, changes))
    except StoreUnavailable:
        run(store)
    assert content(store) == content(whole)


@pytest.mark.parametrize("changes", range(24))
def test_an_extension_killed_anywhere_chooses_and_deals_the_same(changes: int) -> None:
    """Also in the middle of a convoy, and whether or not what was measured was put before the kill."""
    whole, store = MemoryStore(), MemoryStore()
    for each in (whole, store):
        run(each, 2)
    run(whole)
    try:
        run(Mortal(store, changes))
    except StoreUnavailable:
        run(store)
    assert stored(store) == stored(whole)
    assert store.get(NAMES.measurement()) == whole.get(NAMES.measurement())
    assert [one.program.lanes for one in stored(store).values()] == [2, 2, 3, 3, 1, 3, 3, 3]


def test_an_earlier_attempt_s_measurement_is_forgotten() -> None:
    store = MemoryStore()
    store.put(NAMES.measurement(), measurement(kind([1, 2, 3], variant(1.0))).to_json())
    run(store, fuse=False)
    assert store.list(NAMES.measurement()) == []


class Stations(FakeStations):
    """They find that XLA is faster, and that three lanes are right."""

    def measure(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: OnEvent
    ) -> Measurement:
        numbers = [one.number for one in configurations]
        xla = variant(0.5, jit_compile=True), variant(0.1, 3, jit_compile=True)
        return measurement(kind(numbers, variant(1.0), *xla))


@pytest.mark.parametrize("stations", [1, 2, 3])
def test_who_a_search_starts_late_trains_alone_compiled_as_the_first(stations: int) -> None:
    search = {"method": "asha", "configurations": 7, "parallel": 3, "space": {"batch_size": [2, 4, 8, 16, 32, 64, 128]}}
    made = specification(
        search=search,
        compile={"loss": "mse", "jit_compile": "auto"},
        iterations=9,
        models={"small": "m.py:mlp"},
        **FUSED,
    )
    judged = search_of(made)
    assert judged is not None
    made = made.model_copy(update={"rungs": tuple(judged.rungs)})
    store = MemoryStore()
    engine = Stations(store, lambda number, iteration: number / 10, stations)
    conduct(made, planned(made), store, engine, lambda _: None)
    programs = {number: one.program for number, one in stored(store).items()}
    assert programs == {n: Program(lanes=3 if n <= 3 else 1, jit_compile=True) for n in range(1, 8)}
    assert len(store.list(NAMES.outcomes())) == 7
