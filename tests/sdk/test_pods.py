"""The pods that do not train: what begins, or goes on, and what reports; killed anywhere, refused, or too late."""

from __future__ import annotations

import itertools
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelhopper.pods.beginning import Task, begin_pod
from modelhopper.pods.judging import preside_pod
from modelhopper.pods.reporting import Ending, report_pod
from modelhopper_contract.cancellation import cancel, is_cancelled
from modelhopper_contract.decisions import read_turns
from modelhopper_contract.errors import Cancelled, ConflictError, CorruptObject, ExitCode, StoreUnavailable
from modelhopper_contract.names import Names
from modelhopper_contract.store import Entry, Store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_contract.submission import Bundle, Submission
from modelhopper_scheduler.searches.making import first_turn, planned, search_of
from tests.scheduler.test_judging import run as run_search
from tests.scheduler.test_judging import specification
from tests.sdk.synthetic import SyntheticRun, whole_run
from tests.trainer.small_run import Mortal

PLANNED = Names("planned")
LONGER: dict[str, Any] = {"iterations": 6}


def bundle(extend: bool = False, **changes: Any) -> str:
    """Return the synthetic run's submission, some keys of its experiment changed."""
    run = SyntheticRun(MemoryStore(), **changes)
    chosen = tuple(run.configurations)
    made = Submission(specification=run.specification, configurations=chosen, manifests={}, files={}, extend=extend)
    return Bundle(made, {}).encode()


def begin(store: Store, outputs: Path, text: str, submitted: datetime | None = None) -> tuple[str, str]:
    """Let the pod go on, and return its output parameters."""
    begin_pod(store, Task("iris", submitted=submitted), text, outputs, lambda _: None)
    return (outputs / "chains").read_text(), (outputs / "shards").read_text()


def everything(store: MemoryStore) -> dict[str, bytes]:
    return {entry.name: store.get(entry.name) for entry in store.list("")}


# --- begin ------------------------------------------------------------------------------------------------------------


def test_another_experiment_of_the_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    store = MemoryStore()
    whole_run(store)
    before = everything(store)
    with pytest.raises(ConflictError, match="another experiment"):
        begin(store, tmp_path, bundle(seed=7))
    with pytest.raises(ConflictError, match="--extend"):
        begin(store, tmp_path, bundle(**LONGER))
    assert everything(store) == before


def test_a_beginning_killed_at_any_change_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    def prepared(store: MemoryStore) -> MemoryStore:
        run = whole_run(store)
        run.store.put("iris/inbox/00001/00001-train-00000003", b"{}")  # of another number of stations
        return store

    text, expected = bundle(extend=True, **LONGER), prepared(MemoryStore())
    outputs = begin(expected, tmp_path / "expected", text)
    assert '"hops":"4"' in outputs[0]
    for changes in itertools.count():
        store = prepared(MemoryStore())
        with suppress(StoreUnavailable):
            begin(Mortal(store, changes), tmp_path / "killed", text)
            break
        assert begin(store, tmp_path / "again", text) == outputs
        assert everything(store) == everything(expected)
    assert changes > 10


def test_a_workflow_does_not_go_on_with_what_was_cancelled_after_it_was_made(tmp_path: Path) -> None:
    store = MemoryStore()
    SyntheticRun(store)
    cancel(store, "iris")
    with pytest.raises(Cancelled):
        begin(store, tmp_path, bundle(), datetime(2020, 1, 1, tzinfo=UTC))
    begin(store, tmp_path, bundle(), datetime(2100, 1, 1, tzinfo=UTC))
    assert not store.list("iris/cancelled.json")


# --- the judge beside stations ----------------------------------------------------------------------------------------


def searched(store: Store) -> None:
    """Let a search have begun of which nobody has arrived."""
    spec = specification("halving")
    search = search_of(spec)
    assert search is not None
    store.put(PLANNED.specification(), spec.to_json())
    turn = first_turn(spec, search)
    store.put(PLANNED.turn(0), turn.to_json())
    for one in planned(spec):
        store.put(PLANNED.configuration(one.number), one.to_json())


@pytest.mark.parametrize(
    ("retries", "is_stopped"), [({}, False), ({"MODELHOPPER_RETRIES": "2", "MODELHOPPER_MOST_RETRIES": "2"}, True)]
)
def test_a_judge_that_nobody_starts_again_stops_the_stations(retries: dict[str, str], is_stopped: bool) -> None:
    store = MemoryStore()
    searched(store)
    with pytest.raises(StoreUnavailable):
        preside_pod(Unsteady(store), "planned", 2, retries, lambda _: None)
    assert is_cancelled(store, "planned") == is_stopped


def test_a_judge_killed_within_its_last_turn_puts_what_follows_from_it_when_it_is_started_again() -> None:
    store = MemoryStore()
    run_search(specification("asha"), store)
    before = everything(store)
    last = read_turns(store, PLANNED)[-1]
    assert last.decisions
    for stop in last.decisions[1:]:
        store.delete(PLANNED.outcome(stop.configuration))
    assert preside_pod(store, "planned", 3, {}, lambda _: None) is ExitCode.DONE
    assert everything(store) == before


def test_a_judge_that_cannot_read_the_log_stops_the_stations() -> None:
    store = MemoryStore()
    searched(store)
    store.put(PLANNED.turn(1), b"not a turn")
    with pytest.raises(CorruptObject):
        preside_pod(store, "planned", 2, {}, lambda _: None)
    assert is_cancelled(store, "planned")


def test_a_judge_ends_when_the_run_is_cancelled_or_no_search_judges() -> None:
    store = MemoryStore()
    searched(store)
    cancel(store, "planned")
    with pytest.raises(Cancelled):
        preside_pod(store, "planned", 2, {}, lambda _: None)
    whole_run(store)
    assert preside_pod(store, "iris", 2, {}, lambda _: None) is ExitCode.DONE


class Unsteady(Mortal):
    """A store that takes what cancels a run, and does not answer a look for those that have arrived."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, 99)

    def list(self, prefix: str) -> list[Entry]:
        if prefix == PLANNED.outcomes():
            raise StoreUnavailable("no answer")
        return super().list(prefix)


# --- report -----------------------------------------------------------------------------------------------------------


def report(store: MemoryStore, window: int = 1, windows: int = 1) -> ExitCode:
    return report_pod(store, Ending("iris", window, windows), lambda _: None)


def test_a_run_that_was_cancelled_too_late_has_succeeded() -> None:
    store = MemoryStore()
    whole_run(store)
    cancel(store, "iris")
    assert report(store) is ExitCode.DONE
    assert b"## Failed" in store.get("iris/report.md")


@pytest.mark.parametrize(("window", "code"), [(1, ExitCode.DONE), (2, ExitCode.PERMANENT)])
def test_only_the_last_workflow_fails_when_something_is_missing(window: int, code: ExitCode) -> None:
    store = MemoryStore()
    SyntheticRun(store).trained(1, 2)
    assert report(store, window, 2) is code
    cancel(store, "iris")
    assert report(store, window, 2) is ExitCode.INTERRUPTED


def test_a_run_of_which_every_configuration_failed_has_failed() -> None:
    store = MemoryStore()
    run = SyntheticRun(store)
    for number in range(1, 5):
        run.failed(number, 1)
    assert report(store) is ExitCode.SOME_FAILED


def test_a_run_that_never_began_has_failed() -> None:
    assert report(MemoryStore()) is ExitCode.PERMANENT
