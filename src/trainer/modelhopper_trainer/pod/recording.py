"""What a pod prints, kept in a file, so that a failure's record can quote it, and shown all the same."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from modelhopper_contract.log_lines import last_lines
from modelhopper_trainer.pod import forwarder

_MOST_BYTES = 4 << 20  # of a log in the store
_PARTING_S = 2.0


class Recording:
    """Everything that is written to standard output and standard error, also by C++ code, goes into a file first.

    So the file is complete at any moment, and no write can block; a child process copies it to the real standard
    output. Used as a context manager.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: tuple[int, int] | None = None
        self._life: int | None = None
        self._forwarder: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        _flush()
        self._kept = os.dup(1), os.dup(2)
        file = os.open(self.path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND, 0o600)
        self._forwarder = self._forward(self._kept[0])
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, line: str) -> None:
        """Print a line."""
        with contextlib.suppress(OSError):  # a full disk is no reason to stop
            os.write(1, f"{line}\n".encode())

    def close(self) -> None:
        """Show what is not shown yet, and give standard output and standard error back. May be called again."""
        kept, self._kept = self._kept, None
        if kept is None:
            return
        _flush()
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        self._part()

    def text(self) -> str:
        """Return the end of what was printed, without TensorFlow's notices."""
        _flush()
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - _MOST_BYTES))
            lines = last_lines(file.read().decode(errors="replace"), sys.maxsize)
        return "".join(f"{line}\n" for line in lines)

    def _forward(self, out: int) -> subprocess.Popen[bytes]:
        read_end, self._life = os.pipe()
        command = [sys.executable, "-I", "-S", forwarder.__file__, str(self.path)]
        # A session of its own: the signals that end the pod's process group are not for it.
        child = subprocess.Popen(command, stdin=read_end, stdout=out, start_new_session=True)
        os.close(read_end)
        return child

    def _part(self) -> None:
        if self._life is not None:
            os.close(self._life)
            self._life = None
        if self._forwarder is not None:
            try:
                self._forwarder.wait(_PARTING_S)
            except subprocess.TimeoutExpired:  # a child of the user's code still holds the pipe
                self._forwarder.kill()
                self._forwarder.wait()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
