"""The Workflows of one experiment."""

from __future__ import annotations

import json
from typing import Any

from hera.workflows import models

from modelhopper_contract.cluster import Cluster
from modelhopper_contract.errors import UserError
from modelhopper_contract.records import Split
from modelhopper_contract.ring import Stations
from modelhopper_contract.specification import Specification
from modelhopper_scheduler.render import templates
from modelhopper_scheduler.render.argo import API_VERSION, computed, parameters, plain, tag
from modelhopper_scheduler.render.containers import Setting
from modelhopper_scheduler.render.plan import Plan
from modelhopper_scheduler.render.steps import (
    MOST_LEGS_TO_A_RUNG,
    chains,
    judged_chains,
    leg,
    leg_length,
    own_stations,
    rung,
    stations,
)
from modelhopper_scheduler.render.surroundings import common, labels

# An API server takes more, but status and text share 1 MiB in etcd.
MOST_BYTES = 512_000
_NAME_LENGTH = 50  # of the experiment's part of a Workflow's name: its pods' labels have 63 characters


def render(plan: Plan, cluster: Cluster, specification: Specification, bundle: str) -> list[dict[str, Any]]:
    """Return the Workflows in order: the same text but for the number of the window."""
    setting = _setting(cluster, specification)
    if plan.shape == "station":
        found = _stations(plan, setting)
    else:
        _check_validation(plan, setting)
        found = _chains(plan, setting) if plan.expected is None else _judged_chains(plan, setting)
    count = plan.windows().workflows
    workflows = [_workflow(plan, setting, found, bundle, number) for number in range(1, count + 1)]
    size = len(json.dumps(workflows[0], separators=(",", ":")))
    if size > MOST_BYTES:
        raise UserError(
            f"a Workflow of {plan.experiment} has {size:,} bytes, and may have {MOST_BYTES:,}. Take one claim for all "
            "shards, or as many stations as shards: stations with several claims have a template each."
        )
    return workflows


def _setting(cluster: Cluster, specification: Specification) -> Setting:
    experiment = specification.experiment
    devices = experiment.devices
    if devices.kind == "gpu" and cluster.resources.gpu is None:
        raise UserError(
            f"{experiment.name} asks for GPUs (devices: kind: gpu), and the cluster's file has none "
            "(resources: gpu: null). Change one of them."
        )
    gpu = None if devices.kind == "cpu" else cluster.resources.gpu
    return Setting(cluster, experiment.name, str(devices.threads), gpu)


def _workflow(plan: Plan, setting: Setting, found: list[models.Template], bundle: str, number: int) -> dict[str, Any]:
    count = plan.windows().workflows
    values = {"bundle": bundle, "window": str(number), "windows": str(count)}
    part = f"-{number}" if count > 1 else ""
    metadata = models.ObjectMeta(
        generate_name=f"{plan.experiment[:_NAME_LENGTH].rstrip('-')}{part}-",
        namespace=setting.cluster.namespace,
        labels=labels(plan.experiment),
        annotations={
            "modelhopper.io/shape": plan.shape,
            "modelhopper.io/window": f"{number}/{count}",
            "workflows.argoproj.io/title": f"{plan.experiment}, {number} of {count}" if count > 1 else plan.experiment,
        },
    )
    # Argo lets those that wait for a mutex go on by priority, and by seconds of creation, which they may share. No more
    # than the default, so that they overtake nobody else's.
    order = {"priority": 1 - number} if count > 1 else {}
    spec = common(setting, found).model_copy(update={"arguments": parameters(values), **order})
    return plain(models.Workflow(api_version=API_VERSION, kind="Workflow", metadata=metadata, spec=spec))


def _chains(plan: Plan, setting: Setting) -> list[models.Template]:
    windows = plan.windows()
    options: tuple[str, ...] = ("--most-chains", str(windows.most_chains), "--most-hops", str(windows.most_hops))
    if plan.together > 1:
        options = ("--convoy", str(plan.together), *options)
    held = _held_alike(plan, "shard")
    return [
        chains(str(plan.shards)),
        leg(leg_length(windows.most_hops)),
        templates.begin(setting, options),
        templates.hop(setting, held),
        templates.evaluate(setting, held),
        templates.report(setting),
    ]


def _judged_chains(plan: Plan, setting: Setting) -> list[models.Template]:
    longest = plan.windows().most_hops
    most = ("--most-pods", str(plan.most_pods), "--longest", str(longest))
    held, convoy = _held_alike(plan, "shard"), str(plan.together)
    return [
        judged_chains(str(plan.shards)),
        rung(),
        leg(leg_length(longest, MOST_LEGS_TO_A_RUNG)),
        templates.begin(setting, ("--convoy", convoy, *most), outputs=("rungs", "since", "room")),
        templates.hop(setting, held),
        templates.evaluate(setting, held, is_judged=True),
        templates.judge(setting, convoy),
        templates.report(setting),
    ]


def _check_validation(plan: Plan, setting: Setting) -> None:
    if setting.cluster.data.validation.claims is not None and plan.validation_shards > plan.shards:
        raise UserError(
            f"{plan.experiment} has {plan.validation_shards} validation shards with a claim each, and {plan.shards} "
            f"training shards: a pod of the shape `{plan.shape}` mounts one of each. Pack the validation data into "
            f"at most {plan.shards} shards, put it on one claim (data: validation: claim), or take the shape `station`."
        )


def _stations(plan: Plan, setting: Setting) -> list[models.Template]:
    is_judged = plan.expected is not None
    begin = templates.begin(setting, ("--stations", str(plan.stations)))
    report = templates.report(setting)
    judges = [templates.resident_judge(setting)] if is_judged else []
    if not _has_arcs(plan, setting):
        one = templates.station(setting, _held_alike(plan, "station"))
        return [stations(plan.stations, is_judged=is_judged), begin, one, *judges, report]
    numbers = range(plan.stations)
    each = [templates.own_station(setting, number, plan.stations, _held(plan, number)) for number in numbers]
    names = [one.name or "" for one in each]
    return [own_stations(names, is_judged=is_judged), begin, *each, *judges, report]


def _has_arcs(plan: Plan, setting: Setting) -> bool:
    """Say whether a station has several claims of one split: the volumes of a template are a fixed list."""
    data = setting.cluster.data
    claims: dict[Split, str | None] = {"training": data.training.claims, "validation": data.validation.claims}
    return any(claims[split] is not None and count > plan.stations for split, count in _counts(plan).items())


def _held_alike(plan: Plan, parameter: str) -> dict[Split, list[str]]:
    """Return the shards of a pod that holds one of each split, whose number comes as a parameter."""
    found: dict[Split, list[str]] = {}
    for split, count in _counts(plan).items():
        # As `Stations.holder` says: with at least as many stations as shards, a station's shard is its remainder.
        whole = count == (plan.shards if parameter == "shard" else plan.stations)
        name = f"inputs.parameters.{parameter}"
        found[split] = [tag(name) if whole else computed(f"asInt({name}) % {count}")]
    return found


def _held(plan: Plan, station: int) -> dict[Split, list[str]]:
    found: dict[Split, list[str]] = {}
    for split, count in _counts(plan).items():
        if plan.stations < count:
            found[split] = [str(shard) for shard in Stations(plan.stations, count).held(station)]
        else:
            found[split] = [str(station % count)]
    return found


def _counts(plan: Plan) -> dict[Split, int]:
    counts: dict[Split, int] = {"training": plan.shards, "validation": plan.validation_shards}
    return {split: count for split, count in counts.items() if count}
