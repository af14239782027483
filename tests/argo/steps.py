"""What a step group starts, and what its steps leave for later groups."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.argo.expressions import ExpressionError, holds
from tests.argo.items import expanded, loops
from tests.argo.nodes import Node
from tests.argo.refusals import ManifestError, NodeError
from tests.argo.tags import Scope, replaced
from tests.argo.workflow import Workflow, parameter_values


@dataclass(frozen=True)
class Planned:
    """One child of a step group: a call of `template`, or a reason in `skipped`."""

    name: str
    template: str
    arguments: Mapping[str, str | None]
    continues_on: frozenset[str]
    skipped: str = ""


def plan(steps: Sequence[Mapping[str, Any]], group: str, scope: Scope, where: str) -> list[Planned]:
    """The children of a step group, loops expanded and `when` decided, in the order in which Argo starts them."""
    return [one for step in steps for one in _planned(step, group, scope, f"{where} ('{step.get('name')}')")]


def results(steps: Sequence[Mapping[str, Any]], group: Node, workflow: Workflow) -> dict[str, str | None]:
    """What later groups may name of these steps: `steps.NAME.status` and `steps.NAME.outputs.parameters.P`.

    An output of a step that was skipped, or that failed without writing it, is None unless it has a default. A looped
    step has JSON lists of what its successful copies wrote.
    """
    found: dict[str, str | None] = {}
    for step in steps:
        declared = workflow.template(step["template"]).get("outputs", {}).get("parameters", [])
        children = [node for node in group.children if _step_of(node, group) == step["name"]]
        for parameter in declared:
            key = f"steps.{step['name']}.outputs.parameters.{parameter['name']}"
            found[key] = _joined(children, parameter["name"]) if loops(step) else _single(children[0], parameter)
        if not loops(step):
            found[f"steps.{step['name']}.status"] = children[0].phase
    return found


def _planned(step: Mapping[str, Any], group: str, scope: Scope, where: str) -> list[Planned]:
    if "name" not in step or "template" not in step:
        raise ManifestError(f"{where} needs a name and a template")
    if not loops(step):
        return [_child(step, f"{group}.{step['name']}", scope, where)]
    copies = expanded(step, scope, where)
    if not copies:
        return [_skipped(step, f"{group}.{step['name']}", "Skipped, empty params")]
    return [_child(step, f"{group}.{name}", {**scope, **item}, where) for name, item in copies]


def _child(step: Mapping[str, Any], name: str, scope: Scope, where: str) -> Planned:
    when = replaced(step.get("when", ""), scope, f"{where}.when")
    try:
        proceeds = holds(when)
    except ExpressionError as error:
        raise NodeError(f"Invalid 'when' expression '{when}': {error}") from error
    if not proceeds:
        # The arguments stay unresolved: they may name what only exists when the step runs.
        return _skipped(step, name, f"when '{when}' evaluated false")
    values = parameter_values(step.get("arguments", {}), where)
    arguments = {key: replaced(value, scope, f"{where}, argument {key}") for key, value in values.items()}
    return Planned(name, step["template"], arguments, _continues_on(step))


def _skipped(step: Mapping[str, Any], name: str, reason: str) -> Planned:
    return Planned(name, step["template"], {}, _continues_on(step), reason)


def _continues_on(step: Mapping[str, Any]) -> frozenset[str]:
    wanted = step.get("continueOn", {})
    return frozenset(phase for field, phase in (("failed", "Failed"), ("error", "Error")) if wanted.get(field, False))


def _step_of(node: Node, group: Node) -> str:
    return node.name.removeprefix(f"{group.name}.").partition("(")[0]


def _single(node: Node, parameter: Mapping[str, Any]) -> str | None:
    value = node.outputs.get(parameter["name"], parameter["valueFrom"].get("default"))
    return None if value is None else str(value)


def _joined(nodes: Sequence[Node], name: str) -> str:
    values = [node.outputs[name] for node in nodes if node.phase == "Succeeded" and name in node.outputs]
    structured = [_structure(value) for value in values]
    if any(value is None for value in structured):
        return json.dumps(values, separators=(",", ":"))
    return json.dumps(structured, separators=(",", ":"))


def _structure(value: str) -> list[Any] | dict[str, Any] | None:
    try:
        parsed = json.loads(value)
    except ValueError:
        return None
    return parsed if isinstance(parsed, list | dict) else None
