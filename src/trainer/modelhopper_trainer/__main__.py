"""A station's process: commands come in on standard input, events go out on a file descriptor.

The process ends by itself when whoever started it is gone: standard input is then at its end.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from modelhopper_contract.errors import ExitCode, ModelhopperError
from modelhopper_contract.messages import Event, Problem
from modelhopper_trainer.ear import Ear
from modelhopper_trainer.foresight import Foresight
from modelhopper_trainer.notices import quiet_start

if TYPE_CHECKING:  # it imports TensorFlow
    from modelhopper_trainer.service import Service


def main(arguments: list[str]) -> int:
    """Be a station; return the exit code."""
    given = _parse(arguments)
    signal.signal(signal.SIGTERM, _exit_retryable)
    with os.fdopen(given.events, "wb", buffering=0) as events:
        lock = threading.Lock()

        def report(event: Event) -> None:
            with lock:  # the writing thread reports, too
                events.write(event.to_json() + b"\n")

        service: Service | None = None
        started_s = time.time()
        try:
            foresight = Foresight()
            ear = Ear(sys.stdin.buffer, foresight.hear)
            ear.start()
            service = _started(given, ear, report, foresight, started_s)
            service.run()
        except SystemExit as stop:
            return int(stop.code or 0)
        except Exception as error:  # noqa: BLE001 -- told to the engine, which tells the user
            problem = _problem(service.station if service else 0, error)
            report(problem)
            return problem.exit_code
    return ExitCode.DONE


def _started(
    given: argparse.Namespace, ear: Ear, report: Callable[[Event], None], foresight: Foresight, started_s: float
) -> Service:
    # TensorFlow starts while the engine reads, plans and writes, and while the data is read and checked.
    with quiet_start():
        from modelhopper_trainer.device import configure  # noqa: PLC0415 -- after the ear listens
    from modelhopper_trainer.service import Service  # noqa: PLC0415

    configure(threads=given.threads, gpu=given.gpu, deterministic=given.deterministic)
    return Service(ear, report, given.descriptors, foresight.data, started_s)


def _exit_retryable(*_: object) -> None:
    raise SystemExit(ExitCode.RETRYABLE)


def _problem(station: int, error: Exception) -> Problem:
    code = error.exit_code if isinstance(error, ModelhopperError) else ExitCode.PERMANENT
    return Problem(station=station, message=str(error) or repr(error), exit_code=code, traceback=traceback.format_exc())


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="modelhopper_trainer", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--events", type=int, default=1, help="file descriptor for events")
    parser.add_argument("--descriptors", type=int, default=None, help="Unix socket on which a run's lock comes")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is written. TensorFlow's own way out takes as long as some runs, and Python's aborts where a thread
    # still listens on standard input.
    os._exit(code)
