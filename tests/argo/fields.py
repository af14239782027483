"""Which fields of a Workflow the fake knows. Every other one is refused by name, so that nothing passes unseen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any

from tests.argo.refusals import ManifestError, Unsupported

Shape = Any  # a type, a one-element list of the items' shape, a mapping of field to shape, Keyed, TEXTS or NO_EFFECT


@dataclass(frozen=True)
class Keyed:
    """A mapping whose keys the user chooses, and whose values have one shape."""

    shape: Shape


# Accepted without a look: local processes have no nodes, service accounts or security contexts, and nothing that has
# ended is deleted.
NO_EFFECT = object()
# A mapping whose keys the user chooses.
TEXTS = object()

NUMBER = int | str  # Kubernetes' int-or-string
PARAMETER = {"name": str, "value": str, "description": str}
ARGUMENT = PARAMETER | {"enum": [str]}
INPUT = PARAMETER | {"default": str}
OUTPUT = {"name": str, "description": str, "valueFrom": {"path": str, "default": str}}
KEY = {"name": str, "key": str, "optional": bool}
VARIABLE = {
    "name": str,
    "value": str,
    "valueFrom": {"secretKeyRef": KEY, "configMapKeyRef": KEY, "fieldRef": {"fieldPath": str, "apiVersion": str}},
}
MOUNT = {"name": str, "mountPath": str, "subPath": str, "readOnly": bool}
VOLUME = {
    "name": str,
    "persistentVolumeClaim": {"claimName": str, "readOnly": bool},
    "emptyDir": {"medium": str, "sizeLimit": NUMBER},
    "configMap": {"name": str, "optional": bool},
}
CONTAINER = {
    "name": str,
    "image": str,
    "imagePullPolicy": NO_EFFECT,
    "command": [str],
    "args": [str],
    "env": [VARIABLE],
    "volumeMounts": [MOUNT],
    "resources": {"limits": TEXTS, "requests": TEXTS},
    "securityContext": NO_EFFECT,
    "terminationMessagePolicy": NO_EFFECT,
}
STEP = {
    "name": str,
    "template": str,
    "arguments": {"parameters": [PARAMETER]},
    "when": str,
    "withItems": list,
    "withParam": str,
    "withSequence": {"count": NUMBER, "start": NUMBER, "end": NUMBER, "format": str},
    "continueOn": {"failed": bool, "error": bool},
}
RETRY = {
    "limit": NUMBER,
    "retryPolicy": str,
    "expression": str,
    "backoff": {"duration": str, "factor": NUMBER, "cap": str, "maxDuration": str},
}
METADATA = {"labels": TEXTS, "annotations": TEXTS}
PLACEMENT = {
    "affinity": NO_EFFECT,
    "automountServiceAccountToken": NO_EFFECT,
    "executor": NO_EFFECT,
    "nodeSelector": NO_EFFECT,
    "schedulerName": NO_EFFECT,
    "securityContext": NO_EFFECT,
    "serviceAccountName": NO_EFFECT,
    "tolerations": NO_EFFECT,
}
SYNCHRONIZATION = {"mutexes": [{"name": str}]}
COMMON_TEMPLATE = {"name": str, "inputs": {"parameters": [INPUT]}}
STEPS_TEMPLATE = COMMON_TEMPLATE | {"steps": [[STEP]], "metadata": METADATA, "parallelism": int, "failFast": bool}
CONTAINER_TEMPLATE = (
    COMMON_TEMPLATE
    | PLACEMENT
    | {
        "container": CONTAINER,
        "metadata": METADATA,
        "outputs": {"parameters": [OUTPUT]},
        "podSpecPatch": str,
        "priorityClassName": NO_EFFECT,
        "retryStrategy": RETRY,
        "synchronization": SYNCHRONIZATION,
        "volumes": [VOLUME],
    }
)
SPECIFICATION = PLACEMENT | {
    "archiveLogs": NO_EFFECT,
    "arguments": {"parameters": [ARGUMENT]},
    "entrypoint": str,
    "imagePullSecrets": NO_EFFECT,
    "onExit": str,
    "parallelism": int,
    "podGC": NO_EFFECT,
    "podMetadata": METADATA,
    "podPriorityClassName": NO_EFFECT,
    "priority": int,
    "podSpecPatch": str,
    "synchronization": SYNCHRONIZATION,
    "templates": [dict],  # each is checked as what it is
    "ttlStrategy": NO_EFFECT,
    "volumes": [VOLUME],
    "workflowMetadata": {"labels": TEXTS, "labelsFrom": Keyed({"expression": str})},
    "workflowTemplateRef": {"name": str},
}
MANIFEST = {
    "apiVersion": str,
    "kind": str,
    "metadata": METADATA | {"name": str, "generateName": str, "namespace": str},
    "spec": SPECIFICATION,
}


def check(manifest: Mapping[str, Any]) -> None:
    """Refuse a Workflow or WorkflowTemplate with a field that the fake does not know, or a value of another type."""
    _check(manifest, MANIFEST, "")
    if manifest.get("apiVersion") != "argoproj.io/v1alpha1":
        raise Unsupported(f"apiVersion is '{manifest.get('apiVersion')}'; Argo's is argoproj.io/v1alpha1")
    for index, template in enumerate(manifest.get("spec", {}).get("templates", [])):
        shape = STEPS_TEMPLATE if "steps" in template else CONTAINER_TEMPLATE
        where = f"spec.templates[{index}]"
        _check(template, shape, where)
        if ("steps" in template) == ("container" in template):
            raise ManifestError(f"{where} ('{template.get('name')}') needs either steps or container")


def _check(value: object, shape: Shape, where: str) -> None:
    if shape is NO_EFFECT:
        return
    if isinstance(shape, Keyed):
        _check_type(value, dict, where)
        for key, item in value.items() if isinstance(value, dict) else ():
            _check(item, shape.shape, f"{where}.{key}")
    elif isinstance(shape, dict):
        _check_fields(value, shape, where)
    elif isinstance(shape, list):
        _check_type(value, list, where)
        for index, item in enumerate(value if isinstance(value, list) else []):
            _check(item, shape[0], f"{where}[{index}]")
    elif shape is TEXTS:
        _check_type(value, dict, where)
        for key, item in value.items() if isinstance(value, dict) else ():
            _check_type(item, NUMBER if ".resources." in where else str, f"{where}.{key}")
    else:
        _check_type(value, shape, where)


def _check_fields(value: object, shape: dict[str, Shape], where: str) -> None:
    _check_type(value, dict, where)
    for key, item in value.items() if isinstance(value, dict) else ():
        place = f"{where}.{key}" if where else str(key)
        if key not in shape:
            raise Unsupported(f"{place} is not known to the fake; it knows {', '.join(sorted(shape))}")
        _check(item, shape[key], place)


def _check_type(value: object, kind: type | UnionType, where: str) -> None:
    # A boolean is an int in Python, and not one in JSON.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = getattr(kind, "__name__", str(kind))
        raise ManifestError(f"{where} is {value!r} ({type(value).__name__}); the schema of Argo wants {wanted}")
