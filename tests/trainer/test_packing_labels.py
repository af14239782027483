"""Labels: which classes there are, in which order, and what is kept as it is."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import Manifest, Output
from modelhopper_trainer.packing import describe, labels, outputs, pack
from modelhopper_trainer.packing.tables import TableChunk
from modelhopper_trainer.shards import open_data
from tests.trainer.packed import Array, column, folder


def packed(y: Any, out: Path, **options: Any) -> Output:
    rows = y.num_rows if isinstance(y, pa.Table) else len(y)
    source = y if isinstance(y, pa.Table) else (np.arange(rows, dtype=np.float32).reshape(-1, 1), y)
    if isinstance(y, pa.Table):
        options = {"labels": "y", **options}
    return pack(source, out, shards=1, **options).outputs[0]


def in_order(out: Path) -> Array:
    """Return the stored labels in the source's order of rows."""
    found: Array = column(out, "y")[np.argsort(column(out, "x").reshape(-1))]
    return found


SCALARS = (st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_infinity=False), st.text(max_size=3))


@given(st.one_of([st.lists(st.one_of(st.none(), kind), min_size=1, max_size=20) for kind in SCALARS]))
def test_classes_are_the_distinct_values_in_ascending_order_with_null_first(values: list[Any]) -> None:
    null = [value is None or (isinstance(value, float) and math.isnan(value)) for value in values]
    expected = sorted({value for value, missing in zip(values, null, strict=True) if not missing})
    with folder() as place:
        source = np.empty(len(values), object)
        source[:] = values
        output = packed(source, place / "out")
        stored = in_order(place / "out").tolist()
        # What is read back from disk has kept its types.
        assert open_data(place / "out").manifest.outputs[0] == output
    assert output.classes == (*([None] if any(null) else []), *expected)
    assert [output.classes[index] for index in stored] == [
        None if missing else value for value, missing in zip(values, null, strict=True)
    ]


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (np.array([3, 1, 2], np.uint16), (1, 2, 3)),
        (np.array([True, False]), (False, True)),
        (np.array([0.5, np.nan, -0.0, 0.0]), (None, 0.0, 0.5)),
        (np.array(["b", "a"]), ("a", "b")),
        (np.array([b"b", b"a"]), ("a", "b")),
        (np.array(["2021-03-01", "2020-12-01", "NaT"], "M8[D]"), (None, "2020-12-01", "2021-03-01")),
        (["b", 2, None, 1, True], (None, True, 1, 2, "b")),
        ([2, 1.5, None], (None, 1.5, 2.0)),
        ([decimal.Decimal(10), decimal.Decimal(9)], ("9", "10")),
        ([dt.date(2021, 1, 1), None, dt.date(2020, 1, 1)], (None, "2020-01-01", "2021-01-01")),
    ],
)
def test_any_scalar_type_is_a_label(values: Any, classes: tuple[Any, ...], tmp_path: Path) -> None:
    found = packed(values, tmp_path / "out").classes
    assert found == classes
    assert [type(value) for value in found] == [type(value) for value in classes]


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (pa.array([3, None, 1]), (None, 1, 3)),
        (pa.array(["b", "a", None]).dictionary_encode(), (None, "a", "b")),
        (pa.array([decimal.Decimal(10), decimal.Decimal(9)]), ("9", "10")),
        (pa.array([dt.date(2021, 1, 1), None]), (None, "2021-01-01")),
        (pa.array([np.datetime64("2021-01-01T05:00", "ns")]), ("2021-01-01 05:00:00",)),
        (pa.array([b"b", b"a"]), ("a", "b")),
        (pa.array([float("nan"), 1.0, -0.0]), (None, 0.0, 1.0)),
        (pa.array([True, None]), (None, True)),
    ],
)
def test_any_scalar_type_of_a_table_is_a_label(values: Any, classes: tuple[Any, ...], tmp_path: Path) -> None:
    found = packed(pa.table({"a": np.zeros(len(values)), "y": values}), tmp_path / "out").classes
    assert found == classes
    assert [type(value) for value in found] == [type(value) for value in classes]


@pytest.mark.parametrize(
    ("texts", "classes"),
    [
        (["2", "10", ""], (None, 2, 10)),
        (["2.5", "10", "nan"], (None, 2.5, 10.0)),
        (["true", "False"], (False, True)),
        (["01234", "1234"], ("01234", "1234")),
        (["2", "x", ""], (None, "2", "x")),
        (["", ""], (None,)),
        (["2020-01-01"], ("2020-01-01",)),
        (["a ", "a"], ("a", "a ")),
    ],
)
def test_all_values_of_a_csv_column_decide_what_they_mean(texts: list[str], classes: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,y\n" + "".join(f"0,{text}\n" for text in texts), encoding="utf-8")
    assert pack(tmp_path / "rows.csv", tmp_path / "out", shards=1, labels="y").outputs[0].classes == classes


def test_an_empty_text_in_quotes_is_not_null(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('a,y\n0,""\n0,\n', encoding="utf-8")
    assert pack(tmp_path / "rows.csv", tmp_path / "out", shards=1, labels="y").outputs[0].classes == (None, "")


@pytest.mark.parametrize(("width", "dtype"), [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "int32")])
def test_class_indices_take_the_smallest_type_that_fits(width: int, dtype: str, tmp_path: Path) -> None:
    assert packed(["a", "b"], tmp_path / "out", num_classes=width).dtype == dtype


def test_num_classes_pads(tmp_path: Path) -> None:
    output = packed(["b", "a"], tmp_path / "out", num_classes=5)
    assert (output.classes, output.num_classes, output.shape) == (("a", "b"), 5, ())


def test_num_classes_never_cuts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"num_classes is 1, but .*has 2 classes: a, b. It may add classes, and never"):
        packed(["b", "a"], tmp_path / "out", num_classes=1)


def test_an_array_label_is_taken_as_encoded(tmp_path: Path) -> None:
    output = packed(np.eye(3), tmp_path / "out")
    assert (output.kind, output.shape, output.dtype, output.num_classes) == ("encoded", (3,), "float32", None)
    assert np.array_equal(in_order(tmp_path / "out"), np.eye(3))


def test_a_column_of_class_numbers_is_classes_when_said(tmp_path: Path) -> None:
    output = packed(np.array([[7], [5], [7]]), tmp_path / "out", kind="classes")
    assert (output.classes, output.shape) == ((5, 7), ())
    assert in_order(tmp_path / "out").tolist() == [1, 0, 1]


def test_an_array_is_no_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="several values per row"):
        packed(np.eye(3), tmp_path / "out", kind="classes")


def test_a_number_is_kept_for_regression(tmp_path: Path) -> None:
    output = packed([3, 1, 2], tmp_path / "out", kind="number")
    assert (output.kind, output.shape, output.dtype, output.classes) == ("number", (), "float32", ())
    assert in_order(tmp_path / "out").tolist() == [3.0, 1.0, 2.0]


def test_text_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`y` holds text, which cannot be a label of kind number"):
        packed(["a"], tmp_path / "out", kind="number")


def test_a_missing_number_is_found_by_its_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`y`, row 2 .*is null"):
        packed(pa.table({"a": [0.0, 0.0], "y": [1.0, None]}), tmp_path / "out", kind="number")


def test_infinity_is_no_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'holds inf, which cannot be a class\. For regression, say kind="number"'):
        packed([1.0, float("inf")], tmp_path / "out")


def test_too_many_classes_are_probably_a_regression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MOST_CLASSES", 10)
    with pytest.raises(DataError, match=r'more than 10 different values.*kind="number"'):
        packed(np.arange(11.0), tmp_path / "out")


def test_a_source_that_changes_between_its_readings_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,y\n0,u\n0,v\n", encoding="utf-8")
    find = labels.find_classes

    def find_and_change(tally: labels.Tally, *, untyped: bool) -> Any:
        path.write_text("a,y\n0,u\n0,w\n", encoding="utf-8")
        return find(tally, untyped=untyped)

    monkeypatch.setattr(outputs, "find_classes", find_and_change)
    with pytest.raises(DataError, match="was changed while it was packed"):
        pack(path, tmp_path / "out", shards=1, labels="y")


def test_the_manifest_keeps_types_over_disk(tmp_path: Path) -> None:
    pack(([[0.0]] * 5, [None, False, 2, "2", "é"]), tmp_path / "out", shards=1)
    manifest = Manifest.from_json((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest.outputs[0].classes == (None, False, 2, "2", "é")


def test_measured_numbers_taken_as_classes_are_pointed_out(tmp_path: Path) -> None:
    x = np.zeros((3, 2))
    measured = pack((x, np.array([0.5, 1.5, 2.5])), tmp_path / "measured", shards=1)
    counted = pack((x, np.array([0.0, 1.0, 2.0])), tmp_path / "counted", shards=1)
    assert "to keep it a number, pack with kind `number`" in describe(measured)
    assert "to keep it a number" not in describe(counted)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int64", "uint64"])
@given(st.data())
def test_integers_are_classes_wherever_their_range_lies(kind: str, data: Any) -> None:
    limits = np.iinfo(kind)
    begin = data.draw(st.sampled_from([int(limits.min), 0, int(limits.max) - 100]))
    drawn = data.draw(st.lists(st.integers(begin, min(begin + 100, int(limits.max))), min_size=1, max_size=50))
    values, indices = TableChunk(pa.array(drawn, kind), (), untyped=False).distinct()
    assert [values[index] for index in indices] == drawn
    assert len(set(values)) == len(values)
