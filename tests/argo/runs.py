"""One submitted Workflow as a test looks at it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tests.argo.nodes import Node
from tests.argo.pods import PodRun
from tests.argo.workflow import Workflow

Result = TypeVar("Result")


class Clock:
    """Numbers every event of a fake and wakes who waits for one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ticks = itertools.count(1)

    @contextmanager
    def event(self) -> Iterator[int]:
        """The next number. What the `with` statement changes is seen at once, by everybody who waits."""
        with self._changed:
            yield next(self._ticks)
            self._changed.notify_all()

    def wait_until(self, found: Callable[[], Result], timeout_s: float) -> Result:
        """Block until `found` returns something true, and return that."""
        with self._changed:
            result = self._changed.wait_for(found, timeout_s)
        if not result:
            raise TimeoutError(f"nothing like this happened within {timeout_s} s")
        return result


class Run:
    """A Workflow that was submitted: its phase, its nodes and its pods.

    `phase` is Pending (waits for a mutex), Running, Succeeded, Failed or Error.
    """

    def __init__(self, workflow: Workflow, clock: Clock) -> None:
        self.workflow = workflow
        self.phase = "Pending"
        self.message = ""
        self.nodes: list[Node] = []
        self.pod_runs: dict[str, PodRun] = {}
        self.shutdown: str | None = None
        self.begun = self.ended = 0
        self.broken: BaseException | None = None
        self._clock = clock

    @property
    def name(self) -> str:
        """The Workflow's name."""
        return self.workflow.name

    def wait(self, timeout_s: float = 120) -> Run:
        """Block until the Workflow has ended; raises what broke it: a `ManifestError`, or a runner's own exception."""
        self._clock.wait_until(lambda: self.ended, timeout_s)
        if self.broken is not None:
            raise self.broken
        return self

    def wait_until(self, found: Callable[[Run], Result], timeout_s: float = 60) -> Result:
        """Block until `found(run)` is true and return it; it is asked again whenever anything happens."""
        return self._clock.wait_until(lambda: found(self), timeout_s)

    def pods(self, template: str | None = None, phase: str | None = None) -> list[Node]:
        """The Pod nodes in order of creation, of one template or in one phase if given."""
        return list(self._found("Pod", template, phase))

    def count(self, kind: str | None = None, template: str | None = None, phase: str | None = None) -> int:
        """How many nodes there are of a kind, a template, a phase."""
        return sum(1 for _ in self._found(kind, template, phase))

    def node(self, name: str) -> Node:
        """The node of this name, e.g. `hello[0].say`; without the Workflow's name it is looked for, too."""
        for node in self.nodes:
            if node.name in (name, f"{self.name}{name}"):
                return node
        raise LookupError(f"no node '{name}'; there are {[node.name for node in self.nodes]}")

    def running(self, template: str | None = None) -> list[Node]:
        """The Pod nodes that run now."""
        return self.pods(template, "Running")

    def delete_pod(self, pod: str) -> None:
        """Do as `kubectl delete pod`: the container is ended and its node becomes Error."""
        self._active(pod).deletion.happen()

    def terminate(self) -> None:
        """Do as `argo terminate`: every pod is ended, and the exit handler does not run."""
        self._shut_down("Terminate")

    def stop(self) -> None:
        """Do as `argo stop`: every pod but those of the exit handler is ended, and the exit handler runs."""
        self._shut_down("Stop")

    def start_node(self, node: Node, parent: Node | None) -> Node:
        """Add a node under its parent."""
        with self._clock.event() as now:
            node.begun, node.ended = now, now if node.fulfilled else 0
            self.nodes.append(node)
            if parent is not None:
                parent.children.append(node)
        return node

    def change_node(self, node: Node, phase: str, message: str = "") -> Node:
        """Give a node its next phase."""
        with self._clock.event() as now:
            node.phase, node.message = phase, message
            node.ended = now if node.fulfilled else 0
        return node

    def change(self, phase: str, message: str = "") -> None:
        """Give the Workflow its next phase."""
        with self._clock.event() as now:
            self.phase, self.message = phase, message
            self.begun, self.ended = (now, 0) if phase == "Running" else (self.begun, now)

    def blocked(self, *, exiting: bool) -> bool:
        """Whether a shutdown keeps new pods from starting."""
        return self.shutdown == "Terminate" or (self.shutdown == "Stop" and not exiting)

    def end_pods(self) -> None:
        """Delete every pod that has not ended; those of an exit handler live on after `stop`."""
        for node in self.pods():
            exiting = node.name.startswith(f"{self.name}.onExit")
            if not node.fulfilled and not (self.shutdown == "Stop" and exiting):
                self.pod_runs[node.pod_name].deletion.happen()

    def _shut_down(self, strategy: str) -> None:
        self.shutdown = strategy
        self.end_pods()

    def _active(self, pod: str) -> PodRun:
        active = {node.pod_name for node in self.pods() if not node.fulfilled}
        if pod not in active:
            raise LookupError(f"'{pod}' is no pod that waits or runs; these are {sorted(active)}")
        return self.pod_runs[pod]

    def _found(self, kind: str | None, template: str | None, phase: str | None) -> Iterator[Node]:
        for node in list(self.nodes):
            wanted = ((kind, node.kind), (template, node.template), (phase, node.phase))
            if all(value is None or value == actual for value, actual in wanted):
                yield node
