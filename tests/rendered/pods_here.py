"""Pods of rendered Workflows as calls in this process: TensorFlow starts once, and programs are compiled once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from modelhopper.pods.__main__ import main as pods
from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store, url_of
from modelhopper_trainer import station, workshop
from modelhopper_trainer.pod import process as trainer
from modelhopper_trainer.pod import vigil
from modelhopper_trainer.pod.process import Surroundings
from modelhopper_trainer.scoring import pod as scorer
from modelhopper_trainer.workshop import Tools, Workshop
from tests.argo.pods import PodRun
from tests.argo.processes import ProcessRunner
from tests.trainer.small_run import Mortal

TERMINATED = 143


@dataclass(frozen=True)
class Fate:
    """The end of a pod before its time: after so many changes of the store, deleted or with this exit code."""

    changes: int
    code: int | None = None  # None: the pod is deleted


Before = Callable[[int, PodRun], Fate | None]


def undisturbed(_number: int, _pod: PodRun) -> Fate | None:
    return None


class PodsHere(ProcessRunner):
    """A runner for `FakeArgo(max_pods=1)`: a pod is a call of its module's `main` with everything that it is given.

    `before(n, pod)` is asked before the n-th pod what is to become of it. Stations cannot wait for each other here:
    one that would wait ends as if the store gave no answer, and Argo starts it again after the others.
    """

    def __init__(self, folder: Path, claims: Mapping[str, Path], before: Before = undisturbed) -> None:
        super().__init__(folder, claims=claims)
        self._before = before
        self.count = 0

    def _ended(self, pod: PodRun, command: list[str], env: Mapping[str, str]) -> int:
        self.count += 1
        fate = self._before(self.count, pod)
        _, _, module, *arguments = command
        with mock.patch.dict(os.environ, env), _printing_to(self._folder / pod.name / "log.txt"):
            code = _called(module, arguments, env, fate)
        if fate is None:
            return code
        if fate.code is None:
            pod.deletion.happen()
            return TERMINATED
        return fate.code


def _called(module: str, arguments: list[str], env: Mapping[str, str], fate: Fate | None) -> int:
    try:
        store: Store | None = None
        if fate is not None:
            store = Mortal(open_store(url_of(env)), fate.changes)
        if module == "modelhopper.pods":
            return pods(arguments, env, store)
        if module == "modelhopper_trainer.scoring.pod":
            return scorer.main(arguments, env, store)
        assert module == "modelhopper_trainer.pod", module
        return trainer.main(arguments, Surroundings(env, store=store))
    except SystemExit as exit_:  # of argparse
        return int(exit_.code or 0)


@contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Let everything that is printed go into a file, also what C++ code and child processes print."""
    kept = os.dup(1), os.dup(2)
    with path.open("a", buffering=1, encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        try:
            for number in (1, 2):
                os.dup2(log.fileno(), number)
            yield
        finally:
            for number, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)


def prepare_process(patch: pytest.MonkeyPatch) -> None:
    """Let pods of this process share compiled programs, and give up where they would wait for each other."""
    tools: dict[bytes, Tools] = {}

    class Shared(Workshop):
        def __init__(self, specification: Specification, data: Any = None) -> None:
            super().__init__(specification, data)
            self._tools = tools

    patch.setattr(workshop, "Workshop", Shared)
    patch.setattr(station, "Workshop", Shared)
    patch.setattr(vigil, "_FIRST_CHECK_S", 0.0)
    patch.setattr(vigil.Bell, "wait", _no_patience)


def _no_patience(_bell: vigil.Bell, _looks: int) -> None:
    raise StoreUnavailable("the others are to go on")
