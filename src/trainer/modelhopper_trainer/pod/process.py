"""The process in a pod that trains, from its command line to its exit code.

A hop pod is a station for one visit: station SHARD of as many stations as there are shards. An evaluate pod does what
evaluations are left at a shard. A station pod serves until nothing can come to it any more.

Standard output has a line for everything that is done, and at the end one that begins with `times`, for benchmarks.
What was printed is kept in the store, as logs/<pod>.log, for station pods and for pods that failed: hop pods that went
well would leave thousands of logs that nobody reads. The exit code is an `ExitCode`.
"""

from __future__ import annotations

import argparse
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelhopper_contract.cancellation import cancel
from modelhopper_contract.errors import Cancelled, ExitCode, ModelhopperError, ObjectNotFound, UserError
from modelhopper_contract.messages import Event, Trained
from modelhopper_contract.names import Names
from modelhopper_contract.records import Split
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store, url_of
from modelhopper_trainer.notices import quiet_start
from modelhopper_trainer.pod.durations import Durations, TimedStore
from modelhopper_trainer.pod.head_start import HeadStart
from modelhopper_trainer.pod.marker import Marker
from modelhopper_trainer.pod.recording import Recording
from modelhopper_trainer.pod.suspects import Retry, Suspects
from modelhopper_trainer.pod.telling import told
from modelhopper_trainer.pod.termination import Termination

if TYPE_CHECKING:  # they import TensorFlow, or numpy
    from modelhopper_trainer.foresight import Data
    from modelhopper_trainer.station import Station
    from modelhopper_trainer.workshop import Workshop

POD_VARIABLE = "MODELHOPPER_POD"
GPUS_VARIABLE = "CUDA_VISIBLE_DEVICES"

_SPLITS: tuple[Split, ...] = ("training", "validation")


@dataclass(frozen=True)
class Surroundings:
    """What a pod finds where it runs. A test may give more than the environment does."""

    environment: Mapping[str, str]
    store: Store | None = None  # None: the one that the environment names
    workshop: Workshop | None = None  # None: one is made, with the data where the command line says
    termination: Termination | None = None
    age_s: float = 0.0  # of the process


def main(arguments: Sequence[str], surroundings: Surroundings) -> int:
    """Do what a pod does, and return its exit code."""
    given = _parser().parse_args(arguments)
    durations = Durations(surroundings.age_s)
    with tempfile.TemporaryDirectory(prefix="modelhopper-log-") as folder, Recording(Path(folder, "log")) as recording:
        return _run(Pod(given, surroundings, recording, durations))


def _run(pod: Pod) -> int:
    try:
        code = pod.run()
    except ModelhopperError as error:
        pod.say(str(error))
        code = error.exit_code
        pod.stop_the_others(code, str(error))
    except Exception as error:  # noqa: BLE001 -- a bug of ours, or of a library's: said, and not tried again
        pod.say(traceback.format_exc())
        code = ExitCode.PERMANENT
        pod.stop_the_others(code, repr(error))
    pod.say(pod.durations.line())
    if pod.is_resident or code not in {ExitCode.DONE, ExitCode.INTERRUPTED}:
        pod.keep_log()
    return int(code)


class Pod:
    """One pod, from its command line to its exit code."""

    def __init__(
        self, given: argparse.Namespace, surroundings: Surroundings, recording: Recording, durations: Durations
    ) -> None:
        self._given = given
        self._surroundings = surroundings
        self._recording = recording
        self._store: Store | None = None
        self._names = Names(given.experiment)
        self._place = _place(given)
        self._name = surroundings.environment.get(POD_VARIABLE) or self._place
        self.durations = durations
        self.say = recording.say

    @property
    def is_resident(self) -> bool:
        """Whether this is a station's pod, which stays for the whole run."""
        return bool(self._given.role == "station")

    def run(self) -> ExitCode:
        """Do all of it; raises what `Station` raises, and Cancelled."""
        store = self._store = TimedStore(self._opened(), self.durations)
        specification = self._specification(store)
        retry = Retry.of(self._surroundings.environment)
        suspects = Suspects(store, specification, self._place, self._name, retry)
        self._on_termination(suspects)
        marker = Marker(store, self._given.experiment)
        if marker.is_there():
            raise Cancelled("The run is cancelled.")
        suspects.look_back(self._number, self._teller(specification))
        try:
            code = self._serve(store, specification, suspects, marker)
        finally:
            suspects.clear()
        if marker.is_seen:
            raise Cancelled("The run is cancelled. What was done is safe.")
        return code

    def stop_the_others(self, code: ExitCode, why: str) -> None:
        """Stop the run when a station will not be started again: the others would wait for its tokens for ever."""
        is_final = code in {ExitCode.PERMANENT, ExitCode.MISTAKE} or (
            code == ExitCode.RETRYABLE and Retry.of(self._surroundings.environment).is_last
        )
        if self._store is None or not self.is_resident or not is_final:
            return
        with suppress(ModelhopperError):  # a store that is not there stops the others, too
            cancel(self._store, self._given.experiment, f"station {self._number} cannot go on: {why}")

    def keep_log(self) -> None:
        """Put what was printed into the store, if that is possible."""
        if self._store is None:
            return
        try:
            self._store.put(self._names.log(f"{self._name}.log"), self._recording.text().encode())
        except ModelhopperError as error:
            self.say(f"This log could not be kept: {error}")

    @property
    def _number(self) -> int:
        return int(self._given.station if self.is_resident else self._given.shard)

    def _opened(self) -> Store:
        if self._surroundings.store is not None:
            return self._surroundings.store
        return open_store(url_of(self._surroundings.environment))

    def _specification(self, store: Store) -> Specification:
        name = self._names.specification()
        try:
            specification = Specification.from_json(store.get(name), name)
        except ObjectNotFound as error:
            raise ObjectNotFound(f"{store.url} holds no {name}: the experiment has not begun.") from error
        self._check(specification.shards)
        return specification

    def _check(self, shards: int) -> None:
        count, what = (self._given.stations, "station") if self.is_resident else (shards, "shard")
        if not 0 <= self._number < count:
            raise UserError(f"There is no {what} {self._number}; there are {count}, numbered from 0 to {count - 1}.")

    def _on_termination(self, suspects: Suspects) -> None:
        termination = self._surroundings.termination
        if termination is not None:
            termination.at_end(lambda: self.say("Told to stop (SIGTERM): the hop in progress will be done again."))
            termination.at_end(suspects.clear)
            termination.at_end(self.keep_log)

    def _teller(self, specification: Specification) -> Callable[[Event], None]:
        def tell(event: Event) -> None:
            if (line := told(event, specification.ring)) is not None:
                self.say(line)
            if isinstance(event, Trained):
                self.durations.add("train", event.busy_s)

        return tell

    def _serve(self, store: Store, specification: Specification, suspects: Suspects, marker: Marker) -> ExitCode:
        tell = self._teller(specification)

        def hear(event: Event) -> None:
            tell(event)
            suspects.hear(event)

        if self.is_resident:
            return self._stay(store, specification, hear, marker)
        return self._visit(store, specification, hear, marker)

    def _stay(
        self, store: Store, specification: Specification, hear: Callable[[Event], None], marker: Marker
    ) -> ExitCode:
        from modelhopper_trainer.pod.vigil import Bell, Vigil  # noqa: PLC0415 -- only here

        stations, bell = self._given.stations, Bell(store, self._names.inbox(self._number))
        vigil = Vigil(store, specification, (self._number, stations), bell, marker)
        with self._station(store, specification, stations, hear) as station, bell:
            station.serve(vigil.is_over, vigil.wait)
        return ExitCode.DONE

    def _visit(
        self, store: Store, specification: Specification, hear: Callable[[Event], None], marker: Marker
    ) -> ExitCode:
        from modelhopper_trainer.pod.visit import Visit  # noqa: PLC0415 -- only here

        numbers: Sequence[int] = self._given.configurations
        visit = Visit(store, specification, self._number, self.say, marker.is_there)

        def heard(event: Event) -> None:
            hear(event)
            visit.hear(event)

        with self._station(store, specification, specification.shards, heard) as station:
            if is_hop := self._given.role == "hop":
                visit.train(station, numbers)
            visit.evaluate(station, numbers, only=bool(numbers) and not is_hop)
        return visit.exit_code(numbers) if is_hop else ExitCode.DONE

    @contextmanager
    def _station(
        self, store: Store, specification: Specification, stations: int, report: Callable[[Event], None]
    ) -> Iterator[Station]:
        with ExitStack() as stack:
            start = stack.enter_context(HeadStart(store))
            found = None if self._surroundings.workshop else self._data(store, specification, stack, stations)
            if self._given.role != "evaluate":
                start.checkpoint(self._names, self._number, [] if self.is_resident else self._given.configurations)
            gpu = self._start_tensorflow(specification)
            from modelhopper_trainer.station import Station  # noqa: PLC0415 -- after TensorFlow has started
            from modelhopper_trainer.workshop import Workshop  # noqa: PLC0415

            workshop = self._surroundings.workshop or Workshop(*found)  # type: ignore[misc]
            self.durations.started()
            self.say(f"{self._place}: {self._given.experiment} on {'a GPU' if gpu else 'CPU'}")
            log = self._recording.path
            yield Station(start, specification, self._number, stations, report, log, workshop)

    def _start_tensorflow(self, specification: Specification) -> bool:
        with quiet_start():
            from modelhopper_trainer.device import configure, has_gpu  # noqa: PLC0415 -- quietly

        devices = specification.experiment.devices
        gpu = devices.kind != "cpu" and self._surroundings.environment.get(GPUS_VARIABLE) != "-1" and has_gpu()
        if devices.kind == "gpu" and not gpu:
            raise UserError(
                "`devices.kind` is gpu, and this pod has none that TensorFlow can use. Ask for one in the cluster's "
                "file, use the trainer's image for GPUs, or set `devices.kind` to auto or cpu."
            )
        configure(threads=devices.threads, gpu=gpu, deterministic=devices.deterministic)
        return gpu

    def _data(
        self, store: Store, specification: Specification, stack: ExitStack, stations: int
    ) -> tuple[Specification, Data]:
        """Return the specification as it is here, with the user's files, and the data, which is read from now on."""
        from modelhopper_trainer.foresight import read_ahead, shards_of  # noqa: PLC0415 -- numpy takes its time, too
        from modelhopper_trainer.places import data_sets, user_files  # noqa: PLC0415

        folder = stack.enter_context(user_files(specification, store))
        here = specification.model_copy(update={"folder": str(folder)})
        data = data_sets(specification, store, dict(self._given.data))
        needed = shards_of(specification, self._number, stations)
        return here, read_ahead(data, needed if self.is_resident else {"training": needed["training"]})


def _place(given: argparse.Namespace) -> str:
    """Return the place that this pod has to itself; see `Names.suspect`."""
    if given.role == "station":
        return f"station-{given.station:05d}"
    whose = "".join(f"-{number:05d}" for number in given.configurations[:1])
    return f"hop{whose}" if given.role == "hop" else f"evaluate-{given.shard:05d}{whose}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="modelhopper_trainer.pod", description=__doc__)
    roles = parser.add_subparsers(dest="role", required=True)
    hop = roles.add_parser("hop", help="one hop of some configurations at one shard")
    hop.add_argument("--configurations", type=_numbers, required=True, help="their numbers, such as 3,7")
    evaluate = roles.add_parser("evaluate", help="the evaluations that wait at one shard")
    evaluate.add_argument("--configurations", type=_numbers, default=[], help="only theirs, such as 3,7; or all")
    station = roles.add_parser("station", help="a station, until nothing can come any more")
    station.add_argument("--station", type=int, required=True, help="from 0")
    station.add_argument("--stations", type=int, required=True)
    for role in (hop, evaluate):
        role.add_argument("--shard", type=int, required=True, help="from 0")
    for role in (hop, evaluate, station):
        role.add_argument("--experiment", required=True)
        role.add_argument("--data", type=_data, action="append", default=[], metavar="SPLIT=PATTERN")
    return parser


def _numbers(text: str) -> list[int]:
    return [] if text == "all" else [int(part) for part in text.split(",")]


def _data(text: str) -> tuple[Split, str]:
    """Read `training=/data/training/{shard}`, a mounted shard's folder, or `training=fetch`."""
    split, _, pattern = text.partition("=")
    for known in _SPLITS:
        if split == known and pattern:
            return known, pattern
    raise argparse.ArgumentTypeError(f"`{text}` is not training=PATTERN or validation=PATTERN")
