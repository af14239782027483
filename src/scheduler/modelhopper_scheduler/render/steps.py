"""The templates that order pods: chains that go from shard to shard, and everything around them."""

from __future__ import annotations

from collections.abc import Sequence

from hera.workflows import models

from modelhopper_scheduler.render.argo import computed, inputs, integer, parameters, tag

# A leg runs so many hops and then itself. Longer ones would only add steps that are skipped.
MOST_LEG = 12
_MOST_LEGS = 90  # Argo stops a recursion at a depth of 100, and a chain begins at the third
# A chain that fails, as all do whose configurations fail, stops nobody else; the exit handler says how the whole ended.
# Not so what comes last: there a pod that fails has left something undone, and of a Workflow that is terminated, whose
# exit handler does not run, this says that it failed.
_GO_ON = models.ContinueOn(failed=True, error=True)
_SHARDS = "asInt(inputs.parameters.shards)"


def leg(length: int) -> models.Template:
    """Return the template of a chain: at most `length` hops, one after another, and then itself for the rest."""
    steps = [_step(_hop(number)) for number in range(length)]
    again = {
        "configurations": tag("inputs.parameters.configurations"),
        "shard": _shard_after(length),
        "hops": computed(f"asInt(inputs.parameters.hops) - {length}"),
        "shards": tag("inputs.parameters.shards"),
    }
    rest = models.WorkflowStep(name="rest", template="leg", when=_more_than(length), arguments=parameters(again))
    declared = inputs("configurations", "shard", "hops", "shards")
    return models.Template(name="leg", inputs=declared, steps=[*steps, _step(rest)])


def leg_length(hops: int) -> int:
    """Return the length of legs for chains of at most so many hops that leaves the fewest steps to skip."""
    legs = min(_MOST_LEGS, -(-hops // MOST_LEG))
    return -(-hops // legs)


def chains(shards: str, name: str = "experiment", first: str = "begin") -> models.Template:
    """Return the steps of an experiment of chains; `shards`: how many, or a tag for it; `first`: who begins."""
    item = {key: tag(f"item.{key}") for key in ("configurations", "shard", "hops")}
    chain = models.WorkflowStep(
        name="chain",
        template="leg",
        with_param=tag("steps.begin.outputs.parameters.chains"),
        arguments=parameters({**item, "shards": shards}),
        continue_on=_GO_ON,
    )
    evaluate = _for_each("evaluate", {"shard": tag("item")}, shards)
    steps = [_step(_begin(first)), _step(chain), _step(evaluate)]
    return models.Template(name=name, steps=steps)


def stations(count: str, name: str = "experiment", first: str = "begin") -> models.Template:
    """Return the steps of an experiment of stations that share a template."""
    each = _for_each("station", {"station": tag("item"), "stations": count}, count)
    return models.Template(name=name, steps=[_step(_begin(first)), _step(each)])


def own_stations(templates: Sequence[str]) -> models.Template:
    """Return the steps of an experiment of stations that have a template each."""
    steps = [models.WorkflowStep(name=name, template=name) for name in templates]
    return models.Template(name="experiment", steps=[_step(_begin("begin")), models.ParallelSteps(root=steps)])


def choice(templates: Sequence[tuple[str, str]]) -> models.Template:
    """Return the steps of an experiment whose shape is chosen when it is submitted: (template, condition)."""
    steps = [models.WorkflowStep(name=name, template=name, when=condition) for name, condition in templates]
    return models.Template(name="experiment", steps=[models.ParallelSteps(root=steps)])


def _begin(template: str) -> models.WorkflowStep:
    return models.WorkflowStep(name="begin", template=template)


def _hop(number: int) -> models.WorkflowStep:
    given = {"configurations": tag("inputs.parameters.configurations"), "shard": _shard_after(number)}
    return models.WorkflowStep(
        name=f"hop-{number}", template="hop", when=_more_than(number), arguments=parameters(given)
    )


def _for_each(template: str, values: dict[str, str], count: str) -> models.WorkflowStep:
    return models.WorkflowStep(
        name=template,
        template=template,
        with_sequence=models.Sequence(count=integer(count)),
        arguments=parameters(values),
    )


def _shard_after(hops: int) -> str:
    return computed(f"(asInt(inputs.parameters.shard) + {hops}) % {_SHARDS}")


def _more_than(hops: int) -> str:
    return computed(f"asInt(inputs.parameters.hops) > {hops}")


def _step(step: models.WorkflowStep) -> models.ParallelSteps:
    return models.ParallelSteps(root=[step])
