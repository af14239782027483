from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelhopper
from modelhopper.documents import located, locating, read_document, read_experiment
from modelhopper.syntax import Loader
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_scheduler.searches.configurations import configurations

EXPERIMENT = """\
name: iris
data:
  train: train
models:
  small: models.py:mlp
  deep: {build: models.py:mlp, layers: 3}
compile:
  loss: mse
  metrics: [accuracy]
fit: {epochs: 1}
search:
  method: grid
  space:
    model:
      - small
      - deep
    optimizer:
      - {name: Adam, learning_rate: [1e-3, 0.01]}
      - name: SGD
        learning_rate: 0.1
    batch_size: [4, 8]
iterations: 10
"""

LISTED = """\
name: iris
data: {train: train}
models: {small: models.py:mlp}
compile: {loss: mse}
search:
  method: list
  configurations:
    - batch_size: 4
    - batch_size: 8
      optimizer: {name: Adam, learning_rte: 1}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("experiment.yaml")


def complaint(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(UserError) as raised:
        configurations_in(file)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def configurations_in(file: Path) -> int:
    document = read_document(file)
    experiment = read_experiment(document)
    with locating(document):
        return len(configurations(experiment))


def test_an_experiment_is_read(file: Path) -> None:
    file.write_text(EXPERIMENT)
    assert configurations_in(file) == 12


def test_python_reads_the_same_experiment(file: Path) -> None:
    file.write_text(EXPERIMENT)
    experiment = modelhopper.load_experiment(file)
    assert experiment.model_dump() == read_experiment(read_document(file)).model_dump()
    assert experiment.folder == file.resolve().parent


def test_python_is_told_the_line_too(file: Path) -> None:
    file.write_text(EXPERIMENT.replace("iterations: 10", "iterations: ten"))
    with pytest.raises(SpecError, match=r"^experiment.yaml:22: iterations: .*'ten' was given"):
        modelhopper.load_experiment(file)


@pytest.mark.parametrize(
    ("right", "wrong", "line", "said"),
    [
        ("iterations: 10", "iteratons: 10", 22, "Did you mean `iterations`?"),
        ("  train: train", "  train: [a]", 3, "data.train"),
        ("epochs: 1", "epochs: 0", 10, "fit.epochs"),
        ("small: models.py:mlp", "small: models.txt", 5, "`models.txt` is not a model"),
        ("method: grid", "method: gird", 12, "Did you mean `grid`?"),
        ("    batch_size", "    batchsize", 21, "Did you mean `batch_size`?"),
        ("      - deep", "      - deap", 16, "Did you mean `deep`?"),
        ("[4, 8]", "[4, eight]", 21, "'eight' was given"),
    ],
)
def test_a_mistake_is_told_with_its_line(file: Path, right: str, wrong: str, line: int, said: str) -> None:
    assert right in EXPERIMENT
    found = complaint(file, EXPERIMENT.replace(right, wrong))
    assert found.startswith(f"experiment.yaml:{line}: ")
    assert said in found


def test_what_is_missing_is_told_without_a_line(file: Path) -> None:
    text = EXPERIMENT.replace("data:\n  train: train\n", "")
    assert complaint(file, text) == "experiment.yaml: `data` is missing."


@pytest.mark.parametrize(
    ("path", "message", "line"),
    [
        (("optimizer", "learning_rate"), "`learning_rate` is too high", 18),
        (("optimizer", "learning_rte"), "`learning_rte` is not a parameter", 17),
        (("optimizer",), "`SGD` is odd", 19),
        (("loss",), "`mse` is not a loss", 8),
        (("metrics",), "`accuracy` is not a metric", 9),
        (("batch_size",), "too big", 21),
        (("model", "layers"), "`layers` is not a parameter of `models.py:mlp`", 6),
        (("model",), "`deep` is odd", 16),
        (("model",), "`models.py:mlp` is odd", 5),
        ((), "`models.py` is not there", 5),
    ],
)
def test_a_mistake_inside_a_configuration_is_found_where_its_value_stands(
    file: Path, path: tuple[str, ...], message: str, line: int
) -> None:
    file.write_text(EXPERIMENT)
    assert located(SpecError(message, path), read_document(file)) == f"experiment.yaml:{line}: {message}"


def test_a_mistake_in_a_listed_configuration_is_found(file: Path) -> None:
    file.write_text(LISTED)
    document = read_document(file)
    assert located(SpecError("x", ("optimizer", "learning_rte")), document) == "experiment.yaml:10: x"
    assert located(SpecError("x", ("search", "configurations", 1, "optimizer")), document) == "experiment.yaml:10: x"
    assert located(SpecError("x", ("search", "configurations", 0)), document) == "experiment.yaml:8: x"


def test_a_mistake_that_is_nowhere_in_the_file_has_no_line(file: Path) -> None:
    file.write_text(EXPERIMENT)
    assert located(SpecError("`this` is odd"), read_document(file)) == "experiment.yaml: `this` is odd"


def test_a_located_error_keeps_its_notes(file: Path) -> None:
    file.write_text(EXPERIMENT)
    error = SpecError("x", ("fit",))
    error.add_note("a traceback")
    with pytest.raises(SpecError) as raised, locating(read_document(file)):
        raise error
    assert raised.value.__notes__ == ["a traceback"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "experiment.yaml is empty."),
        ("# nothing\n", "experiment.yaml is empty."),
        ("- a\n", "experiment.yaml:1: this is a list"),
        ("iris\n", "experiment.yaml:1: this is only `iris`"),
        ("a: 1\nb:\n\tc: 1\n", "experiment.yaml:3: a tab"),
        ("a: 1\nb: [1, 2\nc: 3\n", "experiment.yaml:2: a `[` is not closed"),
        ("a: 1\nb: 'x\nc: 3\n", "experiment.yaml:2: a quotation mark is not closed"),
        ("a: 1\nb\nc: 3\n", "experiment.yaml:2: a key has no `:`"),
        ("a:\n  b: 1\n c: 1\n", "experiment.yaml:3: the indentation does not fit"),
        ("a: {{ x }}\n", "experiment.yaml:1: a list or mapping cannot be a key"),
        ("a: 1\n---\nb: 1\n", "experiment.yaml:2: a second document"),
        ("a: !!python/object:os.system {}\n", "experiment.yaml:1: tags such as `!name` have no meaning"),
        ("a: &x [*x]\n", "experiment.yaml:1: this value holds itself"),
        ("a: *x\n", "experiment.yaml:1: no value of this name"),
        ("a: 1\nb: \x01\n", "experiment.yaml:2: the character 0x01"),
    ],
)
def test_what_is_not_yaml_is_told_in_words(file: Path, text: str, said: str) -> None:
    assert complaint(file, text).startswith(said)


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "b:\n  - {x: 1}\n  - a: 1\n    c: 2\n    a: 3\n"])
def test_a_key_given_twice_is_a_mistake(file: Path, text: str) -> None:
    assert "`a` is given twice, first in line" in complaint(file, text)


def test_what_is_merged_may_be_overridden(file: Path) -> None:
    file.write_text("a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}\n")
    assert read_document(file).value["d"] == {"b": 3, "c": 2}


def test_text_that_is_not_utf_8_is_told(file: Path) -> None:
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(UserError, match=r"^experiment.yaml:2: this is not UTF-8 text"):
        read_document(file)


def test_a_byte_order_mark_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_document(file).value == {"a": 1}


def test_a_missing_file_names_its_neighbour(file: Path) -> None:
    file.write_text(EXPERIMENT)
    with pytest.raises(UserError, match=r"^experiment.yml does not exist. Did you mean `experiment.yaml`\?"):
        read_document("experiment.yml")
    with pytest.raises(UserError, match=r"The folder nowhere does not exist either"):
        read_document("nowhere/experiment.yaml")


def test_a_folder_is_not_an_experiment(file: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder: give the experiment's file"):
        read_document(".")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("010", 10),
        ("0x10", 16),
        ("0o10", 8),
        ("+7", 7),
        ("no", "no"),
        ("on", "on"),
        ("True", True),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("~", None),
        ("", None),
        ("'1e-3'", "1e-3"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(file: Path, text: str, value: object) -> None:
    file.write_text(f"a: {text}\n")
    found = read_document(file).value["a"]
    assert found == value
    assert type(found) is type(value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abcxyz019.e-+:~é# ", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcxyz", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_json_is_read_as_what_it_is(value: Any) -> None:
    loader = Loader(json.dumps(value))
    try:
        assert loader.get_single_data() == value
    finally:
        loader.dispose()
