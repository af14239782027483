"""Moving state while the device trains: one thread writes in order, others read ahead."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")

_MOST_WAITING = 2  # writes; more would let a slow store fill the memory
_READERS = 4  # those of a convoy are read at the same time


class Moves:
    """Effects on the store, off the training thread. Use as a context manager; leaving it waits for every write."""

    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="read")
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> Moves:
        return self

    def __exit__(self, *_: object) -> None:
        self._readers.shutdown(cancel_futures=True)
        self._writer.shutdown()

    def write(self, effect: Callable[[], None]) -> None:
        """Do `effect` after all earlier ones; an earlier one's error is raised here."""
        while len(self._waiting) >= _MOST_WAITING:
            self._waiting.pop(0).result()
        self._waiting.append(self._writer.submit(effect))

    def check(self) -> None:
        """Raise the error of any finished write."""
        while self._waiting and self._waiting[0].done():
            self._waiting.pop(0).result()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the oldest write, at most so long; return False when there is none. Raises as `check` does."""
        self.check()
        if not self._waiting:
            return False
        wait(self._waiting[:1], timeout_s)
        return True

    def flush(self) -> None:
        """Wait until every write is done; raise the first one's error."""
        while self._waiting:
            self._waiting.pop(0).result()

    def read(self, cause: Callable[[], T]) -> Future[T]:
        """Read in the background."""
        return self._readers.submit(cause)
