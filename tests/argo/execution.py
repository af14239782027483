"""Executes one Workflow from its entrypoint to its exit handler."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.argo.attempts import Attempts, Container
from tests.argo.cluster import Cluster
from tests.argo.nodes import UNSUCCESSFUL, Node
from tests.argo.refusals import ManifestError, NodeError
from tests.argo.runs import Run
from tests.argo.steps import Planned, plan, results
from tests.argo.tags import Scope, replaced

MOST_DEPTH = 100  # Argo's own limit of templates that call templates


@dataclass(frozen=True)
class Call:
    """A template that is to be executed as the node `name`."""

    name: str
    template: str
    arguments: Mapping[str, str | None]
    depth: int
    globals: Scope
    parent: Node | None = None
    exiting: bool = False


class Execution:
    """Executes one Workflow. Every child of a step group is a task of its own, so Python's stack stays flat."""

    def __init__(self, run: Run, cluster: Cluster) -> None:
        self._run, self._cluster = run, cluster
        self._workflow = run.workflow

    async def execute(self) -> None:
        """Wait for the mutexes, run the Workflow to its end, and give the mutexes back."""
        turn = self._cluster.mutexes.join(self, self._workflow.mutexes, self._workflow.priority)
        try:
            await turn.wait()
            if self._run.shutdown:  # Argo ends a Workflow that was stopped while it waited without a single node
                self._run.change("Failed", f"Stopped with strategy '{self._run.shutdown}'")
                return
            self._attempts = Attempts(self._run, self._cluster)
            self._run.change("Running")
            self._run.change(*await self._phase())
        except BaseException as error:
            self._run.broken = _first(error)
            self._run.change("Error", str(self._run.broken))
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._cluster.mutexes.leave(self)

    async def _phase(self) -> tuple[str, str]:
        specification, known = self._workflow.specification, dict(self._workflow.scope)
        entry = await self._entered(
            Call(self._run.name, specification["entrypoint"], self._workflow.parameters, 1, known)
        )
        phase, message = entry.phase, entry.message
        if entry.unsuccessful and self._run.shutdown:
            message = f"Stopped with strategy '{self._run.shutdown}'"
        if "onExit" not in specification or self._run.blocked(exiting=True):
            return phase, message
        known |= {"workflow.status": phase, "workflow.failures": self._failures()}
        name, template = f"{self._run.name}.onExit", specification["onExit"]
        last = await self._entered(Call(name, template, self._workflow.parameters, 1, known, exiting=True))
        return (last.phase, last.message) if last.unsuccessful and phase == "Succeeded" else (phase, message)

    async def _entered(self, call: Call) -> Node:
        try:
            return await self._executed(call)
        except NodeError as error:
            return self._run.start_node(Node(call.name, "Skipped", call.template, "Error", str(error)), call.parent)

    async def _executed(self, call: Call) -> Node:
        template = self._workflow.template(call.template)
        if call.depth >= MOST_DEPTH:
            message = "Maximum recursion depth exceeded"
            return self._run.start_node(Node(call.name, "Skipped", call.template, "Error", message), call.parent)
        inputs = _inputs(template, call)
        scope = {**call.globals, **{f"inputs.parameters.{name}": value for name, value in inputs.items()}}
        if "container" in template:
            container = Container(call.name, template, inputs, scope, call.parent, call.exiting)
            return await self._attempts.execute(container)
        node = self._run.start_node(Node(call.name, "Steps", call.template, inputs=inputs), call.parent)
        return await self._steps(call, template, node, scope)

    async def _steps(self, call: Call, template: Mapping[str, Any], node: Node, scope: Scope) -> Node:
        limit = asyncio.Semaphore(template["parallelism"]) if "parallelism" in template else None
        known = {**scope, "node.name": call.name}
        for index, steps in enumerate(template["steps"]):
            where = f"template '{call.template}'.steps[{index}]"
            group = self._run.start_node(Node(f"{call.name}[{index}]", "StepGroup"), node)
            await self._group(call, steps, group, known, _Limits(limit, template.get("failFast", False), where))
            if group.unsuccessful:
                return self._run.change_node(node, "Failed", group.message)
            known |= results(steps, group, self._workflow)
        return self._run.change_node(node, "Succeeded")

    async def _group(
        self, call: Call, steps: Sequence[Mapping[str, Any]], group: Node, scope: Scope, limits: _Limits
    ) -> None:
        try:
            planned = plan(steps, group.name, scope, limits.where)
        except NodeError as error:
            self._run.change_node(group, "Error", str(error))
            return
        outcomes = await _all(self._step(call, one, group, limits) for one in planned)
        for one, outcome in zip(planned, outcomes, strict=True):
            if isinstance(outcome, NodeError):
                message = f"step group deemed errored due to child {one.name} error: {outcome}"
                self._run.change_node(group, "Error", message)
                return
            if outcome is None or (
                outcome.unsuccessful and (limits.fail_fast or outcome.phase not in one.continues_on)
            ):
                self._run.change_node(group, "Failed", f"child '{one.name}' failed")
                return
        self._run.change_node(group, "Succeeded")

    async def _step(self, call: Call, one: Planned, group: Node, limits: _Limits) -> Node | NodeError | None:
        """The step's node; None if `failFast` kept it from starting, and the error if it could not be set up."""
        if one.skipped:
            return self._run.start_node(Node(one.name, "Skipped", one.template, "Skipped", one.skipped), group)
        child = Call(one.name, one.template, one.arguments, call.depth + 1, call.globals, group, call.exiting)
        async with limits.parallelism or nullcontext():
            if limits.fail_fast and any(sibling.phase in UNSUCCESSFUL for sibling in group.children):
                return None
            try:
                return await self._executed(child)
            except NodeError as error:
                return error

    def _failures(self) -> str:
        failures = [
            {
                "displayName": node.name.rpartition(".")[2],
                "message": node.message,
                "templateName": node.template,
                "phase": node.phase,
                "podName": node.pod_name,
                "finishedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            for node in self._run.nodes
            if node.unsuccessful
        ]
        # Argo gives null for no failures, and quotes the JSON once more so that it survives as one argument.
        return json.dumps(json.dumps(failures or None, separators=(",", ":")))


@dataclass(frozen=True)
class _Limits:
    parallelism: asyncio.Semaphore | None
    fail_fast: bool
    where: str


def _inputs(template: Mapping[str, Any], call: Call) -> dict[str, str]:
    declared = {parameter["name"]: parameter for parameter in template.get("inputs", {}).get("parameters", [])}
    unknown = call.arguments.keys() - declared.keys()
    if unknown and call.depth > 1:  # the entrypoint is given all parameters of the Workflow
        raise ManifestError(
            f"'{call.name}' gives {sorted(unknown)} to template '{call.template}', which has no such input"
        )
    return {name: _input(name, parameter, call) for name, parameter in declared.items()}


def _input(name: str, parameter: Mapping[str, Any], call: Call) -> str:
    value = call.arguments.get(name)
    if value is not None:
        return value
    default = parameter.get("value", parameter.get("default"))
    if default is None:
        raise ManifestError(f"'{call.name}': inputs.parameters.{name} of template '{call.template}' was not supplied")
    return str(replaced(default, call.globals, f"template '{call.template}', input {name}"))


async def _all(coroutines: Any) -> list[Node | NodeError | None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_started(coroutine)) for coroutine in coroutines]
    return [task.result() for task in tasks]


async def _started(coroutine: Coroutine[Any, Any, Node | NodeError | None]) -> Node | NodeError | None:
    return await coroutine


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
