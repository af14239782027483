"""Claims for the tests: of the cluster's default storage class, or on folders of its nodes.

MODELHOPPER_E2E_VOLUMES names a folder that the test's machine and every node share, as on a cluster of one machine.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.place import Place

FOLDER = os.environ.get("MODELHOPPER_E2E_VOLUMES")
_CLASS = "storageclass.kubernetes.io/is-default-class"


def claim(place: Place, name: str, node: int = 0, size: str = "1Gi") -> None:
    """Make a claim of this name; on the `node`-th node where volumes are folders. Skip where there are none at all."""
    spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    if FOLDER is not None:
        spec |= {"storageClassName": "", "volumeName": f"{place.namespace}-{name}"}
        _apply(place, _volume(place, name, node, size))
    elif not _has_default_class(place):
        pytest.skip("the cluster has no default storage class, and MODELHOPPER_E2E_VOLUMES names no folder")
    metadata = {"name": name}
    _apply(place, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})


def _volume(place: Place, name: str, node: int, size: str) -> dict[str, Any]:
    nodes = json.loads(place.kubectl("get", "nodes", "-o", "json"))["items"]
    folder = Path(str(FOLDER), place.namespace, name)
    folder.mkdir(parents=True, exist_ok=True)
    name_of_node = nodes[node % len(nodes)]["metadata"]["labels"]["kubernetes.io/hostname"]
    host = {"key": "kubernetes.io/hostname", "operator": "In", "values": [name_of_node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{place.namespace}-{name}", "labels": {"modelhopper.io/e2e": place.namespace}},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}},
            "claimRef": {"namespace": place.namespace, "name": name},
        },
    }


def _has_default_class(place: Place) -> bool:
    items = json.loads(place.kubectl("get", "storageclass", "-o", "json"))["items"]
    return any(one["metadata"].get("annotations", {}).get(_CLASS) == "true" for one in items)


def _apply(place: Place, document: dict[str, Any]) -> None:
    place.kubectl("apply", "-f", "-", given=yaml.safe_dump(document))
