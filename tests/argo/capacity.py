"""What the pods and the Workflows of a cluster wait for: places, devices and mutexes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from tests.argo.refusals import ManifestError


class Capacity:
    """Places and devices by name. All of one request is taken at once, so that no two pods wait for each other.

    Used on the event loop only. Who waits is served in order of arrival, but one that does not fit lets others pass,
    as the scheduler of Kubernetes does with Pending pods.
    """

    def __init__(self, amounts: Mapping[str, int]) -> None:
        self._amounts = dict(amounts)
        self._used: Counter[str] = Counter()
        self._waiting: list[tuple[Mapping[str, int], asyncio.Future[bool]]] = []
        self.most_used: Counter[str] = Counter()

    def add(self, name: str, amount: int) -> None:
        """Offer a further thing to wait for."""
        self._amounts[name] = amount

    def request(self, wanted: Mapping[str, int]) -> asyncio.Future[bool]:
        """A future that is True once all of `wanted` is taken; see `withdraw` and `release`."""
        for name, amount in wanted.items():
            if amount > self._amounts.get(name, 0):
                raise ManifestError(f"no node of this cluster offers {amount} of {name}; it has {self._amounts}")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, future))
        self._serve()
        return future

    def withdraw(self, future: asyncio.Future[bool]) -> None:
        """Stop waiting: the future becomes False if it was not served yet."""
        if not future.done():
            future.set_result(False)
        self._serve()

    def release(self, wanted: Mapping[str, int]) -> None:
        """Give back what a served request took."""
        self._used.subtract(wanted)
        self._serve()

    def _serve(self) -> None:
        for wanted, future in self._waiting:
            if not future.done() and self._fits(wanted):
                self._used.update(wanted)
                self.most_used |= self._used
                future.set_result(True)
        self._waiting = [waiting for waiting in self._waiting if not waiting[1].done()]

    def _fits(self, wanted: Mapping[str, int]) -> bool:
        return all(self._used[name] + amount <= self._amounts[name] for name, amount in wanted.items())


class Mutexes:
    """Locks by name, each given to Workflows by priority, then in the order of their creation.

    Used on the event loop only.
    """

    def __init__(self) -> None:
        self._queues: dict[str, list[object]] = {}
        self._turns: dict[object, asyncio.Event] = {}
        self._priorities: dict[object, int] = {}

    def join(self, owner: object, names: tuple[str, ...], priority: int = 0) -> asyncio.Event:
        """Queue for all `names`; the event is set once `owner` holds them all."""
        self._priorities[owner] = priority
        for name in names:
            queue = self._queues.setdefault(name, [])
            queue.append(owner)
            # Whoever holds it keeps it.
            queue[1:] = sorted(queue[1:], key=lambda one: -self._priorities[one])
        self._turns[owner] = asyncio.Event()
        self._serve()
        return self._turns[owner]

    def leave(self, owner: object) -> None:
        """Give back, or stop waiting for, everything of `owner`."""
        for queue in self._queues.values():
            if owner in queue:
                queue.remove(owner)
        self._turns.pop(owner)
        self._serve()

    def _serve(self) -> None:
        for owner, turn in self._turns.items():
            if all(queue[0] is owner for queue in self._queues.values() if owner in queue):
                turn.set()
