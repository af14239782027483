"""The WorkflowTemplate `modelhopper`, which is installed once and runs any experiment in the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hera.workflows import models

from modelhopper_contract.cluster import SHAPES, Cluster, Mount
from modelhopper_contract.records import Split
from modelhopper_scheduler.render import templates
from modelhopper_scheduler.render.argo import API_VERSION, computed, plain, tag
from modelhopper_scheduler.render.containers import Setting
from modelhopper_scheduler.render.steps import (
    MOST_LEG,
    MOST_LEGS_TO_A_RUNG,
    any_chains,
    any_stations,
    choice,
    leg,
    rung,
)
from modelhopper_scheduler.render.surroundings import common, labels

_MOST_HOPS = 40  # of a chain in one Workflow: ten iterations over four shards, and few enough for many chains
_SPLITS: tuple[Split, ...] = ("training", "validation")


def render(cluster: Cluster) -> dict[str, Any]:
    """Return the WorkflowTemplate. Its parameters are all that Argo can replace; the rest is fixed by `cluster`."""
    given = Setting(cluster, _parameter("experiment"), _parameter("threads"), cluster.resources.gpu)
    setting = replace(given, cluster=_with_tags(cluster))
    # By this label one finds an experiment's Workflows, whoever submitted them.
    label = {"modelhopper.io/experiment": models.LabelValueFrom(expression="workflow.parameters.experiment")}
    added = {
        "arguments": models.Arguments(parameters=_parameters(given)),
        "workflow_metadata": models.WorkflowMetadata(labels_from=label),
    }
    spec = common(setting, _templates(setting)).model_copy(update=added)
    metadata = models.ObjectMeta(
        name="modelhopper",
        namespace=cluster.namespace,
        labels=labels(),
        annotations={
            "workflows.argoproj.io/description": "Runs an experiment that `modelhopper upload` put into the store"
        },
    )
    return plain(
        models.WorkflowTemplate(api_version=API_VERSION, kind="WorkflowTemplate", metadata=metadata, spec=spec)
    )


def _templates(setting: Setting) -> list[models.Template]:
    shards, judges = (f"steps.begin.outputs.parameters.{name}" for name in ("shards", "judges"))
    count = _parameter("stations") if _has_stations(setting.cluster) else tag(shards)
    own = ("--stations", count) if _has_stations(setting.cluster) else ()
    convoy = computed("workflow.parameters.shape == 'convoy' ? workflow.parameters.convoy : '1'")
    most = ("--most-chains", _parameter("most-chains"), "--most-hops", _parameter("most-hops"))
    pods = computed("asInt(workflow.parameters['most-chains']) * asInt(workflow.parameters['most-hops'])")
    longest = str(MOST_LEG * MOST_LEGS_TO_A_RUNG)
    to_rungs = ("--most-pods", pods, "--longest", longest)
    said = ("chains", "rungs", "since", "room", "shards", "judges")
    # With a shape that is none of these nothing runs, and the report fails: Argo itself does not check an `enum` here.
    of_chains = computed("workflow.parameters.shape in ['hop', 'convoy']")
    of_stations = computed("workflow.parameters.shape == 'station'")
    found = [
        choice([("chains", of_chains), ("stations", of_stations)]),
        any_chains(shards, judges),
        any_stations(count, judges),
        rung(),
        leg(MOST_LEG),
        templates.begin(setting, ("--convoy", convoy, *most, *to_rungs), "begin-chains", said),
        templates.begin(setting, own, "begin-stations", said[-2:]),
        templates.hop(setting, _held("shard")),
        templates.evaluate(setting, _held("shard"), is_judged=True),
        templates.judge(setting, convoy),
        templates.resident_judge(setting, "judge-stations"),
        templates.station(setting, _held("station")),
        templates.report(setting),
    ]
    return [_with_patch(template) for template in found]


def _with_patch(template: models.Template) -> models.Template:
    """Let whoever submits say what pods that train have beside what Argo's own fields say."""
    return (
        template
        if template.pod_spec_patch is None
        else template.model_copy(update={"pod_spec_patch": _parameter("pod")})
    )


def _held(parameter: str) -> dict[Split, list[str]]:
    name = f"inputs.parameters.{parameter}"
    validation = computed(f"asInt({name}) % asInt(workflow.parameters['validation-shards'])")
    return {"training": [tag(name)], "validation": [validation]}


def _has_stations(cluster: Cluster) -> bool:
    """Say whether the number of stations can be chosen: a claim for each shard is mounted by a station of its own."""
    data = cluster.data
    return cluster.stations is not None and data.training.claims is None and data.validation.claims is None


def _with_tags(cluster: Cluster) -> Cluster:
    """Return the cluster with parameters in place of names that Argo can replace."""
    images = cluster.images.model_copy(
        update={"trainer": _parameter("trainer-image"), "scheduler": _parameter("scheduler-image")}
    )
    mounts: dict[str, Mount] = {split: _with_tag(getattr(cluster.data, split), split) for split in _SPLITS}
    return cluster.model_copy(update={"images": images, "data": cluster.data.model_copy(update=mounts)})


def _with_tag(mount: Mount, split: Split) -> Mount:
    if mount.claims is not None:
        after = mount.claims.partition("{shard}")[2]
        return mount.model_copy(update={"claims": f"{_parameter(f'{split}-claims')}{{shard}}{after}"})
    if mount.claim is not None:
        tags = {"claim": _parameter(f"{split}-claim"), "path": _parameter(f"{split}-path")}
        return mount.model_copy(update=tags)
    return mount


def _parameters(given: Setting) -> list[models.Parameter]:
    cluster = given.cluster
    stations = {"stations": (str(cluster.stations), "how many pods train at once, in the shape station")}
    values = {
        "convoy": (str(cluster.convoy), "how many configurations travel together at most, in the shape convoy"),
        **(stations if _has_stations(cluster) else {}),
        "most-chains": (
            str(max(1, cluster.most_pods // _MOST_HOPS - 1)),
            "of one Workflow, which has as many pods as both make",
        ),
        "most-hops": (str(_MOST_HOPS), "of one chain in one Workflow; submit again for what is left"),
        "threads": ("1", "as devices.threads of the experiment"),
        **{name: value for split in _SPLITS for name, value in _places(getattr(cluster.data, split), split).items()},
        "trainer-image": (given.trainer, "the image with TensorFlow"),
        "scheduler-image": (given.scheduler, "the image without TensorFlow"),
        "pod": (templates.pod_patch(given), 'a patch of pods that train, such as {"nodeSelector": {"zone": "a"}}'),
        "bundle": ("", "the experiment itself; empty: it is in the store"),
        "window": ("1", "which of several Workflows that follow each other this one is"),
        "windows": ("1", "how many there are"),
    }
    shape = cluster.shape or "station"
    return [
        models.Parameter(name="experiment", description="the name of an experiment in the store"),
        models.Parameter(
            name="shape",
            value=shape,
            enum=list(SHAPES),
            description="which pods: one for each hop, for each convoy's hop, or for each station",
        ),
        *(models.Parameter(name=key, value=value, description=words) for key, (value, words) in values.items()),
    ]


def _places(mount: Mount, split: Split) -> dict[str, tuple[str, str]]:
    if mount.claims is not None:
        before = mount.claims.partition("{shard}")[0]
        found = {f"{split}-claims": (before, "what the name of a shard's claim has before the shard's number")}
        return found | ({"validation-shards": ("1", "how many there are")} if split == "validation" else {})
    if mount.claim is not None:
        return {
            f"{split}-claim": (mount.claim, "the claim that holds all shards"),
            f"{split}-path": (mount.path or "{shard}", "a shard's folder in it"),
        }
    return {}


def _parameter(name: str) -> str:
    return tag(f"workflow.parameters.{name}")
