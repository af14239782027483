"""The local engine: one child process per device of this machine."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

from modelhopper_contract.ending import give_up, write_retry
from modelhopper_contract.errors import Cancelled, ExitCode, ModelhopperError, StoreUnavailable, UserError
from modelhopper_contract.experiment import Devices
from modelhopper_contract.messages import (
    Built,
    Ended,
    Evaluated,
    Event,
    Prepare,
    Problem,
    Serve,
    Stop,
    Trained,
)
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, Failure
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_scheduler.engines.deaths import MOST_AT_A_HOP, Deaths
from modelhopper_scheduler.engines.engine import OnEvent, never
from modelhopper_scheduler.engines.station_process import StationProcess

_STOP_TIMEOUT_S = 30.0  # to write what is waiting, when all is done
_INTERRUPTED_TIMEOUT_S = 2.0  # a hop in progress is dropped, and will be done again
_PERIOD_S = 0.25  # between questions whether the run is cancelled, when nothing else happens


class LocalEngine:
    """Child processes, one for each entry of `gpus` (None for a CPU station). They inherit the descriptors in `keep`.

    A station that dies is started again. A hop at which stations die three times, most likely for lack of memory,
    ends its configuration as failed.
    """

    def __init__(
        self,
        store: Store,
        experiment: str,
        devices: Devices,
        gpus: Sequence[str | None],
        logs: Path,
        keep: tuple[int, ...] = (),
        is_cancelled: Callable[[], bool] = never,
    ) -> None:
        self._store = store
        self._is_cancelled = is_cancelled
        self._names = Names(experiment)
        self._gpus = list(gpus)
        self._devices = devices
        self._logs = logs
        self._keep = keep
        self._processes: dict[int, StationProcess] = {}
        self._selector = selectors.DefaultSelector()
        self._deaths = Deaths(len(self._gpus))

    @property
    def stations(self) -> int:
        """One per device."""
        return len(self._gpus)

    def __enter__(self) -> Self:
        for station in range(self.stations):
            self._start(station)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        deadline = time.monotonic() + (_STOP_TIMEOUT_S if kind is None else _INTERRUPTED_TIMEOUT_S)
        for process in self._processes.values():
            process.send(Stop())
        for process in self._processes.values():
            process.stop(deadline - time.monotonic())
        self._selector.close()

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
                if heard is None:
                    continue
                self._raise_problem(heard)
                if isinstance(heard, Trained | Evaluated | Ended):
                    self._deaths.progress()
                on_event(heard)

    def _start(self, station: int) -> StationProcess:
        gpu = self._gpus[station]
        arguments = ["--store", self._store.url, "--experiment", self._names.experiment]
        arguments += ["--stations", str(self.stations), "--threads", str(self._devices.threads)]
        arguments += [
            *(["--gpu"] if gpu is not None else []),
            *(["--deterministic"] if self._devices.deterministic else []),
        ]
        log = self._logs / f"station-{station}.log"
        process = StationProcess(station, arguments, _environment(self._devices.threads, gpu), log, self._keep)
        self._processes[station] = process
        self._selector.register(process.events_fd, selectors.EVENT_READ, process)
        return process

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
        process.stop(0)
        ended = None
        if work is not None and is_to_blame:
            ended = self._give_up(process, work.configuration, work.hop, how)
        elif work is not None:
            who = f"station-{work.station:05d}-{self._deaths.count}"
            write_retry(self._store, self._names, work, who, f"station {work.station} died ({how})")
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


def _environment(threads: int, gpu: str | None) -> dict[str, str]:
    return {
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "-1" if gpu is None else gpu,
        "PYTHONUNBUFFERED": "1",
    }
