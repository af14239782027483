"""Searches that judge, as rendered Workflows: in each shape the decisions, and the bytes, of the inline engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from modelhopper_contract.decisions import Turn
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.names import Names
from modelhopper_contract.specification import Specification
from modelhopper_contract.stores import open_store
from modelhopper_scheduler.searches.making import objective, search_of
from modelhopper_scheduler.searches.search import Past, next_turn
from tests.argo.pods import PodRun
from tests.rendered.cluster_here import NAME, ClusterHere, Results, differences, results
from tests.rendered.pods_here import Before, Fate
from tests.rendered.test_disturbances import ill_luck

pytestmark = pytest.mark.xdist_group("rendered")

NAMES = Names(NAME)
SPACE = {
    "model": "plain",
    "optimizer": {"name": "SGD", "learning_rate": {"log": [0.001, 1.0]}},
    "batch_size": [4, 8, 16],
}
HYPERBAND = {"search": {"method": "hyperband", "eta": 3, "space": SPACE}, "iterations": 9}
HALVING = {"search": {"method": "halving", "configurations": 4, "eta": 2, "space": SPACE}, "iterations": 4}
ASHA = {
    "search": {"method": "asha", "configurations": 5, "eta": 2, "parallel": 2, "space": SPACE},
    "iterations": 2,
}
# One at a time, stations are started again whenever they would wait.
STATIONS = {"shape": "station", "stations": 2, "retries": 20}


def judged(here: ClusterHere, value: Mapping[str, Any]) -> Experiment:
    return here.experiment(**value, evaluate_every=None)


def turns(found: Mapping[str, bytes]) -> list[Turn]:
    return [Turn.from_json(found[name]) for name in sorted(found) if name.startswith(NAMES.turns())]


def decided(found: Mapping[str, bytes]) -> dict[int, list[tuple[str, int | None, str]]]:
    """Return what was decided about each configuration, in order."""
    told: dict[int, list[tuple[str, int | None, str]]] = {}
    for turn in turns(found):
        for one in turn.decisions:
            told.setdefault(one.configuration, []).append((one.kind, getattr(one, "until", None), one.reason))
    return told


def without_turns(found: Mapping[str, bytes]) -> dict[str, bytes]:
    """Leave out the log, which has things in the order in which they came."""
    return {name: data for name, data in found.items() if not name.startswith(NAMES.turns())}


def check_same(url: str, expected: Results) -> None:
    found = results(url)
    assert differences(without_turns(found), without_turns(expected)) == []
    assert decided(found) == decided(expected)


def retold(found: Mapping[str, bytes]) -> list[Turn]:
    """Return what the search answers to the same arrivals in the same order."""
    specification = Specification.from_json(found[NAMES.specification()])
    search, past, told = search_of(specification), Past(objective(specification), specification.ring.iterations), []
    assert search is not None
    for turn in turns(found):
        told.append(next_turn(search, past, turn.order, turn.arrival))
        past = (past if turn.arrival is None else past.arrived(turn.arrival)).decided(turn.decisions)
    return told


@pytest.fixture(scope="module")
def hyperband(here: ClusterHere) -> Results:
    """What the inline engine makes of Hyperband."""
    return here.run_inline(judged(here, HYPERBAND))


@pytest.fixture(scope="module")
def halving(here: ClusterHere) -> Results:
    """What the inline engine makes of successive halving."""
    return here.run_inline(judged(here, HALVING))


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"shape": "hop"}, {"shape": "convoy"}, STATIONS], ids=lambda more: more["shape"])
def test_hyperband_decides_the_same_in_every_shape(here: ClusterHere, hyperband: Results, more: dict[str, Any]) -> None:
    url = here.new_store()
    proposal = here.propose(judged(here, HYPERBAND), url, **more)
    [run] = here.run(proposal)
    assert run.phase == "Succeeded"
    check_same(url, hyperband)
    count = run.count("Retry")
    assert count == proposal.plan.pods() if more["shape"] == "hop" else count <= proposal.plan.pods()


@pytest.mark.parametrize(
    "more",
    [{"shape": "hop"}, pytest.param({"shape": "convoy"}, marks=pytest.mark.slow), STATIONS],
    ids=lambda more: more["shape"],
)
def test_pods_killed_and_deleted_at_random_decide_the_same(
    here: ClusterHere, halving: Results, more: dict[str, Any]
) -> None:
    url = here.new_store()
    [run] = here.run(here.propose(judged(here, HALVING), url, **more), ill_luck(more["shape"]))
    assert run.phase == "Succeeded"
    codes = [pod.exit_code for pod in run.pods()]
    assert codes.count(137) >= 1
    assert codes.count(None) >= 1
    check_same(url, halving)


def judges_unlucky() -> Before:
    """Let each judge be killed once: the first one before any change of the store, each next one a change later."""
    killed: list[str] = []

    def before(_: int, pod: PodRun) -> Fate | None:
        if pod.template != "judge" or pod.node in killed or not pod.node.endswith("(0)"):
            return None
        killed.append(pod.node)
        return Fate(len(killed) - 1, 137)

    return before


def test_a_judge_killed_anywhere_says_the_same_when_it_is_started_again(here: ClusterHere, halving: Results) -> None:
    url = here.new_store()
    [run] = here.run(here.propose(judged(here, HALVING), url, shape="hop"), judges_unlucky())
    assert run.phase == "Succeeded"
    assert [pod.exit_code for pod in run.pods("judge")] == [137, 0] * (run.count("Pod", "judge") // 2)
    check_same(url, halving)


def test_a_workflow_without_room_leaves_the_rest_to_those_behind_it(here: ClusterHere, halving: Results) -> None:
    url = here.new_store()
    proposal = here.propose(judged(here, HALVING), url, shape="hop", most_pods=36)
    runs = here.run(proposal)
    assert [run.phase for run in runs] == ["Succeeded"] * len(runs)
    assert max(run.count("Retry") for run in runs) <= 36
    assert sum(run.count("Pod", "hop") > 0 for run in runs) > 1
    check_same(url, halving)


@pytest.mark.slow
def test_a_terminated_search_that_is_submitted_again_decides_the_same(here: ClusterHere, halving: Results) -> None:
    url = here.new_store()
    [document] = here.propose(judged(here, HALVING), url, shape="hop").documents

    def before(number: int, pod: PodRun) -> Fate | None:
        if number != 25:
            return None
        argo.runs[pod.workflow].terminate()
        return Fate(1)

    with here.argo(before) as argo:
        assert [argo.submit(document).wait(240).phase for _ in range(2)] == ["Failed", "Succeeded"]
    check_same(url, halving)


@pytest.mark.parametrize("shape", [pytest.param("convoy", marks=pytest.mark.slow), "station"])
def test_the_installed_template_finds_out_that_a_search_judges(here: ClusterHere, halving: Results, shape: str) -> None:
    url = here.new_store()
    stations = {"stations": 2, "retries": 20} if shape == "station" else {}
    proposal = here.propose(judged(here, HALVING), url, shape=shape, **stations)
    run = here.run_template(proposal, {"shape": shape})
    assert run.phase == "Succeeded"
    check_same(url, halving)


@pytest.mark.parametrize(
    "more", [{"shape": "hop"}, pytest.param(STATIONS, marks=pytest.mark.slow)], ids=lambda more: more["shape"]
)
def test_asha_answers_what_arrives_as_it_arrives(here: ClusterHere, more: dict[str, Any]) -> None:
    url = here.new_store()
    [run] = here.run(here.propose(judged(here, ASHA), url, **more), ill_luck("asha"))
    assert run.phase == "Succeeded"
    found = results(url)
    assert turns(found) == retold(found)
    assert turns(found)[-1].is_last
    assert {name for name in found if name.startswith(NAMES.outcomes())} == {NAMES.outcome(n) for n in range(1, 6)}
    assert not [name for name in found if name.startswith(NAMES.inbox())]
    assert "5 configurations" in open_store(url).get(NAMES.report()).decode()


OTHERS: dict[str, dict[str, Any]] = {
    "median": {"method": "median", "configurations": 3, "parallel": 2},
    "tpe": {"method": "tpe", "configurations": 3, "parallel": 2},
    "pbt": {"method": "pbt", "configurations": 4},
}


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"shape": "hop"}, STATIONS], ids=lambda more: more["shape"])
@pytest.mark.parametrize("kind", OTHERS)
def test_every_other_search_ends_and_answers_as_its_log_says(
    here: ClusterHere, kind: str, more: dict[str, Any]
) -> None:
    url = here.new_store()
    made = judged(here, {"search": {**OTHERS[kind], "space": SPACE}, "iterations": 3})
    [run] = here.run(here.propose(made, url, **more))
    assert run.phase == "Succeeded"
    found = results(url)
    assert turns(found)[-1].is_last
    assert retold(found) == turns(found)
    started = {start.configuration for turn in turns(found) for start in turn.starts}
    assert {NAMES.outcome(number) for number in started} <= found.keys()
