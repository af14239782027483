"""At most one engine of this machine runs an experiment at a time.

Two would not harm each other, because every result is the same bytes, but all work would be done twice. Stations keep
the lock, too, so those of a killed parent are waited for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelhopper_contract.errors import ConflictError

_PATIENCE_S = 10.0  # stations of a killed parent notice it at once, and end


@contextmanager
def exclusive(store_url: str, experiment: str) -> Iterator[int]:
    """Hold the experiment's lock; yield its file descriptor, for child processes to inherit.

    Raises ConflictError when another run of it is still going on after ten seconds.
    """
    identity = hashlib.sha256(f"{store_url}\n{experiment}".encode()).hexdigest()[:24]
    path = Path(tempfile.gettempdir(), f"modelhopper-{os.getuid()}-{identity}.lock")
    with path.open("a") as file:
        _acquire(file.fileno(), experiment)
        yield file.fileno()


def _acquire(descriptor: int, experiment: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ConflictError(
                    f"{experiment} is being run by another process of this machine. Wait for it, or stop it with "
                    f"Ctrl-C or `modelhopper cancel {experiment}`. `modelhopper watch {experiment}` follows it."
                ) from None
            time.sleep(0.05)
        else:
            return
