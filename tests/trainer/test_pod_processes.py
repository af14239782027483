"""Real pods' processes, with a real store between them: started, told to stop, killed, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modelhopper_contract.manifest import MANIFEST_NAME, Manifest
from modelhopper_contract.names import Names
from modelhopper_contract.records import Outcome
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_contract.submission import Bundle, Submission
from modelhopper_scheduler.conduct import restore
from modelhopper_trainer.pod.suspects import Suspect
from tests.trainer.small_run import SEARCH, SmallRun

pytestmark = pytest.mark.xdist_group("killing")

NAMES = Names("small")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pods")


@pytest.fixture(scope="module")
def run(folder: Path) -> SmallRun:
    """Of few kinds, because each process compiles its own."""
    search = {"method": "list", "configurations": SEARCH[:2]}
    return SmallRun.prepare(folder, search=search, iterations=2, evaluate_every=1)


@pytest.fixture(scope="module")
def expected(run: SmallRun) -> dict[str, bytes]:
    store = MemoryStore()
    run.begin(store)
    run.finish(store, 1)
    return run.results(store)


def begin(run: SmallRun, folder: Path, url: str, stations: int) -> Store:
    """Put into the store what a submission and the first pod put there."""
    store, data = open_store(url), run.specification.experiment.data
    manifests = {
        "training": Manifest.from_json((folder / data.train / MANIFEST_NAME).read_bytes()),
        "validation": Manifest.from_json((folder / (data.validation or "") / MANIFEST_NAME).read_bytes()),
    }
    contents = {path: (folder / path).read_bytes() for path in run.specification.files}
    # Wherever the submission was made, its folder is not here.
    elsewhere = run.specification.model_copy(update={"folder": "/nowhere"})
    submission = Submission.model_validate(
        {
            "specification": elsewhere,
            "configurations": run.planned,
            "manifests": manifests,
            "files": run.specification.files,
        }
    )
    Bundle(submission, contents).put(store)
    run.begin(store)
    store.put(NAMES.specification(), elsewhere.to_json())
    restore(run.specification, run.planned, store, stations)
    return store


def start(folder: Path, url: str, role: str, *arguments: object, **changes: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "modelhopper_trainer.pod", role, "--experiment", "small", *map(str, arguments)]
    for split, name in (("training", "train"), ("validation", "valid")):
        command += ["--data", f"{split}={folder / name}/0000{{shard}}"]
    environment: Mapping[str, str] = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[2])]),
        "MODELHOPPER_STORE": url,
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **changes,
    }
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return
    raise AssertionError(f"the pod ended before it said `{words}`:\n{''.join(seen)}")


def test_station_pods_finish_a_run_together(
    run: SmallRun, folder: Path, expected: dict[str, bytes], s3_url: str
) -> None:
    store = begin(run, folder, s3_url, 2)
    pods = [start(folder, s3_url, "station", "--station", k, "--stations", 2, MODELHOPPER_POD=f"s{k}") for k in (0, 1)]
    said = [pod.communicate(timeout=120)[0] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], "".join(said)
    assert run.results(store) == expected
    assert [store.get(NAMES.log(f"s{k}.log")).decode() for k in (0, 1)] == said


def test_a_pod_told_to_stop_in_a_hop_ends_at_once_and_loses_nothing(
    run: SmallRun, folder: Path, expected: dict[str, bytes], s3_url: str
) -> None:
    store = begin(run, folder, s3_url, 1)
    pod = start(folder, s3_url, "station", "--station", 0, "--stations", 1, MODELHOPPER_POD="stopped")
    with pod:
        read_until(pod, "training hop 3")
        began_s = time.monotonic()
        pod.send_signal(signal.SIGTERM)
        said = pod.communicate(timeout=60)[0]
    assert pod.returncode == 75
    assert time.monotonic() - began_s < 5
    assert "Told to stop (SIGTERM)" in said
    assert "Told to stop (SIGTERM)" in store.get(NAMES.log("stopped.log")).decode()
    run.finish(store, 1)
    assert run.results(store) == expected


STUCK = """
import time
from modelhopper_trainer.pod.termination import Termination

ending = Termination()
ending.at_end(lambda: time.sleep(600))  # a store that gives no answer
ending.listen()
print("ready", flush=True)
time.sleep(600)
"""


def test_a_pod_told_to_stop_does_not_wait_for_a_store(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", STUCK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as pod:
        read_until(pod, "ready")
        began_s = time.monotonic()
        pod.send_signal(signal.SIGTERM)
        assert pod.wait(30) == 75
    assert time.monotonic() - began_s < 4


def test_what_kills_two_careful_pods_fails_alone(tmp_path: Path) -> None:
    deadly = {"model": "deadly", "optimizer": {"name": "SGD", "learning_rate": 0.1}}
    changes: dict[str, Any] = {"search": {"method": "list", "configurations": [SEARCH[0], deadly]}, "iterations": 3}
    run = SmallRun.prepare(tmp_path / "files", **changes)
    url = str(tmp_path / "runs")
    store = begin(run, tmp_path / "files", url, 3)
    shard = run.specification.ring.shard(run.planned[1].offset, 0)

    def attempt(retries: int) -> tuple[int, str]:
        argued = ["--shard", shard, "--configurations", "2"]
        retry = {"MODELHOPPER_RETRIES": str(retries), "MODELHOPPER_LAST_EXIT_CODE": "137", "MODELHOPPER_POD": "d"}
        with start(tmp_path / "files", url, "hop", *argued, **retry) as pod:
            said = pod.communicate(timeout=60)[0]
        return pod.returncode, said

    code, said = attempt(1)
    assert code == -signal.SIGKILL
    assert said.endswith("configuration 2: training hop 0 of 9, in iteration 1\n")  # the last words are not lost
    assert Suspect.from_json(store.get(NAMES.suspect("hop-00002"))).configuration == 2
    code, said = attempt(2)
    assert code == 3, said
    found = Outcome.from_json(store.get(NAMES.outcome(2)))
    assert found.failure is not None
    assert "killed twice at this hop" in found.failure.reason
    assert not store.list(NAMES.suspect("hop-00002"))
