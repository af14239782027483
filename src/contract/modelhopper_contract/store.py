"""The object store: four operations, one contract, several places.

A directory on one machine, MinIO or anything else that speaks S3 on a cluster, memory in tests. `open_store` picks by
URL. `tests/store_contract.py` is the suite that every implementation passes.

What a run can count on after a power failure: everything that was put is there, but for what was put softly
(`modelhopper_contract.stores.durability`): tokens, metric states before they are merged, and lines of the journal. Of
those, any can be missing or torn, and any that was deleted can be back. So whoever goes on with a run puts tokens and
clears metric states by what the durable objects say, and takes a line of the journal that cannot be read for one that
is missing.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """One line of a listing."""

    name: str
    size_bytes: int
    modified_s: float  # seconds since 1970, by the store's clock


class Store(Protocol):
    """Named bytes. Names are `/`-separated, relative, without `.` or `..` parts.

    Every call blocks, may be repeated with the same effect, and may be made from several threads and processes at
    once. A call that cannot reach the store, or finds no room, raises StoreUnavailable and has changed nothing
    visible.
    """

    @property
    def url(self) -> str:
        """Where the store is, as a user would write it. Holds no secret."""

    def get(self, name: str) -> bytes:
        """Return the whole object; raise ObjectNotFound when there is none."""

    def put(self, name: str, data: bytes) -> None:
        """Write the object. Atomic and durable: after a crash it is there whole, as it was before, or not at all."""

    def list(self, prefix: str) -> list[Entry]:
        """Return all objects whose name begins with `prefix`, sorted by name.

        An object put before the call began is listed; one being put may be. Names, not folders: `a/b` lists `a/b/c`
        and `a/bc`.
        """

    def delete(self, name: str) -> None:
        """Remove the object; no error when there is none."""
