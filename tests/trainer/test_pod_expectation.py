"""A station leaves when nothing can come to it any more: not before, and not long after."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.decisions import Arrival, Start, Stop, Turn
from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.messages import Event
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.progress import read_progress
from modelhopper_contract.records import Configuration, Failure, ShardMetrics, Split, Stay, Token
from modelhopper_contract.ring import Stations, stay_end
from modelhopper_contract.specification import Specification
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_contract.tokens import held
from modelhopper_trainer.pod import vigil
from modelhopper_trainer.pod.expectation import can_come, open_evaluations
from modelhopper_trainer.pod.marker import Marker
from modelhopper_trainer.publishing import Publisher, Result
from tests.scheduler.planned import configuration, runs, specification


class Watched(MemoryStore):
    """A store that calls back after every change, as finely as stations can interleave."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: Callable[[str], None] = lambda name: None

    def put(self, name: str, data: bytes) -> None:
        super().put(name, data)
        self.changed(name)

    def delete(self, name: str) -> None:
        super().delete(name)
        self.changed("")


class Simulation:
    """Stations without TensorFlow, one at a time; every one whose inbox is empty decides whether to leave."""

    def __init__(self, spec: Specification, planned: list[Configuration], stations: int) -> None:
        self.spec, self.planned, self.count = spec, planned, stations
        self.names = Names(spec.experiment.name)
        self.store = Watched()
        self.publisher = Publisher(self.store, spec, stations, _nobody_listens)
        self.gone: set[int] = set()
        for one in planned:
            self.store.put(self.names.checkpoint(one.number, 0), b"state")
            self.publisher.announce(one, 0)
        self.store.changed = self.changed

    def changed(self, name: str) -> None:
        inboxes = tuple(self.names.inbox(station) for station in self.gone)
        assert not name.startswith(inboxes or "nothing"), f"{name} came to a station that had left"
        empty = [k for k in range(self.count) if k not in self.gone and not self.inbox(k)]
        self.gone |= set(empty) - self.expecting(empty)

    def expecting(self, stations: list[int]) -> set[int]:
        """Return those of the stations that something can come to."""
        progress = read_progress(self.names, self.store)
        evaluations = open_evaluations(self.spec, self.planned, progress)
        metrics = {e.name for n, i in evaluations for e in self.store.list(self.names.metrics(n, i))}
        return {k for k in stations if can_come(self.spec, self.planned, progress, metrics, (k, self.count))}

    def inbox(self, station: int) -> list[str]:
        return [entry.name for entry in self.store.list(self.names.inbox(station))]

    def serve(self, station: int, *, fails: bool) -> None:
        name = self.inbox(station)[0]
        token = Token.from_json(self.store.get(name))
        one = self.planned[token.configuration - 1]
        ended = self.store.list(self.names.outcome(one.number))
        if ended and token.action == "train":
            self.store.delete(name)
        elif fails:
            failure = Failure(reason="", hop=token.hop, shard=None, station=station, traceback=None, output=None)
            self.publisher.failure(one.number, failure, name)
        elif token.action == "train":
            self.train(one, token.hop, name, station)
        else:
            self.evaluate(one, token.hop, name, station)

    def train(self, one: Configuration, hop: int, name: str, station: int) -> None:
        ring = self.spec.ring
        end = stay_end(ring, Stations(self.count, ring.shards), one.number, one.offset, hop)
        stay = Stay(
            configuration=one.number, first_hop=hop, end_hop=end, station=station, started_s=0, train_s=0, overhead_s=0
        )
        self.publisher.stays([Result(one, b"state", stay, name)])

    def evaluate(self, one: Configuration, hop: int, name: str, station: int) -> None:
        if not self.store.list(self.names.checkpoint(one.number, hop)):
            self.store.delete(name)
            return
        own = held(self.spec, self.count, station, one)
        found: dict[tuple[Split, int], ShardMetrics] = {
            (split, shard): ShardMetrics(metrics={}) for split, shards in own.items() for shard in shards
        }
        self.publisher.evaluation(one.number, self.spec.ring.iteration(hop), found, name, lambda _: {"loss": 0.5})


@given(run=runs(), data=st.data())
def test_nothing_comes_to_a_station_that_has_left_and_all_leave(
    run: tuple[Specification, list[Configuration], int], data: st.DataObject
) -> None:
    spec, planned, stations = run
    simulation = Simulation(spec, planned, min(stations, 2 * spec.shards))
    may_fail = data.draw(st.booleans(), label="may fail")
    while busy := [k for k in range(simulation.count) if simulation.inbox(k)]:
        station = data.draw(st.sampled_from(busy))
        simulation.serve(station, fails=may_fail and data.draw(st.integers(0, 9)) == 0)
    assert simulation.gone == set(range(simulation.count))


def test_a_station_leaves_while_others_still_evaluate() -> None:
    spec = specification(shards=2, validation_shards=0, iterations=1)
    one = configuration(1)
    simulation = Simulation(spec, [one], 2)
    simulation.serve(0, fails=False)
    simulation.serve(1, fails=False)
    assert [checkpoint_number(e.name)[1] for e in simulation.store.list(simulation.names.checkpoints(1))] == [2]
    simulation.serve(0, fails=False)
    assert simulation.gone == {0}


def test_a_lost_checkpoint_is_said_instead_of_waited_for() -> None:
    simulation = Simulation(specification(shards=2), [configuration(1)], 2)
    simulation.store.changed = lambda name: None
    simulation.store.delete(simulation.names.checkpoint(1, 0))
    with pytest.raises(CorruptObject, match="configuration 1 has neither a checkpoint nor an outcome"):
        simulation.expecting([1])


# --- under a search that judges ---------------------------------------------------------------------------------------


def left(store: MemoryStore, spec: Specification, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Say whether station 1 of 2 leaves when its inbox is empty."""
    monkeypatch.setattr(vigil, "_FIRST_CHECK_S", 0.0)
    monkeypatch.setattr(vigil.Bell, "wait", lambda *_: None)
    inbox = Names(spec.experiment.name).inbox(1)
    one = vigil.Vigil(store, spec, (1, 2), vigil.Bell(store, inbox), Marker(store, spec.experiment.name))
    one.wait(0)
    return one.is_over()


def searched(*turns: Turn) -> tuple[MemoryStore, Specification]:
    """Return a store with a log, and configuration 1 at its first rung, evaluated."""
    search = {"method": "halving", "configurations": 2, "eta": 2, "space": {"batch_size": [4, 8]}}
    spec = specification(shards=2, validation_shards=0, search=search, iterations=2)
    spec = spec.model_copy(update={"rungs": (1, 2)})
    store, names = MemoryStore(), Names(spec.experiment.name)
    store.put(names.configuration(1), configuration(1).to_json())
    store.put(names.checkpoint(1, 2), b"state")
    store.put(names.history(1, 1), b"{}")
    for turn in turns:
        store.put(names.turn(turn.order), turn.to_json())
    return store, spec


START = Start(configuration=1, choice={}, until=1, reason="")
ARRIVAL = Arrival(configuration=1, iteration=1, value=0.5)


def test_a_station_stays_until_a_search_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not left(*searched(), monkeypatch)
    assert not left(*searched(Turn(order=0, arrival=None, decisions=(START,))), monkeypatch)
    late = Start(configuration=2, choice={}, until=1, reason="")  # has no checkpoint yet
    begun = Turn(order=0, arrival=None, decisions=(START,))
    assert not left(*searched(begun, Turn(order=1, arrival=ARRIVAL, decisions=(late,))), monkeypatch)


def test_a_station_does_not_wait_for_who_waits_at_a_rung_when_the_search_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = Stop(configuration=1, reason="")
    begun = Turn(order=0, arrival=None, decisions=(START,))
    over = Turn(order=1, arrival=ARRIVAL, decisions=(stop,), is_last=True)
    assert left(*searched(begun, over), monkeypatch)  # its outcome is not there yet


def _nobody_listens(_: Event) -> None:
    return None
