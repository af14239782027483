"""The marker that stops a run, wherever its stations are: whoever sees it in the store ends in good order."""

from __future__ import annotations

from modelhopper_contract.errors import ObjectNotFound
from modelhopper_contract.names import Names
from modelhopper_contract.record import Record
from modelhopper_contract.store import Store


class Cancellation(Record):
    """A run is to stop: somebody asked for it, or a station cannot go on, and the others would wait for it for ever."""

    reason: str = ""  # in words; "" from somebody who gave none


def cancel(store: Store, experiment: str, reason: str = "") -> None:
    """Ask for a run to stop. Everything that was done stays."""
    store.put(Names(experiment).cancelled(), Cancellation(reason=reason).to_json())


def is_cancelled(store: Store, experiment: str) -> bool:
    """Say whether a run is asked to stop. One request, which finds nothing as long as it is not."""
    return cancellation(store, experiment) is not None


def cancellation(store: Store, experiment: str) -> Cancellation | None:
    """Return why a run is asked to stop; None where it is not."""
    name = Names(experiment).cancelled()
    try:
        return Cancellation.from_json(store.get(name), name)
    except ObjectNotFound:
        return None


def go_on(store: Store, experiment: str) -> None:
    """Take the wish to stop back. Does nothing where there is none."""
    store.delete(Names(experiment).cancelled())
