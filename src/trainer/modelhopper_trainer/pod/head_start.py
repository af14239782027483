"""Reading the checkpoint that a pod trains first while TensorFlow starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from modelhopper_contract.names import Names, token_name
from modelhopper_contract.store import Entry, Store
from modelhopper_contract.stores.durability import put_all


class HeadStart:
    """A store, of which an object is read before anybody asks for it. Used as a context manager.

    Only one that never changes: checkpoints are written once. Leaving the context waits for nothing.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="head start")
        self._early: dict[str, Future[bytes]] = {}
        self._looked: Future[None] | None = None

    def __enter__(self) -> HeadStart:
        return self

    def __exit__(self, *_: object) -> None:
        self._readers.shutdown(wait=False, cancel_futures=True)

    def checkpoint(self, names: Names, station: int, numbers: Sequence[int] = ()) -> None:
        """Begin to read the checkpoint of the first training token in an inbox.

        First is the one that has waited longest, or, where `numbers` are given, the one of the first of them.
        """
        self._looked = self._readers.submit(self._look, names, station, numbers)

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._store.url

    def get(self, name: str) -> bytes:
        """Return the whole object, which may have been read already."""
        if self._looked is not None:
            self._looked.exception()  # what went wrong will go wrong again where somebody hears of it
        early = self._early.pop(name, None)
        return self._store.get(name) if early is None or early.exception() else early.result()

    def put(self, name: str, data: bytes) -> None:
        """Write the object."""
        self._store.put(name, data)

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Write objects, at the same time where the store can."""
        put_all(self._store, objects)

    def list(self, prefix: str) -> list[Entry]:
        """Return all objects whose name begins with `prefix`."""
        return self._store.list(prefix)

    def delete(self, name: str) -> None:
        """Remove the object."""
        self._store.delete(name)

    def _look(self, names: Names, station: int, numbers: Sequence[int]) -> None:
        waiting: list[tuple[int, float, str]] = []
        for entry in self._store.list(names.inbox(station)):
            token = token_name(entry.name)
            if token.action == "train" and (not numbers or token.configuration in numbers):
                rank = numbers.index(token.configuration) if numbers else 0
                waiting.append((rank, entry.modified_s, entry.name))
        if waiting:
            first = token_name(min(waiting)[2])
            name = names.checkpoint(first.configuration, first.number)
            self._early[name] = self._readers.submit(self._store.get, name)
