"""Whoever trains side by side: one configuration in its own program, or several in the lanes of a fused one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from modelhopper_contract.checkpoint import State
from modelhopper_contract.errors import HopError
from modelhopper_contract.records import HopRecord
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.fused import FusedProgram
from modelhopper_trainer.hop import HopTask, run_hop, run_hops
from modelhopper_trainer.program import Program


class Crew(Protocol):
    """A program with states in it, in the order in which they were loaded."""

    def load(self, states: Sequence[State]) -> None:
        """Take these states over."""

    def hop(self, feed: Feed, tasks: Sequence[HopTask], steps_before: Sequence[int]) -> list[HopRecord | HopError]:
        """Train each state on one shard, in place; return what each hop did, or why its state cannot go on."""

    def read(self) -> Sequence[State]:
        """Return the states as they are now."""


class Alone:
    """One configuration, in its own program."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def load(self, states: Sequence[State]) -> None:
        """Take over the only state."""
        self._program.load(states[0])

    def hop(self, feed: Feed, tasks: Sequence[HopTask], steps_before: Sequence[int]) -> list[HopRecord | HopError]:
        """Train it; the error of one that cannot go on is returned, not raised."""
        try:
            return [run_hop(self._program, feed, tasks[0], steps_before[0])]
        except HopError as error:
            return [error]

    def read(self) -> Sequence[State]:
        """Return its state."""
        return [self._program.read()]


class Together:
    """Configurations in the lanes of a fused program; `numbers` are what of each is not in its state."""

    def __init__(self, program: FusedProgram, numbers: Sequence[Mapping[str, float]]) -> None:
        self._program = program
        self._numbers = numbers

    def load(self, states: Sequence[State]) -> None:
        """Take these states over, one in each lane; lanes that are left are filled up."""
        self._program.load(states, self._numbers)

    def hop(self, feed: Feed, tasks: Sequence[HopTask], steps_before: Sequence[int]) -> list[HopRecord | HopError]:
        """Train all lanes in one go. One that cannot go on computes on, and what it computes is of no use."""
        return run_hops(self._program, feed, tasks, steps_before)

    def read(self) -> Sequence[State]:
        """Return the states of the lanes that were given."""
        return self._program.read()
