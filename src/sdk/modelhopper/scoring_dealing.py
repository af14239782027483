"""Who does which part: neighbours go to the same worker as long as others have something else to do. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable

from modelhopper_contract.scoring import Part


class Dealer:
    """Deals parts to workers.

    A worker goes on with the shard, file or row group that it is at, which it has open; one that is done with its own
    begins another; when all are begun, it takes from the end of the longest. The results do not depend on it.
    """

    def __init__(self, parts: Iterable[Part]) -> None:
        self._left: dict[Hashable, deque[Part]] = {}
        for part in parts:
            self._left.setdefault((part.unit, part.group), deque()).append(part)
        self._at: dict[int, Hashable] = {}
        self._begun: set[Hashable] = set()

    def next(self, worker: int) -> Part | None:
        """Return the part that a worker does next; None when none is left."""
        own = self._left.get(self._at.get(worker))
        if own:
            return own.popleft()
        fresh = next((unit for unit, parts in self._left.items() if parts and unit not in self._begun), None)
        if fresh is not None:
            self._at[worker] = fresh
            self._begun.add(fresh)
            return self._left[fresh].popleft()
        longest = max(self._left.values(), key=len, default=None)
        return longest.pop() if longest else None

    def give_back(self, part: Part) -> None:
        """Take back a part that was not done."""
        self._left.setdefault((part.unit, part.group), deque()).appendleft(part)
