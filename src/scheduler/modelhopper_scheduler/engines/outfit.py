"""What a station's process is started with and keeps until its end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.experiment import Devices
from modelhopper_contract.record import canonical_json


@dataclass(frozen=True)
class Outfit:
    """A process of one outfit can do for a run what a new one of an equal outfit would do."""

    gpu: str | None  # its identifier; None: a CPU station
    threads: int
    deterministic: bool
    environment: Mapping[str, str]
    folder: str  # the working directory, from which a process imports, too
    files: str = ""  # a digest of the user's files, which a process imports once

    @property
    def arguments(self) -> list[str]:
        """The command line that says so."""
        flags = [*(["--gpu"] if self.gpu is not None else []), *(["--deterministic"] if self.deterministic else [])]
        return ["--threads", str(self.threads), *flags]


def outfits(
    devices: Devices, gpus: Sequence[str | None], folder: str = "", files: Mapping[str, str] | None = None
) -> list[Outfit]:
    """Return the outfit of each station, given its GPU. `files`: digests of the user's, by path from `folder`."""
    digest = digest_bytes(canonical_json([folder, dict(files or {})]))
    here = str(Path.cwd())
    return [
        Outfit(gpu, devices.threads, devices.deterministic, _environment(devices.threads, gpu), here, digest)
        for gpu in gpus
    ]


def _environment(threads: int, gpu: str | None) -> dict[str, str]:
    return {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "-1" if gpu is None else gpu,
        "PYTHONUNBUFFERED": "1",
    }
