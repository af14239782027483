"""What every engine promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Self

from modelhopper_contract.messages import Built, Event
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification

OnEvent = Callable[[Event], None]


def never() -> bool:
    """Say that a run is not cancelled."""
    return False


class Engine(Protocol):
    """Starts stations, hands them their work, and tells what happens. Used as a context manager, which stops them.

    Leaving the context at any moment, also by an exception, loses nothing that the store holds.
    """

    @property
    def stations(self) -> int:
        """How many stations serve the run."""

    def __enter__(self) -> Self:
        """Start the stations."""

    def __exit__(self, kind: object, *_: object) -> None:
        """Stop the stations."""

    def prepare(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: OnEvent
    ) -> list[Built]:
        """Build every configuration once and put its checkpoint 0. Blocks; may be repeated."""

    def serve(self, specification: Specification, is_over: Callable[[], bool], on_event: OnEvent) -> None:
        """Let the stations serve their inboxes until it is over, which is asked after every event. Blocks.

        Raises StoreUnavailable when the store cannot be reached, Cancelled when somebody asks for the run to stop, and
        ModelhopperError when the stations cannot go on.
        """
