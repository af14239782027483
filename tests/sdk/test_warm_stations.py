"""Stations that are used for several runs of one Python program: a fresh start is paid once, and nothing else changes.

Which processes are used again, and when they end, is claimed in `tests/scheduler/test_standby.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import modelhopper as mh
from modelhopper.display.shown import Display
from modelhopper_contract.messages import Event
from modelhopper_scheduler.engines.standby import standby
from tests.sdk.conftest import Work

pytestmark = pytest.mark.xdist_group("tensorflow")

# Prints, and draws random numbers: all that could leak from one run into the next.
MODELS = """
import keras


def mlp(units=8):
    print(f"building a model of {units} units")
    dropout = keras.layers.Dropout(0.3)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, "relu"), dropout, keras.layers.Dense(3)])
"""


@pytest.fixture(autouse=True)
def _stop() -> Iterator[None]:
    yield
    mh.stop_stations()


def train(work: Work, hear: Callable[[Event], None] | None = None, **changes: Any) -> set[int]:
    """Run an experiment as Python programs do; return the process ids of the stations that are kept."""
    value = work.value(compile={"loss": "mse", "optimizer": "adam"}, **changes)
    with pytest.MonkeyPatch.context() as patch:
        if hear is not None:
            patch.setattr(Display, "heard", lambda _, event: hear(event))
        mh.Experiment.in_folder(value, work.folder).run(progress=False)
    return kept()


def kept() -> set[int]:
    return {one._process.pid for one in standby()._idle}


def locks(processes: set[int]) -> list[bool]:
    """Say of each process whether it holds a run's lock."""
    opened = [[file.path for file in psutil.Process(one).open_files()] for one in processes]
    return [any(path.endswith(".lock") for path in paths) for paths in opened]


def results(name: str) -> dict[str, bytes]:
    """Return what a run leaves that must not depend on how it went."""
    parts = ("checkpoints", "metrics", "history", "outcomes", "configurations")
    paths = [path for one in parts for path in sorted(Path("runs", name, one).rglob("*")) if path.is_file()]
    return {path.relative_to(Path("runs", name)).as_posix(): path.read_bytes() for path in paths}


def test_a_run_in_kept_stations_is_as_one_in_fresh_ones(work: Work) -> None:
    (work.folder / "models.py").write_text(MODELS)
    locked: list[bool] = []
    first = train(work, name="fresh")
    assert len(first) == 2
    assert locks(first) == [False, False]
    assert train(work, lambda _: locked.extend(locks(first)), name="kept") == first
    assert locked
    assert all(locked)
    assert locks(first) == [False, False]
    assert results("kept") == results("fresh")
    logs = [Path("runs", name, "logs", "station-0.log").read_text() for name in ("fresh", "kept")]
    assert logs[0] == logs[1]
    assert "building a model of 8 units" in logs[0]


@pytest.mark.slow
def test_nothing_of_the_last_run_is_taken_for_this_ones(work: Work) -> None:
    (work.folder / "models.py").write_text(MODELS)
    space = {"model": ["small", "large"], "batch_size": [8, 32]}
    more: dict[str, Any] = {
        "models": {"small": "models.py:mlp", "large": {"build": "models.py:mlp", "units": 9}},
        "search": {"method": "grid", "space": space},
        "seed": 5,
        "iterations": 3,
    }
    first = train(work, name="before")
    assert train(work, name="kept", **more) == first
    (work.folder / "models.py").write_text(MODELS + "\n")
    assert not train(work, name="fresh", **more) & first  # other files, so other stations
    assert results("kept") == results("fresh")


def test_a_run_that_is_complete_is_read_and_starts_no_station(work: Work) -> None:
    experiment = mh.Experiment.in_folder(work.value(), work.folder)
    experiment.run(engine="inline", progress=False)
    experiment.run(progress=False)
    assert kept() == set()
