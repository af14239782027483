"""What fails leaves the others alone, and what cannot begin changes nothing."""

from __future__ import annotations

import pytest

from modelhopper_contract.names import Names
from modelhopper_contract.records import Outcome
from modelhopper_contract.stores import open_store
from tests.rendered.cluster_here import FAILING, NAME, ClusterHere, Results, differences, results

pytestmark = pytest.mark.xdist_group("rendered")

NAMES = Names(NAME)


def of_configurations(found: Results, *numbers: int) -> dict[str, bytes]:
    """Return the objects of some configurations."""
    wanted = {f"{number:05d}" for number in numbers}
    return {name: data for name, data in found.items() if name.split("/")[2:] and name.split("/")[2][:5] in wanted}


@pytest.mark.parametrize("shape", ["hop", pytest.param("station", marks=pytest.mark.slow)])
def test_configurations_that_fail_leave_the_others_bytes(here: ClusterHere, expected: Results, shape: str) -> None:
    url = here.new_store()
    (run,) = here.run(here.propose(here.failing(), url, shape=shape))
    assert run.phase == "Succeeded"
    found, good = results(url), (1, 2, 3, 4)
    assert differences(of_configurations(found, *good), of_configurations(expected, *good)) == []
    ended = [Outcome.from_json(found[NAMES.outcome(number)]) for number in range(1, 7)]
    assert [one.state for one in ended] == ["finished"] * 4 + ["failed"] * 2
    assert not [name for name in found if "/inbox/" in name]
    if shape == "hop":  # their chains end, each with one red pod
        codes = {n: [pod.exit_code for pod in run.pods("hop") if pod.inputs["configurations"] == n] for n in "156"}
        assert (codes["1"], codes["6"]) == ([0] * 6, [3])
        assert codes["5"] in ([3], [0, 3])
    report = open_store(url).get(NAMES.report()).decode()
    assert "4 finished, 2 failed" in report
    assert "- configuration 6 (" in report


def test_a_workflow_of_which_everything_fails_is_failed(here: ClusterHere) -> None:
    url = here.new_store()
    experiment = here.experiment(search={"method": "list", "configurations": FAILING})
    (run,) = here.run(here.propose(experiment, url, shape="convoy"))
    assert (run.phase, run.pods("report")[0].exit_code) == ("Failed", 3)
    assert "2 failed" in open_store(url).get(NAMES.report()).decode()


def test_another_experiment_of_the_same_name_is_refused_and_changes_nothing(here: ClusterHere) -> None:
    url = here.new_store()
    one = {"method": "list", "configurations": FAILING[:1]}
    here.run(here.propose(here.experiment(search=one), url, shape="station"))
    before = results(url, but={"report.md"})
    (run,) = here.run(here.propose(here.experiment(search=one, seed=8), url, shape="station"))
    assert (run.phase, [pod.template for pod in run.pods()]) == ("Failed", ["begin", "report"])
    assert run.pods()[0].exit_code == 2
    assert "holds another experiment of this name: seed was 7, is 8" in here.log(run.pods()[0])
    assert differences(results(url, but={"report.md"}), before) == []


def test_a_model_that_cannot_be_built_fails_in_the_first_pod_with_the_users_message(here: ClusterHere) -> None:
    url = here.new_store()
    wrong = {"models": {"plain": {"build": "models.py:mlp", "dropout": 7.0}}, "search": {"method": "grid", "space": {}}}
    (run,) = here.run(here.propose(here.experiment(**wrong), url, shape="hop"))
    assert (run.phase, [pod.template for pod in run.pods()]) == ("Failed", ["begin", "report"])
    assert run.pods()[0].exit_code == 2
    said = here.log(run.pods()[0])
    assert said.startswith("building the model raised ValueError: Invalid value received for argument `rate`")
    assert "configuration 1" in said
    assert not [name for name in results(url) if name == NAMES.specification()]
