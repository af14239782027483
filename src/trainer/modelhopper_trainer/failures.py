"""What failed, in a record: the reason in one line, the traceback, and what was printed."""

from __future__ import annotations

import traceback
from pathlib import Path

import tensorflow as tf

from modelhopper_contract.errors import HopError
from modelhopper_contract.records import Failure

_LAST_LINES = 30


class Watch:
    """Remembers where the station's log file was when a hop began, to quote what the hop printed."""

    def __init__(self, log: Path | None) -> None:
        self._log = log
        self._start_bytes = 0

    def begin(self) -> None:
        """Take what is printed from now on as the next hop's."""
        self._start_bytes = self._log.stat().st_size if self._log and self._log.exists() else 0

    def output(self) -> str | None:
        """Return the last lines printed since `begin`, or None."""
        if self._log is None or not self._log.exists():
            return None
        with self._log.open("rb") as file:
            file.seek(self._start_bytes)
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:]) or None


def failure(error: BaseException, station: int, hop: int, shard: int | None, watch: Watch) -> Failure:
    """Describe why a configuration cannot go on."""
    expected = isinstance(error, HopError)
    return Failure(
        reason=_reason(error),
        hop=hop,
        shard=shard,
        station=station,
        traceback=None if expected else "".join(traceback.format_exception(error)),
        output=watch.output(),
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return f"out of memory: {_first_line(error)}".rstrip(": ")
    if isinstance(error, HopError):
        return _first_line(error)
    return f"{type(error).__name__}: {_first_line(error)}".rstrip(": ")


def _first_line(error: BaseException) -> str:
    return next((line.strip()[:300] for line in str(error).splitlines() if line.strip()), "")
