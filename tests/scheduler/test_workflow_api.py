"""Following Workflows through the API server, whatever Argo or somebody deletes meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from modelhopper_contract.cluster import Cluster
from modelhopper_scheduler import workflow_api
from modelhopper_scheduler.workflow_api import WorkflowState, wait

CLUSTER = Cluster(store="s3://modelhopper/runs")


def answers(monkeypatch: pytest.MonkeyPatch, *looks: Sequence[tuple[str, str]]) -> None:
    """Let the API server answer so, look by look: the names and phases of the Workflows that it has."""
    left: Iterator[Sequence[tuple[str, str]]] = iter(looks)

    def states(cluster: Cluster, experiment: str) -> list[WorkflowState]:
        assert (cluster, experiment) == (CLUSTER, "iris")
        return [WorkflowState(name, phase, "", "") for name, phase in next(left)]

    monkeypatch.setattr(workflow_api, "states", states)


def waited(names: Sequence[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return names and phases of the Workflows in the end, and what was heard until then."""
    heard: list[tuple[str, str]] = []
    over = wait(CLUSTER, "iris", names, lambda one: heard.append((one.name, one.phase)), lambda _: None)
    return [(one.name, one.phase) for one in over], heard


def test_every_change_is_heard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, [("a", "")], [("a", "Running")], [("a", "Running")], [("a", "Failed")])
    assert waited(["a"]) == ([("a", "Failed")], [("a", ""), ("a", "Running"), ("a", "Failed")])


def test_a_workflow_that_argo_deletes_after_its_end_has_ended_as_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(
        monkeypatch,
        [("a", "Succeeded"), ("b", "Pending")],
        [("b", "Running"), ("other", "Running")],
        [("b", "Succeeded"), ("other", "Running")],
    )
    assert waited(["a", "b"])[0] == [("a", "Succeeded"), ("b", "Succeeded")]


def test_a_workflow_that_is_deleted_while_it_runs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, [("a", "Running"), ("b", "Running")], [("b", "Succeeded")])
    assert waited(["a", "b"])[0] == [("b", "Succeeded")]
