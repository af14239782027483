"""Reading packed data sets: mapped, read-only, and never damaged without notice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import CorruptObject, DataError
from modelhopper_contract.manifest import Manifest
from modelhopper_trainer.packing import pack
from modelhopper_trainer.shards import open_data
from tests.trainer.packed import folder, numbered


@pytest.fixture
def data(tmp_path: Path) -> Path:
    pack(numbered(11), tmp_path / "iris-train", shards=2)
    return tmp_path / "iris-train"


def test_a_shard_is_mapped_and_cannot_be_written(data: Path) -> None:
    shard = open_data(data).shard(0)
    assert shard.inputs.keys() == {"x"}
    assert shard.outputs.keys() == {"y"}
    assert shard.inputs["x"].shape == (shard.rows, 1)
    assert isinstance(shard.inputs["x"].base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        shard.inputs["x"][0] = 0


def test_a_shard_is_checked_once(data: Path) -> None:
    opened = open_data(str(data))
    assert opened.shard(1) is opened.shard(1)


def test_a_data_set_is_frozen(data: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        open_data(data).place = str(data)  # type: ignore[misc]


@given(where=st.integers(0, 10**9), bit=st.integers(0, 7), file=st.sampled_from(["x", "y"]))
def test_one_changed_bit_is_found(where: int, bit: int, file: str) -> None:
    with folder() as place:
        pack(numbered(11), place / "out", shards=2)
        path = place / "out" / "00001" / f"{file}.npy"
        content = bytearray(path.read_bytes())
        content[where % len(content)] ^= 1 << bit
        path.write_bytes(content)
        opened = open_data(place / "out")
        opened.shard(0)
        with pytest.raises(CorruptObject, match=r"00001.*was changed after packing: its digest is [0-9a-f]{64}, but"):
            opened.shard(1)


def test_a_truncated_file_is_found(data: Path) -> None:
    path = data / "00000" / "x.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptObject, match=r"x\.npy has \d+ bytes, but \d+ were packed. Pack the data set again"):
        open_data(data).shard(0)


def test_a_missing_file_is_found(data: Path) -> None:
    (data / "00000" / "x.npy").unlink()
    with pytest.raises(CorruptObject, match=r"x\.npy cannot be read: No such file"):
        open_data(data).shard(0)


def test_a_manifest_that_disagrees_with_its_arrays_is_found(data: Path) -> None:
    manifest = open_data(data).manifest
    wrong = manifest.inputs[0].model_copy(update={"dtype": "int32"})
    (data / "manifest.json").write_bytes(manifest.model_copy(update={"inputs": (wrong,)}).to_json())
    with pytest.raises(CorruptObject, match=r"holds float32 of shape .*, but the manifest says int32"):
        open_data(data).shard(0)


@pytest.mark.parametrize("change", [{"rows": 12}, {"shards": ()}])
def test_a_manifest_that_contradicts_itself_is_found(change: dict[str, object], data: Path) -> None:
    manifest: Manifest = open_data(data).manifest.model_copy(update=change)
    (data / "manifest.json").write_bytes(manifest.to_json())
    with pytest.raises(CorruptObject, match="contradicts itself"):
        open_data(data)


def test_a_damaged_manifest_is_found(data: Path) -> None:
    (data / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(CorruptObject, match=r"manifest\.json is not a valid Manifest"):
        open_data(data)


@pytest.mark.parametrize("number", [-1, 2])
def test_a_shard_that_is_not_there_says_which_are(number: int, data: Path) -> None:
    with pytest.raises(DataError, match=f"no shard {number}; it has 2, numbered from 0 to 1"):
        open_data(data).shard(number)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("iris-trian", "iris-trian does not exist. Did you mean `iris-train`.*modelhopper pack"),
        ("iris.csv", "is a file, not a packed data set. `modelhopper pack`"),
        ("empty", "not a packed data set: it is empty and has no manifest.json"),
        ("other", "it holds a.csv, b.csv, c.csv, ... and has no manifest.json"),
    ],
)
def test_what_is_not_packed_says_what_was_found(name: str, message: str, data: Path) -> None:
    (data.parent / "iris.csv").touch()
    (data.parent / "empty").mkdir()
    (data.parent / "other").mkdir()
    for letter in "abcd":
        (data.parent / "other" / f"{letter}.csv").touch()
    with pytest.raises(DataError, match=message):
        open_data(data.parent / name)
