"""A table that changes while it is read, a server that dies, a user without rights: one state, or one clear message."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from modelhopper_contract.errors import DataError, ModelhopperError, StoreUnavailable
from modelhopper_trainer import databases
from modelhopper_trainer.databases import reading, sessions, snapshots
from modelhopper_trainer.databases.snapshots import Server
from modelhopper_trainer.databases.sources import source
from modelhopper_trainer.packing import dataset, pack
from tests.databases import LOCKED, PASSWORD, Database
from tests.trainer.packed import files

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a small table many ranges, and a stream many batches."""
    monkeypatch.setattr(reading, "RANGE_BYTES", 65536)
    monkeypatch.setattr(sessions, "BATCH_BYTES", 65536)


def numbers(database: Database, rows: int = 20_000) -> str:
    database.do(f"CREATE TABLE t AS SELECT i AS v, i % 3 AS y FROM generate_series(1, {rows}) i")
    return database.address("t")


@pytest.mark.parametrize("readers", [1, 3])
def test_a_table_that_changes_while_it_is_packed_is_packed_as_it_was(
    readers: int, database: Database, tmp_path: Path
) -> None:
    address = numbers(database) + f"&readers={readers}"
    quiet = pack(address, tmp_path / "quiet", shards=3, labels="y")
    data = source(address)
    changes = itertools.cycle(
        [
            "INSERT INTO t SELECT -i, 7 FROM generate_series(1, 100) i",
            "UPDATE t SET y = 8 WHERE v % 50 = 0",
            "DELETE FROM t WHERE v % 70 = 0",
        ]
    )

    def read(names: Any, rows: int) -> Iterator[Any]:
        for batch in data.read(names, 2000):
            database.do(next(changes))
            yield batch

    during = _packed(replace(data, read=read), tmp_path / "during")
    assert files(during) == files(quiet)
    assert during.outputs == quiet.outputs
    after = pack(address, tmp_path / "after", shards=3, labels="y")
    assert files(after) != files(quiet)


def test_a_table_cannot_be_emptied_or_dropped_while_it_is_read(database: Database) -> None:
    with contextlib.closing(databases.open_table(numbers(database), readers=2)) as table:
        batches = table.batches(["v"], 1000)
        next(batches)
        for statement in ("TRUNCATE t", "DROP TABLE t", "ALTER TABLE t DROP COLUMN v", "VACUUM FULL t"):
            with pytest.raises(Exception, match="lock timeout"):
                database.do("SET lock_timeout = '50ms'", statement)
        assert sum(batch.num_rows for batch in batches) == 19_000
    database.do("RESET lock_timeout", "TRUNCATE t")


def test_who_waits_for_the_table_does_not_hold_up_the_readers(database: Database) -> None:
    address = numbers(database)
    with contextlib.closing(databases.open_table(address, readers=2)) as first:
        waiting = threading.Thread(target=_emptied, args=[database])
        waiting.start()
        _until(database, "SELECT count(*) FROM pg_locks WHERE NOT granted", 1)
        assert sum(batch.num_rows for batch in first.batches(["v"], 1000)) == 20_000
    waiting.join()
    assert database.rows("SELECT count(*) FROM t") == [(0,)]


def test_readers_that_find_no_room_leave_the_work_to_the_others(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    address = numbers(database)
    database.do("ALTER DATABASE trial CONNECTION LIMIT 4", "CREATE ROLE few LOGIN", "GRANT SELECT ON t TO few")
    try:
        with contextlib.closing(databases.open_table(address.replace("owner", "few"), readers=9)) as table:
            assert 1 <= len(table.snapshot.sessions) < 9
            assert "of 9 readers read: " in caplog.text
            assert "takes no connection now: too many connections" in caplog.text
            assert sum(batch.num_rows for batch in table.batches(["v"], 1000)) == 20_000
    finally:
        database.do("ALTER DATABASE trial CONNECTION LIMIT -1", "DROP OWNED BY few", "DROP ROLE few")


@pytest.mark.parametrize("server", [Server(150000, is_greenplum=True), Server(130000, is_greenplum=False)])
def test_one_reader_reads_where_ranges_or_snapshots_cannot_be_shared(
    server: Server, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    address = numbers(database)
    monkeypatch.setattr(snapshots, "_server", lambda session: server)
    with contextlib.closing(databases.open_table(address, readers=4)) as table:
        assert len(table.snapshot.sessions) == 1
        assert sum(batch.num_rows for batch in table.batches(["v"], 1000)) == 20_000
    assert ("Greenplum shares no snapshot" in caplog.text) == server.is_greenplum


def test_reading_may_stop_anywhere_and_begin_again(database: Database) -> None:
    for readers in (1, 3):
        address = numbers(database) if readers == 1 else database.address("t")
        with contextlib.closing(databases.open_table(address, readers=readers)) as table:
            for _ in range(3):
                with contextlib.closing(table.batches(["v"], 100)) as batches:
                    assert next(batches).column("v")[0].as_py() == 1
            assert sum(batch.num_rows for batch in table.batches(["v"], 1000)) == 20_000


# --- Servers that fail ------------------------------------------------------------------------------------------------


def test_a_server_that_dies_in_the_middle_leaves_nothing_and_says_so(own_postgres: Database, tmp_path: Path) -> None:
    own_postgres.do("CREATE TABLE t AS SELECT repeat('x', 400) AS x, i AS v FROM generate_series(1, 40000) i")
    opened = [source(own_postgres.address("t"), readers=readers) for readers in (1, 2)]
    reading_all = [data.read(["v", "x"], 100) for data in opened]
    for batches in reading_all:
        next(batches)
    own_postgres.server.kill()
    for data, batches in zip(opened, reading_all, strict=True):
        with pytest.raises(StoreUnavailable, match=r"table=t: the database stopped answering \(.*\)\. Nothing was"):
            list(batches)
        data.close()
    with pytest.raises(StoreUnavailable, match=r"no connection to the database.*Connection refused"):
        pack(own_postgres.address("t"), tmp_path / "out", shards=1, labels=[])
    assert list(tmp_path.iterdir()) == []
    own_postgres.server.start()
    assert pack(own_postgres.address("t"), tmp_path / "out", shards=1, features=["v"], labels=[]).rows == 40_000


def test_a_session_that_is_ended_in_the_middle_of_packing_leaves_nothing(database: Database, tmp_path: Path) -> None:
    address = numbers(database)
    data = source(address, readers=2)
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'modelhopper'"
    original = data.read

    def read(names: Any, rows: int) -> Iterator[Any]:
        yield from original(names, rows)
        database.rows(ended)  # after the first reading

    with pytest.raises(StoreUnavailable, match="stopped answering"):
        _packed(replace(data, read=read), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"host": "127.0.0.1:1"}, StoreUnavailable, "no connection to the database: .*Connection refused"),
        ({"host": "no.such.host.invalid"}, StoreUnavailable, "no connection.*no.such.host.invalid"),
        ({"name": "trail"}, DataError, 'database "trail" does not exist. Did you mean `trial`?.*It holds: '),
        ({"user": "somebody"}, DataError, 'role "somebody" does not exist'),
        ({"user": LOCKED}, DataError, "no password supplied. Set PGPASSWORD, or give the password a line in ~/.pgpass"),
        ({"user": f"{LOCKED}:hunter2"}, DataError, 'password authentication failed for user "guarded". Set PGPASSWORD'),
        ({"more": "&sslmod=off"}, DataError, 'invalid URI query parameter: "sslmod"'),
    ],
)
def test_a_connection_that_fails_says_why(
    change: dict[str, str], error: type[ModelhopperError], message: str, database: Database
) -> None:
    parts = {"user": "owner", "host": f"127.0.0.1:{database.server.port}", "name": database.name, "more": "", **change}
    address = f"postgresql://{parts['user']}@{parts['host']}/{parts['name']}?table=t{parts['more']}"
    with pytest.raises(error, match=message) as caught:
        databases.open_table(address)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_password_is_libpqs_business(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    database.do("CREATE TABLE t AS SELECT 1 AS v", f"GRANT SELECT ON t TO {LOCKED}")
    address = database.address("t", user=LOCKED)
    with monkeypatch.context() as patch:
        patch.setenv("PGPASSWORD", PASSWORD)
        assert [batch.num_rows for batch in databases.read(address)] == [1]
    (tmp_path / "pgpass").write_text(f"127.0.0.1:*:*:{LOCKED}:{PASSWORD}\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    assert [batch.num_rows for batch in databases.read(address)] == [1]
    (tmp_path / "services").write_text(f"[mine]\nhost=127.0.0.1\nport={database.server.port}\ndbname={database.name}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    assert [batch.num_rows for batch in databases.read(f"postgresql://{LOCKED}@?service=mine&table=t")] == [1]


# --- Names and rights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("credit_crad", "has no table `credit_crad`. Did you mean `credit_card`.*It has: credit_card"),
        ("public.credit_crad", "has no table `public.credit_crad`. Did you mean `public.credit_card`"),
        ("pubilc.credit_card", "Did you mean `public.credit_card`"),
        ("a.b.c", "table is a.b.c; it is a name, or schema.name"),
    ],
)
def test_an_unknown_table_is_answered_with_the_nearest(table: str, message: str, database: Database) -> None:
    database.do("CREATE TABLE credit_card (v int)")
    with pytest.raises(DataError, match=message):
        databases.open_table(database.address(table))


def test_an_unknown_column_is_answered_with_the_nearest(database: Database, tmp_path: Path) -> None:
    database.do("CREATE TABLE t AS SELECT 1 AS amount, 2 AS class")
    with pytest.raises(DataError, match=r"no column `clas`\. Did you mean `class`"):
        pack(database.address("t"), tmp_path / "out", shards=1, labels="clas")
    with pytest.raises(DataError, match=r"no column `amuont`\. Did you mean `amount`"):
        list(databases.read(database.address("t"), ["amuont"]))
    with pytest.raises(DataError, match=r"no column `nmuber`"):
        databases.open_table(database.address("t", order="nmuber"))


def test_a_table_that_may_not_be_read_says_what_to_ask_for(database: Database, tmp_path: Path) -> None:
    database.do("CREATE TABLE t AS SELECT 1 AS v, 2 AS y")
    with pytest.raises(DataError, match=r"permission denied for table t\. Ask its owner for GRANT SELECT"):
        pack(database.address("t", user="guest"), tmp_path / "out", shards=1, labels="y")
    database.do("GRANT SELECT (v) ON t TO guest")
    assert [batch.to_pylist() for batch in databases.read(database.address("t", user="guest"), ["v"])] == [[{"v": 1}]]


def test_an_address_of_no_table_lists_the_tables(database: Database, tmp_path: Path) -> None:
    database.do("CREATE TABLE one (v int)", "CREATE VIEW two AS SELECT 1 AS v")
    with pytest.raises(DataError, match=r"say which table, as in postgresql://.* It holds: one, two"):
        pack(database.address(), tmp_path / "out", shards=1, labels=[])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT 1 AS a, 2 AS a", "several columns are named a"),
        ("SELECT nothing FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELECT 1 / (v - 500) AS a FROM generate_series(1, 100000) v", "division by zero"),
        ("SELECT 10.0 ^ 400 AS a", "out of range for type double precision. Leave the number out"),
    ],
)
def test_a_query_that_fails_says_what_the_server_said(query: str, message: str, database: Database) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(databases.read(f"{database.address()}?query={query}"))
    assert "\n" not in str(caught.value)


# --- Much data --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("readers", [1, 4])
def test_a_million_rows_are_packed_in_bounded_memory(readers: int, database: Database, tmp_path: Path) -> None:
    columns = ", ".join(f"random() AS v{number}" for number in range(28))
    database.do(f"CREATE TABLE big AS SELECT {columns}, i % 2 AS class FROM generate_series(1, 1000000) i")
    script = (
        "import sys\n"
        "from modelhopper_trainer.packing import pack\n"
        "import adbc_driver_postgresql.dbapi, pyarrow\n"
        "def peak():\n"
        "    status = open('/proc/self/status').read()\n"
        "    return int(status.partition('VmHWM:')[2].split()[0])\n"
        "before = peak()\n"
        "rows = pack(sys.argv[1], sys.argv[2], shards=4, labels='class').rows\n"
        "print(rows, (peak() - before) // 1024)\n"
    )
    address = database.address("big", readers=str(readers))
    command = [sys.executable, "-c", script, address, str(tmp_path / "out")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == "1000000"
    assert int(said[1]) < 300  # MiB; the rows are 224 on the wire, and packing itself takes 180


# --- What the tests do while data is read -----------------------------------------------------------------------------


def _packed(data: Any, out: Path) -> Any:
    """Pack a source that was opened before."""
    with mock.patch.object(dataset, "open_source", lambda given, name: given):
        return pack(data, out, shards=3, labels="y")


def _emptied(database: Database) -> None:
    Database(database.server, database.name).do("TRUNCATE t")


def _until(database: Database, query: str, value: int) -> None:
    while database.rows(query) != [(value,)]:
        pass
