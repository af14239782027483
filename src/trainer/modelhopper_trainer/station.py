"""The station: it serves its inbox, trains whatever configuration arrives on its shards, and sends it on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from modelhopper_contract import checkpoint
from modelhopper_contract.checkpoint import Checkpoint, State
from modelhopper_contract.errors import CorruptObject, HopError, ModelhopperError, ObjectNotFound, SpecError
from modelhopper_contract.messages import Event, Idle, Started, Trained
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.records import Configuration, Failure, HopRecord, ShardMetrics, Split, Stay, Token
from modelhopper_contract.ring import Stations, stay_end
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Entry, Store
from modelhopper_contract.tokens import held
from modelhopper_trainer.class_weights import class_weights
from modelhopper_trainer.failures import Watch, failure
from modelhopper_trainer.hop import HopTask, run_hop
from modelhopper_trainer.moves import Moves
from modelhopper_trainer.origin import first_checkpoint, is_to_be_made
from modelhopper_trainer.preparation import build, prepare
from modelhopper_trainer.publishing import Publisher
from modelhopper_trainer.state import model_part
from modelhopper_trainer.workshop import Workshop


class Arrival(NamedTuple):
    """A token with what it needs, fetched."""

    token: Token
    configuration: Configuration
    checkpoint: Checkpoint | None  # None when the token is out of date


class Trip(NamedTuple):
    """A configuration on its way, with the token that sent it and that token's name."""

    configuration: Configuration
    token: Token
    name: str


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
        self._moves = Moves()
        self._configurations: dict[int, Configuration] = {}
        self._served: set[str] = set()  # tokens whose result is still waiting to be written
        self._ahead: dict[str, Future[Arrival | None]] = {}
        self._hop_now = 0  # the hop that a failure belongs to

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
                self._moves.flush()
                if empty == 0:
                    self._report(Idle(station=self._station))
                wait(empty)
                empty += 1
            self._moves.flush()

    def step(self) -> bool:
        """Serve the oldest token; return False when the inbox is empty."""
        self._moves.check()
        waiting = self._waiting()
        if not waiting:
            return False
        self._serve_first(waiting[:2])
        return True

    def serve_only(self, tokens: Sequence[str], is_over: Callable[[], bool]) -> None:
        """Serve these tokens of the inbox, in this order and each once, and nothing that they give rise to.

        One that is not there any more is passed over: somebody else served it. Returns when everything is written, or
        as soon as `is_over` between two tokens.
        """
        for position in range(len(tokens)):
            if is_over():
                break
            self._moves.check()
            self._serve_first(tokens[position : position + 2])
        self._moves.flush()

    def flush(self) -> None:
        """Wait until everything that was decided is written."""
        self._moves.flush()

    def _serve_first(self, names: Sequence[str]) -> None:
        """Serve the first token; read what the others need meanwhile."""
        name = names[0]
        self._read_ahead(names)
        arrival = self._ahead.pop(name).result()
        if arrival is not None:
            self._served.add(name)
            self._serve(name, arrival)

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
        wanted = self._names.checkpoint(token.configuration, token.hop)
        if token.action == "train" and self._is_out_of_date(token):
            return Arrival(token, configuration, None)
        try:
            return Arrival(token, configuration, checkpoint.from_bytes(self._store.get(wanted), wanted))
        except ObjectNotFound:
            return Arrival(token, configuration, None)

    def _is_out_of_date(self, token: Token) -> bool:
        # A newer checkpoint has announced its own token. To train again would make that one anew, and so on: every hop
        # of the configuration would be done twice until the end.
        ended = self._store.list(self._names.outcome(token.configuration))
        return bool(ended) or self._newest(token.configuration) > token.hop

    def _newest(self, number: int) -> int:
        entries = self._store.list(self._names.checkpoints(number))
        return max((checkpoint_number(entry.name)[1] for entry in entries), default=-1)

    def _configuration(self, number: int) -> Configuration:
        if number not in self._configurations:
            name = self._names.configuration(number)
            self._configurations[number] = Configuration.from_json(self._store.get(name), name)
        return self._configurations[number]

    def _serve(self, name: str, arrival: Arrival) -> None:
        token, found = arrival.token, arrival.checkpoint
        self._hop_now = token.hop
        self._report(
            Started(action=token.action, station=self._station, configuration=token.configuration, hop=token.hop)
        )
        self._watch.begin()  # after the report, which may itself print
        if found is None and not self._begins(arrival):
            self._write(name, lambda: self._forward(name, arrival))
            return
        try:
            if found is None:
                found = self._beginning(arrival.configuration)
            if token.action == "train":
                self._train(name, arrival.configuration, found, token)
            else:
                self._evaluate(name, arrival.configuration, found, token.hop)
        except (HopError, SpecError) as error:
            self._fail(name, token, error)
        except ModelhopperError:
            raise  # the store or a shard, not this configuration
        except Exception as error:  # noqa: BLE001 -- whatever a user's model raises ends that model only
            self._fail(name, token, error)

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

    def _train(self, name: str, configuration: Configuration, found: Checkpoint, token: Token) -> None:
        started_s, started, hop = time.time(), time.perf_counter(), token.hop
        program = self._workshop.tools(configuration).program
        program.load(found.state)
        ring = self._specification.ring
        end = stay_end(ring, Stations(self._stations, ring.shards), configuration.number, configuration.offset, hop)
        trained = time.perf_counter()
        record = found.record
        for n in range(hop, end):
            record = self._hop(configuration, n, record)
        train_s = time.perf_counter() - trained
        state = program.read()
        overhead_s = time.perf_counter() - started - train_s
        stay = Stay(
            configuration=configuration.number,
            first_hop=hop,
            end_hop=end,
            station=self._station,
            started_s=started_s,
            train_s=train_s,
            overhead_s=overhead_s,
        )
        self._write(name, lambda: self._publish(Trip(configuration, token, name), state, record, stay))

    def _hop(self, configuration: Configuration, hop: int, before: HopRecord) -> HopRecord:
        self._hop_now = hop
        shard = self._specification.ring.shard(configuration.offset, hop)
        weights = class_weights(configuration.fit["class_weight"], self._workshop.manifest)
        task = HopTask(self._specification.experiment.seed, configuration, hop, shard, weights)
        program = self._workshop.tools(configuration).program
        return run_hop(program, self._workshop.feed("training", shard), task, before.steps)

    def _publish(self, trip: Trip, state: State, record: HopRecord, stay: Stay) -> None:
        data = checkpoint.to_bytes(state, record)
        self._publisher.stay(trip.configuration, data, stay, trip.name, trip.token.until)
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

    def _evaluate(self, name: str, configuration: Configuration, found: Checkpoint, hop: int) -> None:
        program, evaluator = self._workshop.tools(configuration)
        program.load(model_part(found.state))
        metrics: dict[tuple[Split, int], ShardMetrics] = {}
        for split, shards in held(self._specification, self._stations, self._station, configuration.number).items():
            for shard in shards:
                metrics[split, shard] = evaluator.evaluate(self._workshop.feed(split, shard).stored())
        iteration = self._specification.ring.iteration(hop)
        number = configuration.number
        token = Token(action="evaluate", configuration=number, hop=hop)

        def publish() -> None:
            try:
                self._publisher.evaluation(number, iteration, metrics, name, evaluator.merge)
            except ModelhopperError:
                raise
            except Exception as error:  # noqa: BLE001 -- merging runs the user's own metrics
                self._publisher.failure(number, self._described(token, error), name)

        self._write(name, publish)

    def _forward(self, name: str, arrival: Arrival) -> None:
        """Repair a token that is out of date: the work is done, or the configuration has ended."""
        number = arrival.token.configuration
        ended = bool(self._store.list(self._names.outcome(number)))
        if ended or arrival.token.action == "evaluate":
            self._store.delete(name)
            return
        newest = self._newest(number)
        if newest < arrival.token.hop:
            missing = self._names.checkpoint(number, arrival.token.hop)
            raise CorruptObject(f"{missing} is missing, and configuration {number} cannot go on without it.")
        self._publisher.forward(arrival.configuration, newest, arrival.token, name)

    def _fail(self, name: str, token: Token, error: BaseException) -> None:
        found = self._described(token, error)
        self._write(name, lambda: self._publisher.failure(token.configuration, found, name))

    def _described(self, token: Token, error: BaseException) -> Failure:
        if token.action == "evaluate":
            return failure(error, self._station, token.hop, None, self._watch)
        configuration = self._configuration(token.configuration)
        shard = self._specification.ring.shard(configuration.offset, self._hop_now)
        return failure(error, self._station, self._hop_now, shard, self._watch)

    def _write(self, name: str, effect: Callable[[], None]) -> None:
        def write() -> None:
            effect()
            self._served.discard(name)

        self._moves.write(write)


def _arrived(entry: Entry) -> tuple[float, str]:
    return entry.modified_s, entry.name
