"""Ending at once when Kubernetes says so, whatever the main thread is doing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from modelhopper_contract.errors import ExitCode

_PARTING_S = 1.0


class Termination:
    """On SIGTERM the process exits with code 75 within about a second.

    Python runs signal handlers between two steps of its main thread, and that can be inside TensorFlow for as long as a
    sub-epoch takes. So another thread waits for the signal. Nothing is lost: what the store does not hold yet is done
    again, and what it holds is whole.
    """

    def __init__(self) -> None:
        self._last: list[Callable[[], None]] = []

    def at_end(self, effect: Callable[[], None]) -> None:
        """Do `effect`, too, if there is time."""
        self._last.append(effect)

    def listen(self) -> None:
        """Take SIGTERM from now on. To be called in the main thread."""
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, _nothing)
        threading.Thread(target=self._wait, args=(read_end,), name="termination", daemon=True).start()

    def _wait(self, read_end: int) -> None:
        while os.read(read_end, 1) != bytes([signal.SIGTERM]):
            pass  # another signal, which has its own handler
        parting = threading.Thread(target=self._part, daemon=True)
        parting.start()
        parting.join(_PARTING_S)
        os._exit(ExitCode.RETRYABLE)

    def _part(self) -> None:
        for effect in self._last:
            effect()


def _nothing(*_: object) -> None:
    """Be a handler, so that the signal's number is written to the pipe and does nothing else."""
