"""Whatever is killed, deleted or restarted: the same digests. Whatever fails: the others' digests."""

from __future__ import annotations

import random
import time

import pytest

from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from tests.e2e.conftest import digests, experiment, write
from tests.e2e.place import Place

SHAPES = ("station", "convoy", "hop")  # the quick ones first
SELECTOR = "app.kubernetes.io/name=modelhopper"


def begun(place: Place, store: Store, name: str, objects: int = 6) -> None:
    """Wait until the store holds some trained checkpoints of an experiment."""
    deadline = time.monotonic() + 300
    while len(store.list(f"{name}/journal/")) < objects:
        assert time.monotonic() < deadline, place.story(name)
        time.sleep(1)


@pytest.mark.parametrize("shape", SHAPES)
def test_pods_deleted_at_random_leave_the_same_digests(
    place: Place, store: Store, expected: dict[str, str], shape: str
) -> None:
    name = f"deleted-{shape}"
    file = write(place.folder, experiment(name))
    place.modelhopper("submit", file, "--cluster", place.write_cluster(shape=shape, retries=20))
    chance = random.Random(shape)
    deleted: list[str] = []

    def delete_one() -> None:
        selector = f"modelhopper.io/experiment={name}"
        running = ["--field-selector=status.phase=Running", "-l", selector, "-o", "name"]
        pods = place.kubectl("get", "pods", *running).split()
        if pods and len(deleted) < 8 and chance.random() < 0.2:
            deleted.append(chance.choice(pods))
            grace = chance.choice(["--grace-period=0", "--grace-period=5"])
            place.kubectl("delete", deleted[-1], grace, "--force=true", "--wait=false", check=False)

    place.wait(name, delete_one)
    assert deleted
    assert digests(store, name) == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_a_deleted_workflow_that_is_submitted_again_goes_on_to_the_same_digests(
    place: Place, store: Store, expected: dict[str, str], shape: str
) -> None:
    name = f"again-{shape}"
    file = write(place.folder, experiment(name))
    cluster = place.write_cluster(shape=shape)
    place.modelhopper("submit", file, "--cluster", cluster)
    begun(place, store, name)
    place.remove(name)
    before = len(store.list(f"{name}/journal/"))
    assert before
    place.modelhopper("submit", file, "--cluster", cluster)
    place.wait(name)
    assert digests(store, name) == expected


def test_minio_restarted_in_the_middle_leaves_the_same_digests(
    place: Place, store: Store, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "restarted"
    file = write(place.folder, experiment(name))
    place.modelhopper("submit", file, "--cluster", place.write_cluster(shape="station"))
    begun(place, store, name, 3)
    place.kubectl("rollout", "restart", "deployment/minio")
    place.kubectl("rollout", "status", "deployment/minio", "--timeout=180s")
    place.forward()
    monkeypatch.setenv("AWS_ENDPOINT_URL", place.endpoint)
    place.wait(name)
    assert digests(open_store(store.url), name) == expected


def test_configurations_that_fail_leave_the_others_digests(
    place: Place, store: Store, expected: dict[str, str]
) -> None:
    name = "failing"
    value = experiment(name)
    value["models"] = {**value["models"], "nan": "models.py:diverging", "raising": "models.py:raising"}
    space = value["search"]["space"]
    chosen = [
        {"model": model, "optimizer": {"name": "Adam", "learning_rate": rate}, "batch_size": size}
        for model in space["model"]
        for rate in (0.1, 0.01, 0.001)
        for size in (4, 8)
    ]
    value["search"] = {"method": "list", "configurations": [*chosen, {"model": "nan"}, {"model": "raising"}]}
    file = write(place.folder, value)
    place.modelhopper("submit", file, "--cluster", place.write_cluster(shape="hop"))
    place.wait(name)
    found = digests(store, name)
    assert "12 finished, 2 failed" in place.modelhopper("status", name, "--store", store.url)
    assert "NaN" in place.modelhopper("logs", name, "13", "--store", store.url)
    assert "this layer cannot train" in place.modelhopper("logs", name, "14", "--store", store.url)
    # The two are the cheapest, so they are placed last and leave the others' ways through the ring as they were.
    assert {key: digest for key, digest in found.items() if key in expected} == expected
