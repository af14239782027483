"""What a search decides, in records with a reason in words: the log from which a search is rebuilt after any kill.

A **turn** is one step of the log: something arrived, and the search answered. One object holds all of it, so a turn is
there as a whole or not at all. The log is all that a search remembers; everything else is computed from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field

from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.names import Names
from modelhopper_contract.record import Record
from modelhopper_contract.records import Origin
from modelhopper_contract.store import Store


class Start(Record):
    """A configuration starts."""

    kind: Literal["start"] = "start"
    configuration: int  # its number; of a turn's starts the first continues the numbering
    choice: dict[str, Any]  # what the search chose: a value for each key of the space
    until: int  # it trains until so many iterations are complete; then it waits for a decision, if they are not all
    reason: str
    group: str = ""  # those that are judged together, such as a bracket, for people too: "bracket 4"
    origin: Origin | None = (
        None  # it goes on from a copy of another's state; the lineage is this, no weights are copied
    )
    offset: int | None = None  # the shard of hop 0, where it is not free
    memo: dict[str, Any] = Field(default={})  # what the search itself needs to know again

    @property
    def first_hop(self) -> int:
        """The first hop of its own: one that goes on from a copy of another of the same run begins where that was."""
        return self.origin.hop if self.origin is not None and self.origin.experiment is None else 0


class GoOn(Record):
    """A configuration that waits at a rung trains on."""

    kind: Literal["go on"] = "go on"
    configuration: int
    until: int  # iterations, as in `Start`
    reason: str


class Stop(Record):
    """A configuration that waits at a rung ends there: stopped, or finished where it has all that it was to have."""

    kind: Literal["stop"] = "stop"
    configuration: int
    reason: str
    state: Literal["stopped", "finished"] = "stopped"


Verdict = GoOn | Stop
Decision = Annotated[Start | GoOn | Stop, Field(discriminator="kind")]


class Arrival(Record):
    """A configuration has reached the iteration until which it was to train, and is evaluated; or it has failed."""

    configuration: int
    iteration: int  # at which it was expected
    value: float | None  # of the objective; None when it failed, or when the objective was not recorded
    ended: Literal["stopped", "failed"] | None = None  # how it ended by itself before, where it did


class Turn(Record):
    """A step of the log: what arrived, and what was decided then."""

    order: int  # from 0
    arrival: Arrival | None  # None: the beginning
    decisions: tuple[Decision, ...]
    is_last: bool = False  # nothing will be decided any more

    @property
    def starts(self) -> list[Start]:
        """The configurations that start."""
        return [decision for decision in self.decisions if isinstance(decision, Start)]


def read_turns(store: Store, names: Names) -> list[Turn]:
    """Return the log, in order; empty for an experiment whose search decides everything before it begins.

    Raises CorruptObject when a turn is missing: what was decided after it does not follow from the rest.
    """
    found = sorted(entry.name for entry in store.list(names.turns()))
    for order, name in enumerate(found):
        if name != names.turn(order):
            raise CorruptObject(f"{names.turn(order)} is missing, and the search cannot go on without it.")
    return [Turn.from_json(store.get(name), name) for name in found]


def limits(turns: Iterable[Turn]) -> dict[int, int]:
    """Return the iterations until which each configuration may train, by number."""
    found: dict[int, int] = {}
    for turn in turns:
        for decision in turn.decisions:
            if isinstance(decision, Start | GoOn):
                found[decision.configuration] = decision.until
    return found
