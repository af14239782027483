"""Validation data agrees with its training set, or is refused with the difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from modelhopper_contract.errors import DataError
from modelhopper_trainer.packing import pack
from tests.trainer.packed import column

TRAIN = pa.table({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0], "species": ["setosa", "versicolor", "virginica"]})


@pytest.fixture
def train(tmp_path: Path) -> Path:
    pack(TRAIN, tmp_path / "train", shards=2, labels="species", num_classes=5, normalize=2)
    return tmp_path / "train"


def test_validation_data_takes_columns_classes_width_and_normalisation_from_training(train: Path) -> None:
    source = train.with_name("valid.csv")
    source.write_text("species,b,extra,a\nvirginica,4,text,1\nsetosa,5,text,2\n", encoding="utf-8")
    manifest = pack(source, train.with_name("valid"), shards=1, against=train)
    assert manifest.outputs[0].classes == ("setosa", "versicolor", "virginica")
    assert (manifest.outputs[0].num_classes, manifest.normalize) == (5, 2)
    assert manifest.inputs[0].columns == ("a", "b")
    assert sorted(column(train.with_name("valid"), "species").tolist()) == [0, 2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["setosaa"] * 3 + ["setosa"],
            r'class "setosaa" \(3 rows\) is not among the classes of .*: setosa, versicolor, virginica.* `setosa`',
        ),
        (["setosa", None], r"class null \(1 row\) is not among"),
        (["rose", "tulip"], r'classes "rose" \(1 row\), "tulip" \(1 row\) are not among'),
    ],
)
def test_a_class_that_training_lacks_is_named_with_its_rows(labels: list[Any], message: str, train: Path) -> None:
    zeros = np.zeros(len(labels))
    source = pa.table({"a": zeros, "b": zeros, "species": labels})
    with pytest.raises(DataError, match=message):
        pack(source, train.with_name("valid"), shards=1, against=train)
    assert not train.with_name("valid").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalize": 3}, "normalize is 3, but 2 in"),
        ({"num_classes": 3}, "num_classes of `species` is 3, but 5 in"),
        ({"kind": "encoded", "labels": {"species": "a"}}, "kind of `species` is encoded, but classes in"),
        ({"features": ["a"]}, r"shape of `x` is \(1,\), but \(2,\) in"),
        ({"features": ["b", "a"]}, "column 1 of `x` is `b`, but `a` in"),
        ({"features": {"z": ["a", "b"]}}, "the inputs are z, but x in"),
        ({"labels": {"kind": "species"}}, "the outputs are kind, but species in"),
        ({"labels": []}, "the outputs are none, but species in"),
    ],
)
def test_what_differs_from_training_is_refused(options: Any, message: str, train: Path) -> None:
    with pytest.raises(DataError, match=message):
        pack(TRAIN, train.with_name("valid"), shards=1, against=train, **options)


def test_the_same_options_as_training_may_be_said_again(train: Path) -> None:
    options: Any = {"normalize": 2, "num_classes": 5, "features": ["a", "b"], "labels": "species", "kind": "classes"}
    again = pack(TRAIN, train.with_name("valid"), shards=2, against=train, **options)
    assert again.inputs == pack(TRAIN, train, shards=2, labels="species", overwrite=True).inputs


def test_another_dtype_than_training_is_refused(tmp_path: Path) -> None:
    pack((np.zeros((2, 3), np.uint8), [0, 1]), tmp_path / "train", shards=1)
    with pytest.raises(DataError, match="dtype of `x` is float32, but uint8 in"):
        pack((np.zeros((2, 3)), [0, 1]), tmp_path / "valid", shards=1, against=tmp_path / "train")


def test_text_classes_match_a_csv_that_holds_only_their_numbers(tmp_path: Path) -> None:
    pack(([[0.0]] * 3, ["1", "2", "x"]), tmp_path / "train", shards=1)
    (tmp_path / "valid.csv").write_text("x,y\n0,2\n0,1\n", encoding="utf-8")
    pack(tmp_path / "valid.csv", tmp_path / "valid", shards=1, features=["x"], against=tmp_path / "train")
    assert sorted(column(tmp_path / "valid", "y").tolist()) == [0, 1]


def test_whole_floats_match_integer_classes(tmp_path: Path) -> None:
    pack(([[0.0]] * 2, [7, 9]), tmp_path / "train", shards=1)
    manifest = pack(([[0.0]], [9.0]), tmp_path / "valid", shards=1, against=tmp_path / "train")
    assert manifest.outputs[0].classes == (7, 9)
    assert column(tmp_path / "valid", "y").tolist() == [1]


def test_inputs_keep_the_order_of_training(tmp_path: Path) -> None:
    a, b = np.zeros((2, 1)), np.zeros((2, 2))
    pack(({"a": a, "b": b}, [0, 1]), tmp_path / "train", shards=1)
    manifest = pack(({"b": b, "a": a}, [0, 1]), tmp_path / "valid", shards=1, against=tmp_path / "train")
    assert [field.name for field in manifest.inputs] == ["a", "b"]


def test_a_training_set_that_is_not_there_is_named(tmp_path: Path, train: Path) -> None:
    with pytest.raises(DataError, match=r"trian does not exist. Did you mean `train`"):
        pack(TRAIN, tmp_path / "valid", shards=1, against=tmp_path / "trian")
