"""Waiting for a run on a cluster: what its Workflows and its store say, one look after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from modelhopper import following, submitting
from modelhopper.submitting import ClusterRun
from modelhopper_contract.cancellation import cancel, go_on
from modelhopper_contract.cluster import Cluster
from modelhopper_contract.errors import Cancelled, ModelhopperError
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.workflow_api import WorkflowState
from tests.sdk.synthetic import SyntheticRun, whole_run

Turn = tuple[str, Callable[[], object]]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    made = MemoryStore()
    monkeypatch.setattr(submitting, "open_store", lambda _: made)
    return made


def submitted(monkeypatch: pytest.MonkeyPatch, *turns: Turn) -> ClusterRun:
    """Return a run whose Workflow has these phases, one in each look at it, and what happens before that look."""
    left, now = list(turns), "Pending"

    def states(*_: object) -> Sequence[WorkflowState]:
        nonlocal now
        if left:
            now, happens = left.pop(0)
            happens()
        return [WorkflowState("iris-1", now, "", ""), WorkflowState("another", "Failed", "", "")]

    monkeypatch.setattr("modelhopper_scheduler.workflow_api.states", states)
    monkeypatch.setattr(following, "pause_until", lambda _: lambda _: None)
    return ClusterRun(Cluster(store="s3://modelhopper/runs"), "iris", ["iris-1"])


def nothing() -> None:
    return None


def test_a_run_of_which_the_store_knows_nothing_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore
) -> None:
    run = submitted(
        monkeypatch,
        ("Pending", nothing),
        ("Running", lambda: SyntheticRun(store)),
        ("Running", lambda: whole_run(store)),
        ("Succeeded", nothing),
    )
    assert run.wait(progress=False).is_complete


def test_what_was_complete_before_is_not_the_end_of_a_longer_run(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore
) -> None:
    whole_run(store)
    ended: list[bool] = []
    run = submitted(monkeypatch, ("Pending", nothing), ("Running", nothing), ("Succeeded", lambda: ended.append(True)))
    run.wait(progress=False)
    assert ended


def test_an_earlier_cancellation_is_not_the_end_of_what_goes_on(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore
) -> None:
    whole_run(store)
    cancel(store, "iris")
    run = submitted(
        monkeypatch, ("Pending", nothing), ("Running", lambda: go_on(store, "iris")), ("Succeeded", nothing)
    )
    assert run.wait(progress=False).is_complete


def test_a_cancellation_while_it_goes_on_is_told(monkeypatch: pytest.MonkeyPatch, store: MemoryStore) -> None:
    SyntheticRun(store)
    run = submitted(monkeypatch, ("Running", nothing), ("Running", lambda: cancel(store, "iris")))
    with pytest.raises(Cancelled):
        run.wait(progress=False)


def test_a_workflow_that_fails_before_it_begins_is_told(monkeypatch: pytest.MonkeyPatch, store: MemoryStore) -> None:
    run = submitted(monkeypatch, ("Pending", nothing), ("Failed", nothing))
    with pytest.raises(ModelhopperError, match="iris-1 ended as Failed"):
        run.wait(progress=False)
