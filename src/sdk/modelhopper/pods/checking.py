"""Trying a store: what every pod needs of it, with an object of its own that goes again."""

from __future__ import annotations

import uuid

from modelhopper_contract.errors import StoreError
from modelhopper_contract.store import Store


def check_store(store: Store) -> None:
    """Put, list, get and delete one small object; raise what the store raises, or StoreError when it forgot it."""
    name = f".check-{uuid.uuid4().hex}"
    store.put(name, name.encode())
    try:
        if store.get(name) != name.encode() or [entry.name for entry in store.list(name)] != [name]:
            raise StoreError(f"{store.url} does not give back what was put into it.")
    finally:
        store.delete(name)
