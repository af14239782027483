"""Listening for commands while the process does something else."""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO

from modelhopper_contract.errors import ExitCode
from modelhopper_contract.messages import Command, Release, Stop, read_command

_SHORTEST_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.02


class Ear:
    """Listens in the background, and ends the process when whoever gives the commands is gone.

    `foresee` hears each command before anybody can take it, in the background.
    """

    def __init__(self, source: IO[bytes], foresee: Callable[[Command], None] | None = None) -> None:
        self._source = source
        self._foresee = foresee
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._told_to_end = threading.Event()

    def start(self) -> None:
        """Listen from now on."""
        threading.Thread(target=self._listen, name="ear", daemon=True).start()

    def next(self, timeout_s: float | None = None) -> Command | None:
        """Return the next command, waiting for it; None when none comes in time."""
        try:
            return self._commands.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def is_told_to_end(self) -> bool:
        """Say whether a command to let go of the run, or to stop, waits to be taken. Costs nothing to ask."""
        return self._told_to_end.is_set()

    def wait(self, looks: int) -> None:
        """Wait for such a command before the next look into an inbox, the longer the more looks found nothing."""
        self._told_to_end.wait(min(_LONGEST_WAIT_S, _SHORTEST_WAIT_S * (1 + looks // 20)))

    def begin_anew(self) -> None:
        """Forget that a run was to end."""
        self._told_to_end.clear()

    def _listen(self) -> None:
        try:
            for line in self._source:
                command = read_command(line)
                self._hear(command)
                if isinstance(command, Stop):
                    return
        except Exception:  # noqa: BLE001 -- half a command, as of a sender that was killed: nobody else would end
            traceback.print_exc()
            sys.stderr.flush()
        # Nobody is there any more. All that is lost is the hop in progress, and it will be done again.
        os._exit(ExitCode.RETRYABLE)

    def _hear(self, command: Command) -> None:
        if isinstance(command, Release | Stop):
            self._told_to_end.set()
        if self._foresee is not None:
            self._foresee(command)
        self._commands.put(command)
