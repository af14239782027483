"""The works that are compared can be learned, are the same each time, and are what the targets say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.scripts import BENCHMARKS, script


@pytest.mark.parametrize(
    ("name", "configurations", "iterations"), [("iris", 12, 10), ("fraud", 8, 3), ("images", 12, 2)]
)
def test_a_work_has_as_many_configurations_and_iterations_as_its_target_says(
    name: str, configurations: int, iterations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = script("works", monkeypatch).WORKS[name]
    assert len(work.configurations) == configurations
    assert work.iterations == iterations
    assert iterations % work.evaluate_every == 0
    assert work.shards == 4


@pytest.mark.parametrize("name", ["table", "images"])
def test_data_are_the_same_each_time_and_cut_where_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make = getattr(script("works", monkeypatch), name)
    once, again = make(rows=300, rows_valid=50), make(rows=300, rows_valid=50)
    assert [len(array) for array in once] == [300, 300, 50, 50]
    assert all(np.array_equal(one, other) for one, other in zip(once, again, strict=True))


def test_few_rows_of_the_table_are_frauds(monkeypatch: pytest.MonkeyPatch) -> None:
    found = script("works", monkeypatch).table(rows=9_000, rows_valid=1_000)
    assert found.x.shape == (9_000, 28)
    assert np.concatenate([found.y, found.y_valid]).mean() == pytest.approx(0.03)


def test_a_side_that_did_not_reach_the_same_fails_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = script("comparison", monkeypatch)
    work = comparison.WORKS["fraud"]
    comparison.check(work, {"ours": [0.99, 0.99], "keras": [0.991, 0.989]})
    with pytest.raises(SystemExit, match=r"fraud: best validation accuracies differ by more than 0\.003"):
        comparison.check(work, {"ours": [0.97, 0.97], "keras": [0.99, 0.99]})


@pytest.mark.slow
def test_sequential_keras_learns_iris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = script("works", monkeypatch).iris()
    np.savez(tmp_path / "data.npz", **arrays._asdict())
    command = [sys.executable, str(BENCHMARKS / "rival_keras.py"), "iris", str(tmp_path / "data.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["accuracy"] > 0.9
