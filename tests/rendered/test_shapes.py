"""Each rendering, however its shards reach the pods, makes the inline engine's bytes."""

from __future__ import annotations

from typing import Any

import pytest

from modelhopper_contract.names import Names
from modelhopper_contract.stores import open_store
from tests.argo.runs import Run
from tests.rendered.cluster_here import CLAIMS, FETCHED, NAME, ONE_CLAIM, ClusterHere, Results, differences, results

pytestmark = pytest.mark.xdist_group("rendered")


def pods(*runs: Run) -> int:
    """How many pods there were, those that were tried again counted once."""
    return sum(run.count("Retry") for run in runs)


@pytest.mark.parametrize(
    ("shape", "data", "more"),
    [
        ("hop", CLAIMS, {}),
        ("convoy", ONE_CLAIM, {"most_pods": 12}),
        ("station", FETCHED, {"stations": 1}),
        ("station", CLAIMS, {"stations": 2}),  # with a template for each station
        ("station", ONE_CLAIM, {"stations": 3}),
        ("station", FETCHED, {"stations": 5}),
    ],
    ids=lambda value: str(value.get("stations", "")) if isinstance(value, dict) else value,
)
def test_a_rendered_run_makes_the_same_bytes(
    here: ClusterHere, expected: Results, shape: str, data: dict[str, Any], more: dict[str, Any]
) -> None:
    url = here.new_store()
    proposal = here.propose(here.experiment(), url, shape=shape, data=data, **more)
    runs = here.run(proposal)
    assert [run.phase for run in runs] == ["Succeeded"] * proposal.plan.windows().workflows
    assert len(runs) == (3 if "most_pods" in more else 1)
    assert pods(*runs) == proposal.plan.pods()
    assert differences(results(url), expected) == []
    assert "4 finished" in open_store(url).get(Names(NAME).report()).decode()


@pytest.mark.parametrize(
    ("shape", "data", "more", "parameters"),
    [
        ("convoy", CLAIMS, {}, {"validation-shards": "2"}),
        ("station", ONE_CLAIM, {"stations": 3}, {"stations": "2"}),
        pytest.param("hop", FETCHED, {}, {}, marks=pytest.mark.slow),  # convoys of one
    ],
    ids=["convoy", "station", "hop"],
)
def test_the_installed_template_runs_what_was_uploaded(
    here: ClusterHere,
    expected: Results,
    shape: str,
    data: dict[str, Any],
    more: dict[str, Any],
    parameters: dict[str, str],
) -> None:
    url = here.new_store()
    proposal = here.propose(here.experiment(), url, shape=shape, data=data, **more)
    run = here.run_template(proposal, {"shape": shape, **parameters})
    assert run.phase == "Succeeded"
    assert run.workflow.labels["modelhopper.io/experiment"] == NAME
    assert pods(run) == (2 + 2 if shape == "station" else proposal.plan.pods())
    assert differences(results(url), expected) == []


def test_a_template_that_is_given_an_unknown_shape_runs_nothing_and_fails(here: ClusterHere) -> None:
    url = here.new_store()
    run = here.run_template(here.propose(here.experiment(), url), {"shape": "hops"})
    assert (run.phase, [pod.template for pod in run.pods()]) == ("Failed", ["report"])
    assert "has not begun" in here.log(run.pods()[0])


def test_staging_again_leaves_what_is_there(here: ClusterHere) -> None:
    before = {path: path.stat().st_mtime_ns for path in (here.folder / "claims").rglob("*.npy")}
    runs = here.stage(here.experiment(), data=CLAIMS)
    assert {path: path.stat().st_mtime_ns for path in (here.folder / "claims").rglob("*.npy")} == before
    assert len(before) == 2 * 2 * 5  # in claims of both kinds, two fields of five shards
    assert "x.npy is there already" in here.log(runs[0].pods()[0])
