"""The examples run as their first lines say, and come to sensible results."""

from __future__ import annotations

import io
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pyarrow import csv
from pyarrow import parquet as pq

from modelhopper.documents import load_experiment
from modelhopper.results import Run, open_run
from modelhopper_contract.experiment import Model
from modelhopper_contract.specification import Specification
from modelhopper_trainer.shards import open_data
from tests.databases import Database
from tests.project import tree

pytestmark = pytest.mark.xdist_group("examples")

EXAMPLES = tree.ROOT / "examples"
NOT_COPIED = shutil.ignore_patterns("data", "runs", "__pycache__")


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
    text = (iris / "experiment.yaml").read_text()
    [file] = re.findall(r"^  # small: (\S+)", text, re.MULTILINE)
    builds = (yaml.safe_load(text)["models"]["small"], file)
    ours, theirs = (built(Model(build=build), "iris").get_weights() for build in builds)
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_digits_are_read_after_two_iterations(tmp_path: Path) -> None:
    folder = prepared("digits", tmp_path)
    shorten(folder / "experiment.yaml", iterations=2)
    modelhopper(folder, "run", "experiment.yaml", "--stations", "2")
    assert results(folder).best().metrics["validation accuracy"] >= 0.9


@pytest.mark.slow
def test_a_weight_finds_more_rows_of_the_rare_class(tmp_path: Path) -> None:
    folder = prepared("imbalance", tmp_path)
    said = python(folder / "run.py", cwd=tmp_path)
    rows = results(folder).leaderboard().rows
    assert rows[0].metrics["validation AUC"] >= 0.75
    recall = {str(row.settings["class_weight"]): row.metrics["validation recall"] for row in rows}
    assert recall["None"] < recall["{'rare': 10.0}"] < recall["balanced"]
    assert re.search(r"^row \d+: (normal|rare) \(0\.\d\d\); it is rare$", said, re.MULTILINE)


@pytest.mark.slow
def test_madlibs_page_is_followed_to_its_end(iris: Path) -> None:
    said = python(iris / "madlib.py", cwd=iris.parent)
    fit, validated, more = (open_run(f"iris-{name}", str(iris / "runs")) for name in ("fit", "validated", "more"))
    assert {row.state for run in (fit, validated, more) for row in run.leaderboard().rows} == {"finished"}
    assert [point.iteration for point in validated.history(3).rows] == [3, 6, 9, 10]
    assert [point.iteration for point in more.history(3).rows] == [1, 2, 3]
    found = re.search(r"^(\d+) of 30 are wrong", said, re.MULTILINE)
    assert found is not None
    assert int(found[1]) <= 3
    assert len(re.findall(r"^ *\d+  (setosa|versicolor|virginica) +0\.\d{8}  [123]$", said, re.MULTILINE)) == 90


@pytest.mark.slow
def test_automl_finds_good_ones_by_both_searches(iris: Path) -> None:
    shutil.copytree(EXAMPLES / "automl", iris.parent / "automl", ignore=NOT_COPIED)
    said = python(iris.parent / "automl/run.py", cwd=iris.parent)
    store = str(iris.parent / "automl/runs")
    assert {name: len(open_run(name, store).leaderboard().rows) for name in ("hyperband", "tpe")} == {
        "hyperband": 17,
        "tpe": 20,
    }
    assert "s  i  n_i  r_i\n4  0   81    1" in said
    assert re.search(r"^(2[7-9]|30) of 30 are right$", said, re.MULTILINE)


def test_cifar_has_96_configurations_of_networks_of_the_published_sizes() -> None:
    found = load_experiment(EXAMPLES / "cifar/experiment.yaml")
    assert len(found.configurations()) == 96
    sizes = {name: built(found.models[name], "cifar", width=32).count_params() for name in ("vgg-3", "cnn")}
    assert sizes == {"vgg-3": 550_570, "cnn": 1_250_858}


def test_cifar_reads_the_file_of_the_real_images(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (60, 3, 32, 32), np.uint8)
    labels = np.arange(60, dtype=np.uint8) % 10
    content = np.concatenate([labels[:, None], pixels.reshape(60, -1)], axis=1)
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        for at, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
            data = content[10 * at : 10 * at + 10].tobytes()
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    shutil.copytree(EXAMPLES / "cifar", tmp_path / "cifar", ignore=NOT_COPIED)
    finished([sys.executable, str(tmp_path / "cifar/prepare.py"), "--cifar", "cifar.tar.gz"], tmp_path)
    packed = [open_data(str(tmp_path / "cifar/data" / part)) for part in ("train", "validation")]
    assert [sum(shard.rows for shard in data.manifest.shards) for data in packed] == [50, 10]
    assert packed[0].manifest.outputs[0].classes[-1] == "truck"
    images = {image.tobytes() for shard in (0, 1) for image in packed[0].shard(shard).inputs["x"]}
    assert images == {image.transpose(1, 2, 0).tobytes() for image in pixels[:50]}


@pytest.mark.slow
def test_cifar_chooses_twelve_of_96_for_a_second_stage(tmp_path: Path) -> None:
    folder = prepared("cifar", tmp_path)
    said = python(folder / "run.py", cwd=tmp_path)
    first, second = (open_run(name, str(folder / "runs")) for name in ("cifar", "cifar-refined"))
    assert (first.status().finished, second.status().finished) == (96, 12)
    assert second.best().metrics["validation accuracy"] > first.best().metrics["validation accuracy"]
    assert re.search(r"^The best is .* which was cifar/\d+$", said, re.MULTILINE)
    assert re.search(r"^image 3: \w+ 0\.\d{3}, \w+ 0\.\d{3}, \w+ 0\.\d{3}$", said, re.MULTILINE)


def test_averaging_compares_the_two_networks_of_the_slides() -> None:
    found = {name: load_experiment(EXAMPLES / f"averaging/{name}.yaml") for name in ("one-layer", "six-layers")}
    assert [len(experiment.configurations()) for experiment in found.values()] == [1, 1]
    sizes = [built(experiment.models[name], "averaging", width=32).count_params() for name, experiment in found.items()]
    assert sizes == [72_906, 2_395_434]


@pytest.mark.parametrize("column", [True, False])
def test_averaging_reads_the_real_images_from_an_npz_file(tmp_path: Path, *, column: bool) -> None:
    images = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 10
    given = labels[:, None] if column else labels  # Keras gives labels a second dimension
    np.savez(tmp_path / "cifar.npz", x_train=images, y_train=given, x_test=images[:5], y_test=given[:5])
    script = runpy.run_path(str(EXAMPLES / "averaging/prepare.py"))
    train, test = script["read"](str(tmp_path / "cifar.npz"))
    assert np.array_equal(train[0], images)
    assert np.array_equal(script["first"](train, 12)[1][9:], ["truck", "airplane", "automobile"])
    assert len(script["first"](test, 640)[1]) == 5


@pytest.mark.slow
def test_averaging_moves_more_than_hopping_and_learns_less(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "cifar", tmp_path / "cifar", ignore=NOT_COPIED)  # whose images it takes
    folder = prepared("averaging", tmp_path)
    said = python(folder / "run.py", cwd=tmp_path)
    reached = {
        (name, way): open_run(f"{name}-{way}", str(folder / "runs")).best().metrics["validation accuracy"]
        for name in ("one-layer", "six-layers")
        for way in ("hop", "average", "alone")
    }
    for name in ("one-layer", "six-layers"):
        assert reached[name, "average"] < reached[name, "hop"]
        assert reached[name, "hop"] == pytest.approx(reached[name, "alone"], abs=0.02)
    cell = r"0\.\d{3} +([\d.]+) MB"
    passes = re.findall(rf"^ +\d  {cell}  {cell}  {cell}$", said, re.MULTILINE)
    assert len(passes) == 12
    assert all(float(hop) < float(average) == float(elastic) for hop, average, elastic in passes)
    elastic = re.findall(r"^([\d.]+) +([\d.]+) +(0\.\d{3})$", said, re.MULTILINE)
    assert len(elastic) == 8
    assert elastic[0] == ("0", "1", f"{reached['one-layer', 'average']:.3f}")


def test_fraud_is_the_articles_network_trained_in_its_way() -> None:
    found = load_experiment(EXAMPLES / "fraud/experiment.yaml")
    assert built(found.models["mlp"], "fraud").count_params() == 50_689
    assert found.folds is not None
    assert (found.folds.count, found.folds.stratified) == (10, True)
    assert found.early_stopping is not None
    assert (found.iterations, found.early_stopping.patience, found.objective) == (20, 4, "validation recall")
    one = found.configurations()[0]
    assert (one.fit["batch_size"], one.compile["loss"]) == (32, "binary_crossentropy")
    assert one.compile["optimizer"]["name"] == "RMSprop"


def test_fraud_deals_each_row_of_a_table_of_the_real_shape_to_one_part() -> None:
    script = runpy.run_path(str(EXAMPLES / "fraud/prepare.py"))
    table = script["made_up"](1000, 50)
    assert table.column_names == ["Time", *(f"V{number}" for number in range(1, 29)), "Amount", "Class"]
    parts = script["dealt"](table)
    assert [(len(part), sum(part["Class"].to_pylist())) for part in parts.values()] == [(600, 30), (200, 10), (200, 10)]
    assert sorted(number for part in parts.values() for number in part["id"].to_pylist()) == list(range(1, 1001))


@pytest.fixture(scope="module")
def fraud(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the example, run to its end, and what it said."""
    pytest.importorskip("imblearn", reason="pip install 'modelhopper[imbalance]'")
    folder = prepared("fraud", tmp_path_factory.mktemp("fraud"))
    return folder, python(folder / "run.py", cwd=folder.parent)


@pytest.mark.slow
def test_fraud_finds_most_frauds_among_transactions_it_has_not_seen(fraud: tuple[Path, str]) -> None:
    folder, said = fraud
    spread = results(folder).cross_validation().rows[0].spread("validation recall")
    assert spread is not None
    assert spread.mean >= 0.7
    assert "1 above 0." in said
    scores = pq.read_table(folder / "data/scores.parquet")
    rows = csv.read_csv(folder / "data/new.csv")
    assert [int(number) for number in scores["id"].to_pylist()] == rows["id"].to_pylist()
    told, true = np.array(scores["class_value"]), np.array(rows["Class"])
    assert told[true == 1].mean() >= 0.7
    assert told[true == 0].mean() <= 0.01


@pytest.mark.slow
def test_fraud_comes_to_the_same_scores_from_a_database(fraud: tuple[Path, str], database: Database) -> None:
    folder, _ = fraud
    packed = everything(folder / "data/train")
    finished([sys.executable, str(folder / "prepare.py"), "--database", database.address()], folder)
    assert everything(folder / "data/train") == packed  # so nothing is trained again
    finished([sys.executable, str(folder / "run.py"), "--database", database.address()], folder)
    file = pq.read_table(folder / "data/scores.parquet").to_pydict()
    table = database.table("SELECT * FROM fraud_scores ORDER BY id").to_pydict()
    assert table["id"] == [int(number) for number in file["id"]]
    assert (table["class_value"], table["probability"]) == (file["class_value"], file["probability"])


@pytest.mark.parametrize("example", ["iris", "digits", "imbalance", "cifar", "fraud"])
def test_an_experiment_file_lists_its_configurations_before_anything_is_packed(example: str) -> None:
    said = modelhopper(EXAMPLES / example, "configs", "experiment.yaml")
    assert said.startswith("setting" if example == "fraud" else "configuration")


def built(model: Model, example: str, **parameters: Any) -> Any:
    """Return a model of an example, with some of its parameters changed."""
    from modelhopper_trainer.device import configure
    from modelhopper_trainer.models import build_model

    configure(threads=1, gpu=False, deterministic=True)  # as other tests that may share this process
    return build_model(model, {**model.parameters, **parameters}, EXAMPLES / example, seed=1)


def prepared(example: str, folder: Path) -> Path:
    """Return a copy of an example in `folder`, its data packed."""
    copy = folder / example
    shutil.copytree(EXAMPLES / example, copy, ignore=NOT_COPIED)
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
