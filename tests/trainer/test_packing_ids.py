"""Ids of rows: they stay with their rows, and are what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import CorruptObject, DataError
from modelhopper_trainer.packing import describe, pack
from modelhopper_trainer.shards import open_data
from tests.trainer.packed import Array, column, files, folder, numbered

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=8).filter(
    lambda text: not text.strip().lstrip("+-").isdigit()
)


def ids(place: Path) -> Array:
    """Return the ids of all shards, one shard after another."""
    data = open_data(place)
    found = [data.ids(number) for number in range(len(data.manifest.shards))]
    return np.concatenate([each for each in found if each is not None])


def table(names: Any, **columns: Any) -> pa.Table:
    rows = len(names)
    return pa.table({"name": names, "x": np.arange(rows, dtype=float), "y": np.arange(rows) % 2, **columns})


@given(given=st.one_of(st.lists(INTEGERS, min_size=3), st.lists(TEXT, min_size=3)), batch_rows=st.integers(1, 40))
def test_an_id_stays_with_its_row_and_is_the_same_from_every_source(given: list[Any], batch_rows: int) -> None:
    rows = table(given)
    arrays = {"name": np.array(given), "x": np.arange(float(len(given))).reshape(-1, 1), "y": np.arange(len(given)) % 2}
    with folder() as place:
        pyarrow.csv.write_csv(rows, place / "rows.csv")
        pyarrow.parquet.write_table(rows, place / "rows.parquet", row_group_size=7)
        manifests = [
            pack(source, place / str(number), shards=2, labels="y", id="name", batch_rows=batch_rows)
            for number, source in enumerate((place / "rows.csv", place / "rows.parquet", rows, arrays))
        ]
        expected = [name if isinstance(name, int) else name.encode() for name in given]
        assert ids(place / "0").tolist() == [expected[int(row)] for row in column(place / "0", "x")[:, 0]]
    stored = [[shard.files["row-id"].sha256 for shard in manifest.shards] for manifest in manifests]
    assert stored == [stored[0]] * 4


def test_ids_change_nothing_else(tmp_path: Path) -> None:
    plain = pack(table(["a", "b", "c"]).drop("name"), tmp_path / "plain", shards=2, labels="y")
    named = pack(table(["a", "b", "c"]), tmp_path / "named", shards=2, labels="y", id="name")
    assert named.inputs == plain.inputs
    assert named.ids is not None
    assert plain.ids is None
    assert [{**each, "row-id": ""} for each in files(plain)] == [{**each, "row-id": ""} for each in files(named)]


def test_a_number_with_leading_zeros_is_a_text(tmp_path: Path) -> None:
    pyarrow.csv.write_csv(table(["007", "08", "9"]), tmp_path / "rows.csv")
    manifest = pack(tmp_path / "rows.csv", tmp_path / "out", shards=1, labels="y", id="name")
    assert manifest.ids is not None
    assert manifest.ids.dtype == "S3"
    assert sorted(ids(tmp_path / "out").tolist()) == [b"007", b"08", b"9"]


def test_an_id_is_a_feature_where_it_is_named_as_one(tmp_path: Path) -> None:
    rows = table([5, 6, 7])
    assert pack(rows, tmp_path / "a", shards=1, labels="y", id="name").inputs[0].columns == ("x",)
    assert pack(rows, tmp_path / "b", shards=1, features="*", labels="y", id="name").inputs[0].columns == ("x",)
    both = pack(rows, tmp_path / "c", shards=1, features=["name", "x"], labels="y", id="name")
    assert both.inputs[0].columns == ("name", "x")


def test_ids_come_beside_a_pair_of_arrays(tmp_path: Path) -> None:
    x, y = numbered(5)
    manifest = pack(({"x": x, "number": np.arange(5)}, y), tmp_path / "out", shards=1, id="number")
    assert [field.name for field in manifest.inputs] == ["x"]
    assert ids(tmp_path / "out").tolist() == column(tmp_path / "out", "x")[:, 0].tolist()
    np.savez(tmp_path / "rows.npz", x_train=x, y_train=y, number=np.arange(5))
    assert pack(tmp_path / "rows.npz", tmp_path / "guessed", shards=1, id="number").ids == manifest.ids


def test_equal_ids_are_allowed(tmp_path: Path) -> None:
    pack(table([7, 7, 7]), tmp_path / "out", shards=1, labels="y", id="name")
    assert ids(tmp_path / "out").tolist() == [7, 7, 7]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (pa.array([1, 2, None]), r"`name`, row 3 \(counted from 1\): the value is null"),
        (pa.array(["a", None, "b"]), r"`name`, row 2 \(counted from 1\): the id is null. Give every row an id"),
        (pa.array([1.0, 2.0, 3.0]), "`name` holds double, which cannot be an id: ids are whole numbers or text"),
        (pa.array([True, False, True]), "`name` holds bool, which cannot be an id"),
        (pa.array(["a", "b\0", "c"]), "which cannot be an id: .* without a zero byte at the end"),
        (pa.array([1, 2, 2**63], pa.uint64()), "row 3 .*9223372036854775808 does not fit 64 bits with a sign"),
    ],
)
def test_what_cannot_be_an_id_says_so(names: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        pack(table(names), tmp_path / "out", shards=1, features="x", labels="y", id="name")
    assert not (tmp_path / "out").exists()


def test_an_unknown_column_of_ids_says_which_are_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no column `nam`. Did you mean `name`"):
        pack(table([1, 2, 3]), tmp_path / "out", shards=1, labels="y", id="nam")


def test_no_field_takes_the_name_of_the_file_of_ids(tmp_path: Path) -> None:
    rows = pa.table({"Row-ID": [0, 1], "x": [0.0, 1.0]})
    with pytest.raises(DataError, match=r"`Row-ID` names the file of ids, so no input or output. Give it another name"):
        pack(rows, tmp_path / "out", shards=1, labels="Row-ID")


def test_a_changed_id_is_found(tmp_path: Path) -> None:
    pack(table([1, 2, 3]), tmp_path / "out", shards=1, labels="y", id="name")
    path = tmp_path / "out" / "00000" / "row-id.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(CorruptObject, match=r"row-id\.npy was changed after packing"):
        open_data(tmp_path / "out").ids(0)


def test_a_description_says_what_the_ids_are(tmp_path: Path) -> None:
    numbers = pack(table([1, 2, 3]), tmp_path / "a", shards=1, labels="y", id="name")
    assert "ids     name  -      int64    whole numbers" in describe(numbers)
    texts = pack(table(["a", "bcd", "e"]), tmp_path / "b", shards=1, labels="y", id="name")
    assert "text     at most 3 bytes" in describe(texts)
