"""Models from a real run: the same weights, metrics and predictions as the run had; trained once for all tests."""

from __future__ import annotations

import builtins
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelhopper import parts
from modelhopper.experiment import Experiment, Model
from modelhopper.predictions import Predictions, rows_for
from modelhopper.results import Run, open_run
from modelhopper_contract import checkpoint
from modelhopper_contract.errors import DataError, UserError
from modelhopper_contract.manifest import Input, Output
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.packing import pack
from tests.sdk.synthetic import SyntheticRun, whole_run

pytestmark = pytest.mark.xdist_group("tensorflow")

MODELS = """
import keras

def mlp(units=6):
    return keras.Sequential([
        keras.Input((4,)),
        keras.layers.Dense(units, "relu"),
        keras.layers.Dropout(0.1),
        keras.layers.Dense(3, "softmax"),
    ])

def two():
    image = keras.Input((2,), name="image")
    age = keras.Input((1,), name="age")
    joined = keras.layers.Concatenate()([image, age])
    return keras.Model(
        [image, age],
        {"kind": keras.layers.Dense(2, "softmax")(joined), "price": keras.layers.Dense(1)(joined)},
    )
"""


def draw(seed: int, rows: int) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    x = random.integers(0, 256, (rows, 4)).astype(np.uint8)
    return x, np.array(["setosa", "versicolor", "virginica"])[x.argmax(1) % 3]


def drawn_for_two(seed: int, rows: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    image, age = random.normal(size=(rows, 2)).astype(np.float32), random.integers(1, 90, (rows, 1)).astype(np.float32)
    return {"image": image, "age": age, "kind": np.where(age[:, 0] > 40, "old", "new"), "price": image.sum(1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a model file, and two finished runs in `runs`."""
    at = tmp_path_factory.mktemp("real")
    (at / "models.py").write_text(MODELS)
    pack(draw(0, 30), at / "train", shards=2, normalize=255.0)
    pack(draw(1, 10), at / "valid", shards=2, against=at / "train")
    fields: dict[str, Any] = {"features": ["image", "age"], "labels": ["kind", "price"]}
    kinds = {"kind": "classes", "price": "number"}
    pack(drawn_for_two(0, 20), at / "two-train", shards=2, kind=kinds, **fields)
    pack(drawn_for_two(1, 8), at / "two-valid", shards=1, against=at / "two-train", **fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(at)
        _iris().run("inline", progress=False)
        _two().run("inline", progress=False)
    return at


def _iris() -> Experiment:
    return Experiment(
        name="iris",
        data=parts.Data(train="train", validation="valid"),
        models={"small": "models.py:mlp", "large": Model("models.py:mlp", units=9)},
        compile={"loss": "categorical_crossentropy", "metrics": ["accuracy", "AUC"]},
        search=parts.Grid(model=["small", "large"], optimizer=["Adam"], batch_size=[4]),
        iterations=2,
        devices=parts.Devices(kind="cpu", stations=1),
    )


def _two() -> Experiment:
    return Experiment(
        name="two",
        data=parts.Data(train="two-train", validation="two-valid"),
        models={"two": "models.py:two"},
        compile={"loss": {"kind": "categorical_crossentropy", "price": "mse"}, "metrics": {"price": ["mae"]}},
        search=parts.Grid(batch_size=[4]),
        devices=parts.Devices(kind="cpu", stations=1),
    )


@pytest.fixture
def run(folder: Path) -> Run:
    return open_run(folder / "runs" / "iris")


@pytest.fixture
def two(folder: Path) -> Run:
    return open_run(folder / "runs" / "two")


@pytest.fixture
def changed_file(folder: Path) -> Iterator[Path]:
    """The model file, to be changed by a test and put back."""
    file = folder / "models.py"
    before = file.read_text()
    yield file
    file.write_text(before)


def test_the_model_has_the_final_checkpoint_to_the_bit(run: Run) -> None:
    from modelhopper_trainer.state import Variables

    candidate = run.best()
    name = run.reader.names.checkpoint(candidate.number, 4)
    state = checkpoint.from_bytes(run.reader.store.get(name), name).state
    model = candidate.model()
    found = Variables(model).read()
    assert found.keys() == state.keys()
    assert all(np.array_equal(found[key], state[key]) for key in state)
    assert model.compiled


def test_the_validation_metrics_come_out_again_exactly(run: Run, two: Run) -> None:
    for candidate in (run.configuration(1), run.configuration(2), two.best()):
        found = {f"validation {name}": value for name, value in candidate.evaluate().items()}
        assert found == {key: value for key, value in candidate.metrics.items() if key.startswith("validation")}


def test_so_do_the_training_metrics(run: Run, folder: Path) -> None:
    candidate = run.best()
    found = {f"training {name}": value for name, value in candidate.evaluate(folder / "train").items()}
    assert found == {key: value for key, value in candidate.metrics.items() if key.startswith("training")}


def test_raw_rows_are_scaled_and_classes_have_their_names(run: Run) -> None:
    candidate = run.best()
    x, _ = draw(2, 7)
    found = candidate.predict(x, batch_size=3)
    expected = candidate.model().predict(x / np.float32(255), verbose=0)
    assert np.allclose(found.probabilities, expected, atol=1e-6)
    names = np.array(["setosa", "versicolor", "virginica"])
    assert found.names == tuple(names)
    assert found.classes == names[expected.argmax(1)].tolist()
    assert [len(best) for best in found.top(2)] == [2] * 7
    assert all(best[0][1] >= best[1][1] for best in found.top(2))


def test_packed_data_is_predicted_in_stored_order(run: Run, folder: Path) -> None:
    from modelhopper_trainer.shards import open_data

    data = open_data(folder / "valid")
    rows = np.concatenate([data.shard(number).inputs["x"] for number in range(2)])
    candidate = run.best()
    assert np.allclose(candidate.predict(folder / "valid").probabilities, candidate.predict(rows).probabilities)


def test_what_is_made_up_is_neither_predicted_nor_evaluated(run: Run, tmp_path: Path) -> None:
    found = draw(5, 30)
    for name, oversample in (("plain", None), ("more", "duplicate")):
        pack(found, tmp_path / name, shards=2, normalize=255, oversample=oversample)
    candidate = run.best()
    assert candidate.evaluate(tmp_path / "more") == candidate.evaluate(tmp_path / "plain")
    plain, more = (candidate.predict(tmp_path / name).probabilities for name in ("plain", "more"))
    assert np.array_equal(plain, more)


def test_training_on_the_model_changes_no_later_answer(run: Run) -> None:
    candidate = run.best()
    before = candidate.evaluate()
    model = candidate.model()
    model.fit(np.zeros((4, 4)), np.eye(3)[[0, 1, 2, 0]], verbose=0)
    assert candidate.evaluate() == before


def test_several_outputs_are_asked_for_by_name(two: Run) -> None:
    rows = drawn_for_two(3, 5)
    found = two.best().predict({"image": rows["image"], "age": rows["age"]})
    assert found["price"].numbers.shape == (5,)
    assert set(found["kind"].classes) <= {"new", "old"}
    with pytest.raises(UserError, match=r'there are 2 outputs: kind, price. Say which, as in predictions\["kind"\]'):
        _ = found.classes
    with pytest.raises(UserError, match="is a label of numbers"):
        found["price"].top(1)
    with pytest.raises(UserError, match="Did you mean `price`"):
        found["prise"]


# Keras' own save copies its variables in a way that numpy 2 warns of.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")
def test_a_saved_model_gives_the_same_predictions(run: Run, tmp_path: Path) -> None:
    import keras

    candidate = run.best()
    candidate.save(tmp_path / "best.keras")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.card.json", "best.keras"]
    x = (draw(2, 5)[0] / 255).astype(np.float32)
    loaded = keras.models.load_model(tmp_path / "best.keras")
    assert np.array_equal(loaded(x), candidate.model()(x))
    with pytest.raises(UserError, match=r"does not end in \.keras"):
        candidate.save(tmp_path / "best.h5")


def test_a_changed_model_file_is_told_and_a_missing_one_is_an_error(run: Run, changed_file: Path) -> None:
    changed_file.write_text(MODELS + "\n# a remark\n")
    with pytest.warns(UserWarning, match=r"models\.py has changed since the run iris"):
        run.best().evaluate()
    changed_file.unlink()
    with pytest.raises(UserError, match=r"is built from models\.py, and there is no file"):
        run.best().model()


def test_the_packed_data_is_not_needed_for_a_model(folder: Path, run: Run) -> None:
    shutil.move(folder / "train", folder / "away")
    try:
        found = run.best().predict(draw(2, 3)[0])
    finally:
        shutil.move(folder / "away", folder / "train")
    assert found.names == ("setosa", "versicolor", "virginica")
    assert np.array_equal(found.probabilities, run.best().predict(draw(2, 3)[0]).probabilities)


def test_data_that_is_gone_with_its_copied_manifest_is_told(folder: Path, run: Run) -> None:
    store, name = run.reader.store, run.reader.names.manifest("training")
    kept = store.get(name)
    store.delete(name)
    shutil.move(folder / "train", folder / "away")
    try:
        with pytest.raises(DataError, match=r"does not exist.* stand in its manifest"):
            run.best().model()
    finally:
        shutil.move(folder / "away", folder / "train")
        store.put(name, kept)


def test_data_that_does_not_fit_is_told(run: Run, folder: Path) -> None:
    with pytest.raises(DataError, match="does not fit train, on which the model was trained: their inputs differ"):
        run.best().evaluate(folder / "two-valid")


def test_a_configuration_without_a_model_says_why() -> None:
    written = whole_run(MemoryStore())
    with pytest.raises(UserError, match=r"configuration 3 failed, so it has no trained model: loss is NaN"):
        Run(written.store, "iris").configuration(3).model()
    begun = SyntheticRun(MemoryStore())
    begun.store.delete(begun.names.checkpoint(1, 0))
    with pytest.raises(UserError, match="has no checkpoint"):
        Run(begun.store, "iris").configuration(1).model()


def test_without_tensorflow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("modelhopper_trainer"):
            raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
        return imported(name, *rest, **named)

    candidate = Run(whole_run(MemoryStore()).store, "iris").best()
    monkeypatch.delitem(sys.modules, "modelhopper_trainer.prediction", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'modelhopper\[cpu\]'"):
        candidate.model()


def test_rows_that_do_not_fit_are_told_with_both_shapes() -> None:
    one = [Input(name="x", shape=(2,), dtype="float32", columns=("width", "height"))]
    two = [*one, Input(name="age", shape=(), dtype="float32")]
    for given, inputs, message in (
        (np.zeros((3, 4)), one, r"`x` takes rows of shape \(rows, 2\), and \(3, 4\) was given"),
        (np.zeros(2), one, "For a single row, give a list of one row"),
        (np.array([["a", "b"]]), one, "takes numbers"),
        (np.zeros((3, 2)), two, "the model has 2 inputs: give a mapping of x, age"),
        ({"width": [1], "hight": [2]}, one, "no `height`: they have width, hight. Did you mean `hight`"),
        ({"x": np.zeros((3, 2)), "age": np.zeros(2)}, two, "different numbers of rows"),
    ):
        with pytest.raises(DataError, match=message):
            rows_for(given, inputs)


def test_columns_are_joined_as_they_were_packed() -> None:
    import pyarrow

    inputs = [Input(name="x", shape=(2,), dtype="float32", columns=("width", "height"))]
    columns = {"height": [3.0, 4.0], "other": [0, 0], "width": [1.0, 2.0]}
    for given in (columns, pyarrow.table(columns)):
        assert rows_for(given, inputs)["x"].tolist() == [[1, 3], [2, 4]]


def test_a_column_of_an_inputs_own_name_is_packed_as_it_was() -> None:
    import pyarrow

    table = pyarrow.table({"age": [30.0, 40.0], "x": [1.0, 2.0], "y": [3.0, 4.0]})
    age = Input(name="age", shape=(1,), dtype="float32", columns=("age",))
    joined = Input(name="x", shape=(2,), dtype="float32", columns=("x", "y"))
    assert rows_for(table, [age])["age"].tolist() == [[30], [40]]
    assert rows_for({"age": [[30.0]]}, [age])["age"].tolist() == [[30]]
    assert rows_for(table, [joined])["x"].tolist() == [[1, 3], [2, 4]]


def test_columns_that_cannot_be_joined_are_told() -> None:
    joined = [Input(name="x", shape=(2,), dtype="float32", columns=("x", "y"))]
    with pytest.raises(DataError, match="columns of `x` differ in shape"):
        rows_for({"x": [1.0, 2.0], "y": [3.0]}, joined)
    with pytest.raises(DataError, match="For a single row, give a list of one row"):
        rows_for({"x": 1.0, "y": 3.0}, joined)


def test_rows_given_to_evaluate_are_refused_with_what_to_do() -> None:
    candidate = Run(whole_run(MemoryStore()).store, "iris").best()
    with pytest.raises(UserError, match="a list was given"):
        candidate.evaluate([[1.0]])  # type: ignore[arg-type]


def test_spare_columns_of_a_widened_code_are_no_class() -> None:
    output = Output(name="y", kind="classes", shape=(), dtype="int32", classes=("a", "b"), num_classes=4)
    found = Predictions([output], {"y": np.array([[0.1, 0.2, 0.7, 0.0]])})
    assert found.classes == ["b"]
    assert found.probabilities.shape == (1, 2)
