"""Stations without TensorFlow that follow tokens through a store, for claims about whole runs of a search."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from modelhopper_contract.checkpoint import to_bytes
from modelhopper_contract.messages import Built, Event
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.records import (
    Configuration,
    Failure,
    HopRecord,
    Measurement,
    ShardMetrics,
    Split,
    Stay,
    Token,
)
from modelhopper_contract.ring import Stations, stay_end
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.tokens import held
from modelhopper_trainer.publishing import Publisher, Result

Curve = Callable[[int, int], float | None]  # the objective of a configuration at an iteration; None: it fails before


@dataclass
class FakeStations:
    """An engine whose stations serve one token at a time, in an order that a seed draws."""

    store: Store
    curve: Curve
    stations: int = 3
    seed: int = 0
    trained: list[tuple[int, int]] = field(default_factory=list)  # (configuration, hop), in the order of training

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        return None

    def measure(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: Callable[[Event], None]
    ) -> Measurement:
        raise AssertionError("there is nothing to measure")

    def prepare(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: Callable[[Event], None]
    ) -> list[Built]:
        for one in configurations:
            self.store.put(Names(specification.experiment.name).checkpoint(one.number, 0), _state(one.number, 0))
        return [Built(configuration=one.number, cost=1.0) for one in configurations]

    def serve(
        self, specification: Specification, is_over: Callable[[], bool], on_event: Callable[[Event], None]
    ) -> None:
        drawn = random.Random(self.seed)
        work = _Work(self, specification, Publisher(self.store, specification, self.stations, on_event))
        while not is_over():
            waiting = [entry.name for entry in self.store.list(work.names.inbox())]
            assert waiting, "nobody has a token, and it is not over"
            work.serve(drawn.choice(waiting))


@dataclass(frozen=True)
class _Work:
    engine: FakeStations
    specification: Specification
    publisher: Publisher

    @property
    def names(self) -> Names:
        return Names(self.specification.experiment.name)

    @property
    def store(self) -> Store:
        return self.engine.store

    def serve(self, name: str) -> None:
        token = Token.from_json(self.store.get(name))
        place = self.names.configuration(token.configuration)
        one = Configuration.from_json(self.store.get(place))
        ended = bool(self.store.list(self.names.outcome(one.number)))
        found = [checkpoint_number(e.name)[1] for e in self.store.list(self.names.checkpoints(one.number))]
        if token.action == "evaluate":
            self.evaluate(name, token, one, is_there=token.hop in found)
        elif ended:
            self.store.delete(name)
        elif max(found, default=token.hop) > token.hop:
            self.publisher.forward(one, max(found), token, name)
        else:
            self.train(name, token, one)

    def train(self, name: str, token: Token, one: Configuration) -> None:
        ring = self.specification.ring
        end = stay_end(ring, Stations(self.engine.stations, ring.shards), one.number, one.offset, token.hop)
        if self.engine.curve(one.number, -(-end // ring.shards)) is None:
            failure = Failure(reason="bad", hop=token.hop, shard=None, station=0, traceback=None, output=None)
            self.publisher.failure(one.number, failure, name)
            return
        times = {"started_s": 0.0, "train_s": 0.0, "overhead_s": 0.0}
        stay = Stay(configuration=one.number, first_hop=token.hop, end_hop=end, station=0, **times)
        self.publisher.stays([Result(one, _state(one.number, end), stay, name, token.until)])
        self.engine.trained.extend((one.number, hop) for hop in range(token.hop, end))

    def evaluate(self, name: str, token: Token, one: Configuration, *, is_there: bool) -> None:
        if not is_there:
            self.store.delete(name)
            return
        station = int(name.split("/")[-2])
        own = held(self.specification, self.engine.stations, station, one)
        states: dict[tuple[Split, int], ShardMetrics] = {
            (split, shard): ShardMetrics(metrics={}) for split, shards in own.items() for shard in shards
        }
        iteration = self.specification.ring.iteration(token.hop)
        value = self.engine.curve(one.number, iteration)
        assert value is not None
        merged = {"loss": 1 - value, "accuracy": value}
        self.publisher.evaluation(one.number, iteration, states, name, lambda _: merged)


def _state(number: int, hop: int) -> bytes:
    return to_bytes({}, HopRecord(configuration=number, hop=hop - 1, shard=None, steps=0, loss=None))
