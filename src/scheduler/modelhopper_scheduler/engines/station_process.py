"""One station's process, as the engine that started it sees it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

from modelhopper_contract.log_lines import last_lines
from modelhopper_contract.messages import Begin, Command, Event, Idle, Started, read_event
from modelhopper_scheduler.engines.outfit import Outfit

_MODULE = "modelhopper_trainer"
_LINGERING_S = 10.0


class StationProcess:
    """A child process that is a station: commands in, events out, output into a log file.

    It ends when this process ends, however that happens, because its standard input is a pipe from here.
    """

    def __init__(self, outfit: Outfit) -> None:
        self.outfit = outfit
        self.is_new = True  # has had no part in a run
        self.station = 0
        self.log = Path(os.devnull)
        self.working_on: Started | None = None
        self._buffer = b""
        # What it prints before it has a log; it copies that into its first one.
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 -- as long as the process lives
        self._descriptors, theirs = socket.socketpair()
        read_end, write_end = os.pipe()
        command = [sys.executable, "-m", _MODULE, "--events", str(write_end), "--descriptors", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                [*command, *outfit.arguments],
                stdin=subprocess.PIPE,
                stdout=self._printed,
                stderr=self._printed,
                cwd=outfit.folder,
                env=outfit.environment,
                pass_fds=(write_end, theirs.fileno()),
                start_new_session=True,  # Ctrl-C is for the parent, which then stops its stations
            )
        self._commands: IO[bytes] = cast("IO[bytes]", self._process.stdin)
        os.close(write_end)
        os.set_blocking(read_end, False)
        self.events_fd = read_end

    def fits(self, outfit: Outfit) -> bool:
        """Say whether the process can be used where one of this outfit is wanted: a new one has imported no files."""
        if self._process.poll() is not None:
            return False
        return (replace(self.outfit, files=outfit.files) if self.is_new else self.outfit) == outfit

    def begin(self, begin: Begin, descriptors: Sequence[int]) -> None:
        """Give the process a part in a run, and descriptors whose locks it holds, too, as long as it has that part."""
        self.is_new, self.station, self.working_on = False, begin.station, None
        self.log = Path(begin.log)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        with contextlib.suppress(ConnectionError):  # it has ended, which its exit code tells soon enough
            socket.send_fds(self._descriptors, [b"\n"], descriptors)
        self.send(begin)

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

    def says(self, kind: type[Event], timeout_s: float) -> bool:
        """Wait for an event of this kind, passing over others; return False when none comes in time."""
        deadline = time.monotonic() + timeout_s
        poller = select.poll()  # and not `select`, which refuses the descriptors of a program with many files
        poller.register(self.events_fd, select.POLLIN)
        while True:
            for event in self.events():
                if event is None or isinstance(event, kind):
                    return event is not None
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not poller.poll(left_s * 1000):
                return False

    def stop(self, timeout_s: float) -> None:
        """End the process: given `timeout_s` to end by itself, then by force. Nothing in the store is lost."""
        self.close()
        try:
            self._process.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self.events_fd)
        self._printed.close()

    def close(self) -> None:
        """Send no more commands, on which a station that has not been told to stop ends at once."""
        with contextlib.suppress(BrokenPipeError):
            self._commands.close()
        self._descriptors.close()

    def abandon(self) -> None:
        """Leave the process to the one that this one was forked from."""
        self.close()
        os.close(self.events_fd)
        self._printed.close()
        self._process.returncode = 0  # so that nobody here waits for it, or warns that it runs

    def exit_code(self) -> int:
        """Return the code of a process whose events ended, negative for a signal; one that lingers is killed."""
        try:
            return self._process.wait(_LINGERING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def last_lines(self, count: int = 15) -> str:
        """Return the end of the log, or of what the process printed before it opened that."""
        with self.log.open("rb") as file:
            text = _end(file) or _end(self._printed)
            return "\n".join(last_lines(text.decode(errors="replace"), count))


def _end(file: IO[bytes]) -> bytes:
    file.seek(max(0, file.seek(0, os.SEEK_END) - (1 << 16)))
    return file.read()
