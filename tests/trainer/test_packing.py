"""Packing as a whole: every row lands once, at random, and the same from every source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import Manifest
from modelhopper_trainer.packing import buckets, describe, pack, scatter
from modelhopper_trainer.packing.draws import Dealer, in_order
from tests.trainer.packed import column, files, folder, numbered

ROWS = st.integers(1, 200)
SHARDS = st.integers(1, 9)
SEEDS = st.integers(0, 2**32)


@given(rows=ROWS, shards=SHARDS, seed=SEEDS)
def test_every_row_lands_once_and_with_its_label(rows: int, shards: int, seed: int) -> None:
    x, y = numbered(rows)
    with folder() as place:
        pack((x, y), place / "out", shards=min(shards, rows), seed=seed)
        landed = column(place / "out", "x")[:, 0].astype(int)
        assert sorted(landed) == list(range(rows))
        assert (column(place / "out", "y") == landed % 3).all()


@given(rows=ROWS, shards=SHARDS, seed=SEEDS)
def test_shards_differ_by_at_most_one_row(rows: int, shards: int, seed: int) -> None:
    with folder() as place:
        manifest = pack(numbered(rows), place / "out", shards=min(shards, rows), seed=seed)
    counts = [shard.rows for shard in manifest.shards]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == manifest.rows == rows


@given(rows=ROWS, shards=SHARDS, seed=SEEDS, batch_rows=st.integers(1, 250))
def test_the_size_of_batches_changes_nothing(rows: int, shards: int, seed: int, batch_rows: int) -> None:
    with folder() as place:
        many = pack(numbered(rows), place / "many", shards=min(shards, rows), seed=seed, batch_rows=batch_rows)
        one = pack(numbered(rows), place / "one", shards=min(shards, rows), seed=seed)
    assert many.digest() == one.digest()


def test_the_memory_allowed_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = pack(numbered(1000), tmp_path / "roomy", shards=3)
    for module, name, size_bytes in (
        (buckets, "BUCKET_BYTES", 256),
        (scatter, "WAITING_BYTES", 700),
        (buckets, "BLOCK_BYTES", 64),
    ):
        monkeypatch.setattr(module, name, size_bytes)
    tight = pack(numbered(1000), tmp_path / "tight", shards=3, batch_rows=10)
    assert tight.digest() == roomy.digest()


KEYS = st.integers(0, 5) | st.integers(2**63, 2**63 + 5) | st.integers(0, 2**64 - 1)


@given(st.lists(KEYS, min_size=1))
def test_equal_keys_keep_their_rows_in_order(drawn: list[int]) -> None:
    assert in_order(np.array(drawn, np.uint64)).tolist() == sorted(range(len(drawn)), key=drawn.__getitem__)


@pytest.mark.parametrize("shards", [1, 3, 64])
def test_a_row_is_dealt_the_same_whatever_is_asked_for_at_a_time(shards: int) -> None:
    at_once, in_pieces = Dealer(1, shards).deal(1000), Dealer(1, shards)
    assert np.concatenate([in_pieces.deal(rows) for rows in (1, 99, 0, 400, 500)]).tolist() == at_once.tolist()
    assert np.ptp(np.bincount(at_once)) <= 1


def test_another_seed_scatters_otherwise_and_the_same_seed_the_same(tmp_path: Path) -> None:
    first, again, other = (pack(numbered(100), tmp_path / str(i), shards=2, seed=i // 2) for i in range(3))
    assert files(first) == files(again) != files(other)


def test_rows_are_neither_in_order_nor_dealt_in_turn(tmp_path: Path) -> None:
    pack(numbered(3000), tmp_path / "out", shards=3)
    first = np.array_split(column(tmp_path / "out", "x")[:, 0], 3)[0]
    assert abs(np.corrcoef(first, np.arange(len(first)))[0, 1]) < 0.1
    assert set(np.unique(first % 3)) == {0, 1, 2}


def test_the_bytes_of_a_packed_data_set_stay_the_same_over_releases(tmp_path: Path) -> None:
    pack(numbered(8), tmp_path / "out", shards=2, seed=1)
    assert column(tmp_path / "out", "x")[:, 0].tolist() == [2, 0, 5, 7, 1, 6, 3, 4]


NUMBER = st.floats(allow_nan=False, allow_infinity=False, width=32)
TEXT = st.text(st.characters(categories=("L", "Zs", "P", "S")), max_size=5).filter(
    lambda text: text.strip().lower() not in {"nan", "true", "false"}
)
LABEL = st.one_of(st.none(), TEXT)


@given(
    rows=st.lists(st.tuples(NUMBER, NUMBER, LABEL), min_size=3, max_size=30),
    shards=st.integers(1, 3),
    batch_rows=st.integers(1, 40),
)
def test_csv_parquet_tables_and_arrays_give_the_same_bytes(
    rows: list[tuple[float, float, str | None]], shards: int, batch_rows: int
) -> None:
    # An own text keeps the labels text in CSV, which has no types.
    a, b, label = zip(*rows, (0.5, 0.5, "text"), strict=True)
    table = pa.table(
        {"a": pa.array(a, pa.float64()), "b": pa.array(b, pa.float32()), "y": pa.array(label, pa.string())}
    )
    objects = np.empty(len(label), object)
    objects[:] = label
    with folder() as place:
        pyarrow.csv.write_csv(table, place / "rows.csv")
        pyarrow.parquet.write_table(table, place / "rows.parquet", row_group_size=7)
        arrays = {"x": np.stack([a, b], axis=1), "y": objects}
        sources = (place / "rows.csv", place / "rows.parquet", table)
        manifests = [
            pack(source, place / str(i), shards=shards, labels="y", batch_rows=batch_rows)
            for i, source in enumerate(sources)
        ]
        manifests.append(pack(arrays, place / "arrays", shards=shards))
    assert all(files(manifest) == files(manifests[0]) for manifest in manifests)
    assert all(manifest.outputs == manifests[0].outputs for manifest in manifests)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": 0}, "shards is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"batch_rows": 0}, "batch_rows is 0"),
        ({"normalize": 0}, "must be a number above 0"),
        ({"normalize": float("nan")}, "must be a number above 0"),
        ({"shards": 11}, "10 rows, too few for 11 shards"),
        ({"kind": "numbr"}, "Did you mean `number`"),
        ({"kind": {"z": "number"}}, "no such output"),
        ({"num_classes": 2}, "has 3 classes: 0, 1, 2"),
        ({"num_classes": {"z": 2}}, "no such output"),
        ({"kind": "number", "num_classes": 3}, "there are none"),
    ],
)
def test_an_option_that_cannot_work_is_refused(options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        pack(numbered(10), tmp_path / "out", **{"shards": 2, **options})
    assert not (tmp_path / "out").exists()


def test_no_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows"):
        pack((np.empty((0, 2)), np.empty(0)), tmp_path / "out", shards=1)


def test_images_stay_uint8_and_normalisation_is_kept_for_the_step(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), np.uint8)
    manifest = pack((images, np.arange(10)), tmp_path / "out", shards=2, normalize=255)
    assert manifest.normalize == 255
    assert manifest.inputs[0].shape == (4, 4, 3)
    stored = column(tmp_path / "out", "x")
    assert stored.dtype == np.uint8
    assert np.array_equal(stored, images[column(tmp_path / "out", "y")])


def test_several_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    inputs = {"image": np.zeros((6, 2, 2), np.uint8), "age": np.arange(6.0)}
    outputs = {"species": ["a", "b"] * 3, "weight": np.arange(6)}
    manifest = pack((inputs, outputs), tmp_path / "out", shards=2, kind={"weight": "number"})
    assert [(field.name, field.shape, field.dtype) for field in manifest.inputs] == [
        ("image", (2, 2), "uint8"),
        ("age", (), "float32"),
    ]
    assert [(field.name, field.kind, field.dtype) for field in manifest.outputs] == [
        ("species", "classes", "uint8"),
        ("weight", "number", "float32"),
    ]


def test_the_description_says_what_is_there(tmp_path: Path) -> None:
    source = {"x": np.zeros((7, 2)), "y": ["b", "a", None, "a", "b", "a", "b"]}
    manifest = pack(source, tmp_path / "out", shards=2, normalize=255, num_classes=4)
    assert describe(manifest).splitlines() == [
        "7 rows in 2 shards of 3 or 4 rows, 575 B",
        "          name  shape  dtype    holds",
        "  input   x     2      float32  an array",
        "  output  y     -      uint8    3 classes, one-hot over 4: null, a, b",
        "inputs are divided by 255 when the model reads them",
        f"seed 0, digest {manifest.digest()}",
    ]


def test_the_manifest_on_disk_is_the_one_returned(tmp_path: Path) -> None:
    manifest = pack(numbered(10), tmp_path / "out", shards=2)
    data = (tmp_path / "out" / "manifest.json").read_bytes()
    assert Manifest.from_json(data) == manifest
    assert manifest.size_bytes == sum(path.stat().st_size for path in (tmp_path / "out").glob("*/*.npy"))


def test_arrays_are_packed_without_pyarrow_and_nothing_needs_tensorflow(tmp_path: Path) -> None:
    program = (
        "import sys; from modelhopper_trainer.packing import pack;"
        f"pack(([[1.0], [2.0]], ['a', 'b']), {str(tmp_path / 'out')!r}, shards=2);"
        "sys.exit(len({'pyarrow', 'tensorflow', 'keras'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
