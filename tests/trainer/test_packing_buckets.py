"""Buckets: rows wait in the shards' own files, and are put in order there."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from modelhopper_contract.digest import digest_file
from modelhopper_contract.manifest import Shard, file_name
from modelhopper_trainer.packing import buckets
from modelhopper_trainer.packing.buckets import Buckets, Layout
from tests.trainer.packed import Array

NUMBER, WIDE = Layout("number", np.dtype(np.int32), ()), Layout("wide", np.dtype(np.float32), (7,))
ROWS, SHARDS = 3000, 2


def drawn(rows: int) -> tuple[Array, Array]:
    """Return a shard and a key for each row."""
    draws = np.random.default_rng(0)
    return np.arange(rows) % SHARDS, draws.integers(0, 2**64, rows, np.uint64)


def fields(rows: int) -> list[Array]:
    """Return rows that hold their own number, twice."""
    numbers = np.arange(rows, dtype=np.int32)
    return [numbers, np.repeat(numbers.astype(np.float32), 7).reshape(rows, 7)]


def filled(folder: Path, *, turns: int) -> Buckets:
    """Return buckets to which all rows were added in so many turns."""
    (shards, keys), values = drawn(ROWS), fields(ROWS)
    found = Buckets(folder, [NUMBER, WIDE], shards=SHARDS, largest=ROWS // SHARDS)
    for start, end in itertools.pairwise(np.linspace(0, ROWS, turns + 1, dtype=int)):
        found.add(shards[start:end], keys[start:end], [array[start:end] for array in values])
    return found


def stored(folder: Path, shard: int) -> list[Array]:
    return [np.load(folder / file_name(shard, layout.name)) for layout in (NUMBER, WIDE)]


@pytest.mark.parametrize("bucket_bytes", [1, 500, 1 << 20])
@pytest.mark.parametrize("turns", [1, 9])
def test_each_shard_is_in_the_order_of_its_keys(
    bucket_bytes: int, turns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "BUCKET_BYTES", bucket_bytes)
    monkeypatch.setattr(buckets, "BLOCK_BYTES", 100)
    found = filled(tmp_path, turns=turns)
    (shards, keys), (numbers, wide) = drawn(ROWS), fields(ROWS)
    for shard in reversed(range(SHARDS)):
        said = found.put_in_order(shard)
        order = np.flatnonzero(shards == shard)[np.argsort(keys[shards == shard], kind="stable")]
        number, many = stored(tmp_path, shard)
        assert np.array_equal(number, numbers[order])
        assert np.array_equal(many, wide[order])
        assert_says_what_is_there(said, tmp_path, shard)
    found.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000", "00001"]


def assert_says_what_is_there(said: Shard, folder: Path, shard: int) -> None:
    assert said.rows == ROWS // SHARDS
    for name, file in said.files.items():
        path = folder / file_name(shard, name)
        assert (file.size_bytes, file.sha256) == (path.stat().st_size, digest_file(path))


def test_rows_that_wait_take_hardly_more_room_on_the_disk_than_in_the_end(tmp_path: Path) -> None:
    found = filled(tmp_path, turns=3)
    waiting = sum(path.stat().st_size for path in tmp_path.rglob("*.npy"))
    for shard in range(SHARDS):
        found.put_in_order(shard)
    assert waiting < 1.5 * sum(path.stat().st_size for path in tmp_path.rglob("*.npy"))


def test_more_rows_than_a_bucket_has_room_for_are_refused(tmp_path: Path) -> None:
    (shards, keys), values = drawn(ROWS), fields(ROWS)
    found = Buckets(tmp_path, [NUMBER, WIDE], shards=SHARDS, largest=ROWS // SHARDS // 2)
    with pytest.raises(OverflowError, match="rows came to a bucket"):
        found.add(shards, keys, values)
