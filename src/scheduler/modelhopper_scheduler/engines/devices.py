"""The devices of this machine: how many stations, and which GPU is whose."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess

from modelhopper_contract.errors import UserError
from modelhopper_contract.experiment import Devices


def station_gpus(devices: Devices, configurations: int) -> list[str | None]:
    """Return, for each station to start, its GPU's identifier, or None for a CPU station.

    `per_gpu` stations for each GPU; without GPUs, or with `kind: cpu`, one per core that this process may use. Never
    more stations than configurations, because a configuration is at one station at a time. Where GPUs have several,
    each has its first before any has its second.
    """
    gpus = visible_gpus() if devices.kind == "gpu" or (devices.kind == "auto" and _uses_gpus()) else []
    if devices.kind == "gpu" and not gpus:
        raise UserError("`devices.kind` is gpu, and this machine shows no GPU (nvidia-smi -L). Use cpu or auto.")
    count = devices.stations or devices.per_gpu * len(gpus) or max(1, len(os.sched_getaffinity(0)) // devices.threads)
    count = min(count, configurations)
    # More than one to a GPU is the user's choice: they share its memory, of which each takes what it needs.
    return [gpus[station % len(gpus)] if gpus else None for station in range(count)]


def visible_gpus() -> list[str]:
    """Return the identifiers of the NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        # CUDA itself ignores all that follows something that is no device.
        return [gpu.strip() for gpu in chosen.split(",") if re.fullmatch(r"\d+|(GPU|MIG)-.+", gpu.strip())]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        listing = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            "nvidia-smi -L gives no answer in 30 s. Mend the driver, or say `devices: {kind: cpu}`."
        ) from error
    return [str(number) for number, line in enumerate(line for line in listing.stdout.splitlines() if "GPU " in line)]


def _uses_gpus() -> bool:
    """Say whether the TensorFlow that is installed can use a GPU at all: its build for CPUs has a name of its own."""
    try:
        importlib.metadata.version("tensorflow-cpu")
    except importlib.metadata.PackageNotFoundError:
        return True
    return False
