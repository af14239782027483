"""Predicting and evaluating at scale: the same numbers from every form of the data, however it is split."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from modelhopper import parts, scoring, scoring_job
from modelhopper.experiment import Experiment
from modelhopper.results import Run, open_run
from modelhopper_contract.errors import ConflictError, DataError, UserError
from modelhopper_contract.stores.directory import DirectoryStore
from modelhopper_trainer.packing import pack
from modelhopper_trainer.scoring import planning
from modelhopper_trainer.scoring.__main__ import main
from modelhopper_trainer.scoring.work import Work
from modelhopper_trainer.shards import open_data
from tests.databases import Database

pytestmark = pytest.mark.xdist_group("tensorflow")

# Keras' own save copies its variables in a way that numpy 2 warns of.
KERAS_COPIES = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")

MODELS = """
import keras

def mlp(units=6):
    return keras.Sequential([
        keras.Input((4,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(3, "softmax"),
    ])

def two():
    x = keras.Input((2,), name="x")
    return keras.Model(x, {"fraud": keras.layers.Dense(1, "sigmoid")(x), "price": keras.layers.Dense(1)(x)})
"""
FEATURES = ["a", "b", "c", "d"]
ROWS = 50


def flowers(seed: int, rows: int) -> Any:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 4)).astype(np.float32)
    names = np.array(["setosa", "versicolor", "virginica"])[x.argmax(1) % 3]
    columns = {name: x[:, at] for at, name in enumerate(FEATURES)}
    return pa.table({**columns, "species": names, "flower": draw.permutation(rows) + 1000})


def payments(seed: int, rows: int) -> Any:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 2)).astype(np.float32)
    fraud = np.where(x[:, 0] > 0.5, "yes", "no")
    return pa.table({"amount": x[:, 0], "time": x[:, 1], "fraud": fraud, "price": x.sum(1)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data in every form, a model file, and two finished runs in `runs`."""
    at = tmp_path_factory.mktemp("scored")
    (at / "models.py").write_text(MODELS)
    valid = flowers(1, ROWS)
    pq.write_table(valid, at / "valid.parquet", row_group_size=20)
    pacsv.write_csv(valid, at / "valid.csv")
    (at / "many").mkdir()
    for number, rows in enumerate((10, 25, 15)):
        pacsv.write_csv(valid.slice((0, 10, 35)[number], rows), at / "many" / f"{number}.csv")
    pack(flowers(0, 60), at / "train", shards=2, features=FEATURES, labels="species")
    pack(at / "valid.parquet", at / "valid", shards=3, features=FEATURES, labels="species", against=at / "train")
    kinds = {"fraud": "classes", "price": "number"}
    fields: dict[str, Any] = {"features": ["amount", "time"], "labels": ["fraud", "price"], "kind": kinds}
    pack(payments(0, 80), at / "pay-train", shards=2, **fields)
    pack(payments(1, 60), at / "pay-valid", shards=2, against=at / "pay-train", **fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(at)
        _iris().run("inline", progress=False)
        _pay().run("inline", progress=False)
    return at


def _iris() -> Experiment:
    return Experiment(
        name="iris",
        data=parts.Data(train="train", validation="valid"),
        models="models.py:mlp",
        compile={"loss": "categorical_crossentropy", "metrics": ["accuracy", "AUC"]},
        search=parts.Grid(optimizer=[{"name": "Adam", "learning_rate": [0.01, 0.1]}], batch_size=[8]),
        iterations=2,
        keep_checkpoints="iterations",
        devices=parts.Devices(kind="cpu", stations=1),
    )


def _pay() -> Experiment:
    return Experiment(
        name="pay",
        data=parts.Data(train="pay-train", validation="pay-valid"),
        models="models.py:two",
        compile={"loss": {"fraud": "binary_crossentropy", "price": "mse"}, "metrics": {"price": ["mae"]}},
        search=parts.Grid(optimizer=[{"name": "Adam", "learning_rate": 0.1}], batch_size=[8]),
        iterations=3,
        devices=parts.Devices(kind="cpu", stations=1),
    )


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture
def run() -> Run:
    return open_run("runs/iris")


def predicted(tmp_path: Path, models: Any = "iris/1", data: str = "valid.parquet", **options: Any) -> Any:
    """Return predictions as a table."""
    out = tmp_path / options.pop("out", "out.parquet")
    return scoring.predict(models, data, out, engine="inline", overwrite=True, **options).table()


def probabilities(table: Any) -> np.ndarray[Any, Any]:
    return np.array(table.sort_by([(table.column_names[0], "ascending"), ("rank", "ascending")])["probability"])


def small_parts(monkeypatch: pytest.MonkeyPatch, rows: int = 7) -> None:
    """Let parts be so small that there are many of them."""
    monkeypatch.setattr(planning, "FEWEST_ROWS", 1)
    monkeypatch.setattr(planning, "MOST_ROWS", rows)


def test_a_response_is_what_the_candidate_predicts(run: Run, tmp_path: Path) -> None:
    expected = run.configuration(1).predict(np.stack([pq.read_table("valid.parquet")[name] for name in FEATURES], 1))
    found = predicted(tmp_path, id="flower")
    assert found["flower"].to_pylist() == pq.read_table("valid.parquet")["flower"].to_pylist()
    assert found["class_value"].to_pylist() == expected.classes
    assert np.abs(np.array(found["probability"]) - expected.probabilities.max(1)).max() < 1e-6
    assert found.column_names == ["flower", "output", "class_value", "probability"]


@pytest.mark.parametrize("rows", [3, 64])
@pytest.mark.parametrize("data", ["valid.parquet", "valid.csv", "many", "many/*.csv"])
def test_the_same_rows_give_the_same_predictions_however_they_are_split(
    data: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predicted(tmp_path, id="flower", type="prob")
    small_parts(monkeypatch, rows)
    found = predicted(tmp_path, data=data, id="flower", type="prob", batch_size=rows)
    assert [str(one) for one in found["flower"].to_pylist()] == [str(one) for one in whole["flower"].to_pylist()]
    assert np.abs(probabilities(found) - probabilities(whole)).max() < 1e-6


def test_rows_without_ids_have_numbers_in_the_order_of_the_data(tmp_path: Path) -> None:
    found = predicted(tmp_path, data="many")
    assert found["row"].to_pylist() == list(range(ROWS))
    packed = predicted(tmp_path, data="valid")
    sizes = [shard.rows for shard in open_data("valid").manifest.shards]
    assert packed["row"].to_pylist() == [f"{shard}:{row}" for shard in range(3) for row in range(sizes[shard])]


@pytest.mark.parametrize("shards", [1, 4])
def test_packed_rows_with_ids_come_in_the_order_of_the_ids(
    shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields: dict[str, Any] = {"features": FEATURES, "labels": "species", "against": "train"}
    pack("valid.parquet", tmp_path / "packed", shards=shards, id="flower", **fields)
    small_parts(monkeypatch)
    found = predicted(tmp_path, data=str(tmp_path / "packed"), type="prob", models=["iris/1,2"])
    assert found["flower"].to_pylist() == [one for one in range(1000, 1000 + ROWS) for _ in range(6)]
    assert found["configuration"].to_pylist() == [1, 1, 1, 2, 2, 2] * ROWS
    plain = predicted(tmp_path, id="flower", type="prob")
    own = found.filter(pa.compute.equal(found["configuration"], 1))
    assert np.abs(probabilities(own) - probabilities(plain)).max() < 1e-6


def test_several_configurations_stand_row_by_row(run: Run, tmp_path: Path) -> None:
    found = predicted(tmp_path, models=["iris/2", "iris/1@1"], id="flower")
    assert found["configuration"].to_pylist() == ["iris/2", "iris/1@1"] * ROWS
    at_1 = run.configuration(1).at(1).predict("valid")
    by_id = dict(zip(found["flower"].to_pylist()[1::2], found["probability"].to_pylist()[1::2], strict=True))
    assert sorted(by_id.values()) == pytest.approx(sorted(at_1.probabilities.max(1).tolist()), abs=1e-6)


def test_a_run_predicts_with_its_best_configuration(run: Run, tmp_path: Path) -> None:
    found = run.predict_to(tmp_path / "a.csv", "valid.csv", id="flower", engine="inline")
    assert found.rows == ROWS
    again = predicted(tmp_path, models=run.best(), id="flower")
    assert np.abs(np.array(found.table()["probability"]) - np.array(again["probability"])).max() < 1e-6


@KERAS_COPIES
def test_an_exported_model_predicts_and_is_evaluated_like_the_configuration(run: Run, tmp_path: Path) -> None:
    run.configuration(1).save(tmp_path / "best.keras")
    found = predicted(tmp_path, models=str(tmp_path / "best.keras"), id="flower")
    assert found.equals(predicted(tmp_path, id="flower"))
    evaluated = scoring.evaluate(tmp_path / "best.keras", "valid.csv", engine="inline")
    assert evaluated.metrics == pytest.approx(run.configuration(1).evaluate(), abs=1e-6)


@KERAS_COPIES
def test_keras_json_with_weights_is_scored_with_classes_that_are_said(run: Run, tmp_path: Path) -> None:
    model = run.configuration(1).model()
    (tmp_path / "m.json").write_text(model.to_json())
    model.save_weights(tmp_path / "m.weights.h5")
    names = ["setosa", "versicolor", "virginica"]
    given: dict[str, Any] = {"models": tmp_path / "m.json", "weights": tmp_path / "m.weights.h5", "features": FEATURES}
    found = predicted(tmp_path, id="flower", classes=names, **given)
    assert found["class_value"].to_pylist() == predicted(tmp_path, id="flower")["class_value"].to_pylist()
    assert set(predicted(tmp_path, **given)["class_value"].to_pylist()) <= {0, 1, 2}
    with pytest.raises(UserError, match=r"m\.json has 3 units, and 2 classes were given: a, b\. Give one for each"):
        predicted(tmp_path, classes=["a", "b"], **given)


@KERAS_COPIES
def test_a_model_file_is_found_from_where_the_user_is(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.configuration(1).model().save(tmp_path / "theirs.keras")
    monkeypatch.chdir(tmp_path)
    rows = flowers(4, 5).drop(["species"])
    pq.write_table(rows, "new.parquet")
    classes = ["setosa", "versicolor", "virginica"]
    told = scoring.predict(
        "theirs.keras", "new.parquet", "told.csv", features=FEATURES, classes=classes, engine="inline"
    )
    assert told.rows == 5


def test_an_evaluation_is_the_run_s_own_to_the_bit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run.configuration(1).evaluate()
    assert scoring.evaluate("iris/1", engine="inline").metrics == expected
    monkeypatch.setattr(planning, "MOST_ROWS", planning.FEWEST_ROWS)
    assert scoring.evaluate("iris/1", "valid", engine="inline").metrics == expected


def test_tables_of_an_evaluation_do_not_depend_on_parts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scoring.evaluate("iris/1", "valid.parquet", engine="inline")
    small_parts(monkeypatch)
    found = scoring.evaluate("iris/1", "many", engine="inline")
    assert found.outputs == whole.outputs
    assert found.metrics == pytest.approx(whole.metrics, abs=1e-6)
    table = np.array(found.outputs["species"]["confusion"])
    told = run.configuration(1).predict("valid").classes
    assert table.sum() == ROWS
    assert table.sum(0).tolist() == [told.count(name) for name in ("setosa", "versicolor", "virginica")]
    assert "actual" in found.text()


def test_several_outputs_are_told_and_evaluated(run: Run, tmp_path: Path) -> None:
    pq.write_table(payments(1, 60), tmp_path / "pay.parquet")
    found = predicted(tmp_path, models="pay", data=str(tmp_path / "pay.parquet"))
    assert found["output"].to_pylist() == ["fraud", "price"] * 60
    own = open_run("runs/pay").best()
    expected = own.predict(_x(tmp_path))
    assert found["class_value"].to_pylist()[::2] == expected["fraud"].classes
    assert found["value"].to_pylist()[1::2] == pytest.approx(expected["price"].numbers.tolist(), abs=1e-6)
    evaluated = scoring.evaluate("pay", tmp_path / "pay.parquet", engine="inline")
    assert evaluated.metrics == pytest.approx(own.evaluate(), abs=1e-6)
    assert list(evaluated.outputs) == ["fraud"]


def _x(tmp_path: Path) -> Any:
    table = pq.read_table(tmp_path / "pay.parquet")
    return np.stack([table["amount"], table["time"]], 1)


def test_a_threshold_that_was_chosen_is_taken_by_predict(tmp_path: Path) -> None:
    pq.write_table(payments(2, 200), tmp_path / "pay.parquet")
    data = str(tmp_path / "pay.parquet")
    found = scoring.evaluate("pay", data, choose_threshold="recall>=0.97", engine="inline")
    chosen = found.outputs["fraud"]["threshold"]
    assert chosen["positive"] == "yes"
    assert chosen["recall"] >= 0.97
    found.save(tmp_path / "found.json")
    by_file = predicted(tmp_path, models="pay", data=data, threshold=str(tmp_path / "found.json"))
    by_hand = predicted(tmp_path, models="pay", data=data, threshold={"fraud": chosen["threshold"]})
    assert by_file.equals(by_hand)
    assert by_file.equals(predicted(tmp_path, models="pay", data=data, threshold=found))
    told = [one == "yes" for one in by_file["class_value"].to_pylist()[::2]]
    actual = np.array(pq.read_table(data)["fraud"]) == "yes"
    assert (np.array(told) & actual).sum() / actual.sum() == pytest.approx(chosen["recall"])
    decided = scoring.evaluate("pay", data, threshold=found, engine="inline").outputs["fraud"]
    assert decided["per_class"][1]["recall"] == pytest.approx(chosen["recall"])


def test_the_other_class_can_be_the_positive_one(tmp_path: Path) -> None:
    found = scoring.evaluate("pay", choose_threshold="f1", positive="no", engine="inline")
    assert found.outputs["fraud"]["threshold"]["positive"] == "no"


class Killed(BaseException):
    """The command's end, at a moment of the test's choosing."""


def test_what_was_killed_goes_on_and_does_no_part_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predicted(tmp_path, id="flower")
    small_parts(monkeypatch)
    began: list[int] = []
    real = Work.do

    alive = 4  # parts that are done before the end comes

    def do(work: Work, number: int) -> None:
        if len(began) == alive:
            raise Killed
        began.append(number)
        real(work, number)

    monkeypatch.setattr(Work, "do", do)
    with pytest.raises(Killed):
        predicted(tmp_path, out="late.parquet", id="flower")
    assert not (tmp_path / "late.parquet").exists()
    kept = list(Path("runs").glob("predict-iris-*"))
    assert len(kept) == 1
    alive = ROWS
    found = predicted(tmp_path, out="late.parquet", id="flower")
    assert sorted(began) == list(range(len(began)))
    assert np.abs(np.array(found["probability"]) - np.array(whole["probability"])).max() < 1e-6
    assert not list(Path("runs").glob("predict-*"))


def test_what_was_killed_after_its_last_step_is_only_tidied_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(scoring_job.ScoringRun, "_remove", killed)
        with pytest.raises(Killed):
            scoring.predict("iris/1", "valid", tmp_path / "a.parquet", engine="inline")
    assert list(Path("runs").glob("predict-*"))
    assert scoring.predict("iris/1", "valid", tmp_path / "a.parquet", engine="inline").rows == ROWS
    assert not list(Path("runs").glob("predict-*"))
    with pytest.raises(ConflictError, match="exists already"):
        scoring.predict("iris/1", "valid", tmp_path / "a.parquet", engine="inline")


def test_a_job_s_record_is_whole_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a process elsewhere can do any part of it, and writes the same bytes."""
    monkeypatch.setattr(scoring_job.ScoringRun, "_remove", lambda _: None)
    small_parts(monkeypatch)
    predicted(tmp_path, data="valid")
    (kept,) = Path("runs").glob("predict-iris-*")
    store = DirectoryStore(Path("runs"))
    before = {path.name: path.read_bytes() for path in (kept / "parts").iterdir()}
    shutil.rmtree(kept / "parts")
    work = Work(store, kept.name)
    for part in reversed(work.job.parts):
        work.do(part.number)
    assert {path.name: path.read_bytes() for path in (kept / "parts").iterdir()} == before
    shutil.rmtree(kept)


def test_a_process_elsewhere_does_the_parts_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predicted(tmp_path, data="valid")
    small_parts(monkeypatch)

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Work, "do", killed)
        with pytest.raises(Killed):
            predicted(tmp_path, data="valid")
    (kept,) = Path("runs").glob("predict-iris-*")
    place = ["--store", "runs", "--job", kept.name]
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main([*place, "--unit", "1"]) == 0
        own = [part.number for part in Work(DirectoryStore(Path("runs")), kept.name).job.parts if part.unit == 1]
        assert sorted(int(path.name) for path in (kept / "parts").iterdir()) == own
        assert main([*place, "--parts", "0-1"]) == 0
        assert len(list((kept / "parts").iterdir())) == len(own) + 2
        assert main([*place]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    with monkeypatch.context() as patch:
        patch.setattr(Work, "do", killed)  # nothing is left to do
        assert predicted(tmp_path, data="valid").column("row").equals(whole.column("row"))


@KERAS_COPIES
def test_labels_that_are_packed_as_codes_are_told_by_position(tmp_path: Path) -> None:
    table = flowers(3, 40)
    kinds = np.eye(3)[np.unique(np.array(table["species"]), return_inverse=True)[1]]
    coded = pa.table({**{name: table[name] for name in FEATURES}, **{f"k{at}": kinds[:, at] for at in range(3)}})
    labels = {"code": ["k0", "k1", "k2"]}
    pack(coded, tmp_path / "coded", shards=2, features=FEATURES, labels=labels, kind="encoded")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    model.save(tmp_path / "coded.keras")
    found = predicted(tmp_path, models=tmp_path / "coded.keras", data=str(tmp_path / "coded"))
    assert set(found["class_value"].to_pylist()) <= {0, 1, 2}
    evaluated = scoring.evaluate(tmp_path / "coded.keras", tmp_path / "coded", engine="inline")
    assert np.array(evaluated.outputs["code"]["confusion"]).sum(1).tolist() == kinds.sum(0).tolist()
    assert evaluated.metrics["loss"] > 0


def _changed(tmp_path: Path, change: Any) -> str:
    pq.write_table(change(pq.read_table("valid.parquet")), tmp_path / "changed.parquet")
    return str(tmp_path / "changed.parquet")


def _with(name: str, values: Sequence[Any], kind: Any = None) -> Any:
    def change(table: Any) -> Any:
        column = pa.array(values, kind) if kind else pa.array(values)
        return table.set_column(table.column_names.index(name), name, column)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop_columns(["b"]), r"has no column `b`, what `x` is made of\. It has a, c, d"),
        (
            lambda table: table.rename_columns(["a", "bb", "c", "d", "species", "flower"]),
            r"no column `b`.*Did you mean `bb`",
        ),
        (_with("b", [None, *range(ROWS - 1)]), r"`b`, row 1 \(counted from 1\): the value is null"),
        (_with("b", [*map(float, range(ROWS - 1)), float("nan")]), r"`b`, row 50 \(counted from 1\): nan is no finite"),
        (_with("b", ["x"] * ROWS), r'`b`, row 1 \(counted from 1\): "x" is not a number'),
        (lambda table: table.slice(0, 0), "has no rows"),
    ],
)
def test_columns_that_do_not_fit_are_named(change: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        predicted(tmp_path, data=_changed(tmp_path, change))
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"id": "flowers"}, r"no column `flowers`, the column of ids\. Did you mean `flower`\?"),
        ({"data": "valid", "id": "flower"}, r"valid keeps no ids, so there is no id column `flower`"),
        ({"data": "valid", "features": ["a"]}, r"valid is packed, so --features says nothing"),
        ({"data": "runs"}, r"runs is no data that can be scored\. Allowed are a packed data set"),
        ({"data": "valid.parqet"}, r"valid\.parqet does not exist\. Did you mean `valid\.parquet`\?"),
        ({"models": "iris/9"}, "iris has no configuration 9"),
        ({"models": "irs"}, r"no experiment `irs`.*Did you mean `iris`\?"),
        ({"models": "iris/1@7"}, r"configuration 1 has no checkpoint of iteration 7: there are those of 1, 2"),
        ({"models": ["iris/1", "iris/1"]}, "1 was given twice"),
        ({"models": ["iris/1", "pay/1"]}, r"iris/1 and pay/1 have different inputs"),
        ({"models": "no.keras"}, r"no\.keras does not exist"),
        ({"models": []}, "no model was given"),
        ({"type": "resp"}, r"type is `resp`: use prob, response"),
        ({"type": "response", "top": 2}, "`response` is the best class alone"),
        ({"top": 0}, "top is 0"),
        ({"threshold": 1.0}, r"the threshold is 1\.0: give a number from 0 to below 1"),
        ({"threshold": 0.5}, r"`species` has 3: --type prob lists all classes above"),
        ({"threshold": "ev.json"}, r"the threshold `ev\.json` is neither a number nor a file"),
        ({"positive": "setosa"}, "the model has no output of two"),
        ({"classes": ["a", "b", "c"]}, "--classes is known from configuration 1: leave it out"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"features": ["a", "b"]}, r"the model's input `x` takes 4 columns, and 2 were given"),
        ({"features": {"y": ["a"]}}, "--features names `y`: the model has x"),
    ],
)
def test_mistakes_are_said_in_one_message(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        predicted(tmp_path, **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop_columns(["species"]), r"no column `species`, the label of `species`"),
        (_with("species", ["setosaa"] * 3 + ["setosa"] * (ROWS - 3)), r'"setosaa" in 3 rows.*Did you mean `setosa`\?'),
        (_with("species", [None] + ["setosa"] * (ROWS - 1)), r"`species` has no label in 1 row"),
    ],
)
def test_labels_that_do_not_fit_are_named(change: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        scoring.evaluate("iris/1", _changed(tmp_path, change), engine="inline")


def test_packed_data_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pay-valid does not fit the model: its inputs are x \(2, float32\)"):
        predicted(tmp_path, data="pay-valid")
    pack(flowers(1, 20), tmp_path / "other", shards=1, features=FEATURES, labels=["flower"])
    with pytest.raises(DataError, match=r"has no label `species`: it has flower"):
        scoring.evaluate("iris/1", tmp_path / "other", engine="inline")
    assert predicted(tmp_path, data=str(tmp_path / "other")).num_rows == 20  # to predict, its labels do not matter


@KERAS_COPIES
def test_a_model_of_another_width_is_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, "softmax")])
    model.save(tmp_path / "five.keras")
    with pytest.raises(UserError, match=r"five\.keras has 5 units, and 3 classes were given"):
        predicted(tmp_path, models=tmp_path / "five.keras", features=FEATURES, classes=["a", "b", "c"])
    with pytest.raises(UserError, match=r"five\.keras has 5 units, and 3 classes"):
        scoring.evaluate(tmp_path / "five.keras", "valid", engine="inline")
    with pytest.raises(DataError, match=r"say which columns make the model's input `x`, --features a,b,c"):
        predicted(tmp_path, models=tmp_path / "five.keras")


@KERAS_COPIES
def test_a_regression_from_outside_gives_numbers(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.save(tmp_path / "price.keras")
    found = predicted(tmp_path, models=tmp_path / "price.keras", features=FEATURES, id="flower", normalize=2.0)
    x = np.stack([pq.read_table("valid.parquet")[name] for name in FEATURES], 1)
    assert found["value"].to_pylist() == pytest.approx(model.predict(x / 2, verbose=0)[:, 0].tolist(), abs=1e-6)
    with pytest.raises(UserError, match="--type prob is for classes, and the model gives numbers"):
        predicted(tmp_path, models=tmp_path / "price.keras", features=FEATURES, type="prob")


def test_a_table_of_a_database_is_scored_into_another(database: Database, tmp_path: Path) -> None:
    source = database.load("flowers", pq.read_table("valid.parquet"))
    target = database.address("scored")
    found = scoring.predict("iris/1", source, target, id="flower", engine="inline")
    assert found.rows == ROWS
    expected = {row["flower"]: row for row in predicted(tmp_path, id="flower").to_pylist()}
    told = database.rows("SELECT flower, output, class_value, probability FROM scored")
    assert len(told) == ROWS
    for flower, output, value, probability in told:
        assert (output, value) == ("species", expected[flower]["class_value"])
        assert probability == pytest.approx(expected[flower]["probability"], abs=1e-6)
    with pytest.raises(ConflictError):
        scoring.predict("iris/1", source, target, id="flower", engine="inline")
    scoring.predict("iris/1", source, target, id="flower", engine="inline", overwrite=True)
    evaluated = scoring.evaluate("iris/1", source, engine="inline")
    assert evaluated.metrics == pytest.approx(scoring.evaluate("iris/1", engine="inline").metrics, abs=1e-6)


def test_a_table_that_changes_after_a_kill_is_scored_as_it_was(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = database.load("flowers", pq.read_table("valid.parquet"))
    small_parts(monkeypatch)

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Work, "do", killed)
        with pytest.raises(Killed):
            predicted(tmp_path, data=source, id="flower")
    database.do("DELETE FROM flowers WHERE flower < 1020")
    assert predicted(tmp_path, data=source, id="flower").num_rows == ROWS
    assert predicted(tmp_path, data=source, id="flower").num_rows == ROWS - 20


def test_a_column_that_a_table_lacks_is_named(database: Database, tmp_path: Path) -> None:
    source = database.load("flowers", pq.read_table("valid.parquet").drop_columns(["b"]))
    with pytest.raises(DataError, match=r"table=flowers has no column `b`, what `x` is made of"):
        predicted(tmp_path, data=source)
