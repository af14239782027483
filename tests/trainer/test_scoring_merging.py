"""Merging sorted parts: the order of all ids, whatever the parts and the pieces in memory are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.scoring import Job, ScoringNames
from modelhopper_contract.store import Store
from modelhopper_contract.stores.directory import DirectoryStore
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.scoring.merging import MOST_AT_ONCE, merged
from modelhopper_trainer.scoring.ordering import stable_order
from tests.trainer.scoring_jobs import job, parts

NAMES = ScoringNames("job")


def put(store: Store, ids: list[list[Any]], chunk: int, lines: int = 2, kind: Any = None) -> Job:
    """Put parts with so many lines for each id, sorted, in batches of `chunk` lines."""
    for number, own in enumerate(ids):
        column = pa.array([one for one in own for _ in range(lines)], kind)
        where = [f"{number}:{at}" for at in range(len(column))]
        table = pa.table({"id": column, "where": where})
        table = table.take(stable_order(table.column("id")))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table.combine_chunks(), max_chunksize=chunk)
        store.put(NAMES.part(number), bytes(memoryview(sink.getvalue())))
    return job(id="id", parts=parts(*map(len, ids)))


def rows(store: Store, asked: Job) -> list[tuple[Any, str]]:
    with merged(store, "job", asked) as (schema, batches):
        assert schema.names == ["id", "where"]
        table = pa.Table.from_batches(list(batches), schema)
    return list(zip(table.column("id").to_pylist(), table.column("where").to_pylist(), strict=True))


@given(
    ids=st.lists(st.lists(st.integers(-3, 9), min_size=1, max_size=8), min_size=1, max_size=6),
    chunk=st.integers(1, 5),
)
def test_ids_ascend_and_equal_ones_keep_the_order_of_the_data(ids: list[list[int]], chunk: int) -> None:
    store = MemoryStore()
    found = rows(store, put(store, ids, chunk))
    lines = [
        (one, number, 2 * at + line) for number, own in enumerate(ids) for at, one in enumerate(own) for line in (0, 1)
    ]
    expected = sorted(lines, key=lambda line: line[:2])  # within a part in its own order
    assert found == [(one, f"{number}:{at}") for one, number, at in expected]


@given(ids=st.lists(st.lists(st.text("aZé€0", max_size=3), min_size=1, max_size=6), min_size=1, max_size=4))
def test_text_is_in_the_order_of_its_bytes(ids: list[list[str]]) -> None:
    store = MemoryStore()
    found = [one for one, _ in rows(store, put(store, ids, 2, lines=1, kind=pa.string()))]
    assert found == sorted((one for own in ids for one in own), key=str.encode)


def test_more_parts_than_are_merged_at_once_give_the_same_order(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    numbers = np.random.default_rng(0).permutation(20 * (2 * MOST_AT_ONCE + 3))
    ids = [part.tolist() for part in np.split(numbers, 2 * MOST_AT_ONCE + 3)]
    found = rows(store, put(store, ids, 7, lines=1))
    assert [one for one, _ in found] == sorted(numbers.tolist())


def test_without_ids_parts_follow_each_other() -> None:
    store = MemoryStore()
    asked = put(store, [[3, 4], [1, 2]], 1, lines=1).model_copy(update={"id": None})
    assert [one for one, _ in rows(store, asked)] == [3, 4, 1, 2]


def test_a_part_that_was_removed_is_named(tmp_path: Path) -> None:
    for store in (MemoryStore(), DirectoryStore(tmp_path)):
        asked = put(store, [[1], [2]], 1)
        store.delete(NAMES.part(1))
        with pytest.raises(CorruptObject, match=r"parts/00000001 was removed while the job was going on"):
            rows(store, asked)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    asked = put(store, [[1], [2]], 1)
    store.put(NAMES.part(1), b"nothing that Arrow wrote")
    with pytest.raises(CorruptObject, match=r"parts/00000001 is damaged"):
        rows(store, asked)
