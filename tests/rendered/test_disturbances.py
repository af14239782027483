"""Whatever happens to pods, Workflows and the store in the middle of a run: the same bytes in the end."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta

import pytest

from modelhopper.proposing import proposal
from modelhopper_contract.cancellation import cancel
from modelhopper_contract.stores import open_store
from modelhopper_contract.submission import read_submission
from tests.argo.pods import PodRun
from tests.rendered.cluster_here import NAME, ClusterHere, Results, differences, results
from tests.rendered.pods_here import Before, Fate

pytestmark = pytest.mark.xdist_group("rendered")

MIDDLE = 9  # of the pods of a run


def ill_luck(seed: str) -> Before:
    """Let pods be deleted or killed, before or after any of their changes to the store."""
    chance = random.Random(seed)

    def before(_: int, pod: PodRun) -> Fate | None:
        attempt = int(pod.node.rpartition("(")[2].rstrip(")"))
        if attempt > 3 or chance.random() > 0.3:
            return None
        # Killed once: what is killed at the same hop again is to blame, and fails.
        return Fate(chance.randrange(9), 137 if attempt == 0 and chance.random() < 0.5 else None)

    return before


@pytest.mark.parametrize("shape", ["hop", pytest.param("convoy", marks=pytest.mark.slow), "station"])
def test_pods_killed_and_deleted_at_random_leave_the_same_bytes(
    here: ClusterHere, expected: Results, shape: str
) -> None:
    url = here.new_store()
    (run,) = here.run(here.propose(here.experiment(), url, shape=shape), ill_luck(shape))
    assert run.phase == "Succeeded"
    codes = [pod.exit_code for pod in run.pods()]
    assert codes.count(137) >= 1
    assert codes.count(None) >= 1  # deleted: Argo never learns of an exit code
    assert differences(results(url), expected) == []


@pytest.mark.parametrize("shape", ["hop", pytest.param("station", marks=pytest.mark.slow)])
def test_a_terminated_workflow_that_is_submitted_again_goes_on_to_the_same_bytes(
    here: ClusterHere, expected: Results, shape: str
) -> None:
    url = here.new_store()
    documents = here.propose(here.experiment(), url, shape=shape).documents

    def before(number: int, pod: PodRun) -> Fate | None:
        if number != (MIDDLE if shape == "hop" else 4):
            return None
        argo.runs[pod.workflow].terminate()
        return Fate(3)

    with here.argo(before) as argo:
        first, second = (argo.submit(documents[0]).wait(240) for _ in range(2))
    assert (first.phase, first.pods("report"), second.phase) == ("Failed", [], "Succeeded")
    assert differences(results(url), expected) == []
    if shape == "hop":
        done = {pod.name for pod in first.pods("hop", "Succeeded")}
        assert len(second.pods("hop")) + len(done) in (23, 24)  # one may be of the pod that was deleted


def test_a_store_that_is_restarted_in_the_middle_is_waited_for(here: ClusterHere, expected: Results) -> None:
    url, restarts = here.new_store(), []

    def before(number: int, _: PodRun) -> Fate | None:
        if number == MIDDLE:
            here.server.kill()
            restarts.append(threading.Timer(0.5, here.server.start))
            restarts[0].start()
        return None

    (run,) = here.run(here.propose(here.experiment(), url, shape="convoy"), before)
    restarts[0].join()
    assert run.phase == "Succeeded"
    assert differences(results(url), expected) == []


def test_a_cancelled_run_ends_soon_and_goes_on_when_it_is_submitted_again(here: ClusterHere, expected: Results) -> None:
    url = here.new_store()
    store = open_store(url)

    def before(number: int, _: PodRun) -> Fate | None:
        if number == MIDDLE:
            cancel(store, NAME)
        return None

    windows = here.run(here.propose(here.experiment(), url, shape="hop", most_pods=14), before)
    assert [run.phase for run in windows] == ["Failed"] * 3
    codes = [pod.exit_code for pod in windows[0].pods()]
    assert set(codes) == {0, 130}
    assert 0 < codes.count(130) <= 4 + 3 + 1  # one pod of each chain, the evaluations, the report
    for run in windows[1:]:
        assert [pod.exit_code for pod in run.pods()] == [130, 130]
    assert "was cancelled" in here.log(windows[1].pods("begin")[0])

    later = datetime.now(UTC) + timedelta(hours=1)
    again = proposal(read_submission(store, NAME), here.cluster(url, shape="convoy"))
    (run,) = here.run(again, now=lambda: later)
    assert run.phase == "Succeeded"
    assert differences(results(url), expected) == []
