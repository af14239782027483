"""The Workflows in `workflows/`: what each is rendered from. `python -m tests.project.rendered` writes them anew."""

from __future__ import annotations

from typing import Any

import yaml

from modelhopper.proposing import proposal
from modelhopper.scoring_clusters import requested
from modelhopper_contract.cluster import Cluster, Mounts
from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.manifest import Input, Manifest, Output, Shard
from modelhopper_contract.records import Split
from modelhopper_contract.specification import Specification
from modelhopper_contract.submission import Bundle, Submission
from modelhopper_scheduler import render
from modelhopper_scheduler.render.plan import Plan
from modelhopper_scheduler.searches.making import planned, search_of
from tests.project import tree

FOLDER = tree.ROOT / "workflows"
MODELS = b"""import keras


def mlp(layers: int = 2) -> keras.Model:
    hidden = [keras.layers.Dense(10, activation="relu") for _ in range(layers)]
    return keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(3, activation="softmax")])
"""
HYPERBAND: dict[str, Any] = {
    "search": {"method": "hyperband", "space": {"model": ["small", "deep"], "batch_size": {"linear": [4, 16]}}},
    "iterations": 9,
}


def texts() -> dict[str, str]:
    """Return what each file in `workflows/` holds, by its name."""
    claims, gpu = cluster(), {"kind": "gpu"}
    one = claims.model_copy(update={"data": _one_claim()})
    fetch = claims.model_copy(update={"data": Mounts()})
    return {
        "iris-hop.yaml": _iris(claims, "hop"),
        "iris-convoy.yaml": _iris(one, "convoy", convoy=3),
        "iris-station.yaml": _iris(_on_cpus(fetch), "station", stations=4, devices={"kind": "cpu"}),
        "iris-station-arcs.yaml": _iris(claims, "station", stations=2),
        "iris-station-mig.yaml": _iris(_shared(fetch), "station", stations=8, devices=gpu),
        "iris-hop-split.yaml": _iris(fetch, "hop", configurations=30),
        "iris-hyperband-hop.yaml": _iris(claims, "hop", search=HYPERBAND),
        "iris-hyperband-station.yaml": _iris(_on_cpus(fetch), "station", devices={"kind": "cpu"}, search=HYPERBAND),
        "workflowtemplate.yaml": render.to_yaml([render.workflow_template(fetch)]),
        "stage.yaml": _stage(claims),
        "iris-predict.yaml": _predict(claims),
    }


def cluster() -> Cluster:
    """Return the cluster of `workflows/cluster.yaml`."""
    return Cluster.model_validate(yaml.safe_load((FOLDER / "cluster.yaml").read_text(encoding="utf-8")))


def submission(**changes: Any) -> Bundle:
    """Return the iris example as it is submitted, small and the same everywhere."""
    experiment = Experiment.model_validate(
        {
            "name": "iris",
            "data": {"train": "s3://data/iris/train", "validation": "s3://data/iris/validation"},
            "models": {"small": "models.py:mlp", "deep": {"build": "models.py:mlp", "layers": 3}},
            "compile": {"loss": "categorical_crossentropy", "metrics": ["accuracy"]},
            "search": {"method": "grid", "space": {"model": ["small", "deep"], "batch_size": [4, 8]}},
            "iterations": 10,
            **changes,
        }
    )
    manifests: dict[Split, Manifest] = {"training": _manifest(4), "validation": _manifest(1)}
    files = {"models.py": digest_bytes(MODELS)}
    specification = Specification(
        experiment=experiment, folder="/experiment", shards=4, validation_shards=1, digests=files
    )
    search = search_of(specification)
    specification = specification.model_copy(update={"rungs": tuple(search.rungs) if search else ()})
    chosen = tuple(planned(specification))
    made = Submission(specification=specification, configurations=chosen, manifests=manifests, files=files)
    return Bundle(made, {"models.py": MODELS})


def _iris(
    cluster: Cluster,
    shape: Any,
    *,
    devices: Any = None,
    configurations: int = 12,
    convoy: int = 1,
    stations: int = 4,
    search: dict[str, Any] | None = None,
) -> str:
    bundle = submission(devices=devices or {}, **(search or {}))
    specification = bundle.submission.specification
    plan = Plan(
        experiment="iris",
        shape=shape,
        convoy=convoy,
        stations=stations,
        configurations=configurations,
        shards=4,
        validation_shards=1,
        hops=specification.ring.hops,
        expected=proposal(bundle.submission, cluster).plan.expected,
    )
    return render.to_yaml(render.workflows(plan, cluster, specification, bundle.encode()))


def _stage(cluster: Cluster) -> str:
    addresses: dict[Split, str] = {"training": "s3://data/iris/train", "validation": "s3://data/iris/validation"}
    return render.to_yaml(render.staging(cluster, submission().submission.manifests, addresses))


def _predict(cluster: Cluster) -> str:
    asked: dict[str, Any] = {
        "data": "s3://data/iris/train",
        "out": "s3://data/iris/predicted.parquet",
        "type": "prob",
        "top": 2,
    }
    proposal = requested(_scoring_on_claims(cluster), "predict", ["iris", "iris/3"], **asked)
    return render.to_yaml([proposal.document])


def _scoring_on_claims(cluster: Cluster) -> Cluster:
    """Return a cluster that scores the shards which it trains on."""
    return cluster.model_copy(update={"data": cluster.data.model_copy(update={"scoring": cluster.data.training})})


def _one_claim() -> Mounts:
    return Mounts.model_validate(
        {
            "training": {"claim": "iris", "path": "train/{shard}"},
            "validation": {"claim": "iris", "path": "validation/{shard}"},
        }
    )


def _on_cpus(cluster: Cluster) -> Cluster:
    resources = cluster.resources.model_copy(update={"gpu": None})
    return cluster.model_copy(update={"resources": resources, "endpoint": None, "region": "eu-central-1"})


def _shared(cluster: Cluster) -> Cluster:
    """Return a cluster whose GPUs are cut into slices and queued for by Kueue."""
    resources = cluster.resources.model_copy(update={"gpu": "nvidia.com/mig-1g.10gb"})
    placement = cluster.placement.model_copy(
        update={
            "labels": {"kueue.x-k8s.io/queue-name": "research"},
            "node_selector": {"nvidia.com/gpu.product": "NVIDIA-H200-MIG-1g.18gb"},
            "runtime_class": "nvidia",
            "priority_class": "batch",
        }
    )
    images = cluster.images.model_copy(update={"pull_secrets": ["registry"]})
    data = cluster.data.model_copy(update={"cache_claim": "shards"})
    changes = {
        "resources": resources,
        "placement": placement,
        "images": images,
        "data": data,
        "ca_config_map": "store-ca",
    }
    return cluster.model_copy(update=changes)


def _manifest(shards: int) -> Manifest:
    return Manifest(
        inputs=(Input(name="x", shape=(4,), dtype="float32"),),
        outputs=(Output(name="y", kind="classes", shape=(), dtype="uint8", classes=(0, 1, 2), num_classes=3),),
        seed=1,
        rows=30 * shards,
        shards=tuple(Shard(rows=30, files={}) for _ in range(shards)),
    )


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
