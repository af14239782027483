"""Shards on volumes of their nodes: filled once, mounted read-only, and the local engine's digests."""

from __future__ import annotations

import json
import re

import pytest

from modelhopper_contract.store import Store
from tests.e2e.conftest import digests, experiment, write
from tests.e2e.place import Place
from tests.e2e.volumes import claim

CLAIMS = "iris-train-{shard}"


@pytest.fixture(scope="module")
def filled(place: Place) -> Place:
    """A claim for each shard, filled by `stage`."""
    for shard in range(3):
        claim(place, CLAIMS.format(shard=shard), node=shard)
    file = write(place.folder, experiment("staged"))
    cluster = place.write_cluster(data={"training": {"claims": CLAIMS}})
    said = place.modelhopper("stage", file, "--cluster", cluster, "--submit")
    found = re.search(r"stage-training-\w+", said)
    assert found, said
    place.kubectl("wait", f"workflow/{found[0]}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=300s")
    return place


@pytest.mark.parametrize("shape", ["station", "convoy"])
def test_a_run_on_volumes_gives_the_local_digests(
    filled: Place, store: Store, expected: dict[str, str], shape: str
) -> None:
    name = f"volumes-{shape}"
    file = write(filled.folder, experiment(name))
    cluster = filled.write_cluster(shape=shape, data={"training": {"claims": CLAIMS}})
    filled.modelhopper("submit", file, "--cluster", cluster)
    nodes: dict[str, set[str]] = {}
    filled.wait(name, lambda: note_nodes(filled, name, nodes))
    assert digests(store, name) == expected
    assert nodes
    assert all(len(where) == 1 for where in nodes.values()), nodes  # pods go where their shard is


def note_nodes(place: Place, name: str, nodes: dict[str, set[str]]) -> None:
    """Note on which node pods are that mount a claim."""
    found = json.loads(place.kubectl("get", "pods", "-l", f"modelhopper.io/experiment={name}", "-o", "json"))
    for pod in found["items"]:
        for volume in pod["spec"].get("volumes", []):
            mounted = volume.get("persistentVolumeClaim", {}).get("claimName", "")
            if mounted.startswith("iris-train-") and "nodeName" in pod["spec"]:
                nodes.setdefault(mounted, set()).add(pod["spec"]["nodeName"])
