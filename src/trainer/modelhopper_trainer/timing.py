"""Timing on this machine, for whoever asks before a run: one hop of some configurations, or every way to compile them.

Nothing is stored. A process of its own: a command comes in on standard input, events go out into a file, and
TensorFlow's memory goes with the process.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from modelhopper_contract.errors import ExitCode, HopError, ModelhopperError, SpecError
from modelhopper_contract.messages import Built, Command, Ended, Event, Measure, Prepare, Problem, Trained, read_command
from modelhopper_contract.records import Configuration, Outcome
from modelhopper_contract.specification import Specification
from modelhopper_trainer.assembly import assemble_for
from modelhopper_trainer.class_weights import class_weights
from modelhopper_trainer.device import configure
from modelhopper_trainer.failures import Watch, failure
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.hop import HopTask, run_hop
from modelhopper_trainer.measurement import Patience
from modelhopper_trainer.preparation import measured
from modelhopper_trainer.program import make_program
from modelhopper_trainer.shards import DataSet, ShardArrays, open_data
from modelhopper_trainer.workshop import Workshop

_PATIENCE = Patience(kind_s=20.0, total_s=120.0, is_thorough=True)  # somebody wants to know, and waits for nothing else
_SHARD = 0  # shards have equally many rows, give or take one


def main(arguments: list[str]) -> int:
    """Time what standard input says; the arguments are the file for events, and gpu or cpu. Return the exit code."""
    asked = read_command(sys.stdin.buffer.readline())
    with Path(arguments[0]).open("wb") as events:
        try:
            found = _found(asked, gpu=arguments[1] == "gpu")
            events.writelines(event.to_json() + b"\n" for event in found)
        except Exception as error:  # noqa: BLE001 -- told to whoever asked
            code = error.exit_code if isinstance(error, ModelhopperError) else ExitCode.PERMANENT
            problem = Problem(station=0, message=str(error) or repr(error), exit_code=code)
            events.write(problem.model_copy(update={"traceback": traceback.format_exc()}).to_json() + b"\n")
            return code
    return ExitCode.DONE


def _found(asked: Command, *, gpu: bool) -> Iterator[Event]:
    assert isinstance(asked, Prepare | Measure)  # noqa: S101 -- for the type; nobody asks for anything else
    specification, configurations = asked.specification, asked.configurations
    devices = specification.experiment.devices
    configure(threads=devices.threads, gpu=gpu, deterministic=devices.deterministic)
    if isinstance(asked, Prepare):
        return timed(specification, configurations)
    return iter([measured(specification, configurations, Workshop(specification), _PATIENCE)])


def timed(specification: Specification, configurations: tuple[Configuration, ...]) -> Iterator[Event]:
    """Yield `Trained` for each configuration that did a hop, `Built` for a mistake in one, `Ended` for a failure."""
    data = open_data(specification.address(specification.experiment.data.train))
    for configuration in configurations:
        try:
            yield _timed(specification, configuration, data)
        except SpecError as error:
            yield Built(configuration=configuration.number, problem=str(error), path=error.path)
        except HopError as error:
            yield _failed(configuration, error)
        except ModelhopperError:
            raise  # the data, not this configuration
        except Exception as error:  # noqa: BLE001 -- whatever a user's model raises ends that model only
            yield _failed(configuration, error)


def _timed(specification: Specification, configuration: Configuration, data: DataSet) -> Trained:
    program = make_program(assemble_for(specification, configuration, data.manifest))
    weights = class_weights(configuration.fit["class_weight"], data.manifest)
    task = HopTask(specification.experiment.seed, configuration, 0, _SHARD, weights)
    shard, state = data.shard(_SHARD), program.read()
    run_hop(program, _few(shard, configuration.fit["batch_size"]), task, 0)
    program.load(state)
    feed = Feed({**shard.inputs, **shard.outputs}, shard.rows)
    began_s = time.perf_counter()
    record = run_hop(program, feed, task, 0)
    busy_s = time.perf_counter() - began_s
    number = configuration.number
    return Trained(station=0, configuration=number, first_hop=0, end_hop=1, loss=record.loss or 0.0, busy_s=busy_s)


def _failed(configuration: Configuration, error: Exception) -> Ended:
    found = failure(error, 0, 0, _SHARD, Watch(None))
    return Ended(outcome=Outcome(configuration=configuration.number, state="failed", hops=0, failure=found))


def _few(shard: ShardArrays, batch_size: int) -> Feed:
    """Return rows for one batch of each size, so that everything is traced and compiled before the clock runs."""
    rows = min(shard.rows, batch_size + shard.rows % batch_size)
    return Feed({name: array[:rows] for name, array in {**shard.inputs, **shard.outputs}.items()}, rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
