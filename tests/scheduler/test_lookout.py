"""Looking out for a cancellation: seen soon, told once, and never an error of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

import pytest

from modelhopper_contract.cancellation import cancel, go_on, is_cancelled
from modelhopper_contract.errors import Cancelled, StoreUnavailable
from modelhopper_contract.messages import Ended, Event
from modelhopper_contract.records import Configuration, Outcome
from modelhopper_contract.specification import Specification
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler import lookout
from modelhopper_scheduler.conduct import Work
from modelhopper_scheduler.engines.engine import OnEvent
from modelhopper_scheduler.engines.inline import InlineEngine
from modelhopper_scheduler.lookout import Lookout
from tests.scheduler.planned import specification


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "_PERIOD_S", 0.001)
    monkeypatch.setattr(lookout, "_GRACE_S", 0.001)


class UnsteadyStore(MemoryStore):
    """Gives no answer to its first questions."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def get(self, name: str) -> bytes:
        if self.failures > 0:
            self.failures -= 1
            raise StoreUnavailable("no answer")
        return super().get(name)


def test_a_cancellation_is_made_found_and_taken_back() -> None:
    store = MemoryStore()
    assert not is_cancelled(store, "iris")
    cancel(store, "iris", "enough")
    assert is_cancelled(store, "iris")
    assert not is_cancelled(store, "iri")
    go_on(store, "iris")
    go_on(store, "iris")
    assert not is_cancelled(store, "iris")


def test_a_cancellation_is_seen_and_who_does_not_end_is_urged() -> None:
    store, told = MemoryStore(), threading.Event()
    with Lookout(store, "iris", told.set) as found:
        assert not found.seen
        cancel(store, "iris")
        assert told.wait(10)
        assert found.seen


def test_a_store_that_gives_no_answer_is_asked_again() -> None:
    store, told = UnsteadyStore(5), threading.Event()
    cancel(store, "iris")
    with Lookout(store, "iris", told.set):
        assert told.wait(10)
    assert store.failures == 0


def test_nobody_is_urged_after_the_end() -> None:
    store, told = MemoryStore(), threading.Event()
    with Lookout(store, "iris", told.set) as found:
        pass
    cancel(store, "iris")
    found._urge()
    assert not told.is_set()
    assert not found.seen


class CountingStation:
    """Ends one configuration at each step."""

    def __init__(self, report: OnEvent) -> None:
        self.report = report
        self.steps = 0

    def measure(self, configurations: Sequence[Configuration]) -> None:
        raise NotImplementedError

    def prepare(self, configurations: Iterable[Configuration]) -> None:
        raise NotImplementedError

    def serve(self, is_over: Callable[[], bool], wait: Callable[[int], None]) -> None:
        while not is_over():
            self.steps += 1
            self.report(Ended(outcome=Outcome(configuration=self.steps, state="finished", hops=1)))


def serve(cancelled_after: int) -> CountingStation:
    """Serve five configurations inline, and cancel after some."""
    made: list[CountingStation] = []

    def make_station(_: Specification, report: OnEvent) -> CountingStation:
        made.append(CountingStation(report))
        return made[0]

    def nobody_listens(_: Event) -> None:
        return None

    with InlineEngine(make_station, lambda: bool(made) and made[0].steps >= cancelled_after) as engine:
        work = Work({1, 2, 3, 4, 5}, nobody_listens)
        engine.serve(specification(), work.is_over, work.hear)
    return made[0]


def test_the_inline_engine_stops_between_two_hops() -> None:
    with pytest.raises(Cancelled):
        serve(cancelled_after=2)


def test_a_run_that_is_complete_when_it_is_cancelled_is_complete() -> None:
    assert serve(cancelled_after=5).steps == 5
