"""A table of results is there whole, or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from modelhopper_contract.errors import ConflictError, DataError, StoreUnavailable
from modelhopper_trainer import databases
from tests.databases import Database

RESULTS = pa.table(
    {
        "id": pa.array([1, 2, 3]),
        "class": pa.array(["a", "b", None]).dictionary_encode(),
        "probability": pa.array([0.5, 0.25, None], pa.float32()),
        "all": pa.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]], pa.list_(pa.float32(), 2)),
    }
)


def tables(database: Database) -> list[str]:
    return [name for (name,) in database.rows("SELECT relname::text FROM pg_class WHERE relkind = 'r' AND oid > 16384")]


def test_results_are_read_back_as_they_were_written(database: Database) -> None:
    assert databases.write(database.address("results"), RESULTS.to_batches(max_chunksize=2)) == 3
    found = pa.Table.from_batches(databases.read(database.address("results")))
    assert found.to_pylist() == RESULTS.to_pylist()
    assert tables(database) == ["results"]


def test_results_go_to_a_schema_and_to_names_that_need_quotes(database: Database) -> None:
    database.do('CREATE SCHEMA "My Schema"')
    address = database.address('My Schema."re;s ""1"""')
    databases.write(address, RESULTS.rename_columns(["a b", 'c"', "Ü", "select"]).to_batches())
    assert pa.Table.from_batches(databases.read(address)).column_names == ["a b", 'c"', "Ü", "select"]


def test_what_is_there_can_be_found_out_before_the_work_is_done(database: Database) -> None:
    databases.refuse_existing(database.address("results"))
    databases.write(database.address("results"), RESULTS.to_batches())
    with pytest.raises(ConflictError, match="the table exists already"):
        databases.refuse_existing(database.address("results"))


def test_what_is_there_is_kept_unless_said(database: Database) -> None:
    address = database.address("results")
    databases.write(address, RESULTS.to_batches())
    with pytest.raises(ConflictError, match="the table exists already"):
        databases.write(address, RESULTS.to_batches())
    databases.write(address, RESULTS.slice(1).to_batches(), if_exists="append")
    assert database.rows("SELECT count(*) FROM results") == [(5,)]
    databases.write(address, RESULTS.slice(2).to_batches(), if_exists="replace")
    assert database.rows("SELECT id FROM results") == [(3,)]
    assert tables(database) == ["results"]
    with pytest.raises(DataError, match=r"if_exists is 'relpace'; allowed are append, fail, replace\. Did you"):
        databases.write(address, RESULTS.to_batches(), if_exists="relpace")  # type: ignore[arg-type]


@pytest.mark.parametrize("if_exists", ["fail", "replace", "append"])
def test_an_error_in_the_middle_leaves_what_was_there(if_exists: Any, database: Database) -> None:
    def broken() -> Iterator[Any]:
        yield from RESULTS.to_batches()
        raise StoreUnavailable("the shard is gone")

    if if_exists != "fail":
        database.do(
            'CREATE TABLE results (id bigint, class text, probability float4, "all" float4[])',
            "INSERT INTO results VALUES (7)",
        )
    with pytest.raises(StoreUnavailable, match="the shard is gone"):
        databases.write(database.address("results"), broken(), if_exists=if_exists)
    assert tables(database) == ([] if if_exists == "fail" else ["results"])
    if if_exists != "fail":
        assert database.rows("SELECT id FROM results") == [(7,)]


def test_a_server_that_ends_the_session_leaves_what_was_there(database: Database) -> None:
    def ended() -> Iterator[Any]:
        yield from RESULTS.to_batches()
        database.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'modelhopper'")
        for _ in range(1000):  # more than a socket's buffer holds
            yield from RESULTS.take([0] * 1000).to_batches()

    with pytest.raises(StoreUnavailable, match="stopped answering"):
        databases.write(database.address("results"), ended())
    assert tables(database) == []


def test_others_see_results_only_when_they_are_whole(database: Database) -> None:
    def watched() -> Iterator[Any]:
        for batch in RESULTS.to_batches(max_chunksize=1):
            assert database.rows("SELECT id FROM results") == [(7,)]
            yield batch

    database.do("CREATE TABLE results AS SELECT 7 AS id")
    databases.write(database.address("results"), watched(), if_exists="replace")
    assert database.rows("SELECT id FROM results ORDER BY 1") == [(1,), (2,), (3,)]


def test_somebody_who_is_faster_is_not_overwritten(database: Database) -> None:
    def slow() -> Iterator[Any]:
        yield from RESULTS.to_batches()
        database.do("CREATE TABLE results AS SELECT 7 AS id")

    with pytest.raises(ConflictError, match="the table exists already"):
        databases.write(database.address("results"), slow())
    assert database.rows("SELECT id FROM results") == [(7,)]


def test_rows_that_do_not_fit_are_refused(database: Database) -> None:
    address = database.address("results")
    databases.write(address, RESULTS.to_batches())
    with pytest.raises(DataError, match='"other" does not exist in target table'):
        databases.write(address, pa.table({"other": [1]}).to_batches(), if_exists="append")
    with pytest.raises(DataError, match="no rows to write"):
        databases.write(database.address("empty"), [])
    assert databases.write(database.address("empty"), [], schema=RESULTS.schema) == 0
    assert database.table("SELECT * FROM empty").column_names == RESULTS.column_names
    with pytest.raises(DataError, match="results are written to a table"):
        databases.write(f"{database.address()}?query=SELECT 1", RESULTS.to_batches())
    database.do("CREATE VIEW seen AS SELECT 1 AS id")
    with pytest.raises(ConflictError, match="is a view"):
        databases.write(database.address("seen"), RESULTS.to_batches(), if_exists="replace")
    database.do("CREATE VIEW over AS SELECT * FROM results")
    with pytest.raises(DataError, match="cannot drop table results because other objects depend on it"):
        databases.write(address, RESULTS.to_batches(), if_exists="replace")
    with contextlib.suppress(DataError):
        databases.write(database.address("results", user="guest"), RESULTS.to_batches(), if_exists="append")
    assert database.rows("SELECT count(*) FROM results") == [(3,)]
