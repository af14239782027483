"""A pytest plugin with a real PostgreSQL server to test against, and a fresh database in it for each test.

Its programs are looked for in $MODELHOPPER_POSTGRES (a folder with `initdb` in it), beside the `pg_ctl` on PATH, where
Debian and Ubuntu put them, and in `.tools/postgres`, where `make postgres` puts them. Without any, tests are skipped.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

MAKE_POSTGRES = Path(__file__).parents[1] / ".tools/postgres"
WITHOUT = "There is no PostgreSQL server: install one, or run `make postgres`"
OWNER = "owner"
LOCKED = "guarded"  # a user who needs a password
PASSWORD = "a-secret-of-the-tests"

# Who is guarded needs a password, everybody else is let in. The first line that fits counts.
_ACCESS = f"host all {LOCKED} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nlocal all all trust\n"


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's programs, or None."""
    if given := os.environ.get("MODELHOPPER_POSTGRES"):
        return Path(given)
    on_path = shutil.which("pg_ctl")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    made = sorted(MAKE_POSTGRES.glob("*/pginstall*/bin"), key=_version, reverse=True)
    places = [*([Path(on_path).resolve().parent] if on_path else []), *debian, *made]
    return next((place for place in places if (place / "initdb").is_file() and (place / "postgres").is_file()), None)


class PostgresServer:
    """A PostgreSQL server with one folder of data, on a loopback port that it keeps over stop and start."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.port = _free_port()
        self._user = _server_user()
        self._folder = folder
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
            programs = _in_reach(programs, folder)
        self._programs = programs
        data = ["--pgdata", str(folder / "data"), "--username", OWNER, "--auth", "trust"]
        self._call("initdb", *data, "--no-sync", "--encoding", "UTF8", "--locale", "C", "--no-instructions")
        (folder / "data/pg_hba.conf").write_text(_ACCESS, encoding="utf-8")

    def start(self) -> None:
        """Start, and return when it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self._folder,
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": 40,
        }
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        log = str(self._folder / "log")
        self._call("pg_ctl", "--pgdata", str(self._folder / "data"), "--log", log, "-o", options, "--wait", "start")

    def stop(self) -> None:
        """Stop in good order; sessions are ended."""
        self._stop("fast")

    def kill(self) -> None:
        """Stop as by a power failure."""
        self._stop("immediate")

    def _stop(self, mode: str) -> None:
        self._call("pg_ctl", "--pgdata", str(self._folder / "data"), "--mode", mode, "--wait", "stop", check=False)

    def _call(self, program: str, *arguments: str, check: bool = True) -> None:
        user: dict[str, Any] = {}
        if self._user is not None:
            user = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "LC_ALL": "C"}
        # To a file, not a pipe: the server keeps what it was started with.
        with (self._folder / "calls").open("ab") as calls:
            command = [str(self._programs / program), *arguments]
            where: dict[str, Any] = {"cwd": self._folder, "env": environment, "stdout": calls, "stderr": calls}
            done = subprocess.run(command, check=False, **where, **user)
        if check and done.returncode:
            said = [place.read_text(errors="replace") for place in self._folder.glob("[cl]*") if place.is_file()]
            raise RuntimeError(f"{program} failed: {''.join(said)[-2000:]}")


@dataclass(frozen=True)
class Database:
    """A database of the server, empty at first."""

    server: PostgresServer
    name: str
    held: Any = None  # a connection for the tests' own statements; making one takes 50 ms

    def address(self, table: str | None = None, *, user: str = OWNER, **settings: str) -> str:
        """Return the address of a table, or with a setting `query` of a query."""
        given = {"table": table, **settings} if table else settings
        more = "&".join(f"{name}={value}" for name, value in given.items())
        return f"postgresql://{user}@127.0.0.1:{self.server.port}/{self.name}" + (f"?{more}" if more else "")

    def _server(self) -> str:
        return f"{self.address()}?client_encoding=UTF8"

    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        """Give a connection that commits each statement by itself."""
        if self.held is not None:
            yield self.held
            return
        import adbc_driver_postgresql.dbapi as driver

        with driver.connect(self._server(), autocommit=True) as connection:
            yield connection

    def do(self, *statements: str) -> None:
        """Do some statements, one transaction each."""
        with self.connected() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.connected() as connection, connection.cursor() as cursor:
            cursor.execute(query)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def table(self, query: str) -> Any:
        """Return the rows of a query as a pyarrow table."""
        with self.connected() as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetch_arrow_table()

    def load(self, table: str, data: Any) -> str:
        """Make a table of a pyarrow table, and return its address. Its rows may lie in another order."""
        with self.connected() as connection, connection.cursor() as cursor:
            cursor.adbc_ingest(table, data, mode="create")
        return self.address(table)


def _version(place: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(place))]


def _server_user() -> pwd.struct_passwd | None:
    """Return whom the server runs as where this is root, whom PostgreSQL refuses; None where this is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("PostgreSQL does not run as root, and there is no other user")


def _in_reach(programs: Path, folder: Path) -> Path:
    """Return the programs' folder, or that of a copy where others may not enter one of the folders above it."""
    if all(place.stat().st_mode & 0o001 for place in [programs, *programs.parents]):
        return programs
    # The wheel's programs find libraries beside them by relative paths.
    whole = MAKE_POSTGRES if programs.is_relative_to(MAKE_POSTGRES) else programs.parent
    copy = shutil.copytree(whole, folder / "programs", symlinks=True)
    return Path(copy) / programs.relative_to(whole)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# A session that a test left open would keep its lock; then this says so.
_EMPTY = """
    DO $$ DECLARE name text; BEGIN
        SET LOCAL lock_timeout = '10s';
        FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)' LOOP
            EXECUTE format('DROP SCHEMA %I CASCADE', name);
        END LOOP;
        CREATE SCHEMA public;
        GRANT USAGE ON SCHEMA public TO PUBLIC;
    END $$
"""


@contextlib.contextmanager
def _started() -> Iterator[Database]:
    programs = find_postgres()
    if programs is None:
        pytest.skip(WITHOUT)
    pytest.importorskip("adbc_driver_postgresql", reason="pip install 'modelhopper[postgres]'")
    # A socket's path may have about a hundred characters, which pytest's own folders use up.
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(programs, Path(folder))
        server.start()
        try:
            Database(server, "postgres").do("CREATE DATABASE trial")
            yield Database(server, "trial")
        finally:
            server.kill()


def _use_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    for name in ("PGPASSFILE", "PGSERVICEFILE"):
        monkeypatch.setenv(name, "/nonexistent")


# --- Fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres() -> Iterator[Database]:
    """The database that this process's tests share. Take `database`, or to break the server, `own_postgres`."""
    with _started() as shared:
        shared.do(f"CREATE ROLE {LOCKED} LOGIN PASSWORD '{PASSWORD}'", "CREATE ROLE guest LOGIN")
        with shared.connected() as connection:
            yield replace(shared, held=connection)


@pytest.fixture
def database(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """An empty database, and an environment without settings of PostgreSQL."""
    _use_no_settings(monkeypatch)
    postgres.do(_EMPTY)
    return postgres


@pytest.fixture
def own_postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database of a server to stop, kill and start."""
    _use_no_settings(monkeypatch)
    with _started() as own:
        yield own


if __name__ == "__main__":  # `make postgres` asks
    here = find_postgres()
    sys.stdout.write(f"The tests take the PostgreSQL server in {here}\n" if here else f"{WITHOUT}\n")
    sys.exit(here is None)
