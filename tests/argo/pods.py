"""What a pod is to whoever runs it: one container with everything resolved."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from tests.argo.mounts import Mount, Objects, mounts
from tests.argo.patches import GRACE_S, grace_s, joined
from tests.argo.refusals import ManifestError, Unsupported

# Resources that every node of a cluster offers; any other name is a device, such as nvidia.com/gpu.
ORDINARY = {"cpu", "memory", "ephemeral-storage"}


class Deletion:
    """Whether a pod was deleted; safe to use from every thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], object]] = []

    @property
    def happened(self) -> bool:
        """True once the pod was deleted."""
        return self._event.is_set()

    def wait(self, timeout_s: float = 60) -> None:
        """Block, as a container that ignores everything else, until the pod is deleted."""
        if not self._event.wait(timeout_s):
            raise TimeoutError(f"nobody deleted the pod within {timeout_s} s")

    def happen(self) -> None:
        """Delete the pod: calls every listener once."""
        with self._lock:
            first = not self._event.is_set()
            self._event.set()
            listeners = list(self._listeners) if first else []
        for listener in listeners:
            listener()

    def listen(self, listener: Callable[[], object]) -> None:
        """Call `listener` when the pod is deleted, at once if it already was."""
        with self._lock:
            self._listeners.append(listener)
            happened = self._event.is_set()
        if happened:
            listener()


@dataclass(frozen=True)
class PodRun:
    """One pod to run. Its runner may write `outputs` (path in the container to text) and returns the exit code."""

    name: str
    node: str
    workflow: str
    template: str
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[Mount, ...]
    labels: Mapping[str, str]
    resources: Mapping[str, Mapping[str, str]]
    inputs: Mapping[str, str]
    output_paths: tuple[str, ...]
    grace_s: float = GRACE_S  # between being asked to stop and being killed
    outputs: dict[str, str] = field(default_factory=dict)
    deletion: Deletion = field(default_factory=Deletion)

    @property
    def devices(self) -> dict[str, int]:
        """The devices it needs, e.g. {"nvidia.com/gpu": 1}."""
        limits = self.resources.get("limits", {})
        return {name: int(amount) for name, amount in limits.items() if name not in ORDINARY}


@dataclass(frozen=True)
class Identity:
    """Which pod it is."""

    name: str
    node: str
    workflow: str


def pod_name(workflow: str, template: str, node: str) -> str:
    """The name that Argo gives a node's pod: workflow, template, and a 32-bit FNV-1a hash of the node's name."""
    if workflow == node:
        return workflow
    digest = 2166136261
    for byte in node.encode():
        digest = ((digest ^ byte) * 16777619) % 2**32
    return f"{workflow}-{template}"[:241] + f"-{digest}"


def pod_run(
    identity: Identity,
    template: Mapping[str, Any],
    specification: Mapping[str, Any],
    inputs: Mapping[str, str],
    secrets: Objects,
    configmaps: Objects,
) -> PodRun:
    """The pod of a container template whose tags are replaced.

    Raises `ManifestError` for what would leave a real pod waiting for ever, such as a Secret that does not exist.
    """
    container = template["container"]
    where = f"template '{template['name']}'"
    command = _command(container, where)
    env = _environment(container.get("env", []), identity, secrets, configmaps, where)
    _refuse_references([*command, *container.get("args", []), *env.values()], env, where)
    found = mounts(template, specification, configmaps)
    patches = (specification.get("podSpecPatch"), template.get("podSpecPatch"))
    paths = tuple(parameter["valueFrom"]["path"] for parameter in output_parameters(template))
    _refuse_read_only_outputs(container, paths, found, where)
    labels = {
        **specification.get("podMetadata", {}).get("labels", {}),
        **template.get("metadata", {}).get("labels", {}),
    }
    return PodRun(
        name=identity.name,
        node=identity.node,
        workflow=identity.workflow,
        template=template["name"],
        image=_required(container, "image", where),
        command=command,
        args=tuple(container.get("args", ())),
        env=env,
        mounts=found,
        labels=labels,
        resources=_resources(container, where),
        inputs=dict(inputs),
        output_paths=paths,
        grace_s=grace_s(joined(patches, where)),
    )


def output_parameters(template: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The declared output parameters, each with the path that it is read from."""
    parameters = list(template.get("outputs", {}).get("parameters", []))
    for parameter in parameters:
        if "path" not in parameter.get("valueFrom", {}):
            raise ManifestError(f"output '{parameter['name']}' of template '{template['name']}' needs valueFrom.path")
    return parameters


def _command(container: Mapping[str, Any], where: str) -> tuple[str, ...]:
    if not container.get("command"):
        raise Unsupported(f"{where} has no command; Argo would look it up in the image, which the fake has not")
    return tuple(container["command"])


def _required(fields: Mapping[str, Any], name: str, where: str) -> Any:
    if not fields.get(name):
        raise ManifestError(f"{where} has no {name}")
    return fields[name]


def _environment(
    variables: Sequence[Mapping[str, Any]], identity: Identity, secrets: Objects, configmaps: Objects, where: str
) -> dict[str, str]:
    env: dict[str, str] = {}
    for variable in variables:
        name = _required(variable, "name", where)
        if name in env:
            raise ManifestError(f"{where} sets the variable {name} twice")
        if "valueFrom" in variable and "value" in variable:
            raise ManifestError(f"{where} gives {name} both value and valueFrom")
        value = variable.get("value", "")
        if "valueFrom" in variable:
            value = _value_from(variable["valueFrom"], identity, secrets, configmaps, f"{where}, variable {name}")
        if value is not None:
            env[name] = value
    return env


def _value_from(
    source: Mapping[str, Any], identity: Identity, secrets: Objects, configmaps: Objects, where: str
) -> str | None:
    if len(source) != 1:
        raise ManifestError(f"{where}: valueFrom needs exactly one source, not {sorted(source)}")
    if "fieldRef" in source:
        if source["fieldRef"].get("fieldPath") != "metadata.name":
            raise Unsupported(f"{where}: fieldRef {source['fieldRef']} is not known to the fake; metadata.name is")
        return identity.name
    objects, kind = (secrets, "Secret") if "secretKeyRef" in source else (configmaps, "ConfigMap")
    reference = source.get("secretKeyRef") or source["configMapKeyRef"]
    value = objects.get(reference["name"], {}).get(reference["key"])
    if value is None and not reference.get("optional", False):
        raise ManifestError(f"{where}: there is no {kind} '{reference['name']}' with a key '{reference['key']}'")
    return value


def _refuse_references(texts: Sequence[str], env: Mapping[str, str], where: str) -> None:
    for text in texts:
        for name in re.findall(r"\$\((\w+)\)", text):
            if name in env:
                raise Unsupported(f"{where}: Kubernetes would put the variable {name} into '{text}'; the fake does not")


def _refuse_read_only_outputs(
    container: Mapping[str, Any], paths: Sequence[str], mounts: Sequence[Mount], where: str
) -> None:
    if not container.get("securityContext", {}).get("readOnlyRootFilesystem", False):
        return
    writable = [PurePosixPath(mount.path) for mount in mounts if not mount.read_only]
    for path in paths:
        if not any(PurePosixPath(path).is_relative_to(folder) for folder in writable):
            raise ManifestError(f"{where} cannot write its output {path}: the root is read-only and no volume is there")


def _resources(container: Mapping[str, Any], where: str) -> dict[str, dict[str, str]]:
    resources = {
        kind: {name: str(amount) for name, amount in amounts.items()}
        for kind, amounts in container.get("resources", {}).items()
    }
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    for name in (limits.keys() | requests.keys()) - ORDINARY:
        if name not in limits or requests.get(name, limits[name]) != limits[name]:
            raise ManifestError(f"{where}: Kubernetes wants {name} in limits, and requests equal to it if given")
        if not limits[name].isdigit():
            raise ManifestError(f"{where}: {name} is '{limits[name]}', and devices come in whole numbers")
    return resources
