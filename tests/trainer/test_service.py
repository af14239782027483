"""What a station's process does between runs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelhopper_contract.errors import ExitCode
from modelhopper_contract.messages import Command, Event, Release, Serve, Stop
from modelhopper_trainer.ear import Ear
from modelhopper_trainer.service import Service, _has_changed_since

pytestmark = pytest.mark.xdist_group("tensorflow")


def heard(*commands: Command) -> Ear:
    """Return an ear that has heard everything; the last must be to stop, or the process would end."""
    assert isinstance(commands[-1], Stop)
    ear = Ear(io.BytesIO(b"".join(command.to_json() + b"\n" for command in commands)))
    ear._listen()
    return ear


def service(ear: Ear, most_idle_s: float) -> tuple[Service, list[Event]]:
    told: list[Event] = []
    return Service(ear, told.append, None, lambda _: None, time.time(), most_idle_s), told


def test_a_process_that_nobody_wants_ends_by_itself() -> None:
    made, told = service(Ear(io.BytesIO()), 0.01)
    made.run()
    assert told == []


def test_commands_are_done_in_their_order_until_the_last() -> None:
    ear = heard(Serve(), Release(), Stop())
    assert ear.is_told_to_end()
    assert [ear.next(), ear.next(), ear.next(), ear.next(0.0)] == [Serve(), Release(), Stop(), None]
    ear.begin_anew()
    assert not ear.is_told_to_end()


def test_a_process_that_is_told_to_stop_ends_before_it_is_idle_for_long() -> None:
    made, _ = service(heard(Stop()), 60.0)
    made.run()


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that this process has imported just now, and the only one: others may be edited while the tests run."""
    path = tmp_path / "package.py"
    path.touch()
    monkeypatch.setattr("modelhopper_trainer.service._imported", lambda: iter([path]))
    return path


def test_an_edited_package_is_noticed_even_when_its_time_is_set_back(imported: Path) -> None:
    started_s = time.time() + 0.1  # clocks of files are coarse
    assert not _has_changed_since(started_s)
    while time.time() < started_s + 0.05:
        imported.write_text("edited = True")
    os.utime(imported, (0, 0))
    assert _has_changed_since(started_s)


def test_a_package_that_was_removed_is_noticed(imported: Path) -> None:
    imported.unlink()
    assert _has_changed_since(time.time() + 1)


def test_a_process_whose_commands_end_in_the_middle_of_one_ends() -> None:
    """Whoever gave them was killed while writing; the process would hold the run's lock for ever."""
    script = "import sys, time; from modelhopper_trainer.ear import Ear; Ear(sys.stdin.buffer).start(); time.sleep(60)"
    done = subprocess.run(
        [sys.executable, "-c", script], input=b'{"kind":"beg', capture_output=True, timeout=30, check=False
    )
    assert done.returncode == ExitCode.RETRYABLE
