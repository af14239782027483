"""What all Workflows of a fake share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.argo.capacity import Capacity, Mutexes
from tests.argo.mounts import Objects
from tests.argo.pods import PodRun

# Runs a pod's container to its end and returns its exit code; called in a thread of its own.
Runner = Callable[[PodRun], int]


@dataclass(frozen=True)
class Cluster:
    """The one cluster of a `FakeArgo`."""

    runner: Runner
    threads: ThreadPoolExecutor
    capacity: Capacity
    mutexes: Mutexes
    secrets: Objects
    configmaps: Objects
    last_retry_in_pods: bool
