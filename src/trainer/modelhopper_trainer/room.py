"""How much of its device's memory a station gives to data: shards stay there while there is room.

A quarter, shared by the stations of the device. The rest is for weights, activations and gradients, whose need nobody
knows beforehand; what does not fit is fed in pieces, to the same results.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

SURE_BYTES = 256 << 20  # taken without asking how much memory there is
_SHARE = 4  # one part in so many
_UNKNOWN_BYTES = 8 << 30  # where the memory's size cannot be found out
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Room:
    """Bytes to give away. Whoever comes first, stays: shards come round in turns, so any choice is as good."""

    def __init__(self, size_bytes: int | Callable[[], int]) -> None:
        self._size = size_bytes
        self._taken = 0

    def take(self, wanted_bytes: int) -> bool:
        """Say whether so many bytes are free, and take them."""
        if self._taken + wanted_bytes > self._size_bytes(wanted_bytes):
            return False
        self._taken += wanted_bytes
        return True

    def _size_bytes(self, wanted_bytes: int) -> int:
        if callable(self._size):
            if self._taken + wanted_bytes <= SURE_BYTES:
                return SURE_BYTES
            self._size = max(SURE_BYTES, self._size())
        return self._size


def station_room(threads: int = 1, per_gpu: int = 1) -> Room:
    """Return the room of a station with so many threads, or, where it has a GPU, of one of so many that share it."""
    return Room(lambda: _device_bytes(threads, per_gpu) // _SHARE)


def gpu_bytes() -> int:
    """Return the memory of the first GPU that this process sees; 8 GiB where the driver does not tell."""
    tool, chosen = shutil.which("nvidia-smi"), os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    if tool is None:
        return _UNKNOWN_BYTES
    command = [tool, f"--id={chosen}", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.strip()
    except subprocess.TimeoutExpired:
        return _UNKNOWN_BYTES
    return int(answer) << 20 if answer.isdecimal() else _UNKNOWN_BYTES  # a part of a GPU has no line of its own


def _device_bytes(threads: int, per_gpu: int) -> int:
    if tf.config.get_visible_devices("GPU"):
        return gpu_bytes() // per_gpu
    return _memory_bytes() // max(1, len(os.sched_getaffinity(0)) // threads)


def _memory_bytes() -> int:
    """Return the memory that this machine, or this container, has."""
    limits = [path.read_text().strip() for path in _LIMITS if path.exists()]
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *(int(limit) for limit in limits if limit.isdecimal())])
