"""`python -m modelhopper_trainer.scoring.pod` is the process in a pod that scores one shard of a packed data set.

It does those of the shard's parts that nobody has done, and ends with an `ExitCode`; one that is killed leaves what it
had done, and the next in its place does the rest.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence

from modelhopper_contract.errors import ExitCode, ModelhopperError
from modelhopper_contract.scoring import ScoringNames
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store, url_of
from modelhopper_trainer.notices import quiet_start
from modelhopper_trainer.places import FETCH

GPUS_VARIABLE = "CUDA_VISIBLE_DEVICES"


def main(arguments: Sequence[str], environment: Mapping[str, str], store: Store | None = None) -> int:
    """Score one shard, and return the exit code. `store`: None is the one that the environment names."""
    given = _parser().parse_args(arguments)
    try:
        _score(given, environment, store or open_store(url_of(environment)))
    except ModelhopperError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    except Exception:  # noqa: BLE001 -- a bug of ours, or of a library's: said, and not tried again
        traceback.print_exc()
        return int(ExitCode.PERMANENT)
    return int(ExitCode.DONE)


def _score(given: argparse.Namespace, environment: Mapping[str, str], store: Store) -> None:
    gpu = _start_tensorflow(given.threads, environment)
    from modelhopper_trainer.scoring.work import Work  # noqa: PLC0415 -- after TensorFlow has started

    work = Work(store, given.job, None if given.data == FETCH else given.data)
    names = ScoringNames(given.job)
    own = [part for part in work.job.parts if part.unit == given.shard]
    done = {entry.name for entry in store.list(names.parts())}
    left = [part for part in own if names.part(part.number) not in done]
    _say(f"shard {given.shard} on {'a GPU' if gpu else 'CPU'}: {len(left)} of {len(own)} parts are to be done")
    try:
        for part in left:
            work.do(part.number)
            _say(f"part {part.number}: {part.rows:,} rows")
    finally:
        work.close()


def _start_tensorflow(threads: int, environment: Mapping[str, str]) -> bool:
    with quiet_start():
        from modelhopper_trainer.device import configure, has_gpu  # noqa: PLC0415 -- quietly

    gpu = environment.get(GPUS_VARIABLE) != "-1" and has_gpu()
    configure(threads=threads, gpu=gpu, deterministic=False)
    return gpu


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="modelhopper_trainer.scoring.pod", description=__doc__)
    parser.add_argument("--job", required=True)
    parser.add_argument("--shard", type=int, required=True, help="from 0")
    parser.add_argument("--data", default=FETCH, help="where the shard is mounted, as /data/{shard}, or fetch")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def _stop(*_: object) -> None:
    os._exit(ExitCode.RETRYABLE)  # a part in progress will be done again


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    code = main(sys.argv[1:], os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # everything is written, and TensorFlow's own way out takes long
