"""The examples run as their first lines say, and come to sensible results."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from modelhopper.results import Run, open_run
from modelhopper_contract.experiment import Model
from modelhopper_contract.specification import Specification
from tests.project import tree

pytestmark = pytest.mark.xdist_group("examples")

EXAMPLES = tree.ROOT / "examples"


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example, run to its end as it is."""
    folder = prepared("iris", tmp_path_factory.mktemp("iris"))
    modelhopper(folder, "run", "experiment.yaml", "--stations", "2")
    return folder


def test_iris_ends_with_twelve_configurations_and_a_good_one(iris: Path) -> None:
    run = results(iris)
    assert run.status().finished == 12
    assert run.best().metrics["validation accuracy"] >= 0.9


def test_iris_trains_the_two_networks_of_madlib(iris: Path) -> None:
    assert {one.model: one.weights for one in results(iris).reader.configurations} == {"small": 193, "deep": 303}


def test_iris_in_python_is_the_experiment_of_the_file_so_nothing_is_trained_again(iris: Path) -> None:
    before = everything(iris / "runs")
    said = python(iris / "run.py", cwd=iris.parent)
    after = everything(iris / "runs")
    # The specification also says how a run is done, and the script leaves the number of stations open.
    file, script = (Specification.from_json(found.pop("iris/experiment.json")) for found in (before, after))
    assert file.differences(script) == []
    assert after == before
    assert "is setosa" in said


def test_packing_again_changes_nothing_so_a_run_goes_on(iris: Path) -> None:
    before = everything(iris / "data")
    python(iris / "prepare.py", cwd=iris.parent)
    assert everything(iris / "data") == before
    assert "nothing is left to do" in modelhopper(iris, "run", "experiment.yaml", "--stations", "2")


def test_the_json_of_an_old_keras_is_the_same_network(iris: Path) -> None:
    from modelhopper_trainer.device import configure
    from modelhopper_trainer.models import build_model

    configure(threads=1, gpu=False, deterministic=True)  # as other tests that may share this process
    text = (iris / "experiment.yaml").read_text()
    [file] = re.findall(r"^  # small: (\S+)", text, re.MULTILINE)
    builds = (yaml.safe_load(text)["models"]["small"], file)
    ours, theirs = (build_model(Model(build=build), {}, iris, seed=1).get_weights() for build in builds)
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_digits_are_read_after_two_iterations(tmp_path: Path) -> None:
    folder = prepared("digits", tmp_path)
    shorten(folder / "experiment.yaml", iterations=2)
    modelhopper(folder, "run", "experiment.yaml", "--stations", "2")
    assert results(folder).best().metrics["validation accuracy"] >= 0.9


def test_a_weight_finds_more_rows_of_the_rare_class(tmp_path: Path) -> None:
    folder = prepared("imbalance", tmp_path)
    said = python(folder / "run.py", cwd=tmp_path)
    rows = results(folder).leaderboard().rows
    assert rows[0].metrics["validation AUC"] >= 0.75
    recall = {str(row.settings["class_weight"]): row.metrics["validation recall"] for row in rows}
    assert recall["None"] < recall["{'rare': 10.0}"] < recall["balanced"]
    assert re.search(r"^row \d+: (normal|rare) \(0\.\d\d\); it is rare$", said, re.MULTILINE)


@pytest.mark.parametrize("example", ["iris", "digits", "imbalance"])
def test_an_experiment_file_lists_its_configurations_before_anything_is_packed(example: str) -> None:
    said = modelhopper(EXAMPLES / example, "configs", "experiment.yaml")
    assert said.startswith("configuration")


def prepared(example: str, folder: Path) -> Path:
    """Return a copy of an example in `folder`, its data packed."""
    copy = folder / example
    shutil.copytree(EXAMPLES / example, copy, ignore=shutil.ignore_patterns("data", "runs", "__pycache__"))
    python(copy / "prepare.py", cwd=folder)
    return copy


def shorten(file: Path, iterations: int) -> None:
    file.write_text(re.sub(r"^iterations: \d+", f"iterations: {iterations}", file.read_text(), flags=re.MULTILINE))


def results(folder: Path) -> Run:
    return open_run(folder.name, str(folder / "runs"))


def everything(folder: Path) -> dict[str, bytes]:
    """Return all files, without the logs, which say when TensorFlow started."""
    files = (path for path in folder.rglob("*") if path.is_file() and "logs" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def modelhopper(folder: Path, *arguments: str) -> str:
    return finished([sys.executable, "-m", "modelhopper.command", *arguments], folder)


def python(script: Path, cwd: Path) -> str:
    return finished([sys.executable, str(script)], cwd)


def finished(command: list[str], cwd: Path) -> str:
    """Run a command, which must end with exit code 0, and return its output."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
