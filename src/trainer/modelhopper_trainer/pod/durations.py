"""Where the time of a pod goes."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelhopper_contract.store import Entry, Store


def process_age_s() -> float:
    """Return how long ago this process began; 0 where Linux does not tell."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        began_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began_s)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


class Durations:
    """Seconds by what they went to. Several may run at once: a push goes on while the next hop trains."""

    def __init__(self, age_s: float = 0.0) -> None:
        self._began_s = time.perf_counter() - age_s
        self._lock = threading.Lock()
        self._spent_s = {"import": 0.0, "pull": 0.0, "train": 0.0, "push": 0.0}

    def add(self, what: str, duration_s: float) -> None:
        """Add to what something took."""
        with self._lock:
            self._spent_s[what] += duration_s

    @contextmanager
    def taken(self, what: str) -> Iterator[None]:
        """Add what the block takes."""
        began_s = time.perf_counter()
        try:
            yield
        finally:
            self.add(what, time.perf_counter() - began_s)

    def started(self) -> None:
        """Take all the time until now as the start of the process."""
        self.add("import", time.perf_counter() - self._began_s)

    def line(self) -> str:
        """Return `times {"import_s": ...}`, for benchmarks to read."""
        whole_s = {"total": time.perf_counter() - self._began_s}
        return "times " + json.dumps({f"{what}_s": round(s, 4) for what, s in (self._spent_s | whole_s).items()})


class TimedStore:
    """A store whose calls are timed: reading and listing is pull, writing and deleting is push."""

    def __init__(self, store: Store, durations: Durations) -> None:
        self._store = store
        self._durations = durations

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._store.url

    def get(self, name: str) -> bytes:
        """Return the whole object."""
        with self._durations.taken("pull"):
            return self._store.get(name)

    def put(self, name: str, data: bytes) -> None:
        """Write the object."""
        with self._durations.taken("push"):
            self._store.put(name, data)

    def list(self, prefix: str) -> list[Entry]:
        """Return all objects whose name begins with `prefix`."""
        with self._durations.taken("pull"):
            return self._store.list(prefix)

    def delete(self, name: str) -> None:
        """Remove the object."""
        with self._durations.taken("push"):
            self._store.delete(name)
