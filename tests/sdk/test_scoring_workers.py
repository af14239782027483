"""Workers beside each other: who does which part, and what a killed worker, or a killed command, leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper import parts, scoring
from modelhopper.experiment import Experiment
from modelhopper.scoring_dealing import Dealer
from modelhopper.scoring_job import Progress
from modelhopper.scoring_workers import WorkerProcess
from modelhopper_contract.errors import DataError, ModelhopperError, UserError
from modelhopper_contract.scoring import Part
from modelhopper_trainer.packing import pack


def part(number: int, unit: int) -> Part:
    return Part(number=number, unit=unit, begin=0, end=1, rows=1, first=number)


@given(units=st.lists(st.integers(0, 4), max_size=30), turns=st.lists(st.integers(0, 3), max_size=40))
def test_every_part_is_dealt_once(units: list[int], turns: list[int]) -> None:
    dealer = Dealer(part(number, unit) for number, unit in enumerate(sorted(units)))
    dealt = [dealer.next(worker) for worker in [*turns, *[0] * len(units)]]
    assert Counter(one.number for one in dealt if one) == Counter(range(len(units)))


def test_a_worker_goes_on_with_its_shard_and_helps_with_the_longest_at_the_end() -> None:
    dealer = Dealer([*(part(at, 0) for at in range(4)), *(part(4 + at, 1) for at in range(2))])
    numbers = [(dealer.next(worker) or part(-1, 0)).number for worker in (0, 1, 0, 1, 1, 0, 0)]
    assert numbers == [0, 4, 1, 5, 3, 2, -1]


def test_a_part_that_was_given_back_is_dealt_again() -> None:
    dealer = Dealer([part(0, 0)])
    one = dealer.next(0)
    assert one is not None
    dealer.give_back(one)
    assert dealer.next(1) == one


def test_planning_and_merging_start_no_tensorflow() -> None:
    modules = ["modelhopper.scoring", "modelhopper.scoring_workers", "modelhopper.scoring_results"]
    modules += [f"modelhopper_trainer.scoring.{name}" for name in ("planning", "merging", "destination", "curves")]
    code = f"import sys, {', '.join(modules)}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Everything below starts processes that start TensorFlow.

MODELS = """
import keras

def mlp():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
"""
FEATURES = ["a", "b", "c", "d"]
ROWS = 5000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("workers")
    (at / "models.py").write_text(MODELS)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 4))
    table = pa.table(
        {**{name: x[:, n] for n, name in enumerate(FEATURES)}, "y": x.argmax(1) % 3, "id": np.arange(ROWS)}
    )
    pq.write_table(table, at / "rows.parquet", row_group_size=1500)
    pack(table.slice(0, 500), at / "train", shards=2, features=FEATURES, labels="y")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(at)
        Experiment(
            name="iris",
            data=parts.Data(train="train"),
            models="models.py:mlp",
            compile={"loss": "categorical_crossentropy", "metrics": ["accuracy"]},
            search=parts.Grid(batch_size=[32]),
            devices=parts.Devices(kind="cpu", stations=1),
        ).run("inline", progress=False)
        scoring.predict("iris/1", "rows.parquet", at / "expected.parquet", id="id", type="prob", engine="inline")
    return at


def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelhopper_trainer.scoring import planning

    monkeypatch.setattr(planning, "FEWEST_ROWS", 1)
    monkeypatch.setattr(planning, "MOST_ROWS", 100)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_writes_the_same_rows(
    workers: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    small_parts(monkeypatch)
    out = tmp_path / "out.parquet"
    scoring.predict("iris/1", "rows.parquet", out, id="id", type="prob", workers=workers)
    same_rows(out, folder / "expected.parquet")
    found = scoring.evaluate("iris/1", "rows.parquet", workers=workers)
    assert found.metrics["accuracy"] == pytest.approx(found.outputs["y"]["accuracy"], abs=1e-7)


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_nothing_is_lost(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    small_parts(monkeypatch)
    started: list[WorkerProcess] = []
    real = WorkerProcess.__init__

    def noted(self: WorkerProcess, *given: object) -> None:
        real(self, *given)  # type: ignore[arg-type]
        started.append(self)

    def kill_once(progress: Progress) -> None:
        if progress.step == "scoring" and progress.rows >= 500 and len(started) == 2:
            os.kill(started[0].pid, signal.SIGKILL)

    monkeypatch.setattr(WorkerProcess, "__init__", noted)
    out = tmp_path / "out.parquet"
    scoring.predict("iris/1", "rows.parquet", out, id="id", type="prob", workers=2, on_progress=kill_once)
    assert len(started) >= 3
    same_rows(out, folder / "expected.parquet")


@pytest.mark.slow
def test_a_worker_that_always_dies_is_given_up_in_one_message(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, os\nif 'modelhopper_trainer.scoring' in sys.orig_argv: os._exit(9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ModelhopperError, match=r"died 3 times at rows 1 to 1,500 \(with exit code 9\)"):
        scoring.predict("iris/1", "rows.parquet", tmp_path / "out.parquet", workers=1)
    (kept,) = Path("runs").glob("predict-*")  # another number of workers, or a larger machine, goes on with it
    shutil.rmtree(kept)


@pytest.mark.slow
def test_a_killed_command_goes_on_when_it_is_started_again(folder: Path, tmp_path: Path) -> None:
    data = folder / "large.parquet"
    table = pq.read_table(folder / "rows.parquet")
    pq.write_table(pa.concat_tables([table] * 60), data, row_group_size=20000)
    out = tmp_path / "out.parquet"
    command = [sys.executable, "-m", "modelhopper.command", "predict", "iris/1", "--data", str(data), "--out", str(out)]
    first = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(folder.glob("runs/predict-iris-*/parts/0*")) and time.monotonic() < deadline:
        first.poll()
        os.sched_yield()
    first.kill()
    first.wait()
    assert not out.exists()
    done = len(list(folder.glob("runs/predict-iris-*/parts/0*")))
    assert 0 < done < 15
    assert subprocess.run(command, cwd=folder, check=False).returncode == 0
    assert pq.read_metadata(out).num_rows == 60 * ROWS
    assert not list(folder.glob("runs/predict-*"))


@pytest.mark.slow
def test_what_a_worker_finds_wrong_is_told_in_its_own_words(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    table = pq.read_table("rows.parquet")
    holes = pa.array([None if at == 4000 else 1.0 for at in range(ROWS)])
    pq.write_table(table.set_column(0, "a", holes), tmp_path / "holes.parquet", row_group_size=1500)
    with pytest.raises((DataError, UserError), match=r"`a`, row 4001 \(counted from 1\): the value is null"):
        scoring.predict("iris/1", tmp_path / "holes.parquet", tmp_path / "out.parquet", workers=2)
    assert not list(Path("runs").glob("predict-*"))


def same_rows(found: Path, expected: Path) -> None:
    mine, theirs = pq.read_table(found), pq.read_table(expected)
    assert mine.column("id").equals(theirs.column("id"))
    assert np.abs(np.array(mine["probability"]) - np.array(theirs["probability"])).max() < 1e-6
