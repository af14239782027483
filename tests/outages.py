"""A store that loses its power: what was put durably stays, and of everything else anything may be left."""

from __future__ import annotations

import random

from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.stores.memory import MemoryStore


class Outage(MemoryStore):
    """A store that is dead from its `left`-th change on, until `restart` gives it the power back."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left
        self._soft: set[str] = set()  # those not on the disk
        self._deleted: dict[str, bytes] = {}  # whose deletion is not

    def put(self, name: str, data: bytes) -> None:
        """Write an object that outlives the outage."""
        self._change()
        super().put(name, data)
        self._soft.discard(name)
        self._deleted.pop(name, None)

    def put_soft(self, name: str, data: bytes) -> None:
        """Write an object that may not."""
        self._change()
        super().put(name, data)
        self._soft.add(name)
        self._deleted.pop(name, None)

    def delete(self, name: str) -> None:
        """Remove an object, which may come back."""
        self._change()
        if self.list(name):
            self._deleted[name] = self.get(name)
        super().delete(name)

    def restart(self, seed: int) -> None:
        """Give the power back, with whatever a disk may show then."""
        chance = random.Random(seed)
        self.left = 1_000_000
        for name in sorted(self._deleted.keys() | self._soft):
            whole = self._deleted[name] if name in self._deleted else self.get(name)
            came_back = name in self._soft or chance.random() < 0.3
            torn = [whole, b"", whole[: len(whole) // 2], bytes(len(whole))]
            left = chance.choice([None, *torn]) if name in self._soft else whole
            super().delete(name)
            if came_back and left is not None:
                super().put(name, left)
        self._soft.clear()
        self._deleted.clear()

    def _change(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailable("no power")
