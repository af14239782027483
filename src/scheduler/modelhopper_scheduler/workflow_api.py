"""Handing rendered Workflows to Kubernetes, and following them there. Argo's own server is not needed.

Every call goes to the API server that the current kube context names, or to that of the pod this runs in.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from modelhopper_contract.cluster import Cluster
from modelhopper_contract.errors import ModelhopperError, StoreUnavailable, UserError

LABEL = "modelhopper.io/experiment"

_GROUP, _VERSION, _PLURAL = "argoproj.io", "v1alpha1", "workflows"
_WINDOW = "modelhopper.io/window"  # an annotation, "2/5": which of the Workflows that follow each other
_POLL_S = 2.0
_TIMEOUT_S = 30.0
_CONFLICT, _NOT_FOUND, _FORBIDDEN, _UNAUTHORIZED = 409, 404, 403, 401


class WorkflowState(NamedTuple):
    """One Workflow as the API server has it."""

    name: str
    phase: str  # Pending, Running, Succeeded, Failed or Error; "" before the controller has seen it
    message: str
    window: str  # "2/5"

    @property
    def is_over(self) -> bool:
        """Say whether nothing more will happen to it."""
        return self.phase in {"Succeeded", "Failed", "Error"}


def create(cluster: Cluster, documents: Iterable[Mapping[str, Any]], *, dry_run: bool = False) -> list[str]:
    """Create the Workflows in order and return their names; with `dry_run` the server only checks them.

    Raises UserError for what the server refuses, StoreUnavailable when it gives no answer. When one is refused, those
    created before it are removed.
    """
    api = _api()
    options: dict[str, Any] = {"dry_run": "All"} if dry_run else {}
    names: list[str] = []
    try:
        for document in documents:
            made = _asked(cluster, api.create_namespaced_custom_object, body=dict(document), **options)
            names.append(made["metadata"]["name"])
    except BaseException:
        if not dry_run:
            for name in names:
                _asked(cluster, api.delete_namespaced_custom_object, name=name)
        raise
    return names


def states(cluster: Cluster, experiment: str) -> list[WorkflowState]:
    """Return the experiment's Workflows, the oldest first."""
    found = _asked(cluster, _api().list_namespaced_custom_object, label_selector=f"{LABEL}={experiment}")
    items = sorted(found["items"], key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))
    return [_state(item) for item in items]


def stop(cluster: Cluster, experiment: str) -> list[str]:
    """Stop the experiment's Workflows; their exit handlers still run. Return the names of those that were going on."""
    api = _api()
    going = [one.name for one in states(cluster, experiment) if not one.is_over]
    for name in going:
        _asked(cluster, api.patch_namespaced_custom_object, name=name, body={"spec": {"shutdown": "Stop"}})
    return going


def wait(
    cluster: Cluster,
    experiment: str,
    names: Iterable[str],
    on_change: Callable[[WorkflowState], None],
    pause: Callable[[float], None] = time.sleep,
) -> list[WorkflowState]:
    """Return the Workflows of these names when all are over; `on_change` hears of every phase.

    One that was deleted before its end counts as over, and is left out. Argo deletes those that ended some time ago,
    which can be before the last of many has begun.
    """
    wanted, known = list(names), dict[str, WorkflowState]()
    while True:
        found = {one.name: one for one in states(cluster, experiment) if one.name in wanted}
        for one in found.values():
            if one.name not in known or known[one.name].phase != one.phase:
                on_change(one)
        known = {name: one for name, one in known.items() if one.is_over} | found
        if all(one.is_over for one in known.values()):
            return [known[name] for name in wanted if name in known]
        pause(_POLL_S)


def _state(item: Mapping[str, Any]) -> WorkflowState:
    metadata, status = item["metadata"], item.get("status", {})
    window = metadata.get("annotations", {}).get(_WINDOW, "")
    return WorkflowState(metadata["name"], status.get("phase", ""), status.get("message", ""), window)


def _api() -> Any:
    try:
        from kubernetes import client, config  # noqa: PLC0415 -- only who submits needs it
    except ModuleNotFoundError as error:
        raise UserError(
            "Submitting needs the package kubernetes, which is not installed: pip install 'modelhopper[cluster]'."
        ) from error
    configuration = client.Configuration()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # where it prints that it finds no file
            config.load_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"No Kubernetes cluster is configured ({first}). KUBECONFIG names the file to use.") from error
    configuration.retries = 3
    return client.CustomObjectsApi(client.ApiClient(configuration))


def _asked(cluster: Cluster, call: Callable[..., Any], **given: Any) -> Any:
    from kubernetes.client import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    place = {"group": _GROUP, "version": _VERSION, "namespace": cluster.namespace, "plural": _PLURAL}
    try:
        return call(**place, **given, _request_timeout=_TIMEOUT_S)
    except ApiException as error:
        raise _explained(error, cluster) from error
    except HTTPError as error:
        raise StoreUnavailable(f"The Kubernetes API gives no answer: {error}") from error


def _explained(error: Any, cluster: Cluster) -> ModelhopperError:
    said = _message(error)
    if error.status == _NOT_FOUND and not said:
        return UserError("This cluster knows no Workflows: install Argo Workflows first.")
    if error.status in (_FORBIDDEN, _UNAUTHORIZED):
        return UserError(
            f"The cluster refuses it: {said}. The Role `modelhopper-submitter` of the chart has what submitting needs."
        )
    if error.status >= 500:
        return StoreUnavailable(f"The Kubernetes API answered {error.status}: {said}")
    return UserError(f"The cluster refuses the Workflow in namespace {cluster.namespace}: {said}")


def _message(error: Any) -> str:
    """Return what the API server said; "" for a path that it does not know, which it answers with plain text."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return "" if error.status == _NOT_FOUND else f"{error.status} {error.reason}"
