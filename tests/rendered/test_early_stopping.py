"""Early stopping in pods: a chain that goes on after its configuration was stopped does it no harm."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from modelhopper_contract.records import Outcome
from tests.rendered.cluster_here import ClusterHere, results
from tests.trainer.test_early_stopping import CHANGES

pytestmark = pytest.mark.xdist_group("rendered")


def ends(found: Mapping[str, bytes]) -> dict[str, object]:
    """Return the outcomes, of failures only their state, and the checkpoints of those that have a result."""
    parts = {name: name.split("/") for name in found}
    outcomes = {name: Outcome.from_json(found[name]) for name, part in parts.items() if part[1] == "outcomes"}
    failed = {f"{one.configuration:05d}" for one in outcomes.values() if one.failure}
    kept = [name for name, part in parts.items() if part[1] == "checkpoints" and part[2] not in failed]
    told = {name: one.state if one.failure else one for name, one in outcomes.items()}
    return told | {name: found[name] for name in kept}


@pytest.fixture(scope="module")
def undisturbed(here: ClusterHere) -> dict[str, object]:
    return ends(here.run_inline(here.experiment(**CHANGES)))


@pytest.mark.parametrize("shape", ["hop", "convoy", "station"])
def test_every_shape_ends_the_same(here: ClusterHere, undisturbed: dict[str, object], shape: str) -> None:
    url = here.new_store()
    (document,) = here.propose(here.experiment(**CHANGES), url, shape=shape).documents
    with here.argo() as argo:
        run = argo.submit(document).wait(240)
    assert run.phase == "Succeeded"
    assert ends(results(url)) == undisturbed
