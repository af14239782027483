"""Reading tables: in a fixed order, in batches, by several sessions at once, in bounded memory."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from modelhopper_trainer.databases.addresses import parse
from modelhopper_trainer.databases.relations import Field, Range, fields_of, refuse_unknown, select
from modelhopper_trainer.databases.sessions import Session
from modelhopper_trainer.databases.snapshots import Snapshot, take

RANGE_BYTES = 4 << 20  # of a table, with what lies beside it, that a session reads at a time
USUAL_READERS = 4


@dataclass(frozen=True)
class Table:
    """A table, view or query as it was when it was opened, until it is closed. Every reading gives the same rows."""

    name: str  # of the address, without password
    fields: Mapping[str, Field]
    hidden: Mapping[str, Field]  # columns of the system, such as gp_segment_id: there, but not among a table's columns
    order: tuple[str, ...]
    snapshot: Snapshot

    def batches(self, columns: Sequence[str], rows: int) -> Generator[Any]:
        """Give pyarrow record batches of these columns, of at most so many rows.

        Arrays of several dimensions are flat lists, in the order of their elements; `fields` has their shapes.
        """
        known = {**self.fields, **self.hidden}
        refuse_unknown(self.name, columns, known)
        for batch in self._all([known[column] for column in columns]):
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)

    def close(self) -> None:
        """End the sessions, and with them the snapshot."""
        self.snapshot.close()

    def _all(self, fields: Sequence[Field]) -> Iterator[Any]:
        relation, sessions = self.snapshot.relation, self.snapshot.sessions
        if len(sessions) == 1:
            yield from sessions[0].batches(select(relation, fields, self.order))
            return
        queries = [select(relation, fields, (), blocks) for blocks in _ranges(sessions[0], relation.oid or 0)]
        with contextlib.closing(_side_by_side(sessions, queries)) as found:
            yield from found


def open_table(address: str, *, readers: int | None = None) -> Table:
    """Return what an address names, as it is now. Close it at the end: it keeps the server from cleaning up.

    Raises DataError for an address, a name or a password that is wrong, StoreUnavailable for no answer.
    """
    parsed = parse(address)
    wanted = readers or parsed.readers or min(USUAL_READERS, os.cpu_count() or 1)
    snapshot = take(parsed, wanted)
    try:
        fields, hidden = fields_of(snapshot.sessions[0], snapshot.relation, parsed.name)
        refuse_unknown(parsed.name, parsed.order, fields)
    except BaseException:
        snapshot.close()
        raise
    return Table(parsed.name, fields, hidden, parsed.order, snapshot)


def read(
    address: str, columns: Sequence[str] | None = None, batch_rows: int = 65536, *, readers: int | None = None
) -> Generator[Any]:
    """Give the rows of a table or query as pyarrow record batches, all from one moment, in a fixed order.

    `columns`: all by default. NUMERIC comes as float64, arrays as lists, and types that Arrow has not as text. Close
    the iterator where it is not read to its end. Raises DataError and StoreUnavailable, at the first batch or at any.
    """
    with contextlib.closing(open_table(address, readers=readers)) as table:
        yield from table.batches(list(table.fields) if columns is None else columns, batch_rows)


def _ranges(session: Session, oid: int) -> list[Range]:
    """Return ranges of blocks that hold about as much each; the last one goes to the end, wherever that comes to be."""
    query = """
        SELECT pg_catalog.pg_relation_size($1::int8::oid) / current_setting('block_size')::int8 AS blocks,
            pg_catalog.pg_table_size($1::int8::oid) AS size_bytes
    """
    (row,) = session.rows(query, oid)
    blocks, size_bytes = int(row["blocks"]), int(row["size_bytes"])
    step = max(1, RANGE_BYTES * blocks // max(size_bytes, 1))
    starts = list(range(0, max(blocks, 1), step))
    return [*itertools.pairwise(starts), (starts[-1], None)]


def _side_by_side(sessions: Sequence[Session], queries: Sequence[str]) -> Generator[Any]:
    """Give the batches of all queries, one query after another, while the sessions read those that follow."""
    free: queue.SimpleQueue[Session] = queue.SimpleQueue()
    for session in sessions:
        free.put(session)

    def all_of(query: str) -> list[Any]:
        session = free.get()
        try:
            return list(session.batches(query))
        finally:
            free.put(session)

    waiting = iter(queries)
    with ThreadPoolExecutor(len(sessions)) as pool:
        coming: deque[Future[list[Any]]] = deque()
        try:
            while True:
                # One more than there are sessions, so that none waits while a result is used.
                for query in waiting:
                    coming.append(pool.submit(all_of, query))
                    if len(coming) > len(sessions):
                        break
                if not coming:
                    return
                yield from coming.popleft().result()
        finally:
            for future in coming:
                future.cancel()
