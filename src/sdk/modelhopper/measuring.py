"""Measuring how long a hop trains on this machine, for the prediction before a cluster run."""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from modelhopper.display.words import count
from modelhopper.specify import specify
from modelhopper_contract.errors import ModelhopperError, SpecError, UserError
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.log_lines import last_lines
from modelhopper_contract.messages import Built, Ended, Event, Measure, Prepare, Problem, Trained, read_event
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification
from modelhopper_scheduler.engines.devices import station_gpus
from modelhopper_scheduler.searches.making import planned

_MODULE = "modelhopper_trainer.timing"
_MOST = 3  # configurations: a look before a run, and not a benchmark

Device = Literal["CPU", "GPU"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Measured:
    """How long a hop trains on this machine, without starting TensorFlow, tracing and compiling."""

    hops_s: dict[int, float]  # by configuration number
    device: Device

    @property
    def hop_s(self) -> float:
        """The mean, because all configurations together are what a run has to do."""
        return statistics.fmean(self.hops_s.values())

    @property
    def configurations(self) -> int:
        """How many were measured."""
        return len(self.hops_s)

    def origin(self, *, for_gpu: bool = False) -> str:
        """Return where the time comes from: "measured on this machine's CPU: 3 configurations, one hop each".

        `for_gpu`: it is to predict a run on GPUs, and a CPU's time says little about one.
        """
        each = ", one hop each" if self.configurations > 1 else ", one hop"
        told = f"measured on this machine's {self.device}: {count(self.configurations, 'configuration')}{each}"
        return f"{told}; a GPU takes another time" if for_gpu and self.device == "CPU" else told


def measure(experiment: Experiment, folder: Path) -> Measured:
    """Train one hop of up to three configurations, of different models where there are, and return what it takes.

    Relative paths in the experiment begin at `folder`. Blocks for as long as TensorFlow's start and the hops take, in a
    child process; nothing is stored. Of data in S3, one shard is fetched into this machine's cache. Raises UserError
    without TensorFlow, and SpecError for a configuration that cannot be built.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            "To measure a hop, TensorFlow must train one here, and it is not installed: pip install "
            "'modelhopper[cpu]', or [gpu]; or say how long a hop trains with --hop-seconds."
        )
    specification = specify(experiment, folder)
    chosen = spread(planned(specification), _MOST)
    gpu = station_gpus(experiment.devices, 1)[0]
    asked = Prepare(specification=specification, configurations=tuple(chosen))
    return Measured(_times(timed_apart(asked, gpu)), "CPU" if gpu is None else "GPU")


def spread(found: Sequence[Configuration], most: int) -> list[Configuration]:
    """Return at most so many configurations: of as many models as there are, and of each those far apart."""
    by_model: dict[str, list[Configuration]] = {}
    for one in found:
        by_model.setdefault(one.model, []).append(one)
    models = _far_apart(list(by_model.values()), most)
    each = -(-most // len(models))
    taken = [one for at in range(each) for own in models for one in _far_apart(own, each)[at : at + 1]]
    return sorted(taken[:most], key=lambda one: one.number)


def _far_apart(items: list[_T], most: int) -> list[_T]:
    if len(items) <= most:
        return items
    return [items[(2 * at + 1) * len(items) // (2 * most)] for at in range(most)]


def timed_apart(asked: Prepare | Measure, gpu: str | None) -> list[Event]:
    """Let a process of its own time what is asked, with TensorFlow, and return what it says.

    `gpu`: its identifier, None for a CPU. Raises ModelhopperError when the process dies.
    """
    with tempfile.TemporaryDirectory(prefix="modelhopper-") as folder:
        events = Path(folder, "events")
        done = subprocess.run(
            [sys.executable, "-m", _MODULE, str(events), "cpu" if gpu is None else "gpu"],
            input=asked.to_json() + b"\n",
            capture_output=True,
            env={**os.environ, **_environment(asked.specification, gpu)},
            check=False,
        )
        if done.returncode < 0 or not events.exists():
            said = "\n".join(last_lines((done.stdout + done.stderr).decode(errors="replace"), 15))
            raise ModelhopperError(f"The process that was to measure a hop ended with code {done.returncode}: {said}")
        return [read_event(line) for line in events.read_bytes().splitlines()]


def _environment(specification: Specification, gpu: str | None) -> dict[str, str]:
    # As in a station's process.
    return {
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": str(specification.experiment.devices.threads),
        "CUDA_VISIBLE_DEVICES": "-1" if gpu is None else gpu,
    }


def _times(events: Sequence[Event]) -> dict[int, float]:
    for event in events:
        if isinstance(event, Built):
            raise SpecError(f"{event.problem} (configuration {event.configuration})", event.path)
        if isinstance(event, Problem):
            raise explained(event)
    times = {event.configuration: event.busy_s for event in events if isinstance(event, Trained)}
    if not times:
        reasons = [
            event.outcome.failure.reason for event in events if isinstance(event, Ended) and event.outcome.failure
        ]
        raise UserError(
            f"None of {count(len(reasons), 'configuration')} could train a hop: {reasons[0]}. Mend it, or give "
            "--hop-seconds."
        )
    return times


def explained(problem: Problem) -> ModelhopperError:
    """Return a problem of the process that timed as the error that it was."""
    error = ModelhopperError(f"A hop could not be measured: {problem.message}")
    error.exit_code = problem.exit_code
    if problem.traceback:
        error.add_note(problem.traceback)
    return error
