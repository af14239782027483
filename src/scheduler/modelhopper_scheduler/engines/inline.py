"""The inline engine: one station in this process. For tests, tiny experiments and debugging."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, Self

from modelhopper_contract.errors import Cancelled
from modelhopper_contract.messages import Built, Event, Measured
from modelhopper_contract.records import Configuration, Measurement
from modelhopper_contract.specification import Specification
from modelhopper_scheduler.engines.engine import OnEvent, measurement_in, never


class InlineStation(Protocol):
    """What the engine needs of a station. The trainer's is given to it, so that the scheduler never imports it."""

    def measure(self, configurations: Sequence[Configuration]) -> None:
        """Time configurations and report that."""

    def prepare(self, configurations: Iterable[Configuration]) -> None:
        """Build configurations and report each."""

    def serve(self, is_over: Callable[[], bool], wait: Callable[[int], None]) -> None:
        """Serve the inbox until `is_over`."""


MakeStation = Callable[[Specification, OnEvent], InlineStation]


class InlineEngine:
    """One station, made by `make_station(specification, report)`, in this process."""

    stations = 1

    def __init__(self, make_station: MakeStation, is_cancelled: Callable[[], bool] = never) -> None:
        self._make_station = make_station
        self._is_cancelled = is_cancelled
        self._station: InlineStation | None = None
        self._on_event: OnEvent = _nobody_listens
        self._one_at_a_time = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        return None

    def measure(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: OnEvent
    ) -> Measurement:
        """Measure in this process."""
        found: list[Measured] = []
        self._on_event = lambda event: found.append(event) if isinstance(event, Measured) else None
        self._of(specification).measure(configurations)
        on_event(found[0])
        return measurement_in(found[0])

    def prepare(
        self, specification: Specification, configurations: Sequence[Configuration], on_event: OnEvent
    ) -> list[Built]:
        """Build every configuration in this process."""
        found: list[Built] = []
        self._on_event = lambda event: found.append(event) if isinstance(event, Built) else None
        self._of(specification).prepare(configurations)
        for built in found:
            on_event(built)
        return found

    def serve(self, specification: Specification, is_over: Callable[[], bool], on_event: OnEvent) -> None:
        """Serve the one inbox in this process."""
        self._on_event = on_event

        def is_done() -> bool:
            with self._one_at_a_time:
                return is_over()

        # A look at an empty inbox is rare here: what is written next is this station's own.
        self._of(specification).serve(lambda: is_done() or self._is_cancelled(), _wait)
        if not is_done():
            raise Cancelled("the run was cancelled")

    def _hear(self, event: Event) -> None:
        with self._one_at_a_time:  # the station's writing thread reports, too
            self._on_event(event)

    def _of(self, specification: Specification) -> InlineStation:
        if self._station is None:
            self._station = self._make_station(specification, self._hear)
        return self._station


def _nobody_listens(_: Event) -> None:
    return None


def _wait(_: int) -> None:
    time.sleep(0.001)
