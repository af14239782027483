"""The Workflow that scores a packed data set: one pod plans, one for each shard scores, and one merges."""

from __future__ import annotations

import re
from typing import Any

from hera.workflows import models

from modelhopper_contract.cluster import Cluster, Mounts
from modelhopper_contract.errors import UserError
from modelhopper_contract.scoring_request import ScoringRequest
from modelhopper_scheduler.render.argo import API_VERSION, inputs, parameters, plain, tag
from modelhopper_scheduler.render.containers import Setting, Work, building, training
from modelhopper_scheduler.render.surroundings import labels, placed_spec
from modelhopper_scheduler.render.templates import BUNDLE, PODS, pod_patch, retry
from modelhopper_scheduler.render.volumes import attached

SCORER = "modelhopper_trainer.scoring.pod"

_OUTPUTS = "/tmp/outputs"  # noqa: S108 -- the pod's own
_OTHERS = 2  # pods beside those that score
_DEFAULTS = {"job": "", "shards": "[]"}  # what is said where `begin` was deleted too early


def render(cluster: Cluster, request: ScoringRequest, bundle: str) -> dict[str, Any]:
    """Return the Workflow of one request; `bundle`: the request with its files."""
    cluster = _reading(cluster, request)
    setting = Setting(cluster, request.name, str(_whole_cpus(cluster)), cluster.resources.gpu)
    spec = placed_spec(setting, [_steps(), _begin(setting), _score(setting), _merge(setting)])
    # Two submissions of one request follow each other: the second goes on with what the first has left.
    mutex = models.Mutex(name=f"modelhopper-{request.name}")
    added = {
        "arguments": parameters({"bundle": bundle}),
        "synchronization": models.Synchronization(mutexes=[mutex]),
    }
    metadata = models.ObjectMeta(
        generate_name=f"{request.name}-",
        namespace=cluster.namespace,
        labels=labels(request.name),
        annotations={"workflows.argoproj.io/title": _title(request)},
    )
    spec = spec.model_copy(update=added)
    return plain(models.Workflow(api_version=API_VERSION, kind="Workflow", metadata=metadata, spec=spec))


def _reading(cluster: Cluster, request: ScoringRequest) -> Cluster:
    """Return the cluster with one way to data: that of what is scored, which every pod that scores mounts or fetches.

    The validation data of a run is where the pods that train have it.
    """
    mount = cluster.data.scoring if request.data is not None else cluster.data.validation
    data = Mounts(
        training=mount, validation=mount, cache_gb=cluster.data.cache_gb, cache_claim=cluster.data.cache_claim
    )
    return cluster.model_copy(update={"data": data})


def _steps() -> models.Template:
    said = {name: tag(f"steps.begin.outputs.parameters.{name}") for name in _DEFAULTS}
    each = models.WorkflowStep(
        name="score",
        template="score",
        with_param=said["shards"],
        arguments=parameters({"job": said["job"], "shard": tag("item")}),
    )
    merge = models.WorkflowStep(name="merge", template="merge", arguments=parameters({"job": said["job"]}))
    first = models.WorkflowStep(name="begin", template="begin")
    return models.Template(name="scoring", steps=[models.ParallelSteps(root=[one]) for one in (first, each, merge)])


def _begin(setting: Setting) -> models.Template:
    most = str(setting.cluster.most_pods - _OTHERS)
    work = Work(PODS, ("begin-scoring", "--most-shards", most, "--outputs", _OUTPUTS), [BUNDLE])
    outputs = [
        models.Parameter(name=name, value_from=models.ValueFrom(path=f"{_OUTPUTS}/{name}", default=default))
        for name, default in _DEFAULTS.items()
    ]
    return models.Template(
        name="begin",
        metadata=_component("begin"),
        outputs=models.Outputs(parameters=outputs),
        container=building(setting, work),
        retry_strategy=retry(setting.cluster.retries),
    )


def _score(setting: Setting) -> models.Template:
    job, shard = (tag(f"inputs.parameters.{name}") for name in ("job", "shard"))
    data = attached(setting.cluster.data, {"validation": [shard]})
    pattern = data.options[1].partition("=")[2]
    words = ("--job", job, "--shard", shard, "--data", pattern, "--threads", setting.threads)
    placement = setting.cluster.placement
    return models.Template(
        name="score",
        metadata=models.Metadata(
            labels={**placement.labels, "app.kubernetes.io/component": "score"},
            annotations=dict(placement.annotations) or None,
        ),
        inputs=inputs("job", "shard"),
        container=training(setting, Work(SCORER, words, (), data.mounts)),
        volumes=data.volumes or None,
        pod_spec_patch=pod_patch(setting),
        retry_strategy=retry(setting.cluster.retries),
    )


def _merge(setting: Setting) -> models.Template:
    words = ("merge-scoring", "--request", setting.name, "--job", tag("inputs.parameters.job"))
    return models.Template(
        name="merge",
        metadata=_component("merge"),
        inputs=inputs("job"),
        container=building(setting, Work(PODS, words)),
        retry_strategy=retry(setting.cluster.retries),
    )


def _component(name: str) -> models.Metadata:
    return models.Metadata(labels={"app.kubernetes.io/component": name})


def _whole_cpus(cluster: Cluster) -> int:
    """Return how many threads a pod that scores has: as many as the whole CPUs that it asks for."""
    found = re.fullmatch(r"(\d+)(m?)", cluster.resources.cpu)
    if found is None:
        return 1
    return max(1, int(found[1]) // (1000 if found[2] else 1))


def _title(request: ScoringRequest) -> str:
    what = request.data or "the validation data of the run"
    return f"{request.action} {', '.join(request.models)} on {what}"


def check_bundle(bundle: str, most: int) -> None:
    """Raise UserError where the files are too large to travel inside a Workflow."""
    if len(bundle) > most:
        raise UserError(
            f"the files of the models make a bundle of {len(bundle):,} characters, and a Workflow takes at most "
            f"{most:,}. Put the model into the store, with its .card.json beside it, and give its address, "
            "s3://bucket/model.keras."
        )
