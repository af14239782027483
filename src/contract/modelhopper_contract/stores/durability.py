"""What must be on the disk when a put returns: an object, many objects at once, or nothing yet.

Flushing to a disk takes milliseconds, whatever the size, and a hop puts many small objects. So those that follow from
others, or are of use to people only, are put *softly*: whole for everyone at once, and on the disk when the system gets
to it. A power failure may take a soft object away or leave a part of it under its name; whoever goes on with a run puts
them anew, without reading what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Protocol, runtime_checkable

from modelhopper_contract.store import Store

PUTS_AT_ONCE = 8


@runtime_checkable
class SoftStore(Protocol):
    """A store on whose disk a flush has its price."""

    def put_soft(self, name: str, data: bytes) -> None:
        """Write the object as `put` does, but for durability: after a power failure anything may be there."""


@runtime_checkable
class ParallelStore(Protocol):
    """A store that takes several objects at once in less time than one after another."""

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Write all objects, in any order, each as `put` does."""


def put_soft(store: Store, name: str, data: bytes) -> None:
    """Write an object whose loss by a power failure costs time only. A store that has no cheaper way just puts it."""
    # Not by isinstance, which takes longer for a protocol than the rest of a put into memory.
    put = getattr(store, "put_soft", store.put)
    put(name, data)


def put_all(store: Store, objects: Mapping[str, bytes]) -> None:
    """Write objects that nobody needs in any order, each as `put` does; when this returns, all are durable.

    Raises what a put raises; then some are written and some are not.
    """
    if isinstance(store, ParallelStore) and len(objects) > 1:
        store.put_all(objects)
        return
    for name, data in objects.items():
        store.put(name, data)


def in_threads(put: Callable[[str, bytes], None], objects: Mapping[str, bytes]) -> None:
    """Put objects by several threads; when one fails, wait for those that have begun, and raise its error."""
    with ThreadPoolExecutor(min(PUTS_AT_ONCE, len(objects)), thread_name_prefix="put") as threads:
        puts = [threads.submit(put, name, data) for name, data in objects.items()]
        wait(puts, return_when="FIRST_EXCEPTION")
        for each in puts:
            each.cancel()
    for each in puts:
        if not each.cancelled():
            each.result()
