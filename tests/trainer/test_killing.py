"""Real processes, really killed: the local engine's claim, from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelhopper.results import Run
from modelhopper_contract.names import Names
from modelhopper_contract.records import Outcome
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.memory import MemoryStore
from tests.trainer.small_run import SEARCH, SmallRun

pytestmark = pytest.mark.xdist_group("killing")

# Runs the small experiment with two stations, and prints one line per event, so that the test knows where it is.
RUN = """
import sys
from pathlib import Path
from modelhopper.running import make_ready, run_job
from tests.trainer.small_run import experiment_in

if __name__ == "__main__":
    specification, _ = experiment_in(Path(sys.argv[1]), **LENGTH)
    experiment = specification.experiment.model_copy(
        update={"devices": specification.experiment.devices.model_copy(update={"stations": 2, "kind": "cpu"})}
    )
    job = make_ready(experiment, Path(sys.argv[1]), store=sys.argv[2])
    run_job(job, lambda event: print(event.kind, getattr(event, "action", ""), flush=True))
    print("finished", flush=True)
"""

LENGTH: dict[str, Any] = {"iterations": 12, "evaluate_every": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, bytes]:
    run = SmallRun.prepare(folder, **LENGTH)
    store = MemoryStore()
    run.begin(store)
    run.finish(store, 1)
    return {name: data for name, data in run.results(store).items() if "/metrics/" not in name}


def start(folder: Path, store: str, changes: Mapping[str, Any] = LENGTH) -> subprocess.Popen[str]:
    script = textwrap.dedent(RUN).replace("**LENGTH", f"**{dict(changes)!r}")
    path = folder / "run.py"
    path.write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])}
    return subprocess.Popen(
        [sys.executable, str(path), str(folder), store], stdout=subprocess.PIPE, text=True, env=environment
    )


def read_until(process: subprocess.Popen[str], kind: str, count: int) -> None:
    """Read events until `count` of a kind were seen."""
    assert process.stdout is not None
    for line in process.stdout:
        count -= line.startswith(kind)
        if count <= 0:
            return
    raise AssertionError(f"the run ended before it was killed, {count} `{kind}` short")


def finish(folder: Path, store: str) -> None:
    """Run the same again."""
    with start(folder, store) as again:
        assert again.communicate()[0].endswith("finished\n")


def kill_a_station(process: subprocess.Popen[str]) -> None:
    psutil.Process(process.pid).children()[0].kill()


def kill_the_parent(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def kill_everything(process: subprocess.Popen[str]) -> None:
    stations = psutil.Process(process.pid).children()
    process.kill()
    for station in stations:
        station.kill()
    process.wait()


def terminate_a_station(process: subprocess.Popen[str]) -> None:
    psutil.Process(process.pid).children()[-1].send_signal(signal.SIGTERM)


def results(folder: Path, store: str) -> dict[str, bytes]:
    opened = open_store(store)
    kept = ("checkpoints", "history", "outcomes")
    return {e.name: opened.get(e.name) for e in opened.list("small/") if e.name.split("/")[1] in kept}


@pytest.mark.parametrize(
    "kill",
    [
        kill_a_station,
        kill_the_parent,
        pytest.param(kill_everything, marks=pytest.mark.slow),
        pytest.param(terminate_a_station, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_to_the_same_bytes(
    folder: Path, expected: dict[str, bytes], tmp_path: Path, kill: Callable[[subprocess.Popen[str]], None]
) -> None:
    store = str(tmp_path / "runs")
    with start(folder, store) as first:
        read_until(first, "trained", 7)
        kill(first)
        alive = first.poll() is None  # the engine starts a dead station again by itself
        assert not alive or first.communicate()[0].endswith("finished\n")
    if not alive:
        finish(folder, store)
    assert results(folder, store) == expected


@pytest.mark.slow
def test_a_killed_run_with_early_stopping_ends_the_same(tmp_path: Path) -> None:
    from tests.trainer.test_early_stopping import CHANGES, ends
    from tests.trainer.test_early_stopping import finish as finish_small

    small, expected = SmallRun.prepare(tmp_path, **CHANGES), MemoryStore()
    small.begin(expected)
    finish_small(small, expected, 1, "evaluate")
    store = str(tmp_path / "runs")
    with start(tmp_path, store, CHANGES) as first:
        read_until(first, "trained", 14)
        kill_everything(first)
    with start(tmp_path, store, CHANGES) as again:
        assert again.communicate()[0].endswith("finished\n")
    assert ends(small, open_store(store)) == ends(small, expected)


@pytest.mark.parametrize("model", ["deadly", "deadly_evaluation"])
def test_a_configuration_that_kills_its_station_again_and_again_fails_alone(tmp_path: Path, model: str) -> None:
    deadly = {"model": model, "optimizer": {"name": "SGD", "learning_rate": 0.1}}
    changes = {
        "search": {"method": "list", "configurations": [SEARCH[0], deadly]},
        "iterations": 12,
        "evaluate_every": 1,
    }
    store = str(tmp_path / "runs")
    with start(tmp_path, store, changes) as run:
        assert run.communicate()[0].endswith("finished\n")
    opened, names = open_store(store), Names("small")
    ends = [Outcome.from_json(opened.get(names.outcome(number))) for number in (1, 2)]
    assert [end.state for end in ends] == ["finished", "failed"]
    assert ends[1].failure is not None
    assert ends[1].failure.reason.startswith("its station died 3 times at this hop (by signal 9)")
    retried = [line.words for line in Run(opened, "small").explain(2).lines if line.about == "retried"]
    assert len(retried) >= 2
    assert all(re.search(r"station \d died \(by signal 9\); done again$", words) for words in retried)


def test_a_run_killed_while_preparing_begins_anew(folder: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    store = str(tmp_path / "runs")
    with start(folder, store) as first:
        read_until(first, "built", 2)
        kill_everything(first)
    finish(folder, store)
    assert results(folder, store) == expected


def test_a_station_that_is_told_to_stop_while_it_listens_ends_in_order(folder: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "runs")
    with start(folder, store) as first:
        read_until(first, "trained", 3)
        station = psutil.Process(first.pid).children()[0]
        station.send_signal(signal.SIGTERM)
        psutil.wait_procs([station], timeout=30)
        assert first.communicate()[0].endswith("finished\n")
    assert all("Fatal Python error" not in path.read_text() for path in Path(store, "small", "logs").iterdir())
