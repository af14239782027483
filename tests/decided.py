"""What a search has decided, as its log has it."""

from __future__ import annotations

from modelhopper_contract.decisions import read_turns
from modelhopper_contract.names import Names
from modelhopper_contract.store import Store


def decided(store: Store, name: str) -> dict[int, list[bytes]]:
    """Return what was decided about each configuration of an experiment, in order, whenever that was."""
    found: dict[int, list[bytes]] = {}
    for turn in read_turns(store, Names(name)):
        for decision in turn.decisions:
            found.setdefault(decision.configuration, []).append(decision.to_json())
    return found
