"""The same with real processes, which start, compile and end as pods do. Each takes seconds, so there are few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhopper_contract.experiment import Experiment
from tests.argo.fake_argo import FakeArgo
from tests.argo.processes import ProcessRunner
from tests.argo.runs import Run
from tests.rendered.cluster_here import CLAIMS, SECRETS, ClusterHere, Results, differences, results
from tests.trainer.small_run import SEARCH

pytestmark = pytest.mark.xdist_group("rendered")


@pytest.fixture(scope="module")
def short(here: ClusterHere) -> Experiment:
    """One iteration of two configurations of one kind, because each process compiles its own."""
    return here.experiment(iterations=1, search={"method": "list", "configurations": SEARCH[:2]})


@pytest.fixture(scope="module")
def expected_of_short(here: ClusterHere, short: Experiment) -> Results:
    return here.run_inline(short)


@pytest.mark.parametrize(
    "more",
    [
        {"shape": "station", "stations": 2},
        pytest.param({"shape": "hop", "data": CLAIMS}, marks=pytest.mark.slow),
    ],
    ids=["station", "hop"],
)
def test_real_processes_make_the_same_bytes(
    here: ClusterHere, short: Experiment, expected_of_short: Results, more: dict[str, Any], tmp_path: Path
) -> None:
    url = here.new_store()
    proposal = here.propose(short, url, **more)
    runner = ProcessRunner(tmp_path, claims=here.claims)
    with FakeArgo(runner, secrets=SECRETS, max_pods=2) as argo:
        run = argo.run_to_end(proposal.documents[0], timeout_s=280)
    assert run.phase == "Succeeded", _said(run, runner)
    assert run.count("Pod") == proposal.plan.pods()
    assert differences(results(url), expected_of_short) == []


@pytest.mark.slow
def test_a_real_pod_that_is_deleted_is_started_again(
    here: ClusterHere, short: Experiment, expected_of_short: Results, tmp_path: Path
) -> None:
    url = here.new_store()
    runner = ProcessRunner(tmp_path, claims=here.claims)
    with FakeArgo(runner, secrets=SECRETS, max_pods=2) as argo:
        run = argo.submit(here.propose(short, url, shape="station", stations=1).documents[0])
        pod = run.wait_until(lambda run: run.running("station"), timeout_s=120)[0].pod_name
        run.delete_pod(pod)
        run.wait(200)
    assert run.phase == "Succeeded", _said(run, runner)
    assert [node.exit_code for node in run.pods("station")] == [None, 0]
    assert differences(results(url), expected_of_short) == []


def _said(run: Run, runner: ProcessRunner) -> str:
    return "\n".join(f"{pod.name}: {pod.phase}\n{runner.log(pod.pod_name)}" for pod in run.pods())
