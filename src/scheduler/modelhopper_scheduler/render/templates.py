"""The templates of pods: one each for what a Workflow's pods do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from hera.workflows import models

from modelhopper_contract.records import Split
from modelhopper_scheduler.render.argo import inputs, integer, tag
from modelhopper_scheduler.render.containers import Setting, Work, attempt, building, talking, training
from modelhopper_scheduler.render.plan import MOST_RUNGS
from modelhopper_scheduler.render.volumes import attached

TRAINER = "modelhopper_trainer.pod"
PODS = "modelhopper.pods"

Held = Mapping[Split, Sequence[str]]

# Lost pods, and exit codes that say "later": the store did not answer or the pod was asked to stop (75), it was killed,
# most often for its memory (137), or stopped before it could say anything (143).
_RETRY = "lastRetry.status == 'Error' || asInt(lastRetry.exitCode) in [75, 137, 143]"
_DOUBLINGS = 6  # of five seconds: five minutes in all
_STATION_RETRIES = 10  # times as many as other pods: a station lives for the whole run
_GRACE_S = 60  # until a pod that was asked to stop is killed: Kubernetes' 30 s can be less than one batch and a put
_OUTPUTS = "/tmp/outputs"  # noqa: S108 -- the pod's own
BUNDLE = models.EnvVar(name="MODELHOPPER_BUNDLE", value=tag("workflow.parameters.bundle"))
# What `begin` says, with what is said where it was deleted too early: chains, those to rungs, whether a search judges.
_OUTPUT = {"chains": "[]", "rungs": "[]", "shards": "0", "judges": "0", "since": "0", "room": "0"}


def begin(
    setting: Setting, options: Sequence[str], name: str = "begin", outputs: Sequence[str] = ("chains", "shards")
) -> models.Template:
    """Return the template of the pod that begins, or goes on, and says which chains are due."""
    submitted = ("--submitted", tag("workflow.creationTimestamp.RFC3339"))
    arguments = ("begin", "--experiment", setting.name, *submitted, "--outputs", _OUTPUTS, *options)
    work = Work(PODS, arguments, [BUNDLE])
    return models.Template(
        name=name,
        metadata=_metadata("begin"),
        outputs=_outputs(*outputs),
        container=building(setting, work),
        retry_strategy=retry(setting.cluster.retries),
    )


def hop(setting: Setting, held: Held) -> models.Template:
    """Return the template of a hop: configurations, one or a convoy, train on one shard."""
    configurations, shard = tag("inputs.parameters.configurations"), tag("inputs.parameters.shard")
    arguments = ("--shard", shard, "--configurations", configurations)
    return _trained(setting, "hop", ("configurations", "shard"), arguments, held)


def evaluate(setting: Setting, held: Held, *, is_judged: bool = False) -> models.Template:
    """Return the template of a pod that evaluates, on one shard, what the chains left; at a rung, only its own."""
    names = ("shard", "configurations") if is_judged else ("shard",)
    arguments = [word for name in names for word in (f"--{name}", tag(f"inputs.parameters.{name}"))]
    return _trained(setting, "evaluate", names, arguments, held)


def judge(setting: Setting, convoy: str) -> models.Template:
    """Return the template of the pod that judges at a rung, and says which chains follow from that."""
    names = ("configurations", "until", "depth", "since", "room")
    words = [word for name in names for word in (f"--{name}", tag(f"inputs.parameters.{name}"))]
    options = ("--convoy", convoy, "--most-rungs", str(MOST_RUNGS), "--outputs", _OUTPUTS)
    arguments = ("judge", "--experiment", setting.name, *words, *options)
    # One at a time, whose turn is the next in the log. No experiment's name has a dot, so none has this mutex.
    mutex = models.Mutex(name=f"modelhopper-{setting.name}.judge")
    return models.Template(
        name="judge",
        metadata=_metadata("judge"),
        inputs=inputs(*names),
        outputs=_outputs("chains"),
        container=talking(setting, Work(PODS, arguments)),
        synchronization=models.Synchronization(mutexes=[mutex]),
        retry_strategy=retry(setting.cluster.retries),
    )


def resident_judge(setting: Setting, name: str = "judge") -> models.Template:
    """Return the template of the pod that judges beside stations, as long as they serve."""
    arguments = ("preside", "--experiment", setting.name, "--stations", tag("inputs.parameters.stations"))
    retries = setting.cluster.retries * _STATION_RETRIES
    work = Work(PODS, arguments, [*attempt(), _most_retries(retries)])
    return models.Template(
        name=name,
        metadata=_metadata("judge"),
        inputs=inputs("stations"),
        container=talking(setting, work),
        retry_strategy=retry(retries),
    )


def station(setting: Setting, held: Held) -> models.Template:
    """Return the template of all stations, where they differ by their number only."""
    arguments = ("--station", tag("inputs.parameters.station"), "--stations", tag("inputs.parameters.stations"))
    return _trained(setting, "station", ("station", "stations"), arguments, held)


def own_station(setting: Setting, number: int, stations: int, held: Held) -> models.Template:
    """Return the template of one station, whose volumes are its own."""
    arguments = ("--station", str(number), "--stations", str(stations))
    template = _trained(setting, "station", (), arguments, held)
    return template.model_copy(update={"name": f"station-{number}"})


def report(setting: Setting) -> models.Template:
    """Return the template of the pod that writes the report; the Workflow succeeded if it does."""
    window = ("--window", tag("workflow.parameters.window"), "--windows", tag("workflow.parameters.windows"))
    work = Work(PODS, ("report", "--experiment", setting.name, *window))
    return models.Template(
        name="report",
        metadata=_metadata("report"),
        container=talking(setting, work),
        retry_strategy=retry(setting.cluster.retries),
    )


def retry(limit: int) -> models.RetryStrategy:
    """Return how often, and after what, a pod is tried again. Never with a rule about nodes: a shard may be on one."""
    # Argo 3.6 knows no cap of a backoff, so a pod that is tried often waits as long each time.
    duration, factor = ("5s", 2) if limit <= _DOUBLINGS else ("15s", 1)
    backoff = models.Backoff(duration=duration, factor=integer(factor))
    return models.RetryStrategy(limit=integer(limit), retry_policy="Always", expression=_RETRY, backoff=backoff)


def pod_patch(setting: Setting) -> str:
    """Return what Argo has no field for, as a patch of the pods that train."""
    patch: dict[str, object] = {"terminationGracePeriodSeconds": _GRACE_S}
    if setting.cluster.placement.runtime_class is not None:
        patch["runtimeClassName"] = setting.cluster.placement.runtime_class
    return json.dumps(patch)


def _trained(
    setting: Setting, component: str, names: Sequence[str], arguments: Sequence[str], held: Held
) -> models.Template:
    data = attached(setting.cluster.data, held)
    words = (component, "--experiment", setting.name, *arguments, *data.options)
    placement, retries = setting.cluster.placement, setting.cluster.retries
    environment = []
    if component == "station":
        retries *= _STATION_RETRIES
        environment.append(_most_retries(retries))
    return models.Template(
        name=component,
        metadata=_metadata(component, placement.labels, placement.annotations),
        inputs=inputs(*names) if names else None,
        container=training(setting, Work(TRAINER, words, environment, data.mounts)),
        volumes=data.volumes or None,
        pod_spec_patch=pod_patch(setting),
        retry_strategy=retry(retries),
    )


def _most_retries(retries: int) -> models.EnvVar:
    # The last one stops the run when it cannot go on: the others would wait for it for ever.
    return models.EnvVar(name="MODELHOPPER_MOST_RETRIES", value=str(retries))


def _metadata(
    component: str, labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None
) -> models.Metadata:
    own = {"app.kubernetes.io/component": component}
    return models.Metadata(labels={**(labels or {}), **own}, annotations=dict(annotations or {}) or None)


def _outputs(*names: str) -> models.Outputs:
    found = [
        models.Parameter(name=name, value_from=models.ValueFrom(path=f"{_OUTPUTS}/{name}", default=_OUTPUT[name]))
        for name in names
    ]
    return models.Outputs(parameters=found)
