"""Which processes an engine uses again, and when they end. They are processes, but no stations: see `obedient`."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import Devices
from modelhopper_contract.messages import Begun, Event
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.engines import local, station_process
from modelhopper_scheduler.engines.local import LocalEngine
from modelhopper_scheduler.engines.outfit import Outfit, outfits
from modelhopper_scheduler.engines.standby import Standby, standby, stop_stations
from tests.scheduler.planned import configuration, specification

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _obedient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(station_process, "_MODULE", "tests.scheduler.obedient")


@pytest.fixture
def idle() -> Iterator[Standby]:
    with Standby() as made:
        yield made


def two(files: str = "") -> list[Outfit]:
    return [replace(one, files=files) for one in outfits(Devices(), [None, None])]


def run(idle: Standby | None, wanted: list[Outfit], logs: Path, keep: tuple[int, ...] = ()) -> list[int]:
    """Let an engine start and stop its stations; return their process ids."""
    with LocalEngine(MemoryStore(), "small", wanted, logs, keep, standby=idle) as engine:
        return pids(engine)


def pids(engine: LocalEngine) -> list[int]:
    return [engine._processes[number]._process.pid for number in range(engine.stations)]


def are_gone(processes: list[int]) -> bool:
    return not any(psutil.pid_exists(one) for one in processes)


def test_a_second_run_has_the_same_processes(idle: Standby, tmp_path: Path) -> None:
    first = run(idle, two(), tmp_path)
    assert run(idle, two(), tmp_path) == first
    idle.dismiss()
    assert are_gone(first)


def test_without_a_standby_processes_end_with_their_run(tmp_path: Path) -> None:
    assert are_gone(run(None, two(), tmp_path))


def test_the_number_of_stations_may_differ(idle: Standby, tmp_path: Path) -> None:
    first = run(idle, two()[:1], tmp_path)
    more = run(idle, two(), tmp_path)
    assert more[:1] == first
    assert run(idle, two()[:1], tmp_path) == first
    assert run(idle, two(), tmp_path) == more  # the second one waited


@pytest.mark.parametrize(
    "change", [{"files": "others"}, {"threads": 2}, {"gpu": "0"}, {"deterministic": False}, {"environment": {}}]
)
def test_whatever_differs_makes_new_processes_and_ends_the_old(
    idle: Standby, tmp_path: Path, change: dict[str, object]
) -> None:
    first = run(idle, two(), tmp_path)
    other = [replace(one, **change) for one in two()]  # type: ignore[arg-type]
    other = [replace(one, environment={**one.environment, "PATH": os.environ["PATH"]}) for one in other]
    with LocalEngine(MemoryStore(), "small", other, tmp_path, standby=idle) as engine:
        assert are_gone(first)
        assert not set(pids(engine)) & set(first)


def test_a_process_that_has_died_is_replaced(idle: Standby, tmp_path: Path) -> None:
    first = run(idle, two(), tmp_path)
    psutil.Process(first[1]).kill()
    second = run(idle, two(), tmp_path)
    assert (second[0], second[1] != first[1]) == (first[0], True)


def test_a_process_that_is_stuck_is_replaced(idle: Standby, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(idle, two()[:1], tmp_path)
    psutil.Process(first[0]).suspend()
    monkeypatch.setattr(local, "_ANSWER_TIMEOUT_S", 0.05)
    second = run(idle, two()[:1], tmp_path)
    assert second != first
    assert are_gone(first)


def test_processes_of_a_run_that_was_interrupted_are_not_kept(idle: Standby, tmp_path: Path) -> None:
    engine = LocalEngine(MemoryStore(), "small", two(), tmp_path, standby=idle)

    def interrupted() -> list[int]:
        with engine:
            found.extend(pids(engine))
            raise KeyboardInterrupt

    found: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert are_gone(found)
    assert not set(run(idle, two(), tmp_path)) & set(found)


def test_a_kept_process_holds_the_lock_of_the_run_that_it_takes_part_in(idle: Standby, tmp_path: Path) -> None:
    run(idle, two()[:1], tmp_path)
    path = tmp_path / "lock"
    with path.open("a") as mine, path.open("a") as others:
        fcntl.flock(mine, fcntl.LOCK_EX)
        with LocalEngine(MemoryStore(), "small", two()[:1], tmp_path, (mine.fileno(),), standby=idle):
            mine.close()  # as if this process were killed
            with pytest.raises(BlockingIOError):
                fcntl.flock(others, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(others, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_processes_started_ahead_fit_any_files_and_those_too_many_end(idle: Standby, tmp_path: Path) -> None:
    idle.start([*two(), *two()])
    ahead = [one._process.pid for one in idle._idle]
    with LocalEngine(MemoryStore(), "small", two("known by now"), tmp_path, standby=idle) as engine:
        assert pids(engine) == ahead[:2]
        assert are_gone(ahead[2:])


def test_what_a_process_printed_before_it_died_is_told(tmp_path: Path) -> None:
    with LocalEngine(MemoryStore(), "small", two()[:1], tmp_path) as engine:
        process = engine._processes[0]
        assert process.says(Begun, 20)
        psutil.Process(pids(engine)[0]).kill()
        process.exit_code()
        assert process.last_lines() == "here I am"


def test_a_mistake_that_shows_when_it_is_measured_is_told_as_any_other(tmp_path: Path) -> None:
    heard: list[Event] = []
    with LocalEngine(MemoryStore(), "small", two(), tmp_path) as engine:
        with pytest.raises(SpecError, match="no such loss") as told:
            engine.measure(specification(), [configuration(1)], heard.append)
        assert told.value.path == ("loss",)
    assert [event.kind for event in heard] == ["measured"]


PROGRAM = """
import os, sys, time
from pathlib import Path
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.engines import station_process
from modelhopper_scheduler.engines.local import LocalEngine
from modelhopper_scheduler.engines.standby import standby
from tests.scheduler.test_standby import two, run

station_process._MODULE = "tests.scheduler.obedient"
print(*run(standby(), two(), Path(sys.argv[1])), flush=True)
if sys.argv[2] != "end" and os.fork() == 0:
    print(len(standby()._idle), flush=True)
    sys.stdin.read()
if sys.argv[2] != "end":
    sys.stdin.read()
"""


def program(folder: Path, how: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(ROOT)])}
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(folder), how]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=ROOT)


@pytest.mark.parametrize("how", ["end", "fork and kill"])
def test_kept_processes_end_with_the_program(tmp_path: Path, how: str) -> None:
    with program(tmp_path, how) as running:
        assert running.stdout is not None
        kept = [psutil.Process(int(word)) for word in running.stdout.readline().split()]
        assert len(kept) == 2
        if how != "end":
            assert running.stdout.readline() == "0\n"  # they are the parent's
        if how != "end":
            running.send_signal(signal.SIGKILL)
        assert psutil.wait_procs(kept, timeout=20)[1] == []
        errors = running.communicate()[1]  # closes standard input, which ends what was forked
    assert errors == ""
    assert running.returncode == (0 if how == "end" else -signal.SIGKILL)


def test_stop_stations_ends_those_of_this_program(tmp_path: Path) -> None:
    kept = run(standby(), two(), tmp_path)
    assert not are_gone(kept)
    stop_stations()
    assert are_gone(kept)
