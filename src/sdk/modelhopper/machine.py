"""What this machine is, as far as it matters to a run: found without changing anything, and without TensorFlow here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from modelhopper_scheduler.engines.devices import visible_gpus

_SIGHT = "modelhopper_trainer.sight"
_PATIENCE_S = 120  # for TensorFlow's start on a slow disk
_EXTRAS = {
    "cluster": ("hera", "kubernetes"),
    "search": ("optuna", "cmaes"),
    "postgres": ("adbc_driver_postgresql",),
    "imbalance": ("imblearn",),
}
_FIELDS = "name,memory.total,driver_version"
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver describes it."""

    name: str
    memory: str
    driver: str


@dataclass(frozen=True)
class Sight:
    """What TensorFlow sees: its versions, and the GPUs that it can use."""

    tensorflow: str
    keras: str
    backend: str
    is_cuda_build: bool
    cuda: str | None
    cudnn: str | None
    gpus: tuple[str, ...]
    complaint: str | None  # what TensorFlow said about GPUs that it cannot use


@dataclass(frozen=True)
class Machine:
    """What a run finds here."""

    system: str
    python: str
    modelhopper: str
    build: str | None  # the package that TensorFlow comes from: tensorflow or tensorflow-cpu; None: neither
    sight: Sight | None
    blindness: str | None  # why TensorFlow could not be started
    cores: int  # that this process may use
    cores_installed: int
    core_quota: float | None  # of a container, where there is one
    memory_bytes: int
    memory_free_bytes: int
    gpus: tuple[Gpu, ...]
    shown_gpus: int  # of them, those that CUDA_VISIBLE_DEVICES leaves
    missing_extras: tuple[str, ...]


def look() -> Machine:
    """Look at this machine. Takes as long as TensorFlow's start, in a process of its own."""
    build = tensorflow_build()
    sight, blindness = (None, None) if build is None else _sight()
    total, free = _memory_bytes()
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        modelhopper=importlib.metadata.version("modelhopper"),
        build=build,
        sight=sight,
        blindness=blindness,
        cores=len(os.sched_getaffinity(0)),
        cores_installed=os.cpu_count() or 1,
        core_quota=_core_quota(_CGROUP / "cpu.max"),
        memory_bytes=total,
        memory_free_bytes=free,
        gpus=installed_gpus(),
        shown_gpus=len(visible_gpus()),
        missing_extras=tuple(name for name, modules in _EXTRAS.items() if not all(map(_is_there, modules))),
    )


def tensorflow_build() -> str | None:
    """Return the name of the package that TensorFlow is installed from, or None where it is not."""
    for name in ("tensorflow-cpu", "tensorflow"):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name
    return "tensorflow" if _is_there("tensorflow") else None


def installed_gpus() -> tuple[Gpu, ...]:
    """Return all NVIDIA GPUs that the driver shows; none where there is no driver, or it gives no answer."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, f"--query-gpu={_FIELDS}", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    lines = found.stdout.splitlines() if found.returncode == 0 else []
    parts = [[part.strip() for part in line.split(",")] for line in lines]
    return tuple(Gpu(*part) for part in parts if len(part) == len(_FIELDS.split(",")))


def _sight() -> tuple[Sight | None, str | None]:
    # At its usual level TensorFlow says why it cannot use a GPU.
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "0"}
    command = [sys.executable, "-m", _SIGHT]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"it does not start within {_PATIENCE_S} s"
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        return None, last[0].strip() if last else f"its process ended with code {done.returncode}"
    value = json.loads(done.stdout.splitlines()[-1])
    return Sight(**{**value, "gpus": tuple(value["gpus"])}, complaint=_complaint(done.stderr)), None


def _complaint(said: str) -> str | None:
    marks = ("GPU libraries", "CUDA_ERROR", "cuInit", "Could not load dynamic library", "forward compatib")
    found = [line.partition("] ")[2] or line for line in said.splitlines() if any(mark in line for mark in marks)]
    return found[0].strip() if found else None


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _core_quota(file: Path) -> float | None:
    """Return how many cores a container may use on average, where that is limited."""
    try:
        quota, period = file.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _memory_bytes() -> tuple[int, int]:
    """Return all and free memory; of a container's limit where that is less."""
    found = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    total, free = found["MemTotal"], found["MemAvailable"]
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return total, free
    return (limit, min(free, max(0, limit - used))) if limit < total else (total, free)
