"""Examining an experiment: every way to compile its configurations, timed on this machine before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelhopper.measuring import explained, timed_apart
from modelhopper.specify import specify
from modelhopper_contract.errors import ModelhopperError, SpecError
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.messages import Measure, Measured, Problem
from modelhopper_contract.records import Configuration, Kind, Measurement, Program, Variant
from modelhopper_scheduler.engines.devices import station_gpus
from modelhopper_scheduler.programs import chosen
from modelhopper_scheduler.searches.making import planned

FUSE, XLA, PRECISION = "fuse: auto", "jit_compile: auto", "precision: auto"
_COMPILE_KEYS = {XLA: "jit_compile", PRECISION: "precision"}


@dataclass(frozen=True)
class Examination:
    """What was measured for an experiment, and what follows from it on this machine."""

    experiment: Experiment
    configurations: tuple[Configuration, ...]
    measurement: Measurement
    stations: int
    shards: int

    def choice(self, *keys: str) -> dict[int, Program]:
        """Return the program of each configuration where these keys are `auto`, and the others as they are written."""
        experiment, configurations = opened(self.experiment, self.configurations, keys)
        # What was left open to measure is decided where the experiment does not leave it open.
        return chosen(experiment, configurations, self.measurement, self.stations, self.shards)

    def iteration_s(self, variant: Variant) -> float | None:
        """Return what one iteration of one configuration takes so."""
        return None if variant.seconds is None else variant.seconds * self.shards

    def lines(self) -> list[str]:
        """Return the lines for the experiment's file that make a run fastest here; results differ by rounding only.

        Empty where what is written is fastest. A precision is not among them: it changes what is learnt.
        """
        found = list(self.choice(FUSE, XLA).values())
        written = list(self.choice().values())
        lines = []
        if [one.lanes for one in found] != [one.lanes for one in written]:
            lanes = {one.lanes for one in found}
            lines.append(f"fuse: {_fuse(lanes)}")
        xla = {one.jit_compile for one in found}
        if xla != {one.jit_compile for one in written}:
            lines.append(f"compile: {{jit_compile: {'auto' if len(xla) > 1 else str(xla.pop()).lower()}}}")
        return lines

    def record(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        choices = {key: self.choice(key) for key in (FUSE, XLA, PRECISION)}
        return {
            "name": self.experiment.name,
            "device": self.measurement.device,
            "stations": self.stations,
            "kinds": [self._kind(kind, choices) for kind in self.measurement.kinds],
            "lines": self.lines(),
        }

    def _kind(self, kind: Kind, choices: Mapping[str, Mapping[int, Program]]) -> dict[str, Any]:
        return {
            "configurations": list(kind.configurations),
            "variants": [
                {
                    **one.program.model_dump(mode="json"),
                    "iteration_s": self.iteration_s(one),
                    "compile_s": one.compile_s,
                    "note": one.note,
                }
                for one in kind.variants
            ],
            "chosen": {key: one[kind.configurations[0]].model_dump(mode="json") for key, one in choices.items()},
        }


def examine(experiment: Experiment, folder: Path) -> Examination:
    """Time every way to compile an experiment's configurations on this machine, whatever it asks for.

    Relative paths begin at `folder`. Blocks for TensorFlow's start and up to some minutes, in a child process; nothing
    is stored. Raises SpecError for a configuration that cannot be built.
    """
    specification = specify(experiment, folder)
    configurations = tuple(planned(specification))
    everything, asked = opened(experiment, configurations, (FUSE, XLA, PRECISION))
    ring = specification.ring
    gpus = station_gpus(experiment.devices, len(configurations) * (ring.shards if ring.merges else 1))
    measure = Measure(
        specification=specification.model_copy(update={"experiment": everything}), configurations=tuple(asked)
    )
    measurement = _measurement(timed_apart(measure, gpus[0]))
    return Examination(experiment, configurations, measurement, len(gpus), ring.shards)


def opened(
    experiment: Experiment, configurations: Sequence[Configuration], keys: Sequence[str]
) -> tuple[Experiment, list[Configuration]]:
    """Return an experiment and its configurations with some keys `auto`; one that varies in the search stays."""
    names = [_COMPILE_KEYS[key] for key in keys if key in _COMPILE_KEYS]
    varying = {name for name in names if len({one.compile.get(name) for one in configurations}) > 1}
    auto = {name: "auto" for name in names if name not in varying}
    changed = [one.model_copy(update={"compile": {**one.compile, **auto}}) for one in configurations]
    update: dict[str, Any] = {"compile": experiment.compile.model_copy(update=auto)}
    is_parted = experiment.folds is not None or bool(experiment.groups)
    is_fused = FUSE in keys and not (experiment.method.merges or is_parted)  # these train each configuration alone
    return experiment.model_copy(update=update | ({"fuse": "auto"} if is_fused else {})), changed


def _fuse(lanes: set[int]) -> str:
    # A number is for every kind, also for one that is faster with another.
    if len(lanes) > 1:
        return "auto"
    return "false" if lanes == {1} else str(max(lanes))


def _measurement(events: Sequence[object]) -> Measurement:
    for event in events:
        if isinstance(event, Problem):
            raise explained(event)
        if isinstance(event, Measured) and event.problem is not None:
            error = SpecError(event.problem.problem or "it cannot be built", event.problem.path)
            if event.problem.traceback:
                error.add_note(event.problem.traceback)
            raise error
        if isinstance(event, Measured) and event.measurement is not None:
            return event.measurement
    raise ModelhopperError("The process that was to measure the configurations said nothing.")
