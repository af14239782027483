"""Builds the small Workflows of the fake's own tests, and runners for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.argo.fake_argo import FakeArgo
from tests.argo.pods import PodRun
from tests.argo.runs import Run

Tree = dict[str, Any]


def ok(_pod: PodRun) -> int:
    return 0


def pod(name: str, inputs: Sequence[str] = (), container: Tree | None = None, **more: Any) -> Tree:
    env = [{"name": each.upper(), "value": f"{{{{inputs.parameters.{each}}}}}"} for each in inputs]
    filled = {"image": "some", "command": ["python"], "env": env, **(container or {})}
    parameters = {"parameters": [{"name": each} for each in inputs]}
    return {"name": name, "inputs": parameters, "container": filled, **more}


def step(template: str, arguments: Mapping[str, str] | None = None, **more: Any) -> Tree:
    parameters = [{"name": name, "value": value} for name, value in (arguments or {}).items()]
    return {"name": template, "template": template, "arguments": {"parameters": parameters}, **more}


def steps(name: str, *groups: list[Tree], inputs: Sequence[str] = (), **more: Any) -> Tree:
    parameters = {"parameters": [{"name": each} for each in inputs]}
    return {"name": name, "inputs": parameters, "steps": list(groups), **more}


def workflow(*templates: Tree, parameters: Mapping[str, str] | None = None, **more: Any) -> Tree:
    arguments = {"parameters": [{"name": name, "value": value} for name, value in (parameters or {}).items()]}
    specification = {"entrypoint": templates[0]["name"], "templates": list(templates), "arguments": arguments, **more}
    return manifest(specification, generateName="w-")


def manifest(specification: Tree, kind: str = "Workflow", **metadata: str) -> Tree:
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": specification}


def ended(tree: Tree, runner: Callable[[PodRun], int] = ok, parameters: Tree | None = None, **more: Any) -> Run:
    with FakeArgo(runner, **more) as argo:
        return argo.run_to_end(tree, parameters, timeout_s=30)


def inputs_of(run: Run, template: str, name: str) -> list[str]:
    return [node.inputs[name] for node in run.pods(template)]


def writing(text: str) -> Callable[[PodRun], int]:
    def runner(pod: PodRun) -> int:
        pod.outputs.update(dict.fromkeys(pod.output_paths, text))
        return 0

    return runner


def failing(*templates: str, code: int = 1) -> Callable[[PodRun], int]:
    return lambda pod: code if pod.template in templates else 0


def output(name: str, **more: str) -> Tree:
    return {"parameters": [{"name": name, "valueFrom": {"path": f"/tmp/outputs/{name}", **more}}]}


def recording(pods: list[PodRun]) -> Callable[[PodRun], int]:
    def runner(pod: PodRun) -> int:
        pods.append(pod)
        return 0

    return runner


def waits_once() -> Callable[[PodRun], int]:
    first = threading.Event()

    def runner(pod: PodRun) -> int:
        if pod.template == "a" and not first.is_set():
            first.set()
            pod.deletion.wait(timeout_s=20)
        return 0

    return runner
