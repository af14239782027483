"""Runs container templates: one pod, or a Retry node with one pod after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.argo.cluster import Cluster
from tests.argo.nodes import Node
from tests.argo.pods import Identity, PodRun, output_parameters, pod_name, pod_run
from tests.argo.refusals import ManifestError
from tests.argo.retries import Verdict, last_retry, verdict
from tests.argo.runs import Run
from tests.argo.tags import Scope, nothing_stays, replaced


@dataclass(frozen=True)
class Container:
    """A container template that is to run as the node `name`, with what its tags may name."""

    name: str
    template: Mapping[str, Any]
    inputs: Mapping[str, str]
    scope: Scope
    parent: Node | None
    exiting: bool


class Attempts:
    """Runs the pods of one Workflow."""

    def __init__(self, run: Run, cluster: Cluster) -> None:
        self._run, self._cluster = run, cluster
        self._place = {"pods": 1}
        parallelism = run.workflow.specification.get("parallelism")
        if parallelism is not None:
            name = f"the parallelism of {run.name}"
            cluster.capacity.add(name, parallelism)
            self._place[name] = 1

    async def execute(self, container: Container) -> Node:
        """Run the container to its end; the node returned is a Pod, or the Retry that holds the pods.

        A mutex of the template is held from before the first pod until after the last.
        """
        async with self._holding(container):
            return await self._all(container)

    async def _all(self, container: Container) -> Node:
        strategy = container.template.get("retryStrategy")
        if strategy is None:
            return await self._pod(container, container.name, container.scope, container.parent)
        retry = Node(container.name, "Retry", container.template["name"], inputs=container.inputs)
        self._run.start_node(retry, container.parent)
        # The expression names what exists only after an attempt, without tags.
        fixed = {key: value for key, value in strategy.items() if key != "expression"}
        decided = replaced(fixed, container.scope, f"template '{container.template['name']}', retryStrategy")
        return await self._retried(container, retry, {**strategy, **decided})

    @asynccontextmanager
    async def _holding(self, container: Container) -> AsyncIterator[None]:
        where, owner = f"template '{container.template['name']}', synchronization", object()
        wanted = container.template.get("synchronization", {}).get("mutexes", [])
        names = tuple(replaced(mutex["name"], container.scope, where) for mutex in wanted)
        turn = self._cluster.mutexes.join(owner, names)
        try:
            await turn.wait()
            yield
        finally:
            self._cluster.mutexes.leave(owner)

    async def _retried(self, container: Container, retry: Node, strategy: Mapping[str, Any]) -> Node:
        attempts: list[Node] = []
        while (end := self._end(strategy, attempts)) is None:
            scope = {**container.scope, **last_retry(attempts)}
            name = f"{container.name}({len(attempts)})"
            attempts.append(await self._pod(container, name, scope, retry))
        retry.outputs, retry.exit_code = attempts[-1].outputs, attempts[-1].exit_code
        return self._run.change_node(retry, end.phase, end.message)

    def _end(self, strategy: Mapping[str, Any], attempts: list[Node]) -> Verdict | None:
        if not attempts:
            return None
        if attempts[-1].unsuccessful and self._run.shutdown:
            return Verdict(attempts[-1].phase, f"Stopped with strategy '{self._run.shutdown}'")
        return verdict(strategy, attempts)

    async def _pod(self, container: Container, name: str, scope: Scope, parent: Node | None) -> Node:
        pod = self._pod_run(container, name, scope)
        node = Node(name, "Pod", pod.template, "Pending", pod_name=pod.name, inputs=container.inputs)
        self._run.pod_runs[pod.name] = pod
        self._run.start_node(node, parent)
        if self._run.blocked(exiting=container.exiting):
            return self._run.change_node(node, "Failed", f"workflow shutdown with strategy: {self._run.shutdown}")
        code = await self._exit_code(pod, node)
        return self._ended(node, pod, container.template, code)

    def _pod_run(self, container: Container, name: str, scope: Scope) -> PodRun:
        identity = Identity(pod_name(self._run.name, container.template["name"], name), name, self._run.name)
        where = f"template '{container.template['name']}'"
        stays = nothing_stays if self._cluster.last_retry_in_pods else _is_last_retry
        if stays is _is_last_retry:
            scope = {key: value for key, value in scope.items() if not _is_last_retry(key)}
        known = {**scope, "pod.name": identity.name, "node.name": name}
        parts = {
            key: value
            for key, value in container.template.items()
            if key not in ("inputs", "retryStrategy", "synchronization")
        }
        template = replaced(parts, known, where, stays)
        specification = dict(self._run.workflow.specification)
        specification["volumes"] = replaced(specification.get("volumes", []), known, "spec.volumes")
        secrets, configmaps = self._cluster.secrets, self._cluster.configmaps
        return pod_run(identity, template, specification, container.inputs, secrets, configmaps)

    async def _exit_code(self, pod: PodRun, node: Node) -> int | None:
        async with self._granted(pod) as granted:
            if not granted:
                return None
            self._run.change_node(node, "Running")
            loop = asyncio.get_running_loop()
            code = loop.run_in_executor(self._cluster.threads, self._cluster.runner, pod)
            try:
                return await asyncio.shield(code)
            except asyncio.CancelledError:
                # Something else broke the run. The container is ended before its place is given to others.
                pod.deletion.happen()
                await asyncio.wait([code])
                raise

    @asynccontextmanager
    async def _granted(self, pod: PodRun) -> AsyncIterator[bool]:
        """Holds a place and the pod's devices; False if the pod was deleted while it waited."""
        capacity, loop = self._cluster.capacity, asyncio.get_running_loop()
        wanted = self._place | pod.devices
        waiting = capacity.request(wanted)
        pod.deletion.listen(lambda: loop.call_soon_threadsafe(capacity.withdraw, waiting))
        try:
            yield await waiting
        finally:
            if waiting.cancelled() or not waiting.result():
                capacity.withdraw(waiting)
            else:
                capacity.release(wanted)

    def _ended(self, node: Node, pod: PodRun, template: Mapping[str, Any], code: int | None) -> Node:
        if pod.deletion.happened and self._run.shutdown:
            return self._run.change_node(node, "Failed", f"workflow shutdown with strategy: {self._run.shutdown}")
        if pod.deletion.happened or code is None:
            # What the process returned does not count: with its pod, Argo has lost the exit code, too.
            return self._run.change_node(node, "Error", "pod deleted")
        if not isinstance(code, int):
            raise ManifestError(f"the runner returned {code!r} for {pod.name}; it returns the exit code, an int")
        node.exit_code = code
        missing = _collect(node, pod, template)
        if code != 0:
            return self._run.change_node(node, "Failed", f"main: Error (exit code {code})")
        if missing:
            return self._run.change_node(
                node, "Error", f"cannot save parameter {missing[0]}: no such file or directory"
            )
        return self._run.change_node(node, "Succeeded")


def _collect(node: Node, pod: PodRun, template: Mapping[str, Any]) -> list[str]:
    """Read the outputs, also those of a container that failed; returns the paths that are missing."""
    missing = []
    for parameter in output_parameters(template):
        source = parameter["valueFrom"]
        value = pod.outputs.get(source["path"], source.get("default"))
        if value is None:
            missing.append(source["path"])
        else:
            node.outputs[parameter["name"]] = value.removesuffix("\n")  # one, as Argo does
    return missing


def _is_last_retry(name: str) -> bool:
    return name.startswith("lastRetry.")
