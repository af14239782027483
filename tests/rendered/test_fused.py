"""Configurations that train side by side in pods make the inline engine's bytes."""

from __future__ import annotations

from typing import Any

import pytest

from modelhopper_contract.experiment import Experiment
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, Program
from modelhopper_contract.stores import open_store
from tests.rendered.cluster_here import FETCHED, NAME, ONE_CLAIM, ClusterHere, Results, differences, results

pytestmark = pytest.mark.xdist_group("rendered")


def fused(here: ClusterHere) -> Experiment:
    """Five of a kind, in a full convoy and one that is not, and one alone."""
    adam = [{"model": "plain", "optimizer": {"name": "Adam", "learning_rate": 0.01 * at}} for at in range(1, 6)]
    other = {"model": "norm", "optimizer": {"name": "SGD", "learning_rate": 0.1}}
    return here.experiment(search={"method": "list", "configurations": [*adam, other]}, fuse=3)


@pytest.fixture(scope="module")
def expected(here: ClusterHere) -> Results:
    return here.run_inline(fused(here))


@pytest.mark.parametrize(
    ("shape", "data", "more"),
    [
        ("convoy", ONE_CLAIM, {"most_pods": 20}),  # the first pod reaches no shard
        pytest.param("station", FETCHED, {"stations": 2}, marks=pytest.mark.slow),
    ],
    ids=["convoy", "station"],
)
def test_pods_train_convoys_side_by_side(
    here: ClusterHere, expected: Results, shape: str, data: dict[str, Any], more: dict[str, Any]
) -> None:
    url = here.new_store()
    proposal = here.propose(fused(here), url, shape=shape, data=data, **more)
    assert proposal.plan.convoy in (1, 3)
    assert "as if each configuration trained alone; 3 side by side" in proposal.text()
    runs = here.run(proposal)
    assert {run.phase for run in runs} == {"Succeeded"}
    assert differences(results(url), expected) == []
    store = open_store(url)
    found = [Configuration.from_json(store.get(e.name)) for e in store.list(Names(NAME).configurations())]
    assert [one.program for one in found] == [*[Program(lanes=3)] * 5, Program()]
    assert "5 configurations trained 3 at a time (fused)" in store.get(Names(NAME).report()).decode()
