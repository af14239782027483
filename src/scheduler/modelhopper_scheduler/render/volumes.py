"""How shards reach a pod: its volumes, where they are mounted, and what the trainer is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hera.workflows import models

from modelhopper_contract.cluster import Cluster, Mount, Mounts
from modelhopper_contract.records import Split

CACHE = "/cache"
_TEMPORARY_SIZE = "5Gi"  # of /tmp: the user's files, and what libraries write


@dataclass(frozen=True)
class Attached:
    """The data of one pod: volumes, where they are mounted, and the options that tell the trainer."""

    volumes: list[models.Volume]
    mounts: list[models.VolumeMount]
    options: list[str]


def attached(data: Mounts, held: Mapping[Split, Sequence[str]]) -> Attached:
    """Attach what a pod reads: for each split the shards that it holds, as numbers or as Argo's tags.

    Always read-only, mounted and claimed. A pod with one claim for all shards mounts the whole volume: a sub-path that
    is missing would be made as an empty folder, or fail on a read-only volume with a message about neither.
    """
    found = Attached([], [], [])
    for split, shards in held.items():
        mount: Mount = getattr(data, split)
        found.options.extend(["--data", f"{split}={_pattern(mount, split)}"])
        if mount.claim is not None:
            _attach(found, split, mount.claim, f"/data/{split}")
        elif mount.claims is not None:
            for shard in shards:
                name = split if len(shards) == 1 else f"{split}-{shard}"
                _attach(found, name, mount.claims.replace("{shard}", shard), f"/data/{split}/{shard}")
    if any(getattr(data, split).is_fetched for split in held):
        found.mounts.append(models.VolumeMount(name="cache", mount_path=CACHE))
    return found


def shared(cluster: Cluster) -> list[models.Volume]:
    """Return the volumes that are the same for all pods; Argo adds to each pod those that it mounts."""
    volumes = [_empty("tmp", _TEMPORARY_SIZE)]
    data = cluster.data
    if data.cache_claim is not None:
        volumes.append(claimed("cache", data.cache_claim, read_only=None))
    elif data.training.is_fetched or data.validation.is_fetched:
        volumes.append(_empty("cache", f"{data.cache_gb * 1000:.0f}M"))
    if cluster.ca_config_map is not None:
        source = models.ConfigMapVolumeSource(name=cluster.ca_config_map)
        volumes.append(models.Volume(name="ca", config_map=source))
    return volumes


def claimed(name: str, claim: str, *, read_only: bool | None) -> models.Volume:
    """Return a volume that is a PersistentVolumeClaim."""
    source = models.PersistentVolumeClaimVolumeSource(claim_name=claim, read_only=read_only)
    return models.Volume(name=name, persistent_volume_claim=source)


def _pattern(mount: Mount, split: Split) -> str:
    if mount.claim is not None:
        return f"/data/{split}/{mount.path or '{shard}'}"
    if mount.claims is not None:
        return f"/data/{split}/{{shard}}" + (f"/{mount.path}" if mount.path else "")
    return "fetch"


def _attach(found: Attached, name: str, claim: str, path: str) -> None:
    found.volumes.append(claimed(name, claim, read_only=True))
    found.mounts.append(models.VolumeMount(name=name, mount_path=path, read_only=True))


def _empty(name: str, size: str) -> models.Volume:
    return models.Volume(name=name, empty_dir=models.EmptyDirVolumeSource(size_limit=models.Quantity(root=size)))
