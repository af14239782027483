"""The Workflows that fill volumes with packed data sets, once, before anything trains on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hera.workflows import models

from modelhopper_contract.cluster import Cluster, Mount
from modelhopper_contract.errors import UserError
from modelhopper_contract.records import Split
from modelhopper_scheduler.render.argo import API_VERSION, inputs, integer, parameters, plain, tag
from modelhopper_scheduler.render.containers import Setting, Work, talking
from modelhopper_scheduler.render.surroundings import labels, placed_spec
from modelhopper_scheduler.render.templates import PODS, retry
from modelhopper_scheduler.render.volumes import claimed

_FOLDER = "/data"
# A volume that is made where its first pod runs stays there: so the pods, and then the shards, spread over the nodes.
_SPREAD = {
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "fill"}},
        }
    ]
}


def render(cluster: Cluster, counts: Mapping[Split, int], urls: Mapping[Split, str]) -> list[dict[str, Any]]:
    """Return the Workflows that fill the volumes of the splits in `counts`: how many shards each has."""
    filled = {split: count for split, count in counts.items() if not _mount(cluster, split).is_fetched}
    if not filled:
        raise UserError(
            "there is nothing to stage: pods of this cluster fetch their shards themselves. To keep them on volumes, "
            "say which in the cluster's file, as in data: {training: {claims: train-{shard}}}."
        )
    missing = [split for split in filled if split not in urls]
    if missing:
        raise UserError(f"the {' and '.join(missing)} data is to be staged, and its address s3://... is not given.")
    return [
        _workflow(cluster, split, urls[split], first, min(cluster.most_pods, count - first))
        for split, count in filled.items()
        for first in range(0, count, cluster.most_pods)
    ]


def _workflow(cluster: Cluster, split: Split, url: str, first: int, count: int) -> dict[str, Any]:
    # Filling needs no GPU, but goes to nodes that have some: there the shards will be needed.
    setting = Setting(cluster, None, "1", cluster.resources.gpu)
    each = models.WorkflowStep(
        name="fill",
        template="fill",
        with_sequence=models.Sequence(start=integer(first), count=integer(count)),
        arguments=parameters({"shard": tag("item")}),
    )
    steps = models.Template(name="stage", steps=[models.ParallelSteps(root=[each])])
    spec = placed_spec(setting, [steps, _fill(setting, split, url)])
    metadata = models.ObjectMeta(generate_name=f"stage-{split}-", namespace=cluster.namespace, labels=labels())
    return plain(models.Workflow(api_version=API_VERSION, kind="Workflow", metadata=metadata, spec=spec))


def _fill(setting: Setting, split: Split, url: str) -> models.Template:
    mount, shard = _mount(setting.cluster, split), tag("inputs.parameters.shard")
    arguments = ("fill", "--data", url, "--shard", shard, "--into", _folder(mount).replace("{shard}", shard))
    claim = mount.claim or (mount.claims or "").replace("{shard}", shard)
    mounts = [models.VolumeMount(name="data", mount_path=_FOLDER)]
    return models.Template(
        name="fill",
        metadata=models.Metadata(labels={"app.kubernetes.io/component": "fill"}),
        inputs=inputs("shard"),
        container=talking(setting, Work(PODS, arguments, mounts=mounts)),
        volumes=[claimed("data", claim, read_only=None)],
        pod_spec_patch=json.dumps(_SPREAD),
        retry_strategy=retry(setting.cluster.retries),
    )


def _folder(mount: Mount) -> str:
    if mount.claim is not None:
        return f"{_FOLDER}/{mount.path or '{shard}'}"
    return f"{_FOLDER}/{mount.path}" if mount.path else _FOLDER


def _mount(cluster: Cluster, split: Split) -> Mount:
    mount: Mount = getattr(cluster.data, split)
    return mount
