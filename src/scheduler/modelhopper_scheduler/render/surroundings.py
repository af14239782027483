"""What a Workflow says of all of its pods at once: identity, security, placement, and when what is deleted."""

from __future__ import annotations

import json

from hera.workflows import models

from modelhopper_scheduler.render.argo import checked
from modelhopper_scheduler.render.containers import USER_ID, Setting
from modelhopper_scheduler.render.volumes import shared

_DELAY = "30s"  # between a pod's end and its deletion, so that a log can still be read


def common(setting: Setting, templates: list[models.Template]) -> models.WorkflowSpec:
    """Return the specification of a Workflow of one experiment, without its arguments."""
    placed = placed_spec(setting, templates)
    # Two Workflows of one experiment follow each other: each begins where the store is.
    mutex = models.Mutex(name=f"modelhopper-{setting.experiment}")
    return placed.model_copy(update={"on_exit": "report", "synchronization": models.Synchronization(mutexes=[mutex])})


def placed_spec(setting: Setting, templates: list[models.Template]) -> models.WorkflowSpec:
    """Return the specification of a Workflow that begins with the first of its templates.

    All pods have the placement, so that the image is on the node already when training starts there; GPUs, the runtime
    class, labels and annotations are for pods that train.
    """
    cluster = setting.cluster
    placement = cluster.placement
    affinity = placement.affinity
    secrets = [models.LocalObjectReference(name=name) for name in cluster.images.pull_secrets]
    return models.WorkflowSpec(
        entrypoint=templates[0].name,
        templates=templates,
        service_account_name=cluster.service_account,
        image_pull_secrets=secrets or None,
        pod_metadata=models.Metadata(labels=labels(setting.experiment)),
        security_context=_restricted(),
        node_selector=placement.node_selector or None,
        tolerations=_tolerations(setting) or None,
        affinity=None if affinity is None else checked(models.Affinity, affinity, "placement.affinity"),
        pod_priority_class_name=placement.priority_class,
        scheduler_name=placement.scheduler,
        pod_spec_patch=_executor_patch() if cluster.restrict_executor else None,
        volumes=shared(cluster),
        pod_gc=_deletion(),
        ttl_strategy=models.TTLStrategy(seconds_after_completion=cluster.keep_s),
    )


def labels(experiment: str | None = None) -> dict[str, str]:
    """Return the labels of everything of modelhopper's, and of what belongs to an experiment."""
    own = {"app.kubernetes.io/managed-by": "modelhopper", "app.kubernetes.io/name": "modelhopper"}
    return own if experiment is None else {**own, "modelhopper.io/experiment": experiment}


def _restricted() -> models.PodSecurityContext:
    return models.PodSecurityContext(
        run_as_non_root=True,
        run_as_user=USER_ID,
        run_as_group=USER_ID,
        fs_group=USER_ID,
        fs_group_change_policy="OnRootMismatch",  # not each file of a large volume, at each mount
        seccomp_profile=models.SeccompProfile(type="RuntimeDefault"),
    )


def _executor_patch() -> str:
    """Return what makes Argo's own containers pass the profile `restricted`.

    By default its controller leaves them as they are, and a namespace that enforces the profile refuses every pod. The
    controller can do it (`executor.securityContext`); where it runs pods without init containers, a beta of Argo 4.1,
    this patch would add one, so `restrict_executor: false` leaves it out.
    """
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    init, wait = ({"name": name, "securityContext": context} for name in ("init", "wait"))
    return json.dumps({"initContainers": [init], "containers": [wait]})


def _tolerations(setting: Setting) -> list[models.Toleration]:
    found = [
        checked(models.Toleration, one, f"placement.tolerations.{number}")
        for number, one in enumerate(setting.cluster.placement.tolerations)
    ]
    if setting.gpu is not None:
        # GPU nodes are usually tainted with the vendor's name, also where a pod takes a slice of a GPU.
        key = f"{setting.gpu.partition('/')[0]}/gpu"
        if not any(one.key == key for one in found):
            found.append(models.Toleration(key=key, operator="Exists", effect="NoSchedule"))
    return found


def _deletion() -> models.PodGC:
    # Argo keeps pods for ever by default. Failed ones stay until their Workflow goes, and so does the report.
    report = models.LabelSelectorRequirement(key="app.kubernetes.io/component", operator="NotIn", values=["report"])
    return models.PodGC(
        strategy="OnPodSuccess",
        delete_delay_duration=_DELAY,
        label_selector=models.LabelSelector(match_expressions=[report]),
    )
