"""Rows go to shards as the user says: evenly by class, by groups, by a column's values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import DataError
from modelhopper_trainer.packing import arrays, describe, pack
from modelhopper_trainer.shards import open_data
from tests.trainer.packed import Array, column, folder, numbered

SEEDS = st.integers(0, 2**32)
LABELS = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=120)


def table(labels: list[Any], groups: list[Any]) -> pa.Table:
    return pa.table({"x": np.arange(float(len(labels))), "y": labels, "land": groups})


def counts(place: Path) -> Array:
    """Return the rows of each class, by shard."""
    data = open_data(place)
    width = data.manifest.outputs[0].num_classes or 0
    shards = range(len(data.manifest.shards))
    return np.array([np.bincount(data.shard(shard).outputs["y"], minlength=width) for shard in shards])


def spread(numbers: Array) -> int:
    return int(np.ptp(numbers, axis=0).max())


@given(labels=LABELS, shards=st.sampled_from([1, 2, 3, 4, 6, 12]), seed=SEEDS)
def test_shards_and_folds_differ_by_at_most_one_row_of_each_class_and_in_all(
    labels: list[str], shards: int, seed: int
) -> None:
    shards = min(shards, len(labels))
    with folder() as place:
        manifest = pack(
            table(labels, labels), place / "out", shards=shards, labels="y", features="x", stratify="y", seed=seed
        )
        found = counts(place / "out")
        assert sorted(column(place / "out", "x")[:, 0]) == list(range(len(labels)))
    assert manifest.stratified == "y"
    for folds in (folds for folds in range(1, shards + 1) if shards % folds == 0):
        each = np.array([found[fold::folds].sum(axis=0) for fold in range(folds)])
        assert spread(each) <= 1
        assert spread(each.sum(axis=1)) <= 1


@given(labels=LABELS, seed=SEEDS, batch_rows=st.integers(1, 150), grouped=st.booleans())
def test_the_size_of_batches_changes_nothing(labels: list[str], seed: int, batch_rows: int, grouped: bool) -> None:
    rows = table(labels, [ord(label) % 2 for label in labels])
    how: dict[str, Any] = {"shards": 1, "labels": "y", "stratify": "y", "group_by": "land" if grouped else None}
    with folder() as place:
        how |= {"shards": 1 if grouped else min(3, len(labels)), "seed": seed, "features": "x"}
        many, one = pack(rows, place / "many", batch_rows=batch_rows, **how), pack(rows, place / "one", **how)
    assert many.digest() == one.digest()


def test_the_bytes_of_stratified_data_stay_the_same_over_releases(tmp_path: Path) -> None:
    pack(table(list("aaaaabbb"), [0] * 8), tmp_path / "out", shards=2, labels="y", features="x", stratify="y", seed=1)
    assert column(tmp_path / "out", "x")[:, 0].tolist() == [1, 5, 3, 4, 2, 0, 6, 7]


def test_the_rows_of_a_class_are_neither_in_order_nor_dealt_in_turn(tmp_path: Path) -> None:
    x, _ = numbered(3000)
    pack((x, np.repeat([0, 1], 1500)), tmp_path / "out", shards=3, stratify="y")
    data = open_data(tmp_path / "out")
    first = data.shard(0).inputs["x"][data.shard(0).outputs["y"] == 1][:, 0]
    assert abs(np.corrcoef(first, np.arange(len(first)))[0, 1]) < 0.1
    assert set(np.unique(first % 3)) == {0, 1, 2}


@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["de", "fr", None])), min_size=1, max_size=80),
    shards=st.integers(1, 3),
    stratified=st.booleans(),
)
def test_each_group_has_shards_of_its_own_in_ascending_order(
    rows: list[tuple[str, str | None]], shards: int, stratified: bool
) -> None:
    labels, lands = (list(each) for each in zip(*rows, strict=True))
    shards = min(shards, *(lands.count(land) for land in set(lands)))
    with folder() as place:
        manifest = pack(
            table(labels, lands),
            place / "out",
            shards=shards,
            labels="y",
            group_by="land",
            stratify="y" if stratified else None,
        )
        data, found = open_data(place / "out"), counts(place / "out")
        expected = sorted(set(lands), key=lambda land: (land is not None, land))
        assert manifest.group_column == "land"
        assert list(manifest.groups) == expected
        assert manifest.inputs[0].columns == ("x",)
        for number, land in enumerate(expected):
            own = range(number * shards, (number + 1) * shards)
            landed = sorted(int(row) for shard in own for row in data.shard(shard).inputs["x"][:, 0])
            assert landed == [row for row, one in enumerate(lands) if one == land]
            assert spread(found[own].sum(axis=1)) <= 1
            assert not stratified or spread(found[own]) <= 1


def test_groups_are_the_same_from_a_csv_file(tmp_path: Path) -> None:
    rows = table(list("abababab"), [10, 9, 10, 9, 9, 9, 10, 10])
    pyarrow.csv.write_csv(rows, tmp_path / "rows.csv")
    how: dict[str, Any] = {"shards": 2, "labels": "y", "group_by": "land", "stratify": "y"}
    manifests = [pack(source, tmp_path / str(i), **how) for i, source in enumerate((rows, tmp_path / "rows.csv"))]
    assert manifests[0].groups == (9, 10)  # by value, not as text
    assert manifests[0].digest() == manifests[1].digest()


def test_groups_with_too_few_rows_are_named_at_once(tmp_path: Path) -> None:
    rows = table(list("ababab"), ["de", "de", "de", "fr", "us", "us"])
    message = r"2 groups of `land` have too few rows for 3 shards each: fr \(1\), us \(2\). Ask for fewer"
    with pytest.raises(DataError, match=message):
        pack(rows, tmp_path / "out", shards=3, labels="y", group_by="land")


def test_validation_data_has_the_groups_of_its_training_data(tmp_path: Path) -> None:
    rows = table(list("abababab"), ["de", "fr"] * 4)
    pack(rows, tmp_path / "train", shards=2, labels="y", group_by="land")
    how: dict[str, Any] = {"shards": 1, "against": tmp_path / "train"}
    valid = pack(table(list("abab"), ["fr", "fr", "de", "fr"]), tmp_path / "valid", group_by="land", **how)
    assert valid.groups == ("de", "fr")
    assert [shard.rows for shard in valid.shards] == [1, 3]
    with pytest.raises(DataError, match=r'group "us" \(1 row\) is not among the groups of .*: de, fr'):
        pack(table(list("ab"), ["us", "de"]), tmp_path / "out", group_by="land", **how)
    with pytest.raises(DataError, match=r"1 group of `land` has too few rows for 1 shard each: fr \(0\)"):
        pack(table(list("ab"), ["de", "de"]), tmp_path / "out", group_by="land", **how)
    with pytest.raises(DataError, match=r"group_by is `y`, but .* has groups of `land`"):
        pack(rows, tmp_path / "out", group_by="y", **how)


def test_each_value_of_a_column_is_a_shard(tmp_path: Path) -> None:
    rows = table(list("abababa"), [30, 4, 30, 4, 30, 5, 5])
    manifest = pack(rows, tmp_path / "out", labels="y", shard_by="land")
    data = open_data(tmp_path / "out")
    assert [sorted(data.shard(number).inputs["x"][:, 0]) for number in range(3)] == [[1, 3], [5, 6], [0, 2, 4]]
    assert (manifest.groups, manifest.group_column) == ((), None)
    assert pack(rows, tmp_path / "again", labels="y", shard_by="land", shards=3).digest() == manifest.digest()
    with pytest.raises(DataError, match=r"shards is 4, but `land` has 3 values, and each is a shard. Leave shards out"):
        pack(rows, tmp_path / "other", labels="y", shard_by="land", shards=4)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "shards is missing: say how many, or with shard_by which column makes them"),
        ({"shard_by": "land", "stratify": "y"}, "stratify cannot deal classes evenly: give one of them"),
        ({"shard_by": "land", "group_by": "land"}, "group_by several shards of each: give one of them"),
        ({"shards": 1, "group_by": "lnd"}, "has no column `lnd`. Did you mean `land`"),
        ({"shards": 1, "stratify": "z"}, "stratify is `z`, which is not an output of classes. Outputs of classes: y"),
        (
            {"shards": 1, "stratify": "land", "labels": ["land", "y"], "kind": {"land": "number"}},
            "stratify is `land`, which is not an output of classes. Outputs of classes: y",
        ),
        ({"shards": 1, "group_by": "list"}, "`list` has several values per row; to part the rows, give one"),
    ],
)
def test_what_cannot_be_dealt_so_says_why(how: dict[str, Any], message: str, tmp_path: Path) -> None:
    rows = table(list("abab"), [1, 2, 1, 2]).append_column("list", pa.array([[1, 2]] * 4))
    with pytest.raises(DataError, match=message):
        pack(rows, tmp_path / "out", **{"labels": "y", "features": "x", **how})


def test_a_source_that_changes_between_its_readings_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = numbered(60)
    source = arrays.memory_source({"x": x, "y": y}, "rows", (("x",), ("y",)))
    monkeypatch.setattr("modelhopper_trainer.packing.dataset.open_source", lambda *_: source)
    y_before = y.copy()

    def change(*arguments: Any) -> Any:
        y[:] = 0
        return plan_write(*arguments)

    from modelhopper_trainer.packing.plan import Plan

    plan_write = Plan.write
    monkeypatch.setattr(Plan, "write", change)
    with pytest.raises(DataError, match="rows was changed while it was packed"):
        pack((x, y_before), tmp_path / "out", shards=2, stratify="y")


def test_a_description_says_how_rows_were_dealt(tmp_path: Path) -> None:
    rows = table(list("abababab"), ["de", "fr", "de", "fr", "de", "fr", "de", "de"])
    said = describe(pack(rows, tmp_path / "out", shards=2, labels="y", group_by="land", stratify="y"))
    assert "land makes 2 groups, 2 shards each: de, fr" in said
    assert "the classes of y are dealt evenly to shards" in said
