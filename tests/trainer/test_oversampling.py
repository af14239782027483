"""Oversampling: rows of rare classes are made up of their own shard's, trained on, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import DataError, UserError
from modelhopper_contract.manifest import Manifest
from modelhopper_trainer.packing import describe, oversampling, pack
from modelhopper_trainer.shards import ShardArrays, open_data
from tests.trainer.packed import Array, files, folder

METHODS = pytest.mark.parametrize("method", ["duplicate", "smote"])


def rows(count: int = 120, rare: int = 30, seed: int = 0) -> dict[str, Array]:
    """Return rows of two numbers, of which `rare` are of the class `rare`; every row's numbers are its own."""
    generator = np.random.default_rng(seed)
    labels = np.array(["rare"] * rare + ["common"] * (count - rare))
    return {"x": generator.normal(size=(count, 2)).astype(np.float32), "y": labels}


def shards(place: Path) -> list[ShardArrays]:
    data = open_data(place)
    return [data.shard(number) for number in range(len(data.manifest.shards))]


def pair(place: Path, found: dict[str, Array], **how: Any) -> tuple[Manifest, Manifest]:
    """Pack rows without and with oversampling, to `plain` and `more`."""
    asked: dict[str, Any] = {"shards": 3, "labels": "y", "stratify": "y", **how}
    plain = pack(found, place / "plain", **{**asked, "oversample": None, "neighbors": None})
    return plain, pack(found, place / "more", **asked)


@METHODS
def test_the_real_rows_come_first_and_are_what_they_were(method: str, tmp_path: Path) -> None:
    plain, more = pair(tmp_path, rows() | {"id": np.arange(120)}, oversample=method, id="id")
    for before, after in zip(shards(tmp_path / "plain"), shards(tmp_path / "more"), strict=True):
        assert after.real_rows == before.rows
        assert np.array_equal(after.inputs["x"][: after.real_rows], before.inputs["x"])
        assert np.array_equal(after.outputs["y"][: after.real_rows], before.outputs["y"])
        assert (after.outputs["y"][after.real_rows :] == 1).all()
    for shard in range(3):  # what is made up has no id
        before_ids, after_ids = (open_data(tmp_path / name).ids(shard) for name in ("plain", "more"))
        assert before_ids is not None
        assert after_ids is not None
        assert np.array_equal(before_ids, after_ids)
    assert [shard.made_up for shard in more.shards] == [20, 20, 20]
    assert (plain.class_rows, more.class_rows) == ({"y": (90, 30)}, {"y": (90, 90)})
    assert more.rows == sum(shard.rows for shard in more.shards) == 180


@METHODS
def test_a_row_has_influence_on_nothing_beyond_its_shard(method: str, tmp_path: Path) -> None:
    found = rows()
    _, one = pair(tmp_path / "one", found, oversample=method)
    changed = found["x"].copy()
    changed[3] += 1  # of the rare class
    _, other = pair(tmp_path / "other", {**found, "x": changed}, oversample=method)
    differing = [first != second for first, second in zip(files(one), files(other), strict=True)]
    assert sum(differing) == 1


@given(count=st.integers(1, 40), rare=st.integers(1, 40), ratio=st.sampled_from([0.1, 0.5, 0.75, 1.0]))
def test_each_row_is_copied_as_often_as_the_others(count: int, rare: int, ratio: float) -> None:
    with folder() as place:
        manifest = pack(rows(count + rare, rare), place / "out", shards=1, labels="y", oversample=f"duplicate:{ratio}")
        shard = shards(place / "out")[0]
        real, made = shard.inputs["x"][: shard.real_rows], shard.inputs["x"][shard.real_rows :]
        place_of = {row.tobytes(): number for number, row in enumerate(real)}
        copied = np.bincount([place_of[row.tobytes()] for row in made], minlength=len(real))
    smaller, larger = min(count, rare), max(count, rare)
    assert len(made) == max(0, round(ratio * larger) - smaller) == manifest.shards[0].made_up
    names = shard.outputs["y"][: shard.real_rows]
    assert (shard.outputs["y"][shard.real_rows :] == (count >= rare)).all()
    if len(made):
        assert np.ptp(copied[names == (count >= rare)]) <= 1


def test_smote_puts_rows_between_a_row_and_a_neighbour_of_its_class(tmp_path: Path) -> None:
    pair(tmp_path, rows(), oversample="smote", neighbors=3)
    for shard in shards(tmp_path / "more"):
        real = shard.inputs["x"][: shard.real_rows][shard.outputs["y"][: shard.real_rows] == 1].astype(float)
        for made in shard.inputs["x"][shard.real_rows :].astype(float):
            ends = np.linalg.norm(real - made, axis=1)
            detour = ends[:, None] + ends[None] - np.linalg.norm(real[:, None] - real[None], axis=2)
            np.fill_diagonal(detour, np.inf)
            assert detour.min() < 1e-6  # on the line between two of them


@METHODS
def test_the_same_seed_gives_the_same_bytes_whatever_the_batches(method: str, tmp_path: Path) -> None:
    how: dict[str, Any] = {"shards": 2, "labels": "y", "stratify": "y", "oversample": method}
    first = pack(rows(), tmp_path / "first", **how)
    assert pack(rows(), tmp_path / "again", batch_rows=7, **how).digest() == first.digest()
    assert files(pack(rows(), tmp_path / "other", seed=1, **how)) != files(first)


def test_the_order_of_classes_is_the_order_of_made_up_rows_and_padding_gets_none(tmp_path: Path) -> None:
    labels = np.array([2] * 3 + [5] * 7 + [1] * 2)
    manifest = pack(
        (np.arange(12.0).reshape(12, 1), labels), tmp_path / "out", shards=1, num_classes=5, oversample="duplicate"
    )
    shard = shards(tmp_path / "out")[0]
    assert shard.outputs["y"][shard.real_rows :].tolist() == [0] * 5 + [1] * 4
    assert manifest.class_rows == {"y": (7, 7, 7, 0, 0)}


def test_images_as_bytes_are_rounded_and_several_inputs_move_together(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    level = generator.integers(0, 200, 60)
    found = {
        "image": np.repeat(level, 12).reshape(60, 2, 2, 3).astype(np.uint8),
        "age": (2 * level[:, None]).astype(np.float32),
        "y": np.arange(60) % 5 == 0,
    }
    manifest = pack(found, tmp_path / "out", shards=1, labels="y", oversample="smote")
    shard = shards(tmp_path / "out")[0]
    image, age = shard.inputs["image"][shard.real_rows :], shard.inputs["age"][shard.real_rows :]
    assert image.dtype == np.uint8
    assert len(image) == len(age) == manifest.shards[0].made_up == 36
    # Every made-up image is of one level, which is half its age but for rounding: both come from the same two rows.
    assert np.abs(image - age.reshape(-1, 1, 1, 1) / 2).max() <= 0.5


def test_copies_may_hold_codes(tmp_path: Path) -> None:
    found = {"word": np.arange(12).reshape(12, 1), "y": np.arange(12) % 4 == 0}
    manifest = pack(found, tmp_path / "out", shards=1, labels="y", oversample="duplicate")
    assert manifest.inputs[0].dtype == "int32"
    assert set(shards(tmp_path / "out")[0].inputs["word"][:, 0].tolist()) == set(range(12))
    with pytest.raises(DataError, match=r"input `word` holds whole numbers, which may be codes"):
        pack(found, tmp_path / "more", shards=1, labels="y", oversample="smote")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"oversample": "smoot"}, r"'smoot'; allowed are .* as in smote:0.5. Did you mean `smote`"),
        ({"oversample": "smote:"}, "a number above 0 and at most 1"),
        ({"oversample": "smote:2"}, "a number above 0 and at most 1"),
        ({"oversample": "duplicate:nan"}, "a number above 0 and at most 1"),
        ({"oversample": "duplicate", "neighbors": 3}, "neighbors are SMOTE's: give them with oversample=smote"),
        ({"neighbors": 3}, "neighbors are SMOTE's"),
        ({"oversample": "smote", "neighbors": 0}, "neighbors is 0; allowed are whole numbers from 1 on"),
        ({"oversample": "smote", "against": "train"}, "made-up rows are never evaluated on, so validation data"),
        ({"oversample": "duplicate", "kind": "number", "labels": "z"}, "for data with one output, of kind `classes`"),
        ({"oversample": "duplicate", "labels": ["y", "z"]}, "for data with one output, of kind `classes`"),
        (
            {"oversample": "smote", "shards": 10},
            r"needs 6 rows there: .* in shard 2 and 7 more. Ask for fewer shards or",
        ),
        (
            {"oversample": "smote", "rare": 11},
            r"there: class rare has \d rows in shard \d\. Ask for fewer shards or",
        ),
        (
            {"oversample": "duplicate", "rare": 1},
            r"there: class rare has 0 rows in shard \d. Ask for fewer shards;",
        ),
    ],
)
def test_what_cannot_be_oversampled_says_why(how: dict[str, Any], message: str, tmp_path: Path) -> None:
    found = rows(60, how.pop("rare", 20)) | {"z": np.arange(60)}
    asked: dict[str, Any] = {"shards": 2, "labels": "y", "features": "x", "stratify": "y", **how}
    asked |= {} if asked["labels"] == "y" else {"stratify": None}
    with pytest.raises(DataError, match=message):
        pack(found, tmp_path / "out", **asked)
    assert not any(tmp_path.iterdir())


def test_a_group_may_lack_a_class(tmp_path: Path) -> None:
    found = rows(60, 20) | {"land": np.array(["de"] * 40 + ["fr"] * 20)}
    manifest = pack(
        found, tmp_path / "out", shards=2, labels="y", group_by="land", stratify="y", oversample="duplicate:0.75"
    )
    assert [shard.made_up for shard in manifest.shards] == [0, 0, 0, 0]
    assert manifest.groups == ("de", "fr")


def test_smote_without_its_library_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imblearn.over_sampling", None)
    with pytest.raises(UserError, match=r"imblearn.* is not installed: pip install 'modelhopper\[imbalance\]', or say"):
        pack(rows(), tmp_path / "out", shards=1, labels="y", oversample="smote")
    pack(rows(), tmp_path / "out", shards=1, labels="y", oversample="duplicate")


def test_many_rows_are_copied_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pack(rows(), tmp_path / "whole", shards=1, labels="y", oversample="duplicate")
    monkeypatch.setattr(oversampling, "COPIED_BYTES", 20)
    assert pack(rows(), tmp_path / "pieces", shards=1, labels="y", oversample="duplicate").digest() == whole.digest()


def test_a_description_says_what_is_made_up(tmp_path: Path) -> None:
    _, more = pair(tmp_path, rows(), oversample="smote:0.5", neighbors=4)
    assert more.oversampled == "smote to 0.5, 4 neighbours"
    assert "15 of the rows are made up and only trained on: smote to 0.5, 4 neighbours" in describe(more)
