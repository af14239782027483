"""What every engine promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Self

from modelhopper_contract.errors import SpecError
from modelhopper_contract.messages import Built, Event, Measured
from modelhopper_contract.records import Configuration, Measurement
from modelhopper_contract.specification import Specification

OnEvent = Callable[[Event], None]


def never() -> bool:
    """Say that a run is not cancelled."""
    return False


def measurement_in(event: Measured) -> Measurement:
    """Return what was measured; raise SpecError where a configuration cannot be built."""
    if event.measurement is not None:
        return event.measurement
    problem = event.problem
    error = SpecError((problem and problem.problem) or "nothing was measured", problem.path if problem else ())
    if problem is not None and problem.traceback:
        error.add_note(problem.traceback)
    raise error


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

    def measure(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: OnEvent
    ) -> Measurement:
        """Let one station build the configurations and time each kind of them in every way that may be used. Blocks.

        Raises SpecError when one cannot be built. Nothing is stored.
        """

    def prepare(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: OnEvent
    ) -> list[Built]:
        """Build every configuration once and put its checkpoint 0. Blocks; may be repeated."""

    def serve(self, specification: Specification, is_over: Callable[[], bool], on_event: OnEvent) -> None:
        """Let the stations serve their inboxes until it is over, which is asked after every event. Blocks.

        Raises StoreUnavailable when the store cannot be reached, Cancelled when somebody asks for the run to stop, and
        ModelhopperError when the stations cannot go on.
        """
