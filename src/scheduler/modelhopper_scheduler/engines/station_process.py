"""One station's process, as the engine that started it sees it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from modelhopper_contract.log_lines import last_lines
from modelhopper_contract.messages import Command, Event, Idle, Started, read_event

_MODULE = "modelhopper_trainer"
_LINGERING_S = 10.0


class StationProcess:
    """A child process that is a station: commands in, events out, output into a log file.

    It ends when this process ends, however that happens, because its standard input is a pipe from here.
    """

    def __init__(
        self, station: int, arguments: list[str], environment: dict[str, str], log: Path, keep: tuple[int, ...]
    ) -> None:
        self.station = station
        self.log = log
        self.working_on: Started | None = None
        self._buffer = b""
        read_end, write_end = os.pipe()
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", _MODULE, "--station", str(station), "--events", str(write_end)]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "--log", str(log), *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                pass_fds=(write_end, *keep),
                start_new_session=True,  # Ctrl-C is for the parent, which then stops its stations
            )
        self._commands: IO[bytes] = cast("IO[bytes]", self._process.stdin)
        os.close(write_end)
        os.set_blocking(read_end, False)
        self.events_fd = read_end

    def send(self, command: Command) -> None:
        """Send a command; one to a dead station is lost, which its exit code tells soon enough."""
        with contextlib.suppress(BrokenPipeError):
            self._commands.write(command.to_json() + b"\n")
            self._commands.flush()

    def events(self) -> Iterator[Event | None]:
        """Yield the events that have arrived; None at the end, when the process has gone."""
        while True:
            try:
                data = os.read(self.events_fd, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                yield None
                return
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            for line in lines:
                event = read_event(line)
                if isinstance(event, Started | Idle):
                    self.working_on = event if isinstance(event, Started) else None
                yield event

    def stop(self, timeout_s: float) -> None:
        """End the process: given `timeout_s` to end by itself, then by force. Nothing in the store is lost."""
        self._close_input()
        try:
            self._process.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self.events_fd)

    def exit_code(self) -> int:
        """Return the code of a process whose events ended, negative for a signal; one that lingers is killed."""
        try:
            return self._process.wait(_LINGERING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def last_lines(self, count: int = 15) -> str:
        """Return the end of the log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - (1 << 16)))
            return "\n".join(last_lines(file.read().decode(errors="replace"), count))

    def _close_input(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._commands.close()
