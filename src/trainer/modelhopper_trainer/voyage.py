"""A convoy's stay at a station: some hops, one after another, each by all of its configurations side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from modelhopper_contract.checkpoint import Checkpoint, State
from modelhopper_contract.errors import HopError
from modelhopper_contract.records import Configuration, HopRecord, Token
from modelhopper_contract.specification import Specification
from modelhopper_trainer.class_weights import class_weights
from modelhopper_trainer.crew import Crew
from modelhopper_trainer.hop import HopTask
from modelhopper_trainer.workshop import Workshop


class Trip(NamedTuple):
    """A configuration on its way, with its state, the token that sent it and that token's name."""

    configuration: Configuration
    checkpoint: Checkpoint
    token: Token
    name: str


class Lost(NamedTuple):
    """A configuration that cannot go on."""

    trip: Trip
    error: HopError
    hops: int  # that it did here before


class Arrived(NamedTuple):
    """A configuration at the end of the stay."""

    trip: Trip
    state: State
    record: HopRecord


class Voyage:
    """Trains these configurations for so many hops. They share a `fuse_key`, and meet the same shards from here on."""

    def __init__(self, specification: Specification, workshop: Workshop, trips: Sequence[Trip], hops: int) -> None:
        self._specification = specification
        self._workshop = workshop
        self._trips = trips
        self._hops = hops
        self._lost: dict[int, Lost] = {}  # by lane
        self._records = [trip.checkpoint.record for trip in trips]
        self.started_s = time.time()
        self.train_s = 0.0
        self.overhead_s = 0.0  # the rest: reading and writing state
        self.done = 0  # hops

    def train(self) -> list[Arrived | Lost]:
        """Return what becomes of each, in the order in which they were given; raises what a model raises."""
        began = time.perf_counter()
        crew = self._workshop.crew([trip.configuration for trip in self._trips])
        crew.load([trip.checkpoint.state for trip in self._trips])
        trained = time.perf_counter()
        while self.done < self._hops and len(self._lost) < len(self._trips):
            self._hop(crew)
            self.done += 1
        self.train_s = time.perf_counter() - trained
        states = crew.read()
        self.overhead_s = time.perf_counter() - began - self.train_s
        return [
            self._lost.get(lane) or Arrived(trip, states[lane], self._records[lane])
            for lane, trip in enumerate(self._trips)
        ]

    def _hop(self, crew: Crew) -> None:
        tasks = [self._task(trip) for trip in self._trips]
        feed = self._workshop.feed("training", tasks[0].shard)
        for lane, found in enumerate(crew.hop(feed, tasks, [record.steps for record in self._records])):
            if isinstance(found, HopRecord):
                self._records[lane] = found
            else:  # it computes on beside the others, and what it computes is of no use
                self._lost.setdefault(lane, Lost(self._trips[lane], found, self.done))

    def _task(self, trip: Trip) -> HopTask:
        one, hop = trip.configuration, trip.token.hop + self.done
        weights = class_weights(one.fit["class_weight"], self._workshop.manifest)
        shard = self._specification.ring_of(one).shard(one.offset, hop)
        return HopTask(self._specification.experiment.seed, one, hop, shard, weights)
