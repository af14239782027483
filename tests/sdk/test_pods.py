"""The pods that do not train: what begins, or goes on, and what reports; killed anywhere, refused, or too late."""

from __future__ import annotations

import itertools
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelhopper.pods.beginning import Task, begin_pod
from modelhopper.pods.reporting import Ending, report_pod
from modelhopper_contract.cancellation import cancel
from modelhopper_contract.errors import Cancelled, ConflictError, ExitCode, StoreUnavailable
from modelhopper_contract.store import Store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_contract.submission import Bundle, Submission
from tests.sdk.synthetic import SyntheticRun, whole_run
from tests.trainer.small_run import Mortal

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
