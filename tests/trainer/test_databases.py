"""A table of a real PostgreSQL server is packed as a file of the same rows is."""

from __future__ import annotations

import contextlib
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from modelhopper_contract.errors import DataError
from modelhopper_trainer import databases
from modelhopper_trainer.databases import reading, sessions
from modelhopper_trainer.databases.sources import source
from modelhopper_trainer.packing import pack
from tests.databases import Database
from tests.trainer.packed import column, files


def mixed(rows: int) -> pa.Table:
    """Return numbers of many kinds, and a label of text."""
    draw = np.random.default_rng(3)
    return pa.table(
        {
            "i2": pa.array(draw.integers(-9, 9, rows), pa.int16()),
            "i4": pa.array(draw.integers(-99999, 99999, rows), pa.int32()),
            "i8": draw.integers(-(2**40), 2**40, rows),
            "f4": draw.normal(size=rows).astype(np.float32),
            "f8": draw.normal(size=rows) * 1e9,
            "b": draw.integers(0, 2, rows).astype(bool),
            "label": draw.choice(["setosa", "virginica", "Rosé, “à la carte”"], rows),
        }
    )


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a small table many ranges."""
    monkeypatch.setattr(reading, "RANGE_BYTES", 16384)


@pytest.mark.parametrize("readers", [1, 4])
@pytest.mark.usefixtures("small_ranges")
def test_a_table_gives_the_same_bytes_as_a_file_of_its_rows(readers: int, database: Database, tmp_path: Path) -> None:
    database.load("flowers", mixed(5000))
    rows = database.table("SELECT * FROM flowers ORDER BY ctid")
    pyarrow.parquet.write_table(rows, tmp_path / "rows.parquet")
    pyarrow.csv.write_csv(rows, tmp_path / "rows.csv")
    options: dict[str, Any] = {"shards": 3, "labels": "label", "seed": 7}
    from_table = pack(database.address("flowers", readers=str(readers)), tmp_path / "table", **options)
    from_parquet = pack(tmp_path / "rows.parquet", tmp_path / "parquet", **options)
    from_csv = pack(tmp_path / "rows.csv", tmp_path / "csv", **options)
    assert from_table.to_json() == from_parquet.to_json()
    assert files(from_table) == files(from_csv)


@pytest.mark.usefixtures("small_ranges")
def test_readers_and_batches_change_nothing(database: Database) -> None:
    address = database.load("flowers", mixed(3000))
    rows = database.table("SELECT i8, label FROM flowers ORDER BY ctid")
    for readers, batch_rows in ((1, 10_000), (2, 7), (4, 100)):
        batches = list(databases.read(address, ["i8", "label"], batch_rows, readers=readers))
        assert max(batch.num_rows for batch in batches) <= batch_rows
        assert pa.Table.from_batches(batches) == rows


@pytest.mark.usefixtures("small_ranges")
def test_several_readers_are_at_work(database: Database) -> None:
    with contextlib.closing(databases.open_table(database.load("flowers", mixed(3000)), readers=3)) as table:
        assert len(table.snapshot.sessions) == 3
        seen = [session.rows("SELECT pg_current_snapshot()::text AS s")[0]["s"] for session in table.snapshot.sessions]
        assert len(set(seen)) == 1


def test_numeric_is_float64_and_keeps_its_digits(database: Database) -> None:
    database.do("CREATE TABLE t (n numeric, m numeric(20,3)[])", "INSERT INTO t VALUES (0.1, '{1.125,-7}')")
    (batch,) = databases.read(database.address("t"))
    assert batch.to_pylist() == [{"n": 0.1, "m": [1.125, -7.0]}]
    assert batch.schema.field("n").type == pa.float64()


def test_types_that_arrow_has_not_are_read_as_text_or_numbers(database: Database) -> None:
    values: list[tuple[str, str, object]] = [
        ("char(4)", "ab", "ab"),
        ("uuid", "0b26bdd4-9a5f-4b59-b3b4-6a1f4ab3a3b1", "0b26bdd4-9a5f-4b59-b3b4-6a1f4ab3a3b1"),
        ("jsonb", '{"a": 1}', '{"a": 1}'),
        ("inet", "10.0.0.1", "10.0.0.1/32"),
        ("money", "1.50", 1.5),
        ("oid", "4294967295", 4294967295),
        ("interval", "1 day", "1 day"),
        ("bytea", r"\x00ff", b"\x00\xff"),
        ("text[]", "{a,b}", ["a", "b"]),
        ("boolean", "yes", True),
    ]
    columns = ", ".join(f"'{value}'::{declared} AS c{place}" for place, (declared, value, _) in enumerate(values))
    database.do(f"CREATE TABLE t AS SELECT {columns}")
    (batch,) = databases.read(database.address("t"))
    assert list(batch.to_pylist()[0].values()) == [read for _, _, read in values]


def test_an_enumeration_is_a_label_of_its_texts(database: Database, tmp_path: Path) -> None:
    database.do(
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE TABLE t (a int, m mood)",
        "INSERT INTO t VALUES (1, 'ok'), (2, 'sad')",
    )
    assert pack(database.address("t"), tmp_path / "out", shards=1, labels="m").outputs[0].classes == ("ok", "sad")


def test_dates_and_times_are_the_labels_that_parquet_makes_of_them(database: Database, tmp_path: Path) -> None:
    database.do(
        "CREATE TABLE t (a int, d date, u timestamp, z timestamptz)",
        "INSERT INTO t VALUES (1, '2020-01-31', '2020-01-31 12:00:00.5', '2020-01-31 12:00+02')",
    )
    pyarrow.parquet.write_table(pa.Table.from_batches(databases.read(database.address("t"))), tmp_path / "t.parquet")
    options: dict[str, Any] = {"shards": 1, "features": ["a"], "labels": ["d", "u", "z"]}
    table = pack(database.address("t"), tmp_path / "table", **options)
    assert table.digest() == pack(tmp_path / "t.parquet", tmp_path / "parquet", **options).digest()
    assert table.outputs[1].classes == ("2020-01-31 12:00:00.5",)


def test_an_array_is_an_array_column_of_its_shape(database: Database, tmp_path: Path) -> None:
    images = np.arange(24).reshape(3, 4, 2)
    database.do("CREATE TABLE t (image int[], y int)")
    database.do(*[f"INSERT INTO t VALUES (ARRAY{image.tolist()}, {y})" for y, image in enumerate(images)])
    manifest = pack(database.address("t"), tmp_path / "out", shards=1, labels="y", features={"image": "image"})
    assert manifest.inputs[0].shape == (4, 2)
    assert np.array_equal(column(tmp_path / "out", "image"), images[column(tmp_path / "out", "y")])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("'{1,2,3}'", r"`a`, row 2 .*a list of 3, but the first row has 2"),
        ("'{{1,2}}'", r"`a`, row 2 .*a list of 0"),  # as long, and of another form
        ("'{1,NULL}'", r"`a`, row 2 .*null"),
        ("NULL", r"`a`, row 2 .*the value is null"),
        ("'{1,NaN}'", r"`a`, row 2 .*NaN"),
    ],
)
def test_an_array_that_does_not_fit_is_found_by_its_row(
    second: str, message: str, database: Database, tmp_path: Path
) -> None:
    database.do("CREATE TABLE t (a float4[], y int)", f"INSERT INTO t VALUES ('{{1,2}}', 0), ({second}, 1)")
    with pytest.raises(DataError, match=message):
        pack(database.address("t"), tmp_path / "out", shards=1, labels="y", features=["a"])


def test_null_is_found_by_its_row(database: Database, tmp_path: Path) -> None:
    database.do("CREATE TABLE t (a numeric, y int)", "INSERT INTO t VALUES (1, 0), (2, 1), (NULL, 0)")
    with pytest.raises(DataError, match=r"`a`, row 3 .*the value is null"):
        pack(database.address("t"), tmp_path / "out", shards=1, labels="y")
    assert list(tmp_path.iterdir()) == []


def test_text_is_no_feature(database: Database, tmp_path: Path) -> None:
    database.do("CREATE TABLE t (a text, y int)", "INSERT INTO t VALUES ('x', 1)")
    with pytest.raises(DataError, match="`a` holds text, which cannot be a feature"):
        pack(database.address("t"), tmp_path / "out", shards=1, labels="y")


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_a_view_is_read_as_a_table(kind: str, database: Database, tmp_path: Path) -> None:
    database.load("flowers", mixed(50))
    database.do(f"CREATE {kind} seen AS SELECT i2, label FROM flowers WHERE b")
    database.do("CREATE TABLE copied AS SELECT i2, label FROM flowers WHERE b")
    one, two = (pack(database.address(name), tmp_path / name, shards=2, labels="label") for name in ("seen", "copied"))
    assert files(one) == files(two)


def test_partitions_and_children_are_read_with_their_table(database: Database) -> None:
    database.do(
        "CREATE TABLE p (k int, v int) PARTITION BY LIST (k)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)",
        "CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2)",
        "INSERT INTO p VALUES (2, 20), (1, 10), (2, 21), (1, 11)",
        "CREATE TABLE parent (v int)",
        "CREATE TABLE child () INHERITS (parent)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (2)",
    )
    for name, values in (("p", [10, 11, 20, 21]), ("parent", [1, 2])):
        (table,) = [pa.Table.from_batches(databases.read(database.address(name), ["v"], readers=4))]
        assert table.column("v").to_pylist() == values


def test_a_query_is_read_as_written(database: Database, tmp_path: Path) -> None:
    database.load("flowers", mixed(200))
    query = "SELECT i2 + 1 AS more, label FROM flowers WHERE i4 > 0 AND label LIKE '%a%' ORDER BY i8 -- & so on; 100%"
    address = f"{database.address()}?query={query}"
    manifest = pack(address, tmp_path / "out", shards=2, labels="label")
    assert manifest.inputs[0].columns == ("more",)
    assert manifest.rows == database.rows("SELECT count(*) FROM flowers WHERE i4 > 0 AND label LIKE '%a%'")[0][0]


def test_an_order_gives_the_bytes_of_a_file_in_that_order(database: Database, tmp_path: Path) -> None:
    rows = mixed(500).append_column("id", pa.array(range(500)))
    database.load("flowers", rows.take(np.random.default_rng(1).permutation(500)))
    options: dict[str, Any] = {"shards": 2, "labels": "label", "features": ["i2", "f8"]}
    table = pack(database.address("flowers", order="id"), tmp_path / "table", **options)
    assert table.digest() == pack(rows, tmp_path / "memory", **options).digest()


def test_rows_come_in_the_order_of_a_column(database: Database) -> None:
    database.do("CREATE TABLE t (k int, v int)", "INSERT INTO t VALUES (2, 0), (1, 1), (2, 2), (1, 3)")
    for order, values in (("k", [1, 3, 0, 2]), ("k,v", [1, 3, 0, 2]), ("v", [0, 1, 2, 3])):
        found = pa.Table.from_batches(databases.read(database.address("t", order=order), ["v"]))
        assert found.column("v").to_pylist() == values


def test_an_index_does_not_change_the_order(database: Database) -> None:
    database.do(
        "CREATE TABLE t AS SELECT (i * 7919) % 10007 AS v FROM generate_series(1, 10000) i",
        "CREATE INDEX ON t (v)",
        "VACUUM ANALYZE t",
    )
    for readers in (1, 2):
        found = pa.Table.from_batches(databases.read(database.address("t"), readers=readers)).column("v").to_pylist()
        assert found == [(i * 7919) % 10007 for i in range(1, 10001)]


def test_columns_of_the_system_are_there_when_named_and_no_features_otherwise(
    database: Database, tmp_path: Path
) -> None:
    database.do("CREATE TABLE t (a int, y int)", "INSERT INTO t VALUES (1, 0), (2, 1)")
    assert pack(database.address("t"), tmp_path / "out", shards=1, labels="y").inputs[0].columns == ("a",)
    named = pack(database.address("t"), tmp_path / "named", shards=1, features=["a", "*"], labels=["y", "tableoid"])
    assert named.inputs[0].columns == ("a",)
    assert named.outputs[1].classes == (database.rows("SELECT 't'::regclass::oid::int8")[0][0],)


def test_names_need_no_quotes_of_sql(database: Database, tmp_path: Path) -> None:
    database.do(
        'CREATE SCHEMA "My Schema"',
        'CREATE TABLE "My Schema"."order; -- ""x"".y" ("select" int, "a b""c" int, "Größe" int)',
        'INSERT INTO "My Schema"."order; -- ""x"".y" VALUES (1, 2, 3)',
    )
    address = database.address('My Schema."order; -- ""x"".y"')
    manifest = pack(address, tmp_path / "out", shards=1, labels={"y": "select"})
    assert manifest.inputs[0].columns == ('a b"c', "Größe")


def test_a_database_may_have_another_encoding(database: Database) -> None:
    database.do("CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    try:
        latin = Database(database.server, "latin")
        latin.do('CREATE TABLE "größe" AS SELECT \'Müller\' AS "höhe"')
        assert [batch.to_pylist() for batch in databases.read(latin.address("größe"))] == [[{"höhe": "Müller"}]]
    finally:
        database.do("DROP DATABASE latin WITH (FORCE)")


def test_a_name_is_found_as_sql_finds_it(database: Database) -> None:
    database.do("CREATE TABLE things AS SELECT 1 AS v", 'CREATE TABLE "Others" AS SELECT 2 AS v')
    for name, value in (("things", 1), ("Things", 1), ("PUBLIC.THINGS", 1), ("Others", 2), ('public."Others"', 2)):
        (batch,) = databases.read(database.address(name))
        assert batch.to_pylist() == [{"v": value}], name


@pytest.mark.parametrize("table", ["t; DROP TABLE t", 't"; DROP TABLE t; --', "t) TO STDOUT; DROP TABLE t; --", "t'--"])
def test_a_name_is_never_a_statement(table: str, database: Database, tmp_path: Path) -> None:
    database.do("CREATE TABLE t AS SELECT 1 AS v")
    for name in (table, f"public.{table}", f'"{table.replace(chr(34), chr(34) * 2)}"'):
        with pytest.raises(DataError, match=r"has no table|is no name"):
            pack(database.address(name), tmp_path / "out", shards=1, labels=[])
        with pytest.raises(DataError, match=r"has no column|is no name"):
            list(databases.read(database.address("t", order=name)))
    with pytest.raises(DataError, match="has no column"):
        list(databases.read(database.address("t"), [table]))
    assert database.rows("SELECT v FROM t") == [(1,)]


@pytest.mark.parametrize("query", ["DELETE FROM t RETURNING v", "SELECT 1 AS v; DROP TABLE t", "SELECT 1 AS v) q; --"])
def test_a_query_only_reads(query: str, database: Database) -> None:
    database.do("CREATE TABLE t AS SELECT 1 AS v")
    with pytest.raises(DataError, match="syntax error"):
        list(databases.read(f"{database.address()}?query={query}"))
    database.do("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'DELETE FROM t RETURNING v'")
    with pytest.raises(DataError, match=r"read-only transaction\. A query may only read"):
        list(databases.read(f"{database.address()}?query=SELECT f() AS v"))
    assert database.rows("SELECT v FROM t") == [(1,)]


def test_a_decimal_file_and_a_numeric_column_give_the_same_bytes(database: Database, tmp_path: Path) -> None:
    digits = [decimal.Decimal(text) for text in ("0.1", "123456.789", "-99.995")]
    rows = pa.table({"n": pa.array(digits, pa.decimal128(12, 3)), "y": [0, 1, 0]})
    table = pack(database.load("t", rows), tmp_path / "table", shards=1, labels="y")
    pyarrow.parquet.write_table(rows, tmp_path / "t.parquet")
    assert files(table) == files(pack(tmp_path / "t.parquet", tmp_path / "parquet", shards=1, labels="y"))


def test_packing_leaves_no_session_also_when_it_fails(database: Database, tmp_path: Path) -> None:
    address = database.load("flowers", mixed(10))
    opened = source(address, readers=3)
    assert sessions_of(database) == 3
    opened.close()
    pack(address, tmp_path / "out", shards=1, labels="label")
    with pytest.raises(DataError) as caught:
        pack(address, tmp_path / "other", shards=1, labels="lable")
    # A server lets go a moment after a connection ends; the error, and all that it holds, is still there.
    assert any(sessions_of(database) == 0 for _ in range(2000)), caught


def test_a_bad_value_is_told_while_another_thread_reads_ahead(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To close a connection under the thread that reads from it would end the process."""
    query = (
        "SELECT i % 2 AS y, nullif(i, 70)::float8 AS a FROM generate_series(1, 40001) i "
        "WHERE i <= 40000 OR pg_sleep(0.3) IS NOT NULL"
    )
    monkeypatch.setattr(sessions, "BATCH_BYTES", 65536)
    with pytest.raises(DataError, match="`a`, row 70") as caught:
        pack(f"{database.address()}?query={query}", tmp_path / "out", shards=2, labels="y")
    assert any(sessions_of(database) == 0 for _ in range(2000)), caught


def sessions_of(database: Database) -> int:
    count: int = database.rows("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'modelhopper'")[0][0]
    return count
