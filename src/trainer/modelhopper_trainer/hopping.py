"""Hopping, as a station does it: which state a token wants, what comes of a stay, and tokens that are out of date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from modelhopper_contract import checkpoint
from modelhopper_contract.checkpoint import Checkpoint
from modelhopper_contract.errors import CorruptObject, ObjectNotFound
from modelhopper_contract.names import Names
from modelhopper_contract.progress import newest_checkpoints
from modelhopper_contract.records import Configuration, Token
from modelhopper_contract.store import Store
from modelhopper_trainer.publishing import Publisher, Result


class Way(Protocol):
    """A way to train on shards, as far as the station has to do with it. Everything may be repeated."""

    def state(self, token: Token) -> Checkpoint | None:
        """Return what a hop starts with; None when its token is out of date, or the state is not there."""

    def publish(self, results: Sequence[Result]) -> None:
        """Write what stays have come to."""

    def forward(self, configuration: Configuration, token: Token, name: str) -> None:
        """Repair a token, of this name, that is out of date. Raises CorruptObject for a state that is missing."""


class Hopping:
    """One state visits the shards one after another: checkpoint n is what hop n starts with."""

    def __init__(self, store: Store, names: Names, publisher: Publisher) -> None:
        self._store = store
        self._names = names
        self._publisher = publisher

    def state(self, token: Token) -> Checkpoint | None:
        """Return checkpoint n for hop n."""
        if self._is_out_of_date(token):
            return None
        return stored(self._store, self._names.checkpoint(token.configuration, token.hop))

    def publish(self, results: Sequence[Result]) -> None:
        """Write the checkpoints at the end of stays, and the tokens of the next hops."""
        self._publisher.stays(results)

    def forward(self, configuration: Configuration, token: Token, name: str) -> None:
        """Replace the token of a hop that was done by those of the newest checkpoint."""
        number = token.configuration
        if has_ended(self._store, self._names, number):
            self._store.delete(name)
            return
        newest = newest_of(self._store, self._names, number)
        if newest < token.hop:
            raise lost(self._names.checkpoint(number, token.hop), number)
        self._publisher.forward(configuration, newest, token, name)

    def _is_out_of_date(self, token: Token) -> bool:
        # A newer checkpoint has announced its own token. To train again would make that one anew, and so on: every hop
        # of the configuration would be done twice until the end.
        number = token.configuration
        ended = has_ended(self._store, self._names, number)
        return ended or newest_of(self._store, self._names, number) > token.hop


def stored(store: Store, name: str) -> Checkpoint | None:
    """Return a checkpoint or a replica; None when it is not there. Raises CorruptObject for a damaged one."""
    try:
        return checkpoint.from_bytes(store.get(name), name)
    except ObjectNotFound:
        return None


def has_ended(store: Store, names: Names, number: int) -> bool:
    """Say whether a configuration has an outcome."""
    return bool(store.list(names.outcome(number)))


def newest_of(store: Store, names: Names, number: int) -> int:
    """Return the hop of a configuration's newest checkpoint; -1 without any."""
    return newest_checkpoints(entry.name for entry in store.list(names.checkpoints(number))).get(number, -1)


def lost(missing: str, number: int) -> CorruptObject:
    """Return what to raise when a state that nobody can make again is missing."""
    return CorruptObject(f"{missing} is missing, and configuration {number} cannot go on without it.")
