"""A worker's process: takes a job from a store, and does parts of it.

`python -m modelhopper_trainer.scoring --store URL --job NAME --parts 0-9` does those that are not done, and ends: so a
pod can be one worker for one shard (`--unit 3`). `--merge` merges the parts of a job that evaluates. With `--events`
commands come in on standard input instead, and events go out on a file descriptor; the process ends by itself when
whoever started it is gone.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING

from modelhopper_contract.errors import ExitCode, ModelhopperError
from modelhopper_contract.record import Record
from modelhopper_contract.scoring import DoneMerge, DonePart, DoPart, Job, ScoringNames, Trouble, read_order
from modelhopper_contract.stores import open_store
from modelhopper_trainer.notices import quiet_start

if TYPE_CHECKING:  # it imports TensorFlow
    from modelhopper_trainer.scoring.work import Work


def main(arguments: list[str]) -> int:
    """Be a worker; return the exit code."""
    given = _parse(arguments)
    signal.signal(signal.SIGTERM, _exit_retryable)
    if given.events is None:
        return _told(lambda: _do_given(given), lambda trouble: sys.stderr.write(f"{trouble.message}\n"))
    with os.fdopen(given.events, "wb", buffering=0) as events:

        def say(word: Record) -> None:
            events.write(word.to_json() + b"\n")

        return _told(lambda: _obey(given, sys.stdin.buffer, say), say)


def _told(run: Callable[[], None], say: Callable[[Trouble], object]) -> int:
    try:
        run()
    except SystemExit as stop:
        return int(stop.code or 0)
    except BrokenPipeError:
        return ExitCode.RETRYABLE  # nobody listens any more
    except Exception as error:  # noqa: BLE001 -- told to whoever started this, who tells the user
        code = error.exit_code if isinstance(error, ModelhopperError) else ExitCode.PERMANENT
        say(Trouble(message=str(error) or repr(error), exit_code=code, traceback=traceback.format_exc()))
        return code
    return ExitCode.DONE


def _do_given(given: argparse.Namespace) -> None:
    work = _work(given)
    names, store = ScoringNames(given.job), open_store(given.store)
    done = {entry.name for entry in store.list(names.parts())}
    for number in _numbers(work.job, given):
        if names.part(number) not in done:
            work.do(number)
    if given.merge:
        work.merge()
    work.close()


def _obey(given: argparse.Namespace, orders: IO[bytes], say: Callable[[Record], None]) -> None:
    work = _work(given)
    for line in orders:
        order = read_order(line)
        if isinstance(order, DoPart):
            work.do(order.number)
            say(DonePart(number=order.number))
        else:
            work.merge()
            say(DoneMerge())
    work.close()


def _work(given: argparse.Namespace) -> Work:
    with quiet_start():
        from modelhopper_trainer.device import configure  # noqa: PLC0415 -- after signals are taken
    from modelhopper_trainer.scoring.work import Work  # noqa: PLC0415

    configure(threads=given.threads, gpu=given.gpu, deterministic=False)
    return Work(open_store(given.store), given.job)


def _numbers(job: Job, given: argparse.Namespace) -> Iterable[int]:
    if given.unit is not None:
        return [part.number for part in job.parts if part.unit == given.unit]
    if given.parts is None:
        return [] if given.merge else range(len(job.parts))
    first, _, last = given.parts.partition("-")
    return range(int(first), min(int(last or first) + 1, len(job.parts)))


def _exit_retryable(*_: object) -> None:
    raise SystemExit(ExitCode.RETRYABLE)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="modelhopper_trainer.scoring", description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--parts", metavar="FIRST-LAST", help="only these parts, counted from 0")
    parser.add_argument("--unit", type=int, help="only the parts of this shard, or file")
    parser.add_argument("--merge", action="store_true", help="merge the parts of a job that evaluates")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--events", type=int, default=None, help="file descriptor for events")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # everything is written, and TensorFlow's own way out takes long
