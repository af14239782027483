"""Side by side, folds and averaging, on a cluster: every byte that the local engine makes."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import pytest

from modelhopper import pack
from modelhopper_contract.names import Names
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from tests.e2e.conftest import experiment, iris, write
from tests.e2e.place import Place

FOUR = "s3://modelhopper/data/iris-four"
RATES = {"method": "grid", "space": {"optimizer": [{"name": "Adam", "learning_rate": [0.1, 0.01, 0.001]}]}}
SMALL = {"models": {"small": "models.py:mlp"}}
FUSED = {"fuse": 3}
FOLDS = {**SMALL, "data": {"train": FOUR}, "folds": 2, "search": RATES, "iterations": 3}
AVERAGE = {**SMALL, "search": RATES, "iterations": 60, "method": "average"}
EASGD = {**AVERAGE, "method": {"name": "easgd", "alpha": 0.1, "beta": 0.9}}


def results(store: Store, name: str) -> dict[str, str]:
    """Return the digest of every checkpoint, metric and outcome, by its name without the experiment's."""
    names = Names(name)
    kinds = ("checkpoints", "metrics", "history", "outcomes")
    entries = [entry for kind in kinds for entry in store.list(f"{names.root()}{kind}/")]
    return {e.name.removeprefix(names.root()): hashlib.sha256(store.get(e.name)).hexdigest() for e in entries}


def locally(place: Place, name: str, changes: dict[str, Any]) -> dict[str, str]:
    """Return what the local engine makes of an experiment."""
    file = write(place.folder, experiment(f"{name}-here", **changes))
    place.modelhopper("run", file, "--store", place.folder / "runs", "--quiet")
    found = results(open_store(str(place.folder / "runs")), f"{name}-here")
    assert {one.partition("/")[0] for one in found} == {"checkpoints", "metrics", "history", "outcomes"}
    return found


@pytest.mark.parametrize("shape", ["station", "convoy"])
def test_configurations_side_by_side_make_the_local_bytes(place: Place, store: Store, shape: str) -> None:
    name = f"fused-{shape}"
    expected = locally(place, name, FUSED)
    file = write(place.folder, experiment(name, **FUSED))
    place.modelhopper("submit", file, "--cluster", place.write_cluster(shape=shape, convoy=3))
    place.wait(name)
    assert results(store, name) == expected
    assert "3 at a time" in store.get(Names(name).report()).decode()


def test_folds_make_the_local_bytes(place: Place, store: Store) -> None:
    pack(iris(), place.folder / "four", shards=4, kind="classes", num_classes=3, seed=1)
    place.modelhopper("copy", "four", FOUR)
    expected = locally(place, "folds", FOLDS)
    file = write(place.folder, experiment("folds", **FOLDS))
    place.modelhopper("submit", file, "--cluster", place.write_cluster())
    place.wait("folds")
    assert results(store, "folds") == expected
    assert "±" in place.modelhopper("results", "folds", "--store", store.url)


@pytest.mark.parametrize("changes", [AVERAGE, EASGD], ids=["average", "easgd"])
def test_averaging_makes_the_local_bytes_when_a_station_is_lost(
    place: Place, store: Store, changes: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    expected = locally(place, name, changes)
    file = write(place.folder, experiment(name, **changes))
    place.modelhopper("submit", file, "--cluster", place.write_cluster(shape="station"))
    lose_a_station(place, store, name)
    place.wait(name)
    assert results(store, name) == expected


def lose_a_station(place: Place, store: Store, name: str) -> None:
    """Delete a station's pod in the middle of training, at once."""
    deadline = time.monotonic() + 300
    while len(store.list(f"{name}/journal/")) < 4:
        assert time.monotonic() < deadline, place.story(name)
        time.sleep(0.2)
    selector = f"modelhopper.io/experiment={name},app.kubernetes.io/component=station"
    found = place.kubectl("get", "pods", "-l", selector, "--field-selector=status.phase=Running", "-o", "json")
    pod = str(json.loads(found)["items"][0]["metadata"]["name"])
    place.kubectl("delete", "pod", pod, "--grace-period=0", "--force=true", "--wait=false")
    assert not store.list(Names(name).outcomes())  # nothing had ended
