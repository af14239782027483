"""The local engine: one child process per device of this machine."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

from modelhopper_contract.ending import give_up, write_retry
from modelhopper_contract.errors import Cancelled, ExitCode, ModelhopperError, StoreUnavailable, UserError
from modelhopper_contract.messages import (
    Begin,
    Begun,
    Built,
    Ended,
    Evaluated,
    Event,
    Measure,
    Measured,
    Prepare,
    Problem,
    Release,
    Released,
    Serve,
    Stop,
    Trained,
)
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, Failure, Measurement
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_scheduler.engines.deaths import MOST_AT_A_HOP, Deaths
from modelhopper_scheduler.engines.engine import OnEvent, measurement_in, never
from modelhopper_scheduler.engines.outfit import Outfit
from modelhopper_scheduler.engines.standby import Standby
from modelhopper_scheduler.engines.station_process import StationProcess

_STOP_TIMEOUT_S = 30.0  # to write what is waiting, when all is done
_INTERRUPTED_TIMEOUT_S = 2.0  # a hop in progress is dropped, and will be done again
_ANSWER_TIMEOUT_S = 5.0  # of an idle station
_PERIOD_S = 0.25  # between questions whether the run is cancelled, when nothing else happens


class LocalEngine:
    """Child processes, one for each outfit. They hold the locks of the descriptors in `keep` as long as they take part.

    A station that dies is started again. A hop at which stations die three times, most likely for lack of memory,
    ends its configuration as failed. Stations come from `standby`, as far as it has them, and go there afterwards;
    those of a run that was interrupted are ended.
    """

    def __init__(
        self,
        store: Store,
        experiment: str,
        outfits: Sequence[Outfit],
        logs: Path,
        keep: tuple[int, ...] = (),
        is_cancelled: Callable[[], bool] = never,
        standby: Standby | None = None,
    ) -> None:
        self._store = store
        self._is_cancelled = is_cancelled
        self._names = Names(experiment)
        self._outfits = list(outfits)
        self._logs = logs
        self._keep = keep
        self._standby = standby
        self._processes: dict[int, StationProcess] = {}
        self._selector = selectors.DefaultSelector()
        self._deaths = Deaths(len(self._outfits))

    @property
    def stations(self) -> int:
        """One per outfit."""
        return len(self._outfits)

    def __enter__(self) -> Self:
        try:
            self._take()
            for station in range(self.stations):
                if station not in self._processes:
                    self._start(station)
        except BaseException:
            self._stop(0)
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._stop(_INTERRUPTED_TIMEOUT_S)
        elif self._standby is None:
            self._stop(_STOP_TIMEOUT_S)
        else:
            self._release(self._standby)

    def measure(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: OnEvent
    ) -> Measurement:
        """Let the first station measure; the others would take its time."""
        self._processes[0].send(Measure(specification=specification, configurations=tuple(configurations)))
        while True:
            for process, event in self._arrivals():
                if event is None:
                    raise self._cannot_go_on(process, "while measuring the configurations")
                self._raise_problem(event)
                if isinstance(event, Measured):
                    on_event(event)
                    return measurement_in(event)

    def prepare(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: OnEvent
    ) -> list[Built]:
        """Let every station build its share of the configurations."""
        for station, process in self._processes.items():
            share = tuple(configurations[station :: self.stations])
            process.send(Prepare(specification=specification, configurations=share))
        found: list[Built] = []
        while len(found) < len(configurations):
            for process, event in self._arrivals():
                if event is None:
                    raise self._cannot_go_on(process, "while building the configurations")
                self._raise_problem(event)
                if isinstance(event, Built):
                    found.append(event)
                    on_event(event)
        return found

    def serve(self, specification: Specification, is_over: Callable[[], bool], on_event: OnEvent) -> None:  # noqa: ARG002
        """Let the stations serve until it is over."""
        for process in self._processes.values():
            process.send(Serve())
        while not is_over():
            for process, event in self._arrivals():
                heard = event or self._after_death(process)
                if heard is None or isinstance(heard, Begun):
                    continue
                self._raise_problem(heard)
                if isinstance(heard, Trained | Evaluated | Ended):
                    self._deaths.progress()
                on_event(heard)

    def _take(self) -> None:
        """Take over what stations there are, but for those that give no sign of life."""
        self._processes = self._standby.take(self._outfits) if self._standby else {}
        starting = {number for number, process in self._processes.items() if process.is_new}  # TensorFlow still is
        for number, process in self._processes.items():
            process.begin(self._part(number), self._keep)
        for number, process in list(self._processes.items()):
            if number in starting or process.says(Begun, _ANSWER_TIMEOUT_S):
                self._listen_to(process)
            else:
                process.stop(0)
                del self._processes[number]

    def _start(self, station: int) -> StationProcess:
        process = self._processes[station] = StationProcess(self._outfits[station])
        process.begin(self._part(station), self._keep)
        self._listen_to(process)
        return process

    def _listen_to(self, process: StationProcess) -> None:
        self._selector.register(process.events_fd, selectors.EVENT_READ, process)

    def _part(self, station: int) -> Begin:
        return Begin(
            store=self._store.url,
            experiment=self._names.experiment,
            station=station,
            stations=self.stations,
            log=str(self._logs.absolute() / f"station-{station}.log"),
        )

    def _stop(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for process in self._processes.values():
            process.send(Stop())
        for process in self._processes.values():
            process.stop(deadline - time.monotonic())
        self._selector.close()

    def _release(self, standby: Standby) -> None:
        """Let the stations go to wait for another run; one that gives no sign of it is ended."""
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for process in self._processes.values():
            process.send(Release())
        for process in self._processes.values():
            if process.says(Released, deadline - time.monotonic()):
                standby.keep(process)
            else:
                process.stop(0)
        self._selector.close()

    def _arrivals(self) -> Iterator[tuple[StationProcess, Event | None]]:
        if self._is_cancelled():
            raise Cancelled("the run was cancelled")
        for key, _ in self._selector.select(timeout=_PERIOD_S):
            process: StationProcess = key.data
            for event in process.events():
                if event is None:
                    self._selector.unregister(process.events_fd)
                yield process, event

    def _after_death(self, process: StationProcess) -> Event | None:
        """Start a dead station again; return the end of the configuration that killed it too often."""
        work = process.working_on
        is_to_blame = self._deaths.add(process.station, work)
        if self._deaths.are_too_many:
            raise self._cannot_go_on(process, f"after {self._deaths.without_progress} deaths without any progress")
        code = process.exit_code()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        ended = None
        if work is not None and is_to_blame:
            ended = self._give_up(process, work.configuration, work.hop, how)
        elif work is not None:
            who = f"station-{work.station:05d}-{self._deaths.count}"
            write_retry(self._store, self._names, work, who, f"station {work.station} died ({how})")
        process.stop(0)
        self._start(process.station).send(Serve())
        return ended

    def _give_up(self, process: StationProcess, configuration: int, hop: int, how: str) -> Ended:
        failure = Failure(
            reason=f"its station died {MOST_AT_A_HOP} times at this hop ({how}); most likely out of memory",
            hop=hop,
            shard=None,
            station=process.station,
            traceback=None,
            output=process.last_lines() or None,
        )
        return Ended(outcome=give_up(self._store, self._names, configuration, failure))

    def _raise_problem(self, event: Event) -> None:
        if not isinstance(event, Problem):
            return
        if event.exit_code == ExitCode.RETRYABLE:
            raise StoreUnavailable(event.message)
        if event.exit_code == ExitCode.MISTAKE:
            raise UserError(event.message)
        raise ModelhopperError(event.message)

    def _cannot_go_on(self, process: StationProcess, when: str) -> ModelhopperError:
        lines = process.last_lines()
        return ModelhopperError(
            f"station {process.station} ended {when}. The end of its log, {process.log}:\n{lines or '(empty)'}"
        )
