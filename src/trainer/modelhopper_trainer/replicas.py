"""Removing replicas that nobody needs any more. No TensorFlow here."""

from __future__ import annotations

from modelhopper_contract.names import Names, replica_number
from modelhopper_contract.store import Store


def remove_replicas(store: Store, names: Names, number: int, keep: range) -> None:
    """Remove a configuration's replicas but those of these hops."""
    for name in [entry.name for entry in store.list(names.replicas(number))]:
        if replica_number(name)[1] not in keep:
            store.delete(name)
