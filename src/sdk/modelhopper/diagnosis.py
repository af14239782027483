"""What follows from what this machine is: what would keep a run from working, and what it would do here. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from modelhopper.display.words import count
from modelhopper.machine import Machine
from modelhopper.store_trial import StoreTrial
from modelhopper_contract.errors import ExitCode

_SLOW_S = 1.0  # for a checkpoint of 10 MB to be safe
_FULL_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Trouble:
    """Something that keeps a run from working, and what to do about it."""

    text: str
    exit_code: int


@dataclass(frozen=True)
class Diagnosis:
    """A machine and a store, with what is wrong, and what could be better."""

    machine: Machine
    store: StoreTrial
    troubles: tuple[Trouble, ...]
    advice: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """The code of the first trouble; 0 without one."""
        return self.troubles[0].exit_code if self.troubles else ExitCode.DONE

    def record(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        found = asdict(self)
        return {**found, "stations": stations(self.machine), "plan": plan(self.machine)}


def diagnose(machine: Machine, store: StoreTrial) -> Diagnosis:
    """Return what is wrong with a machine and a store, the worst first."""
    return Diagnosis(machine, store, tuple(_troubles(machine, store)), tuple(_advice(machine, store)))


def uses_gpus(machine: Machine) -> bool:
    """Say whether `devices: {kind: auto}` gives stations GPUs here."""
    return machine.shown_gpus > 0 and machine.build != "tensorflow-cpu"


def stations(machine: Machine) -> int:
    """Return how many stations an experiment without `devices` has here, where it has as many configurations."""
    return machine.shown_gpus if uses_gpus(machine) else machine.cores


def plan(machine: Machine) -> str:
    """Say what `modelhopper run` does here when the experiment says nothing of devices, and why."""
    number = count(stations(machine), "station")
    if uses_gpus(machine):
        return f"A run starts {number}, one for each GPU; `devices: {{per_gpu: 2}}` lets two share one."
    why = "this machine shows no GPU" if not machine.gpus else _why_no_gpu(machine)
    return f"A run starts {number}, one for each core, each with one thread, because {why}."


def _why_no_gpu(machine: Machine) -> str:
    if not machine.shown_gpus:
        return "CUDA_VISIBLE_DEVICES hides the GPU"
    return "TensorFlow is the build for CPUs"


def _troubles(machine: Machine, store: StoreTrial) -> list[Trouble]:
    found = []
    if machine.build is None:
        text = "TensorFlow is not installed, so nothing can train here: pip install 'modelhopper[cpu]', or [gpu]."
        found.append(Trouble(text, ExitCode.MISTAKE))
    elif machine.sight is None:
        text = f"TensorFlow cannot be used: {machine.blindness}. Install it anew: pip install 'modelhopper[cpu]'."
        found.append(Trouble(text, ExitCode.MISTAKE))
    elif uses_gpus(machine) and not machine.sight.gpus:
        text = f"This machine has a GPU, and TensorFlow cannot use it: {_reason(machine)}. Or train without: `devices: "
        found.append(Trouble(f"{text}{{kind: cpu}}`.", ExitCode.MISTAKE))
    if store.problem is not None:
        found.append(Trouble(store.problem, store.exit_code))
    return found


def _reason(machine: Machine) -> str:
    """Return why TensorFlow most likely sees no GPU, and what to do."""
    sight = machine.sight
    if sight is not None and not sight.is_cuda_build:
        return "it is built without CUDA; install the package `tensorflow[and-cuda]` instead (modelhopper[gpu])"
    said = (sight and sight.complaint) or ""
    if "GPU libraries" in said or "Could not load" in said:
        return "CUDA's libraries are not there; pip install 'modelhopper[gpu]' brings them"
    if said:
        driver = machine.gpus[0].driver if machine.gpus else "unknown"
        cuda = f" (TensorFlow wants CUDA {sight.cuda}, the driver is {driver})" if sight and sight.cuda else ""
        return f"{said}{cuda}; a newer driver most likely mends it"
    return "it does not say why; `nvidia-smi` should work for this user, in this container"


def _advice(machine: Machine, store: StoreTrial) -> list[str]:
    found = []
    if machine.gpus and machine.build == "tensorflow-cpu":
        found.append(
            "The GPU is not used: TensorFlow is the build for CPUs. In a new environment: pip install "
            "'modelhopper[gpu]'."
        )
    elif machine.gpus and not machine.shown_gpus:
        found.append("The GPU is not used: CUDA_VISIBLE_DEVICES hides it. Unset that.")
    if machine.core_quota is not None and machine.core_quota < stations(machine) and not uses_gpus(machine):
        fitting = max(1, int(machine.core_quota))
        found.append(
            f"This container may use {machine.core_quota:g} cores on average, and {count(machine.cores, 'station')} "
            f"would share them: `devices: {{stations: {fitting}}}`."
        )
    if store.large_s is not None and store.large_s > _SLOW_S:
        found.append(
            f"The store is slow: 10 MB are safe after {store.large_s:.1f} s. Longer hops, of fewer shards, hide that."
        )
    if store.free_bytes is not None and store.problem is None and store.free_bytes < _FULL_BYTES:
        found.append(f"There is little room in the store: {store.free_bytes / 1e9:.1f} GB. A full disk stops a run.")
    return found
