"""A station's process: commands come in on standard input, events go out on a file descriptor.

The process ends by itself when whoever started it is gone: standard input is then at its end.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from modelhopper_contract.errors import ExitCode, ModelhopperError
from modelhopper_contract.messages import Event, Prepare, Problem, Serve, Stop, read_command
from modelhopper_contract.names import Names
from modelhopper_contract.specification import Specification
from modelhopper_contract.stores import open_store
from modelhopper_trainer.notices import quiet_start

_SHORTEST_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.02


def main(arguments: list[str]) -> int:
    """Run a station; return its exit code."""
    given = _parse(arguments)
    with os.fdopen(given.events, "wb", buffering=0) as events:
        lock = threading.Lock()

        def report(event: Event) -> None:
            with lock:  # the writing thread reports, too
                events.write(event.to_json() + b"\n")

        try:
            _run(given, report)
        except SystemExit as stop:
            return int(stop.code or 0)
        except ModelhopperError as error:
            report(_problem(given.station, error, error.exit_code))
            return error.exit_code
        except Exception as error:  # noqa: BLE001 -- told to the engine, which tells the user
            report(_problem(given.station, error, ExitCode.PERMANENT))
            return ExitCode.PERMANENT
    return ExitCode.DONE


class _Ear:
    """Listens on standard input in the background."""

    def __init__(self) -> None:
        self._serve = threading.Event()
        self.stopped = threading.Event()

    def listen(self) -> None:
        for line in sys.stdin.buffer:
            command = read_command(line)
            if isinstance(command, Serve):
                self._serve.set()
            if isinstance(command, Stop):
                self.stopped.set()
                self._serve.set()
                return
        # Nobody is there any more. All that is lost is the hop in progress, and it will be done again.
        os._exit(ExitCode.RETRYABLE)

    def start(self) -> None:
        threading.Thread(target=self.listen, daemon=True).start()

    def wait_for_serve(self) -> None:
        self._serve.wait()

    def wait(self, looks: int) -> None:
        self.stopped.wait(min(_LONGEST_WAIT_S, _SHORTEST_WAIT_S * (1 + looks // 20)))


def _run(given: argparse.Namespace, report: object) -> None:
    signal.signal(signal.SIGTERM, _exit_retryable)
    first = read_command(sys.stdin.buffer.readline())
    ear = _Ear()
    ear.start()
    # TensorFlow starts while the engine reads, plans and writes.
    with quiet_start():
        from modelhopper_trainer.device import configure  # noqa: PLC0415 -- after the ear listens
    from modelhopper_trainer.station import Station  # noqa: PLC0415

    configure(threads=given.threads, gpu=given.gpu, deterministic=given.deterministic)
    store = open_store(given.store)
    if isinstance(first, Prepare):
        specification = first.specification
    else:
        name = Names(given.experiment).specification()
        specification = Specification.from_json(store.get(name), name)
    station = Station(store, specification, given.station, given.stations, report, given.log)  # type: ignore[arg-type]
    if isinstance(first, Prepare):
        station.prepare(first.configurations)
        ear.wait_for_serve()
    station.serve(ear.stopped.is_set, ear.wait)
    # Everything is written. TensorFlow's own way out takes as long as some runs.
    sys.stdout.flush()
    os._exit(ExitCode.DONE)


def _exit_retryable(*_: object) -> None:
    raise SystemExit(ExitCode.RETRYABLE)


def _problem(station: int, error: Exception, code: ExitCode) -> Problem:
    return Problem(station=station, message=str(error) or repr(error), exit_code=code, traceback=traceback.format_exc())


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="modelhopper_trainer", description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--station", type=int, required=True)
    parser.add_argument("--stations", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--events", type=int, default=1, help="file descriptor for events")
    parser.add_argument("--log", type=Path, default=None)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Python's own way out aborts where a thread still listens on standard input
