"""A fake of Argo Workflows that runs rendered Workflows to the end on this machine.

It knows the part of Argo v3.6 to v4.1 that we render, behaves there as Argo's controller does, and refuses the rest by
the field's name. It keeps no time: a backoff does not wait, and there are no deadlines. What only a real kubelet can
enforce (read-only root and mounts, user ids, memory limits, node placement) has no effect.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from tests.argo import fields
from tests.argo.capacity import Capacity, Mutexes
from tests.argo.cluster import Cluster, Runner
from tests.argo.execution import Execution
from tests.argo.mounts import Objects
from tests.argo.refusals import ManifestError
from tests.argo.runs import Clock, Run
from tests.argo.workflow import load


class FakeArgo:
    """A cluster with Argo in it, to be used in a `with` statement.

    `runner` runs one pod's container in a thread and returns its exit code; see `ProcessRunner`. `gpus` are the devices
    of all nodes together, e.g. {"nvidia.com/gpu": 4}. `templates` are WorkflowTemplates. `max_pods` bounds the
    containers that run at once and keeps the machine sane; pods that wait for each other need as many places as they
    are. `last_retry_in_pods=False` leaves `{{lastRetry.*}}` as it is in containers, as Argo 3.6 does. `now` says when a
    Workflow is created.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        gpus: Mapping[str, int] | None = None,
        secrets: Objects | None = None,
        configmaps: Objects | None = None,
        templates: Iterable[Mapping[str, Any]] = (),
        max_pods: int = 2,
        last_retry_in_pods: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._now = now
        self._templates = {template["metadata"]["name"]: _checked(template) for template in templates}
        self._cluster = Cluster(
            runner=runner,
            threads=ThreadPoolExecutor(max_pods),
            capacity=Capacity({"pods": max_pods, **(gpus or {})}),
            mutexes=Mutexes(),
            secrets=secrets or {},
            configmaps=configmaps or {},
            last_retry_in_pods=last_retry_in_pods,
        )
        self._clock = Clock()
        self.runs: dict[str, Run] = {}

    def __enter__(self) -> FakeArgo:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-argo")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._cluster.threads.shutdown()

    def submit(self, manifest: Mapping[str, Any], parameters: Mapping[str, str] | None = None) -> Run:
        """Create the Workflow as `argo submit -p NAME=VALUE` does, and return at once.

        Raises `ManifestError` for a manifest that Argo or the fake refuses.
        """
        workflow = load(manifest, self._name(manifest), parameters or {}, self._templates, self._now())
        run = Run(workflow, self._clock)
        self.runs[run.name] = run
        asyncio.run_coroutine_threadsafe(Execution(run, self._cluster).execute(), self._loop)
        return run

    def submit_from(self, template: str, parameters: Mapping[str, str] | None = None) -> Run:
        """Create a Workflow of a WorkflowTemplate, as `argo submit --from workflowtemplate/NAME` does."""
        manifest = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"generateName": f"{template}-"},
            "spec": {"workflowTemplateRef": {"name": template}},
        }
        return self.submit(manifest, parameters)

    def run_to_end(
        self, manifest: Mapping[str, Any], parameters: Mapping[str, str] | None = None, timeout_s: float = 120
    ) -> Run:
        """Create the Workflow and wait for its end."""
        return self.submit(manifest, parameters).wait(timeout_s)

    def most_at_once(self, resource: str = "pods") -> int:
        """How many pods ran, or devices of this name were used, at the same time at most."""
        return self._cluster.capacity.most_used[resource]

    def _name(self, manifest: Mapping[str, Any]) -> str:
        metadata = manifest.get("metadata", {})
        name = str(metadata.get("name") or f"{metadata.get('generateName', '')}{uuid.uuid4().hex[:5]}")
        if name in self.runs or not (metadata.get("name") or metadata.get("generateName")):
            raise ManifestError(f"metadata.name is '{name}', which is missing or exists already")
        return name

    async def _cancel(self) -> None:
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _checked(template: Mapping[str, Any]) -> Mapping[str, Any]:
    if template.get("kind") != "WorkflowTemplate":
        raise ManifestError(f"kind is '{template.get('kind')}'; FakeArgo's templates are WorkflowTemplates")
    fields.check(template)
    return template
