"""Searches that judge while they run, on a cluster: they end, and Hyperband decides as it does on one machine."""

from __future__ import annotations

import random
from typing import Any

import pytest

from modelhopper_contract.decisions import read_turns
from modelhopper_contract.names import Names
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from tests.decided import decided
from tests.e2e.conftest import digests, experiment, write
from tests.e2e.place import Place

SPACE = {
    "model": ["small"],
    "optimizer": [{"name": "Adam", "learning_rate": {"log": [0.001, 0.3]}}],
    "batch_size": [4, 8],
}
HYPERBAND = {"method": "hyperband", "eta": 3, "space": SPACE}  # with 3 iterations: 3 and 2 configurations
ASHA = {"method": "asha", "configurations": 4, "eta": 3, "parallel": 2, "space": SPACE}


def searched(name: str, search: dict[str, Any]) -> dict[str, Any]:
    return experiment(name, search=search, iterations=3)


@pytest.fixture(scope="module")
def local(place: Place) -> tuple[dict[int, list[bytes]], dict[str, str]]:
    """What the local engine decides by Hyperband, and the digests of what it trains."""
    file = write(place.folder, searched("local-hyperband", HYPERBAND))
    runs = place.folder / "hyperband-runs"
    place.modelhopper("run", file, "--store", runs, "--quiet")
    store = open_store(str(runs))
    return decided(store, "local-hyperband"), digests(store, "local-hyperband")


@pytest.mark.parametrize("shape", ["station", "convoy", "hop"])
def test_hyperband_decides_as_on_one_machine(
    place: Place, store: Store, local: tuple[dict[int, list[bytes]], dict[str, str]], shape: str
) -> None:
    name = f"hyperband-{shape}"
    file = write(place.folder, searched(name, HYPERBAND))
    place.modelhopper("submit", file, "--cluster", place.write_cluster(shape=shape))
    place.wait(name)
    assert (decided(store, name), digests(store, name)) == local
    assert "stopped" in place.modelhopper("explain", name, "3", "--store", store.url)


@pytest.mark.parametrize("shape", ["station", "hop"])
def test_hyperband_decides_the_same_when_pods_are_killed(
    place: Place, store: Store, local: tuple[dict[int, list[bytes]], dict[str, str]], shape: str
) -> None:
    name = f"killed-{shape}"
    file = write(place.folder, searched(name, HYPERBAND))
    place.modelhopper("submit", file, "--cluster", place.write_cluster(shape=shape))
    drawn = random.Random(7)
    left = [4]

    def kill() -> None:
        pods = place.kubectl("get", "pods", "-l", f"modelhopper.io/experiment={name}", "-o", "name").split()
        running = [pod for pod in pods if "workflow" not in pod]
        if running and left[0] and drawn.random() < 0.1:
            left[0] -= 1
            place.kubectl("delete", drawn.choice(running), "--wait=false", "--grace-period=1", check=False)

    place.wait(name, kill)
    assert (decided(store, name), digests(store, name)) == local


@pytest.mark.parametrize("shape", ["station", "hop"])
def test_asha_ends_on_a_cluster(place: Place, store: Store, shape: str) -> None:
    name = f"asha-{shape}"
    file = write(place.folder, searched(name, ASHA))
    place.modelhopper("submit", file, "--cluster", place.write_cluster(shape=shape))
    place.wait(name)
    turns = read_turns(store, Names(name))
    assert turns[-1].is_last
    assert len(store.list(Names(name).outcomes())) == 4
    assert "4 configurations" in place.modelhopper("status", name, "--store", store.url)
