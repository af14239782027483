"""Moving state while the device trains: one thread writes in order, another reads ahead."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_MOST_WAITING = 2  # writes; more would let a slow store fill the memory


class Moves:
    """Effects on the store, off the training thread. Use as a context manager; leaving it waits for every write."""

    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> Moves:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown(cancel_futures=True)
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

    def flush(self) -> None:
        """Wait until every write is done; raise the first one's error."""
        while self._waiting:
            self._waiting.pop(0).result()

    def read(self, cause: Callable[[], T]) -> Future[T]:
        """Read in the background."""
        return self._reader.submit(cause)
