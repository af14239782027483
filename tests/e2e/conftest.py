"""A namespace with modelhopper and a MinIO, the iris data in it, and what the local engine makes of them."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from sklearn.datasets import load_iris

from modelhopper import pack
from modelhopper_contract.names import Names
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from tests.e2e import place as places
from tests.e2e.place import Place
from tests.e2e.volumes import FOLDER, claim

MODELS = """
import keras
from keras import layers


def mlp(layers_=2):
    hidden = [layers.Dense(10, "relu") for _ in range(layers_)]
    return keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(3, "softmax")])


def diverging():
    class Diverging(layers.Layer):
        def call(self, x, training=False):
            return x * float("nan") if training else x

    return keras.Sequential([*mlp().layers, Diverging()])


def raising():
    class Raising(layers.Layer):
        def call(self, x, training=False):
            if training:
                raise RuntimeError("this layer cannot train")
            return x

    return keras.Sequential([*mlp().layers, Raising()])
"""

GRID = {
    "method": "grid",
    "space": {
        "model": ["small", "deep"],
        "optimizer": [{"name": "Adam", "learning_rate": [0.1, 0.01, 0.001]}],
        "batch_size": [4, 8],
    },
}


def experiment(name: str, **more: Any) -> dict[str, Any]:
    """Return the issue's own case: twelve configurations, three shards, two iterations."""
    return {
        "name": name,
        "data": {"train": "s3://modelhopper/data/iris-train", "validation": "s3://modelhopper/data/iris-valid"},
        "models": {"small": "models.py:mlp", "deep": {"build": "models.py:mlp", "layers_": 3}},
        "compile": {"loss": "categorical_crossentropy", "metrics": ["accuracy"]},
        "search": GRID,
        "iterations": 2,
        "seed": 1,
    } | more


def digests(store: Store, name: str) -> dict[str, str]:
    """Return the digest of every final checkpoint, by its name without the experiment's."""
    names = Names(name)
    entries = store.list(names.checkpoints())
    return {e.name.removeprefix(names.root()): hashlib.sha256(store.get(e.name)).hexdigest() for e in entries}


def write(folder: Path, value: Mapping[str, Any]) -> Path:
    """Write an experiment's file, and the models that it names, into a folder."""
    (folder / "models.py").write_text(MODELS)
    path = folder / f"{value['name']}.yaml"
    path.write_text(yaml.safe_dump(dict(value), sort_keys=False))
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a cluster, is one after the other, and takes its time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.xdist_group("cluster"))
            item.add_marker(pytest.mark.timeout(places.PATIENCE_S + 300))


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A namespace under Pod Security `restricted`, with modelhopper, a MinIO with a volume, and the iris data."""
    missing = places.obstacle()
    if missing:
        pytest.skip(missing)
    name = os.environ.get("MODELHOPPER_E2E_NAMESPACE", f"modelhopper-e2e-{secrets.token_hex(3)}")
    secret = secrets.token_hex(20)
    keys = {"AWS_ACCESS_KEY_ID": "modelhopper", "AWS_SECRET_ACCESS_KEY": secret}
    made = Place(name, tmp_path_factory.mktemp("place"), keys=keys)
    made.kubectl("create", "namespace", name)
    try:
        _install(made, secret)
        with made.forwarded():
            _bring_data(made)
            yield made
    finally:
        if not os.environ.get("MODELHOPPER_E2E_KEEP"):
            made.kubectl("delete", "namespace", name, "--wait=true", check=False)
            made.kubectl("delete", "persistentvolume", "-l", f"modelhopper.io/e2e={name}", check=False)


@pytest.fixture
def store(place: Place, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The cluster's store, from here."""
    for key, value in {"AWS_ENDPOINT_URL": place.endpoint, **place.keys}.items():
        monkeypatch.setenv(key, value)
    return open_store(place.cluster["store"])


@pytest.fixture(scope="session")
def expected(place: Place) -> dict[str, str]:
    """The digests that the local engine gives."""
    file = write(place.folder, experiment("reference"))
    runs = place.folder / "runs"
    place.modelhopper("run", file, "--store", runs, "--quiet")
    found = digests(open_store(str(runs)), "reference")
    assert len(found) == 12
    return found


def _install(place: Place, secret: str) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    place.kubectl("label", "namespace", place.namespace, label)
    literals = ["--from-literal=accessKey=modelhopper", f"--from-literal=secretKey={secret}"]
    place.kubectl("create", "secret", "generic", "modelhopper-store", *literals)
    # The quick start's MinIO keeps its data in its pod; one that is restarted in the middle needs a volume.
    claim(place, "minio")
    overlay = place.folder / "overlay"
    overlay.mkdir()
    data = {"op": "replace", "path": "/spec/template/spec/volumes/0", "value": _data_volume()}
    kustomization: dict[str, Any] = {
        "resources": [os.path.relpath(places.ROOT / "manifests" / "quick-start", overlay.resolve())],
        "patches": [{"target": {"kind": "Deployment", "name": "minio"}, "patch": yaml.safe_dump([data])}],
    }
    if places.MINIO:
        # The last `images` win, and the quick start has renamed it already: so the image is patched, too.
        image = {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": places.MINIO}
        kustomization["patches"][0]["patch"] = yaml.safe_dump([data, image])
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    rendered = place.kubectl("kustomize", "--load-restrictor=LoadRestrictionsNone", str(overlay))
    place.kubectl("apply", "-f", "-", given=rendered)
    place.kubectl("rollout", "status", "deployment/minio", "--timeout=180s")


def _data_volume() -> dict[str, Any]:
    return {"name": "data", "persistentVolumeClaim": {"claimName": "minio"}}


def iris() -> tuple[Any, Any]:
    """Return rows and labels."""
    x, y = load_iris(return_X_y=True)
    return x, y


def _bring_data(place: Place) -> None:
    x, y = iris()
    pack((x[:120], y[:120]), place.folder / "train", shards=3, kind="classes", num_classes=3, seed=1)
    pack((x[120:], y[120:]), place.folder / "valid", shards=1, against=place.folder / "train")
    place.modelhopper("copy", "train", "s3://modelhopper/data/iris-train")
    place.modelhopper("copy", "valid", "s3://modelhopper/data/iris-valid")


__all__ = ["FOLDER"]
