"""Ending a configuration from outside: whoever worked on it was killed, and cannot say so itself."""

from __future__ import annotations

from modelhopper_contract.errors import ObjectNotFound
from modelhopper_contract.messages import Started
from modelhopper_contract.names import Names, token_configuration
from modelhopper_contract.records import Failure, Outcome, Retried
from modelhopper_contract.store import Store


def give_up(store: Store, names: Names, number: int, failure: Failure) -> Outcome:
    """Write that a configuration has failed, and remove its tokens. One that has ended keeps its outcome."""
    outcome = _ended(store, names, number)
    if outcome is None:
        outcome = Outcome(configuration=number, state="failed", hops=failure.hop, failure=failure)
        store.put(names.outcome(number), outcome.to_json())
    # What is left of it would kill again: an evaluation is served whatever the outcome is.
    for name in [entry.name for entry in store.list(names.inbox())]:
        if token_configuration(name) == number:
            store.delete(name)
    return outcome


def _ended(store: Store, names: Names, number: int) -> Outcome | None:
    name = names.outcome(number)
    try:
        return Outcome.from_json(store.get(name), name)
    except ObjectNotFound:
        return None


def write_retry(store: Store, names: Names, begun: Started, who: str, reason: str) -> None:
    """Leave in the store what is done again, and why, for whoever asks. `who`: the station or pod, and which death."""
    retried = Retried(
        configuration=begun.configuration, action=begun.action, hop=begun.hop, station=begun.station, reason=reason
    )
    store.put(names.retry(begun.configuration, begun.hop, who), retried.to_json())
