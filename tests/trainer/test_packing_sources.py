"""What can be packed, how columns become fields, and what is refused."""

from __future__ import annotations

import decimal
import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import Manifest
from modelhopper_trainer.packing import pack
from tests.trainer.packed import column, files, numbered

IRIS = "width,length,species\n1.5,2,setosa\n2.5,3,virginica\n3.5,4,setosa\n"


def written(path: Path, text: str = IRIS) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pyarrow.parquet.write_table(pa.table(columns), path, **options)
    return path


# --- Arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", [("x", "y"), ("X", "y"), ("x_train", "y_train"), ("images", "labels")])
def test_an_npz_with_telling_names_is_the_same_as_its_arrays(save: Any, names: tuple[str, str], tmp_path: Path) -> None:
    x, y = numbered(50)
    save(tmp_path / "rows.npz", **{names[0]: x, names[1]: y})
    manifest = pack(tmp_path / "rows.npz", tmp_path / "npz", shards=3, batch_rows=7)
    assert manifest.digest() == pack((x, y), tmp_path / "arrays", shards=3).digest()


def test_an_npz_with_other_names_asks_and_lists_them(tmp_path: Path) -> None:
    x, y = numbered(5)
    np.savez(tmp_path / "rows.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(DataError, match=r"which arrays are labels.*x_train, y_train, x_test, y_test"):
        pack(tmp_path / "rows.npz", tmp_path / "out", shards=1)
    manifest = pack(tmp_path / "rows.npz", tmp_path / "out", shards=1, features={"x": "x_test"}, labels={"y": "y_test"})
    assert (manifest.inputs[0].name, manifest.outputs[0].name) == ("x", "y")


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_pair_of_npy_files_is_the_same_as_its_arrays(order: Any, tmp_path: Path) -> None:
    x = np.arange(60.0).reshape(20, 3)
    np.save(tmp_path / "x.npy", np.asarray(x, order=order))
    np.save(tmp_path / "y.npy", np.arange(20) % 2)
    manifest = pack((tmp_path / "x.npy", tmp_path / "y.npy"), tmp_path / "npy", shards=3, batch_rows=7)
    assert manifest.digest() == pack((x, np.arange(20) % 2), tmp_path / "arrays", shards=3).digest()


def test_a_pickled_array_is_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.zeros((2, 1)), y=np.array(["a", None], object))
    with pytest.raises(DataError, match=r"object array.*never loaded"):
        pack(tmp_path / "rows.npz", tmp_path / "out", shards=1)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match=r"rows\.npz cannot be read"):
        pack(tmp_path / "rows.npz", tmp_path / "out", shards=1)


def test_an_array_that_ends_too_early_is_named(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.save(whole, np.zeros((4, 2)))
    with zipfile.ZipFile(tmp_path / "rows.npz", "w") as archive:
        archive.writestr("x.npy", whole.getvalue()[:-3])
        archive.writestr("y.npy", whole.getvalue())
    with pytest.raises(DataError, match="ends too early"):
        pack(tmp_path / "rows.npz", tmp_path / "out", shards=1)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npz"]


def test_arrays_of_different_length_are_refused_with_their_lengths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`x` has 2, `y` has 3"):
        pack((np.zeros((2, 1)), [1, 2, 3]), tmp_path / "out", shards=1)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.uint8, "uint8"),
        (np.bool_, "uint8"),
        (np.int8, "int32"),
        (np.uint16, "int32"),
        (np.int64, "int32"),
        (np.float16, "float32"),
        (np.float64, "float32"),
        (">f4", "float32"),
    ],
)
def test_numbers_are_stored_as(given: Any, stored: str, tmp_path: Path) -> None:
    manifest = pack((np.ones((3, 2), given), [0, 1, 2]), tmp_path / "out", shards=1)
    assert manifest.inputs[0].dtype == stored
    assert (column(tmp_path / "out", "x") == 1).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "`x`, row 3 .*NaN is not a number"),
        (float("-inf"), "`x`, row 3 .*-inf is not finite"),
        (1e300, "`x`, row 3 .*too large for float32"),
        (2**31, "`x`, row 3 .*2147483648 does not fit int32"),
    ],
)
def test_a_number_that_cannot_be_stored_is_found_by_its_row(value: Any, message: str, tmp_path: Path) -> None:
    x = np.zeros((5, 2), type(value))
    x[2, 1] = value
    with pytest.raises(DataError, match=message):
        pack((x, np.zeros(5)), tmp_path / "out", shards=1, batch_rows=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("x", [["a", "b"], np.array([{}, {}]), [1j, 2j], np.array(["2020-01-01"] * 2, "M8[D]")])
def test_what_is_no_number_is_no_feature(x: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="which cannot be a feature"):
        pack((x, [0, 1]), tmp_path / "out", shards=1)


def test_a_mixed_list_of_numbers_is_numbers(tmp_path: Path) -> None:
    pack(([1, np.float64(2.5), 3.0], [0, 1, 2]), tmp_path / "out", shards=1)
    assert sorted(column(tmp_path / "out", "x").tolist()) == [1.0, 2.5, 3.0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (([[1.0]] * 2, np.array([{}, {}])), "A label is a dict, but a class is a single value"),
        (3, "int cannot be packed. Allowed are"),
        ((5, [1]), "x is a int, not an array"),
        (([[1], [1, 2]], [0, 1]), "rows differ in shape"),
        (({"a": [1]}, {"a": [1]}), "a is the name of an input and of an output"),
        ((np.ma.masked_array([1.0, 2.0], [True, False]), [0, 1]), "masked values"),
        ((np.zeros((2, 0)), [0, 1]), "which hold nothing"),
        (("x.npy", "y.csv"), r"x\.npy does not exist"),
    ],
)
def test_what_is_no_data_is_refused(source: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        pack(source, tmp_path / "out", shards=1)


# --- Tables -----------------------------------------------------------------------------------------------------------


def test_a_table_is_one_input_of_all_columns_that_are_no_labels(tmp_path: Path) -> None:
    manifest = pack(written(tmp_path / "iris.csv"), tmp_path / "out", shards=1, labels="species")
    assert manifest.inputs[0].columns == ("width", "length")
    assert (manifest.inputs[0].name, manifest.inputs[0].shape) == ("x", (2,))
    assert manifest.outputs[0].classes == ("setosa", "virginica")


def test_patterns_pick_columns_and_leave_the_label_out(tmp_path: Path) -> None:
    source = parquet(tmp_path / "t.parquet", {"p_1": [1.0, 2.0], "p_2": [1.0, 2.0], "p_y": [0, 1], "z": [5, 6]})
    manifest = pack(source, tmp_path / "out", shards=1, features=["p_*", "z"], labels="p_y")
    assert manifest.inputs[0].columns == ("p_1", "p_2", "z")


def test_a_mapping_makes_several_inputs_and_outputs(tmp_path: Path) -> None:
    columns = {"pixels": [[1, 2], [3, 4]], "age": [1, 2], "height": [3.0, 4.0], "kind": ["a", "b"]}
    manifest = pack(
        parquet(tmp_path / "t.parquet", columns),
        tmp_path / "out",
        shards=1,
        features={"image": "pixels", "person": ["age"]},
        labels={"label": "kind", "size": ["age", "height"]},
        kind={"size": "number"},
    )
    assert [(field.name, field.shape, field.dtype) for field in manifest.inputs] == [
        ("image", (2,), "int32"),
        ("person", (1,), "float32"),
    ]
    assert [(field.name, field.shape, field.kind) for field in manifest.outputs] == [
        ("label", (), "classes"),
        ("size", (2,), "number"),
    ]


def test_lists_of_lists_become_an_array(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(3, 4, 2)
    kinds = (pa.list_(pa.list_(pa.uint8())), pa.list_(pa.list_(pa.uint8(), 2), 4))
    for i, kind in enumerate(kinds):
        source = pa.table({"image": pa.array(images.tolist(), kind), "y": [0, 1, 2]})
        pack(source, tmp_path / str(i), shards=1, labels="y", features=["image"])
        assert np.array_equal(column(tmp_path / str(i), "x"), images[column(tmp_path / str(i), "y")])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [3.0]], "row 2 .*a list of 1, but the first row has 2"),
        ([[1.0, 2.0], None], "row 2 .*is null"),
        ([[1.0, 2.0], [3.0, None]], "row 2 .*is null"),
        ([[1.0, 2.0], [3.0, float("nan")]], "row 2 .*NaN"),
    ],
)
def test_a_list_that_does_not_fit_is_found_by_its_row(values: Any, message: str, tmp_path: Path) -> None:
    source = pa.table({"image": pa.array(values, pa.list_(pa.float64())), "y": [0, 1]})
    with pytest.raises(DataError, match=message):
        pack(source, tmp_path / "out", shards=1, labels="y")


def test_columns_of_uint8_stay_uint8_together(tmp_path: Path) -> None:
    small = pa.array([1, 2], pa.uint8())
    assert packed_dtype({"a": small, "b": small, "y": [0, 1]}, tmp_path / "all") == "uint8"
    assert packed_dtype({"a": small, "b": [1, 2], "y": [0, 1]}, tmp_path / "some") == "float32"


def packed_dtype(columns: dict[str, Any], out: Path) -> str:
    return pack(pa.table(columns), out, shards=1, labels="y").inputs[0].dtype


def test_decimals_and_booleans_are_numbers(tmp_path: Path) -> None:
    source = pa.table({"a": [decimal.Decimal("1.5"), decimal.Decimal("2.5")], "b": [True, False], "y": [0, 1]})
    pack(source, tmp_path / "out", shards=1, labels="y")
    assert sorted(column(tmp_path / "out", "x").tolist()) == [[1.5, 1.0], [2.5, 0.0]]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_csv_is_read_with_quotes_spaces_and_truth_values(suffix: str, tmp_path: Path) -> None:
    text = 'a,b,y\n 1,true,"two\nlines"\n2.5e0 ,FALSE,"a ""b"""\n'
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    manifest = pack(path, tmp_path / "out", shards=1, labels="y")
    assert manifest.outputs[0].classes == ('a "b"', "two\nlines")
    assert sorted(column(tmp_path / "out", "x").tolist()) == [[1.0, 1.0], [2.5, 0.0]]


def test_the_first_lines_of_a_csv_do_not_decide_its_types(tmp_path: Path) -> None:
    text = "a,y\n" + "1,1\n" * 400_000 + "1.5,other\n"
    manifest = pack(written(tmp_path / "rows.csv", text), tmp_path / "out", shards=1, labels="y")
    assert manifest.outputs[0].classes == ("1", "other")
    assert column(tmp_path / "out", "x").max() == 1.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y\n1,0\n,1\n", "`a`, row 2 .*is null"),
        ("a,y\n1,0\nnan,1\n", "`a`, row 2 .*NaN"),
        ("a,y\n1,0\nNA,1\n", '`a`, row 2 .*"NA" is not a number'),
        ("a,y\nred,0\n1,1\n", '`a`, row 1 .*"red" is not a number. Leave the column out'),
        ("a,y\n1,0\n2\n", "cannot be read: .*Expected 2 columns, got 1"),
        ("a,a,y\n1,2,0\n", "several columns are named a"),
        ("a,y\n", "has no rows"),
        ("", "cannot be read: Empty CSV file"),
        ("5.1,0.2\n4.9,0.1\n", "first line looks like data"),
    ],
)
def test_a_csv_that_cannot_be_packed_says_where(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        pack(written(tmp_path / "rows.csv", text), tmp_path / "out", shards=1, labels="y")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_csv_may_begin_with_a_byte_order_mark_and_must_be_utf8(tmp_path: Path) -> None:
    (tmp_path / "marked.csv").write_text("a,y\n1,\u00e9\n", encoding="utf-8-sig")
    manifest = pack(tmp_path / "marked.csv", tmp_path / "out", shards=1, labels="y")
    assert (manifest.inputs[0].columns, manifest.outputs[0].classes) == (("a",), ("\u00e9",))
    (tmp_path / "other.csv").write_text("a,y\n1,\u00e9\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"other\.csv cannot be read: .*UTF8"):
        pack(tmp_path / "other.csv", tmp_path / "out2", shards=1, labels="y")


def test_text_in_a_parquet_feature_is_refused_by_its_column(tmp_path: Path) -> None:
    source = parquet(tmp_path / "t.parquet", {"a": [1.0], "name": ["x"], "y": [0]})
    with pytest.raises(DataError, match=r"`name` holds text, which cannot be a feature\. Leave it out"):
        pack(source, tmp_path / "out", shards=1, labels="y")


def test_null_in_a_parquet_feature_is_found_by_its_row(tmp_path: Path) -> None:
    source = parquet(tmp_path / "t.parquet", {"a": [1, 2, None], "y": [0, 1, 2]}, row_group_size=2)
    with pytest.raises(DataError, match=r"`a`, row 3 .*is null"):
        pack(source, tmp_path / "out", shards=1, labels="y")


@pytest.mark.parametrize("pattern", ["parts", "parts/*.parquet"])
def test_parts_are_read_one_after_another(pattern: str, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "_SUCCESS").touch()
    for part in range(3):
        parquet(tmp_path / "parts" / f"{part}.parquet", {"a": [part * 2.0, part * 2.0 + 1], "y": ["u", "v"]})
    parts = pack(str(tmp_path / pattern), tmp_path / "out", shards=2, labels="y")
    whole = pack(pa.table({"a": np.arange(6.0), "y": ["u", "v"] * 3}), tmp_path / "whole", shards=2, labels="y")
    assert files(parts) == files(whole)


def test_parts_that_differ_in_type_are_named(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    parquet(tmp_path / "parts" / "0.parquet", {"a": [1.0], "y": [0]})
    parquet(tmp_path / "parts" / "1.parquet", {"a": [1], "y": [0]})
    with pytest.raises(DataError, match=r"1\.parquet: column `a` is int64, but double in .*0\.parquet"):
        pack(tmp_path / "parts", tmp_path / "out", shards=1, labels="y")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("iris.cvs", "does not exist. Did you mean `iris.csv`"),
        ("notes.txt", "is of no known kind. Allowed are"),
        ("empty", "holds no CSV or Parquet files"),
        ("done", "is a packed data set already"),
        ("*.parquet", "holds no CSV or Parquet files"),
    ],
)
def test_a_path_that_cannot_be_packed_says_what_can(name: str, message: str, tmp_path: Path) -> None:
    written(tmp_path / "iris.csv")
    written(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    pack(numbered(3), tmp_path / "done", shards=1)
    with pytest.raises(DataError, match=message):
        pack(tmp_path / name, tmp_path / "out", shards=1, labels="species")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "which columns are labels"),
        ({"labels": "specis"}, "no column `specis`. Did you mean `species`"),
        ({"labels": "species", "features": ["widht"]}, "no column `widht`. Did you mean `width`"),
        ({"labels": {"a/b": "species"}}, "`a/b` cannot name an input or output"),
        ({"labels": {"x": "species"}}, "several inputs or outputs are named `x`"),
        ({"labels": {"y": ["species", "width"]}, "kind": "classes"}, "several values per row"),
        ({"labels": ["species", "width", "length"]}, "no columns are left as features"),
    ],
)
def test_columns_that_cannot_be_chosen_are_refused(options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        pack(written(tmp_path / "iris.csv"), tmp_path / "out", shards=1, **options)


def test_data_without_labels_is_packed_when_said(tmp_path: Path) -> None:
    source = written(tmp_path / "iris.csv")
    manifest: Manifest = pack(source, tmp_path / "out", shards=2, features=["width"], labels=[])
    assert (manifest.outputs, manifest.rows) == ((), 3)
