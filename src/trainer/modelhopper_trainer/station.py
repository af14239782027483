"""The station: it serves its inbox, trains whatever configuration arrives on its shards, and sends it on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from modelhopper_contract import checkpoint
from modelhopper_contract.checkpoint import Checkpoint
from modelhopper_contract.errors import HopError, ModelhopperError, ObjectNotFound, SpecError
from modelhopper_contract.messages import Event, Idle, Started, Trained
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, Failure, ShardMetrics, Split, Stay, Token
from modelhopper_contract.ring import Stations, stay_end
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Entry, Store
from modelhopper_contract.tokens import held
from modelhopper_trainer.averaging import Averaging
from modelhopper_trainer.convoys import Convoys
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.failures import Watch, failure
from modelhopper_trainer.hopping import Hopping, Way, stored
from modelhopper_trainer.moves import Moves
from modelhopper_trainer.origin import first_checkpoint, is_to_be_made
from modelhopper_trainer.preparation import build, measured, prepare
from modelhopper_trainer.publishing import Publisher, Result
from modelhopper_trainer.state import model_part
from modelhopper_trainer.voyage import Arrived, Lost, Trip, Voyage
from modelhopper_trainer.workshop import Workshop

# For those who are about to join a convoy: longer than a store takes for a few small objects, and rarely needed.
_MOST_LOOKS = 20
_LOOK_S = 0.005
_GLANCE_S = 0.002  # from look to look while something is written


class Arrival(NamedTuple):
    """A token with what it needs, fetched."""

    token: Token
    configuration: Configuration
    checkpoint: Checkpoint | None  # None when the token is out of date


class Station:
    """Station `station` of `stations`, for one experiment.

    `step` serves one token; nothing else decides. Every step may be repeated, interrupted and done by another
    station: results do not change.
    """

    def __init__(
        self,
        store: Store,
        specification: Specification,
        station: int,
        stations: int,
        report: Callable[[Event], None],
        log: Path | None = None,
        workshop: Workshop | None = None,
    ) -> None:
        self._store = store
        self._specification = specification
        self._names = Names(specification.experiment.name)
        self._station = station
        self._stations = stations
        self._report = report
        self._watch = Watch(log)
        self._workshop = workshop or Workshop(specification)
        self._publisher = Publisher(store, specification, stations, report)
        self._way: Way = (
            Averaging(store, specification, self._publisher, lambda: self._workshop.manifest)
            if specification.experiment.method.merges
            else Hopping(store, self._names, self._publisher)
        )
        self._moves = Moves()
        self._convoys = Convoys(store, specification, stations, self._workshop, self._configuration)
        self._configurations: dict[int, Configuration] = {}
        self._served: set[str] = set()  # tokens whose result is still waiting to be written
        self._ahead: dict[str, Future[Arrival | None]] = {}

    def measure(self, configurations: Sequence[Configuration]) -> None:
        """Find which configurations are of a kind, time each kind, and report it; or what is wrong with one."""
        self._report(measured(self._specification, configurations, self._workshop))

    def prepare(self, configurations: Iterable[Configuration]) -> None:
        """Build each configuration once, put its checkpoint 0, and report it."""
        for configuration in configurations:
            self._report(prepare(self._specification, configuration, self._workshop, self._store))

    def serve(self, is_over: Callable[[], bool], wait: Callable[[int], None]) -> None:
        """Serve the inbox until `is_over`; `wait` is called with the number of looks that found nothing."""
        empty = 0
        with self._moves:
            while not is_over():
                if self.step():
                    empty = 0
                    continue
                if self._moves.wait(_GLANCE_S):
                    continue  # what is being written may come back here, and others' tokens come meanwhile
                if empty == 0:
                    self._report(Idle(station=self._station))
                wait(empty)
                empty += 1
            self._moves.flush()

    def step(self) -> bool:
        """Serve the oldest token, and with it those that train together with it; return False when there is none."""
        self._moves.check()
        waiting = self._waiting()
        if not waiting:
            return False
        convoy = self._convoys.first(waiting)
        for _ in range(_MOST_LOOKS):
            if not self._convoys.is_awaited(convoy, self._served):
                break
            # A fused program takes as long for one as for all, and who is left behind once stays behind.
            time.sleep(_LOOK_S)
            waiting = self._waiting()
            convoy = self._convoys.first(waiting)
        self._serve_convoy(convoy, [name for name in waiting if name not in convoy])
        return True

    def serve_only(self, tokens: Sequence[str], is_over: Callable[[], bool]) -> None:
        """Serve these tokens of the inbox, in this order and each once, and nothing that they give rise to.

        Those that train together are served when the first of them is. One that is not there any more is passed over:
        somebody else served it. Returns when everything is written, or as soon as `is_over` between two services.
        """
        left = list(tokens)
        while left and not is_over():
            self._moves.check()
            convoy = self._convoys.first(left)
            left = [name for name in left if name not in convoy]
            self._serve_convoy(convoy, left)
        self._moves.flush()

    def flush(self) -> None:
        """Wait until everything that was decided is written."""
        self._moves.flush()

    def _serve_convoy(self, names: Sequence[str], waiting: Sequence[str]) -> None:
        """Serve these tokens together; read meanwhile what the next ones of those that wait need."""
        self._read_ahead([*names, *self._convoys.first(waiting)])
        found = [(name, self._ahead.pop(name).result()) for name in names]
        arrivals = {name: arrival for name, arrival in found if arrival is not None}
        self._served.update(arrivals)
        if arrivals:
            self._serve(arrivals)

    def _waiting(self) -> list[str]:
        entries = self._store.list(self._names.inbox(self._station))
        # First come, first served.
        return [e.name for e in sorted(entries, key=_arrived) if e.name not in self._served]

    def _read_ahead(self, names: Sequence[str]) -> None:
        self._ahead = {name: self._ahead[name] for name in names if name in self._ahead}
        for name in names:
            if name not in self._ahead:
                self._ahead[name] = self._moves.read(lambda name=name: self._fetch(name))  # type: ignore[misc]

    def _fetch(self, name: str) -> Arrival | None:
        try:
            token = Token.from_json(self._store.get(name), name)
        except ObjectNotFound:
            return None  # served by a station of the same number that was thought dead
        configuration = self._configuration(token.configuration)
        if token.action == "train":
            return Arrival(token, configuration, self._way.state(token))
        return Arrival(
            token, configuration, stored(self._store, self._names.checkpoint(token.configuration, token.hop))
        )

    def _configuration(self, number: int) -> Configuration:
        if number not in self._configurations:
            name = self._names.configuration(number)
            self._configurations[number] = Configuration.from_json(self._store.get(name), name)
        return self._configurations[number]

    def _serve(self, arrivals: Mapping[str, Arrival]) -> None:
        # The oldest is told last: when this process is killed, it is to blame, for it comes first the next time, too.
        for arrival in reversed([*arrivals.values()]):
            action, number, hop = arrival.token.action, arrival.token.configuration, arrival.token.hop
            self._report(Started(action=action, station=self._station, configuration=number, hop=hop))
        self._watch.begin()  # after the reports, which may themselves print
        trips = [trip for name, arrival in arrivals.items() if (trip := self._trip(name, arrival)) is not None]
        if trips and trips[0].token.action == "train":
            self._train(trips)
        elif trips:  # each is evaluated by itself
            self._evaluate(trips[0])

    def _trip(self, name: str, arrival: Arrival) -> Trip | None:
        """Return a configuration with its state; None for one whose token is out of date, which is repaired."""
        token, configuration, found = arrival
        if found is None and not self._begins(arrival):
            self._write([name], lambda: self._forward(name, arrival))
            return None
        try:
            return Trip(configuration, found or self._beginning(configuration), token, name)
        except Exception as error:
            if not _is_its_own(error):
                raise
            self._fail(name, token, error)
            return None

    def _begins(self, arrival: Arrival) -> bool:
        token, configuration = arrival.token, arrival.configuration
        return token.action == "train" and is_to_be_made(self._specification, configuration, token.hop, self._store)

    def _beginning(self, configuration: Configuration) -> Checkpoint:
        """Build a configuration that a search let start later than the others, and return its first state.

        That state needs no place in the store: until there is a later one, the token is there, and whoever finds it
        makes the same state again.
        """
        try:
            own = build(self._specification, configuration, self._workshop).variables.read()
            return first_checkpoint(self._specification, configuration, own, self._store)
        except SpecError as error:
            raise HopError(str(error)) from error  # what is wrong with one that the user did not write ends that one

    def _train(self, trips: Sequence[Trip]) -> None:
        voyage = Voyage(self._specification, self._workshop, trips, self._stay_end(trips[0]) - trips[0].token.hop)
        try:
            found = voyage.train()
        except Exception as error:
            if not _is_its_own(error):
                raise
            self._blame(trips, error, voyage.done)
        else:
            self._arrive(voyage, found)

    def _blame(self, trips: Sequence[Trip], error: BaseException, done: int) -> None:
        """Take the error for that of a configuration; of several, let each show by itself whose it is."""
        if len(trips) == 1:
            self._fail(trips[0].name, trips[0].token, error, done)
            return
        for trip in trips:
            self._train([trip])

    def _arrive(self, voyage: Voyage, found: Sequence[Arrived | Lost]) -> None:
        for one in found:
            if isinstance(one, Lost):
                self._fail(one.trip.name, one.trip.token, one.error, one.hops)
        arrived = [one for one in found if isinstance(one, Arrived)]
        stays = [self._stay_of(one.trip, voyage, len(found)) for one in arrived]
        if arrived:
            self._write([one.trip.name for one in arrived], lambda: self._publish(arrived, stays))

    def _stay_end(self, trip: Trip) -> int:
        one, stations = trip.configuration, Stations(self._stations, self._specification.shards)
        return stay_end(self._specification.ring_of(one), stations, one.number, one.offset, trip.token.hop)

    def _stay_of(self, trip: Trip, voyage: Voyage, members: int) -> Stay:
        return Stay(
            configuration=trip.configuration.number,
            first_hop=trip.token.hop,
            end_hop=trip.token.hop + voyage.done,
            station=self._station,
            started_s=voyage.started_s,
            train_s=voyage.train_s / members,  # its share, so that times add up
            overhead_s=voyage.overhead_s / members,
        )

    def _publish(self, arrived: Sequence[Arrived], stays: Sequence[Stay]) -> None:
        self._way.publish(
            [
                Result(trip.configuration, checkpoint.to_bytes(state, record), stay, trip.name, trip.token.until)
                for (trip, state, record), stay in zip(arrived, stays, strict=True)
            ]
        )
        for (_, _, record), stay in zip(arrived, stays, strict=True):
            self._report(
                Trained(
                    station=self._station,
                    configuration=stay.configuration,
                    first_hop=stay.first_hop,
                    end_hop=stay.end_hop,
                    loss=record.loss or 0.0,
                    busy_s=stay.train_s,
                )
            )

    def _evaluate(self, trip: Trip) -> None:
        try:
            metrics, evaluator = self._metrics(trip)
        except Exception as error:
            if not _is_its_own(error):
                raise
            self._fail(trip.name, trip.token, error)
            return
        number, iteration = trip.configuration.number, self._specification.ring.iteration(trip.token.hop)

        def publish() -> None:
            try:
                self._publisher.evaluation(number, iteration, metrics, trip.name, evaluator.merge)
            except ModelhopperError:
                raise
            except Exception as error:  # noqa: BLE001 -- merging runs the user's own metrics
                self._publisher.failure(number, self._described(trip.token, error), trip.name)

        self._write([trip.name], publish)

    def _metrics(self, trip: Trip) -> tuple[dict[tuple[Split, int], ShardMetrics], Evaluator]:
        program, evaluator = self._workshop.tools(trip.configuration)
        program.load(model_part(trip.checkpoint.state))
        metrics: dict[tuple[Split, int], ShardMetrics] = {}
        for split, shards in held(self._specification, self._stations, self._station, trip.configuration).items():
            for shard in shards:
                rows = self._workshop.feed(self._specification.data_of(split), shard)
                metrics[split, shard] = evaluator.evaluate(rows.stored())
        return metrics, evaluator

    def _forward(self, name: str, arrival: Arrival) -> None:
        """Repair a token that is out of date: the work is done, or the configuration has ended."""
        if arrival.token.action == "evaluate":
            self._store.delete(name)
        else:
            self._way.forward(arrival.configuration, arrival.token, name)

    def _fail(self, name: str, token: Token, error: BaseException, done: int = 0) -> None:
        found = self._described(token, error, done)
        self._write([name], lambda: self._publisher.failure(token.configuration, found, name))

    def _described(self, token: Token, error: BaseException, done: int = 0) -> Failure:
        """Describe what a configuration failed of, after so many hops of the stay."""
        if token.action == "evaluate":
            return failure(error, self._station, token.hop, None, self._watch)
        hop = token.hop + done
        configuration = self._configuration(token.configuration)
        shard = self._specification.ring_of(configuration).shard(configuration.offset, hop)
        return failure(error, self._station, hop, shard, self._watch)

    def _write(self, names: Sequence[str], effect: Callable[[], None]) -> None:
        """Let the effect of these tokens be written."""

        def write() -> None:
            effect()
            self._served.difference_update(names)

        self._moves.write(write)


def _is_its_own(error: BaseException) -> bool:
    """Say whether an error ends one configuration, as whatever a user's model raises does, and not one of the store."""
    return isinstance(error, HopError | SpecError) or not isinstance(error, ModelhopperError)


def _arrived(entry: Entry) -> tuple[float, str]:
    return entry.modified_s, entry.name
