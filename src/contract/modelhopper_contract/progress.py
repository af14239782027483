"""How far an experiment is, as far as its decisions need it: names of objects, never their contents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.store import Store


@dataclass(frozen=True)
class Progress:
    """What the store holds of an experiment, by object name."""

    checkpoints: frozenset[str]
    histories: frozenset[str]
    outcomes: frozenset[str]
    replicas: frozenset[str] = frozenset()  # where hops are merged, and somebody asked for them


def read_progress(names: Names, store: Store, *, with_replicas: bool = False) -> Progress:
    """Read from the store how far an experiment is.

    While it runs, this can be older than the store, and in parts: what a checkpoint led to is read after it.
    """

    def listed(prefix: str) -> frozenset[str]:
        return frozenset(entry.name for entry in store.list(prefix))

    return Progress(
        checkpoints=listed(names.checkpoints()),
        histories=listed(names.histories()),
        outcomes=listed(names.outcomes()),
        replicas=listed(names.replicas()) if with_replicas else frozenset(),
    )


def newest_checkpoints(checkpoints: Iterable[str]) -> dict[int, int]:
    """Return the hop of each configuration's newest checkpoint."""
    newest: dict[int, int] = {}
    for name in checkpoints:
        number, hop = checkpoint_number(name)
        newest[number] = max(hop, newest.get(number, 0))
    return newest
