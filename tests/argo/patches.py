"""The patches of pods that Argo applies last. What they change must make no difference to a local process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from tests.argo.refusals import ManifestError, Unsupported

GRACE_S = 30.0  # Kubernetes' own
# Nodes and runtimes are nothing to a process of this machine.
KNOWN = {
    "affinity",
    "nodeSelector",
    "runtimeClassName",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
}
OF_ARGO = {"initContainers": {"init"}, "containers": {"wait"}}  # its own containers, which the fake has not


def joined(patches: Iterable[str | None], where: str) -> dict[str, Any]:
    """The Workflow's patch and then the template's, each JSON or YAML; raises `ManifestError` for another text."""
    found: dict[str, Any] = {}
    for text in patches:
        if text is not None:
            found |= _checked(text, where)
    return found


def grace_s(patch: Mapping[str, Any]) -> float:
    """The seconds between asking a pod to stop and killing it."""
    return float(patch.get("terminationGracePeriodSeconds", GRACE_S))


def _checked(text: str, where: str) -> dict[str, Any]:
    try:
        patch = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ManifestError(f"{where}: podSpecPatch cannot be read: {error}") from error
    if not isinstance(patch, dict):
        raise ManifestError(f"{where}: podSpecPatch is no mapping: {text}")
    for key, value in patch.items():
        names = {one.get("name") for one in value} if key in OF_ARGO else set()
        if (key not in KNOWN and not names) or not names <= OF_ARGO.get(key, set()):
            raise Unsupported(f"{where}: podSpecPatch of {key} {sorted(names)} is not known to the fake")
    return patch
