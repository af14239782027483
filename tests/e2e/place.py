"""A namespace of its own on the current cluster, with modelhopper and a MinIO installed, and the way to them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from modelhopper import __version__

ROOT = Path(__file__).parents[2]
TRAINER = os.environ.get("MODELHOPPER_TRAINER_IMAGE", f"modelhopper/trainer:{__version__}-cpu")
SCHEDULER = os.environ.get("MODELHOPPER_SCHEDULER_IMAGE", f"modelhopper/scheduler:{__version__}")
MINIO = os.environ.get("MODELHOPPER_MINIO_IMAGE")
ARGO = os.environ.get("MODELHOPPER_ARGO", "argo")
PATIENCE_S = 1500.0

_POLL_S = 1.0


@dataclass
class Place:
    """One namespace. `endpoint` is its MinIO's address from here."""

    namespace: str
    folder: Path
    endpoint: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    _forwarding: subprocess.Popen[str] | None = field(default=None, init=False, repr=False)

    @property
    def cluster(self) -> dict[str, Any]:
        """What cluster.yaml says: the quick start's store, and the images under test."""
        return {
            "namespace": self.namespace,
            "store": "s3://modelhopper/experiments",
            "endpoint": f"http://minio.{self.namespace}:9000",
            "images": {"trainer": TRAINER, "scheduler": SCHEDULER},
            "resources": {"cpu": "100m", "memory": "1500Mi"},
        }

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which a command here reaches the store."""
        return {**os.environ, "AWS_ENDPOINT_URL": self.endpoint, **self.keys}

    def write_cluster(self, **more: Any) -> Path:
        """Write cluster.yaml and return its path."""
        path = self.folder / "cluster.yaml"
        path.write_text(yaml.safe_dump(self.cluster | more))
        return path

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        """Run kubectl in the namespace and return what it prints."""
        done = subprocess.run(
            ["kubectl", "-n", self.namespace, *arguments], input=given, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def modelhopper(self, *arguments: str | Path, codes: Sequence[int] = (0,)) -> str:
        """Run the `modelhopper` command in the folder, and return what it prints."""
        command = [str(one) for one in arguments]
        done = subprocess.run(
            ["modelhopper", *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in codes, (
            f"modelhopper {' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout + done.stderr

    def workflows(self, experiment: str) -> list[dict[str, Any]]:
        """Return the experiment's Workflows."""
        found = self.kubectl("get", "workflows", "-l", f"modelhopper.io/experiment={experiment}", "-o", "json")
        return list(json.loads(found)["items"])

    def phases(self, experiment: str) -> list[str]:
        """Return the phase of each of the experiment's Workflows."""
        return [one.get("status", {}).get("phase", "") for one in self.workflows(experiment)]

    def wait(self, experiment: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until every Workflow is over; fail unless all succeeded. `meanwhile` is called again and again."""
        deadline = time.monotonic() + PATIENCE_S
        while not all(phase in {"Succeeded", "Failed", "Error"} for phase in self.phases(experiment)):
            assert time.monotonic() < deadline, self.story(experiment)
            meanwhile()
            time.sleep(_POLL_S)
        assert set(self.phases(experiment)) == {"Succeeded"}, self.story(experiment)

    def story(self, experiment: str) -> str:
        """Return what a person would look at when a Workflow does not succeed."""
        pods = self.kubectl("get", "pods", "-o", "wide")
        nodes = [
            f"{node['displayName']} {node['type']} {node.get('phase')} {node.get('message', '')}"
            for workflow in self.workflows(experiment)
            for node in workflow.get("status", {}).get("nodes", {}).values()
            if node.get("phase") not in {"Succeeded", "Skipped"}
        ]
        logs = self.kubectl("logs", "-l", "app.kubernetes.io/name=modelhopper", "-c", "main", "--tail=15", check=False)
        return "\n".join([pods, *nodes, logs])

    def remove(self, experiment: str) -> None:
        """Delete the experiment's Workflows."""
        self.kubectl("delete", "workflows", "-l", f"modelhopper.io/experiment={experiment}", "--wait=true")

    @contextmanager
    def forwarded(self) -> Iterator[None]:
        """Reach MinIO from here while the body runs, also after its pod was replaced and `forward` called again."""
        self.forward()
        try:
            yield
        finally:
            self._stop_forwarding()

    def forward(self) -> None:
        """Reach the pod that MinIO has now; the way to an earlier one went with that pod."""
        self._stop_forwarding()
        command = ["kubectl", "-n", self.namespace, "port-forward", "service/minio", ":9000"]
        self._forwarding = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._forwarding.stdout is not None
        line = self._forwarding.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, line
        self.endpoint = f"http://127.0.0.1:{found[1]}"

    def _stop_forwarding(self) -> None:
        if self._forwarding is not None:
            self._forwarding.terminate()
            self._forwarding.communicate()
            self._forwarding = None


def obstacle() -> str | None:
    """Return why there is no cluster to test on; None when there is one."""
    try:
        found = subprocess.run(
            ["kubectl", "get", "crd", "workflows.argoproj.io", "-o", "name", "--request-timeout=10s"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "kubectl is not installed"
    if found.returncode == 0:
        return None
    said = (found.stderr.strip().splitlines() or ["no answer"])[-1]
    return f"the current kube context has no Argo Workflows ({said})"
