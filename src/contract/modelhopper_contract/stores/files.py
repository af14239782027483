"""Moving files to and from a store: without holding them in memory whole, where the store can."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from modelhopper_contract.store import Store
from modelhopper_contract.stores.disk_errors import explained

PIECE_BYTES = 1 << 20


@runtime_checkable
class FileStore(Protocol):
    """A store that moves files in pieces. Each call is as `get` and `put` are, but for the memory it takes."""

    def download(self, name: str, path: Path) -> str:
        """Write the object into a file, and return the digest of what was written."""

    def upload(self, name: str, path: Path) -> None:
        """Write the file as an object, atomically."""


def download(store: Store, name: str, path: Path) -> str:
    """Write an object into the file `path`, and return the digest of what was written.

    Raises ObjectNotFound and StoreUnavailable as `get` does, and StoreUnavailable when the disk is full; after an error
    the file may be there in part.
    """
    if isinstance(store, FileStore):
        return store.download(name, path)
    return write(path, [store.get(name)])


def upload(store: Store, name: str, path: Path) -> None:
    """Write a file as an object; it is visible only when all of it has arrived."""
    if isinstance(store, FileStore):
        store.upload(name, path)
        return
    with explained(path, "reading it"):
        data = path.read_bytes()
    store.put(name, data)


def write(path: Path, pieces: Iterable[bytes]) -> str:
    """Write a file anew, piece by piece, and return its digest. Raises what `explain` makes of the disk's errors."""
    digest, size_bytes = hashlib.sha256(), 0
    with explained(path, "writing it"):
        # Without a buffer: one that is left when the disk is full would fail once more on closing.
        file = path.open("wb", buffering=0)
    with file:
        for piece in pieces:
            digest.update(piece)
            rest = memoryview(piece)
            with explained(path, f"writing it, after {size_bytes / 1e6:,.1f} MB"):
                while rest:
                    rest = rest[file.write(rest) :]
            size_bytes += len(piece)
    return digest.hexdigest()
