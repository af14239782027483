"""The templates that order pods: chains that go from shard to shard, and everything around them."""

from __future__ import annotations

from collections.abc import Sequence

from hera.workflows import models

from modelhopper_scheduler.render.argo import computed, inputs, integer, parameters, tag
from modelhopper_scheduler.render.plan import MOST_RUNGS

# A leg runs so many hops and then itself. Longer ones would only add steps that are skipped.
MOST_LEG = 12
_MOST_LEGS = 90  # Argo stops a recursion at a depth of 100, and a chain begins at the third
MOST_LEGS_TO_A_RUNG = _MOST_LEGS - MOST_RUNGS
# A chain that fails, as all do whose configurations fail, stops nobody else; the exit handler says how the whole ended.
# Not so what comes last: there a pod that fails has left something undone, and of a Workflow that is terminated, whose
# exit handler does not run, this says that it failed.
_GO_ON = models.ContinueOn(failed=True, error=True)
_SHARDS = "asInt(inputs.parameters.shards)"
# What a chain is to a Workflow, and one to a rung; and what all of those have in common, which their judges are told.
_CHAIN = ("configurations", "shard", "hops")
_TO_A_RUNG = (*_CHAIN, "until")
_BUDGET = ("since", "room")


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


def leg_length(hops: int, most_legs: int = _MOST_LEGS) -> int:
    """Return the length of legs for chains of at most so many hops that leaves the fewest steps to skip."""
    legs = min(most_legs, -(-hops // MOST_LEG))
    return -(-hops // legs)


def chains(shards: str) -> models.Template:
    """Return the steps of an experiment of chains; `shards`: how many."""
    evaluate = _for_each("evaluate", {"shard": tag("item")}, shards)
    steps = [_step(_begin("begin")), _step(_chain(shards)), _step(evaluate)]
    return models.Template(name="experiment", steps=steps)


def judged_chains(shards: str) -> models.Template:
    """Return the steps of an experiment whose chains lead to rungs, where a search decides what follows."""
    return models.Template(name="experiment", steps=[_step(_begin("begin")), _step(_first_rung(shards))])


def any_chains(shards: str, judges: str) -> models.Template:
    """Return the steps of an experiment of chains whose first pod says whether a search judges: `judges` is 1 or 0."""
    left = computed(f"{judges} == '1' ? '0' : {shards}")  # at a rung nothing is left
    evaluate = _for_each("evaluate", {"shard": tag("item"), "configurations": "all"}, left)
    both = models.ParallelSteps(root=[_chain(tag(shards)), _first_rung(tag(shards))])
    return models.Template(name="chains", steps=[_step(_begin("begin-chains")), both, _step(evaluate)])


def rung() -> models.Template:
    """Return the template of a chain to a rung: hops, evaluations, a judge, and then the chains that follow.

    Nobody waits for others at a rung: each chain has a judge of its own, and the one with which a rung is complete, if
    the search waits for that, sends on all who go on.
    """
    own = {key: tag(f"inputs.parameters.{key}") for key in (*_TO_A_RUNG, "depth", *_BUDGET, "shards")}
    legs = {key: own[key] for key in (*_CHAIN, "shards")}
    evaluated = {"shard": tag("item"), "configurations": own["configurations"]}
    asked = {key: own[key] for key in ("configurations", "until", "depth", *_BUDGET)}
    deeper = {"depth": computed("asInt(inputs.parameters.depth) + 1")}
    passed = {key: own[key] for key in (*_BUDGET, "shards")}
    steps = [
        models.WorkflowStep(name="leg", template="leg", arguments=parameters(legs), continue_on=_GO_ON),
        _for_each("evaluate", evaluated, own["shards"]),
        models.WorkflowStep(name="judge", template="judge", arguments=parameters(asked)),
        _rung("next", "judge.outputs.parameters.chains", {**deeper, **passed}),
    ]
    return models.Template(name="rung", inputs=inputs(*own), steps=[_step(step) for step in steps])


def stations(count: int, *, is_judged: bool = False) -> models.Template:
    """Return the steps of an experiment of stations that share a template, and of a judge if there is one."""
    return _beside("experiment", "begin", [_station(str(count)), *_judges(count, is_judged=is_judged)])


def own_stations(templates: Sequence[str], *, is_judged: bool = False) -> models.Template:
    """Return the steps of an experiment of stations that have a template each, and of a judge if there is one."""
    steps = [models.WorkflowStep(name=name, template=name) for name in templates]
    return _beside("experiment", "begin", [*steps, *_judges(len(templates), is_judged=is_judged)])


def any_stations(count: str, judges: str) -> models.Template:
    """Return the steps of an experiment of stations whose first pod says if a search judges: `judges` is 1 or 0."""
    judge = _for_each("judge", {"stations": count}, tag(judges), "judge-stations")
    return _beside("stations", "begin-stations", [_station(count), judge])


def choice(templates: Sequence[tuple[str, str]]) -> models.Template:
    """Return the steps of an experiment whose shape is chosen when it is submitted: (template, condition)."""
    steps = [models.WorkflowStep(name=name, template=name, when=condition) for name, condition in templates]
    return models.Template(name="experiment", steps=[models.ParallelSteps(root=steps)])


def _begin(template: str) -> models.WorkflowStep:
    return models.WorkflowStep(name="begin", template=template)


def _chain(shards: str) -> models.WorkflowStep:
    item = {key: tag(f"item.{key}") for key in _CHAIN}
    return models.WorkflowStep(
        name="chain",
        template="leg",
        with_param=tag("steps.begin.outputs.parameters.chains"),
        arguments=parameters({**item, "shards": shards}),
        continue_on=_GO_ON,
    )


def _first_rung(shards: str) -> models.WorkflowStep:
    budget = {key: tag(f"steps.begin.outputs.parameters.{key}") for key in _BUDGET}
    return _rung("rung", "begin.outputs.parameters.rungs", {"depth": "1", **budget, "shards": shards})


def _rung(name: str, chains: str, given: dict[str, str]) -> models.WorkflowStep:
    # A configuration that fails does not fail the rung. What does has left something undone: the Workflow says so.
    item = {key: tag(f"item.{key}") for key in _TO_A_RUNG}
    arguments = parameters({**item, **given})
    return models.WorkflowStep(name=name, template="rung", with_param=tag(f"steps.{chains}"), arguments=arguments)


def _beside(name: str, first: str, steps: list[models.WorkflowStep]) -> models.Template:
    return models.Template(name=name, steps=[_step(_begin(first)), models.ParallelSteps(root=steps)])


def _judges(stations: int, *, is_judged: bool) -> list[models.WorkflowStep]:
    given = parameters({"stations": str(stations)})
    return [models.WorkflowStep(name="judge", template="judge", arguments=given)] if is_judged else []


def _station(count: str) -> models.WorkflowStep:
    return _for_each("station", {"station": tag("item"), "stations": count}, count)


def _hop(number: int) -> models.WorkflowStep:
    given = {"configurations": tag("inputs.parameters.configurations"), "shard": _shard_after(number)}
    return models.WorkflowStep(
        name=f"hop-{number}", template="hop", when=_more_than(number), arguments=parameters(given)
    )


def _for_each(name: str, values: dict[str, str], count: str, template: str | None = None) -> models.WorkflowStep:
    return models.WorkflowStep(
        name=name,
        template=template or name,
        with_sequence=models.Sequence(count=integer(count)),
        arguments=parameters(values),
    )


def _shard_after(hops: int) -> str:
    return computed(f"(asInt(inputs.parameters.shard) + {hops}) % {_SHARDS}")


def _more_than(hops: int) -> str:
    return computed(f"asInt(inputs.parameters.hops) > {hops}")


def _step(step: models.WorkflowStep) -> models.ParallelSteps:
    return models.ParallelSteps(root=[step])
