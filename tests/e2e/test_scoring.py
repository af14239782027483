"""Scoring as pods of a cluster: what scoring on this machine gives, also when a pod is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from tests.e2e.conftest import experiment, write
from tests.e2e.place import Place

NAME = "scored"
DATA = "s3://modelhopper/data/iris-train"


@pytest.fixture(scope="module")
def cluster(place: Place) -> Path:
    """The cluster's file, with a run in its store."""
    file = place.write_cluster(shape="station")
    place.modelhopper("submit", write(place.folder, experiment(NAME)), "--cluster", file)
    place.wait(NAME)
    return file


def test_predictions_are_those_made_here_when_a_pod_is_lost(place: Place, store: Store, cluster: Path) -> None:
    out = "s3://modelhopper/told/prob.parquet"
    asked = ["predict", f"{NAME}/3,4", "--data", DATA, "--type", "prob"]
    name = sent(place, [*asked, "--out", out, "--cluster", str(cluster)])
    lost: list[str] = []

    def lose_one() -> None:
        selector = f"modelhopper.io/experiment={name},app.kubernetes.io/component=score"
        running = ["--field-selector=status.phase=Running", "-l", selector, "-o", "name"]
        if not lost and (pods := place.kubectl("get", "pods", *running).split()):
            lost.append(pods[-1])
            place.kubectl("delete", pods[-1], "--grace-period=0", "--force=true", "--wait=false")

    place.wait(name, lose_one)
    assert lost
    place.modelhopper(*asked, "--out", "here.parquet", "--store", store.url)
    bucket, there = open_store("s3://modelhopper/told"), place.folder / "there.parquet"
    there.write_bytes(bucket.get("prob.parquet"))
    assert pq.read_table(there).equals(pq.read_table(place.folder / "here.parquet"))
    assert [entry.name for entry in store.list(f"{name}/")] == [f"{name}/request.json"]


def test_an_evaluation_is_shown_as_if_it_were_made_here(place: Place, store: Store, cluster: Path) -> None:
    place.modelhopper("evaluate", NAME, "--cluster", cluster, "--wait", "--out", "there.json")
    place.modelhopper("evaluate", NAME, "--store", store.url, "--out", "here.json")
    there, here = (json.loads((place.folder / f"{one}.json").read_text()) for one in ("there", "here"))
    assert there == here


def test_what_is_rendered_is_what_the_server_takes(place: Place) -> None:
    file = place.write_cluster()
    asked = ["predict", "scored", "--data", DATA, "--out", "s3://modelhopper/told/dry.csv", "--cluster", str(file)]
    place.modelhopper(*asked, "--render", "dry.workflow.yaml")
    place.kubectl("create", "--dry-run=server", "-f", str(place.folder / "dry.workflow.yaml"))
    place.modelhopper(*asked, "--dry-run")


def sent(place: Place, command: list[str]) -> str:
    """Send it, and return what it is called on the cluster."""
    said = place.modelhopper(*command)
    workflow = said.partition("Next: kubectl get workflow ")[2].partition(" ")[0]
    return workflow.rpartition("-")[0]
