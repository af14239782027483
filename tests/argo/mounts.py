"""The volumes of a pod, and where its container sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.argo.refusals import ManifestError

Objects = Mapping[str, Mapping[str, str]]  # Secrets or ConfigMaps: name to key to value
KINDS = ("configMap", "emptyDir", "persistentVolumeClaim")


@dataclass(frozen=True)
class Mount:
    """A volume in a container: a claim by name, the files of a ConfigMap, or an empty folder of the pod's own."""

    path: str
    volume: str
    claim: str | None = None
    sub_path: str = ""
    read_only: bool = False
    in_memory: bool = False
    files: Mapping[str, str] | None = None  # text by name, of a ConfigMap


def mounts(template: Mapping[str, Any], specification: Mapping[str, Any], configmaps: Objects) -> tuple[Mount, ...]:
    """The mounts of a container template, whose tags are replaced, in a Workflow of this specification."""
    given, where = template["container"].get("volumeMounts", []), f"template '{template['name']}'"
    paths = [mount["mountPath"] for mount in given]
    if len(set(paths)) < len(paths):
        raise ManifestError(f"{where} mounts two volumes at one path: {sorted(paths)}")
    volumes = _volumes(template, specification)
    return tuple(_mount(mount, volumes, configmaps, where) for mount in given)


def _volumes(template: Mapping[str, Any], specification: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    volumes = [*specification.get("volumes", []), *template.get("volumes", [])]
    found = {volume["name"]: volume for volume in volumes}
    if len(found) < len(volumes):
        raise ManifestError(f"template '{template['name']}' sees two volumes of one name: {sorted(found)}")
    return found


def _mount(
    mount: Mapping[str, Any], volumes: Mapping[str, Mapping[str, Any]], configmaps: Objects, where: str
) -> Mount:
    volume = volumes.get(mount["name"])
    if volume is None:
        raise ManifestError(f"{where} mounts '{mount['name']}', which is no volume; volumes: {sorted(volumes)}")
    if len(volume.keys() & set(KINDS)) != 1:
        raise ManifestError(f"volume '{volume['name']}' needs one of {', '.join(KINDS)}")
    claim = volume.get("persistentVolumeClaim", {})
    return Mount(
        path=mount["mountPath"],
        volume=volume["name"],
        claim=claim.get("claimName"),
        sub_path=mount.get("subPath", ""),
        read_only=mount.get("readOnly", False) or claim.get("readOnly", False),
        in_memory=volume.get("emptyDir", {}).get("medium") == "Memory",
        files=_files(volume, configmaps, where),
    )


def _files(volume: Mapping[str, Any], configmaps: Objects, where: str) -> Mapping[str, str] | None:
    if "configMap" not in volume:
        return None
    source = volume["configMap"]
    if source["name"] not in configmaps and not source.get("optional", False):
        raise ManifestError(f"{where}: there is no ConfigMap '{source['name']}' for the volume '{volume['name']}'")
    return configmaps.get(source["name"], {})
