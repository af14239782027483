"""One state of a database, seen by several sessions, for as long as it is held open.

A session begins a transaction that sees the database as it is at that moment, and exports that view; the others take it
over (`pg_export_snapshot`, as `pg_dump --jobs` does). Whatever is inserted, updated or deleted meanwhile changes
nothing of what they read, and a lock keeps the table from being dropped, emptied or altered until they are done.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from modelhopper_contract.errors import ModelhopperError
from modelhopper_trainer.databases.addresses import Address
from modelhopper_trainer.databases.relations import Relation, find, lock
from modelhopper_trainer.databases.sessions import Session

LOCK_TIMEOUT_S = 60
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SINCE = (  # settings of the transaction, and the version of the server that brought them
    (0, "statement_timeout = 0"),
    (90300, f"lock_timeout = '{LOCK_TIMEOUT_S}s'"),
    (90600, "idle_in_transaction_session_timeout = 0"),  # it is idle while others read, and while shards are written
    (170000, "transaction_timeout = 0"),
    # Rows come in the order in which they lie: a scan begins at the first, is one process, and takes no index instead.
    (0, "synchronize_seqscans = off"),
    (90600, "max_parallel_workers_per_gather = 0"),
    (90200, "enable_indexonlyscan = off"),
)
_TID_RANGES = 140000  # before, each range of blocks would be a scan of the whole table

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Server:
    """What is known of a server."""

    version: int  # 150018 is 15.18
    is_greenplum: bool

    @property
    def can_read_ranges(self) -> bool:
        """Whether it finds a range of blocks without reading all others."""
        return self.version >= _TID_RANGES and not self.is_greenplum


@dataclass(frozen=True)
class Snapshot:
    """A relation as it was at one moment, and the sessions that see it so. The first is always there."""

    server: Server
    relation: Relation
    sessions: tuple[Session, ...]

    def close(self) -> None:
        """End all sessions."""
        for session in self.sessions:
            session.close()


def take(address: Address, readers: int) -> Snapshot:
    """Return the state of what an address names as it is now, seen by up to so many sessions.

    There is but one session where rows must come from one: for a view, a query, an order, partitions, before PostgreSQL
    14, and on Greenplum, which exports no snapshot.
    """
    opened: list[Session] = []
    try:
        opened.append(first := Session(address))
        server = _server(first)
        relation = find(first, address)
        _begin(first, server)
        if statement := lock(relation, wait=True):
            first.run(statement)
        if _can_share(server, relation, address, readers):
            opened += _others(first, server, relation, readers - 1)
    except BaseException:
        for session in opened:
            session.close()
        raise
    return Snapshot(server, relation, tuple(opened))


def _can_share(server: Server, relation: Relation, address: Address, readers: int) -> bool:
    if readers > 1 and server.is_greenplum:
        _log.warning("%s: Greenplum shares no snapshot between sessions, so one reader reads.", address.name)
    return readers > 1 and server.can_read_ranges and relation.is_in_blocks and not address.order


def _others(first: Session, server: Server, relation: Relation, count: int) -> Sequence[Session]:
    """Return more sessions that see what the first sees; fewer where the server has no room, or somebody waits."""
    shared = str(first.rows("SELECT pg_catalog.pg_export_snapshot() AS name")[0]["name"]).replace("'", "''")
    opened: list[Session] = []
    try:
        for _ in range(count):
            opened.append(_another(first.address, server, relation, shared))  # noqa: PERF401 -- kept when the next fails
    except ModelhopperError as error:
        _log.warning("%d of %d readers read: %s", len(opened) + 1, count + 1, error)
    except BaseException:
        for session in opened:
            session.close()
        raise
    return opened


def _another(address: Address, server: Server, relation: Relation, shared: str) -> Session:
    session = Session(address)
    try:
        _begin(session, server, f"SET TRANSACTION SNAPSHOT '{shared}'")
        # Not waited for: who stands before us waits for our first session, which would wait for us.
        if statement := lock(relation, wait=False):
            session.run(statement)
    except BaseException:
        session.close()
        raise
    return session


def _server(session: Session) -> Server:
    query = "SELECT current_setting('server_version_num')::int4 AS version, version()::text AS words"
    (row,) = session.rows(query)
    return Server(int(row["version"]), "Greenplum" in row["words"])


def _begin(session: Session, server: Server, adopt: str | None = None) -> None:
    session.run(_BEGIN)
    if adopt is not None:
        session.run(adopt)
    for since, setting in _SINCE:
        if server.version >= since:
            session.run(f"SET LOCAL {setting}")
