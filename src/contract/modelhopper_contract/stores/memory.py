"""The store in memory: gone with the process. For tests and tiny experiments."""

from __future__ import annotations

import threading
import time

from modelhopper_contract.errors import ConflictError, ObjectNotFound
from modelhopper_contract.store import Entry
from modelhopper_contract.stores.names import check_name, check_prefix


class MemoryStore:
    """Objects in this process's memory. Every instance is a store of its own.

    It refuses what a directory would refuse (an object under the name of another), so that code tested here runs there.
    """

    url = "memory:"

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> bytes:
        """Return the whole object; raise ObjectNotFound when there is none."""
        check_name(name)
        with self._lock:
            if name not in self._objects:
                raise ObjectNotFound(f"{self.url}{name}: there is no such object.")
            return self._objects[name][0]

    def put(self, name: str, data: bytes) -> None:
        """Write the object."""
        check_name(name)
        with self._lock:
            self._check_room_for(name)
            self._objects[name] = (bytes(data), time.time())

    def list(self, prefix: str) -> list[Entry]:
        """Return all objects whose name begins with `prefix`, sorted by name."""
        check_prefix(prefix)
        with self._lock:
            found = [(name, *value) for name, value in self._objects.items() if name.startswith(prefix)]
        return sorted(Entry(name, len(data), modified_s) for name, data, modified_s in found)

    def delete(self, name: str) -> None:
        """Remove the object; no error when there is none."""
        check_name(name)
        with self._lock:
            self._objects.pop(name, None)

    def _check_room_for(self, name: str) -> None:
        parts = name.split("/")
        above = ("/".join(parts[:count]) for count in range(1, len(parts)))
        other = next((taken for taken in above if taken in self._objects), None)
        if name not in self._objects:
            other = other or next((taken for taken in self._objects if taken.startswith(name + "/")), None)
        if other:
            raise ConflictError(f"{self.url}{name} cannot be written: {other} exists. Choose another name.")
