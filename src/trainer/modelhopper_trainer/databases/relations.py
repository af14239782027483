"""What is read: a table with its columns, or a query; and the SQL that reads it.

Names come from the server's catalogue or are looked up there as values, and are quoted where they stand in SQL. So no
name that a user gives can be a statement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelhopper_contract.errors import DataError
from modelhopper_contract.nearest import did_you_mean
from modelhopper_trainer.databases.addresses import Address, refuse_nowhere
from modelhopper_trainer.databases.kinds import Kind, kind_of
from modelhopper_trainer.databases.sessions import Session, tables_of

Range = tuple[int, int | None]  # blocks, from and to; None: to the end

_IN_BLOCKS = ("r", "m")  # pg_class.relkind of what is stored in blocks of its own: tables, materialised views
_LOCKABLE = ("r", "p")
_READABLE = "rpvmf"  # and partitioned tables, views, foreign tables
_LISTED = 20


@dataclass(frozen=True)
class Relation:
    """A table, view or query, as FROM takes it."""

    source: str
    oid: int | None = None  # None for a query
    is_in_blocks: bool = False
    is_lockable: bool = False
    hidden: tuple[str, ...] = ()  # system columns


@dataclass(frozen=True)
class Field:
    """A column, and how it is read."""

    name: str
    kind: Kind
    shape: tuple[int, ...] = ()  # of one value

    @property
    def expression(self) -> str:
        """The column as SELECT takes it. An array of another form than the first is empty: its length tells."""
        name = quoted(self.name)
        if not self.kind.is_array:
            return f"{name}::{self.kind.cast} AS {name}" if self.kind.cast else name
        inner = [f"array_length({name}, {axis}) <> {size}" for axis, size in enumerate(self.shape[1:], 2)]
        other = " OR ".join([f"array_ndims({name}) <> {max(len(self.shape), 1)}", *inner])
        whole = f"CASE WHEN {other} THEN '{{}}' ELSE {name} END"
        return f"({whole})::{self.kind.cast} AS {name}" if self.kind.cast else f"{whole} AS {name}"


def quoted(name: str) -> str:
    """Return a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def find(session: Session, address: Address) -> Relation:
    """Return what an address names; raise DataError, with the nearest name, where there is no such table."""
    if address.query is not None:
        return Relation(f"({address.query}\n) AS q")  # the line's end ends a comment in the query
    if not address.table:
        refuse_nowhere(address, tables_of(session)[:_LISTED])
    found = _candidates(session, address.table)
    if not found:
        raise _unknown_table(session, address)
    return found[0]


def lock(relation: Relation, *, wait: bool) -> str | None:
    """Return the statement that keeps others from dropping, emptying or changing a table; None where there is none."""
    if not relation.is_lockable:
        return None
    return f"LOCK TABLE {relation.source} IN ACCESS SHARE MODE{'' if wait else ' NOWAIT'}"


def fields_of(session: Session, relation: Relation, name: str) -> tuple[dict[str, Field], dict[str, Field]]:
    """Return the columns by name, in their order, and apart from them those of the system."""
    types = session.types(f"SELECT * FROM {relation.source}")  # noqa: S608 -- the catalogue's names, quoted
    twins = sorted({column for column, _ in types if [each for each, _ in types].count(column) > 1})
    if twins:
        raise DataError(f"{name}: several columns are named {', '.join(twins)}. Rename them with AS.")
    fields = {column: Field(column, kind_of(kind)) for column, kind in types}
    return _shaped(session, relation, fields), _hidden(session, relation)


def select(relation: Relation, fields: Sequence[Field], order: Sequence[str], blocks: Range | None = None) -> str:
    """Return the query for some columns, of all rows or of those in a range of blocks.

    Rows are in their order in the table, or in that of the columns of `order`, and where those are equal in theirs.
    """
    columns = ", ".join(field.expression for field in fields)
    query = f"SELECT {columns} FROM {relation.source}"  # noqa: S608 -- the catalogue's names, quoted
    if blocks is not None:
        query += f" WHERE ctid >= '({blocks[0]},0)'::tid"
        query += "" if blocks[1] is None else f" AND ctid < '({blocks[1]},0)'::tid"
    if order:
        names = [quoted(name) for name in order]
        query += " ORDER BY " + ", ".join([*names, "ctid"] if relation.is_in_blocks else names)
    return query


def refuse_unknown(name: str, wanted: Sequence[str], fields: Mapping[str, Field]) -> None:
    """Raise DataError, with the nearest, for a column that is not there."""
    for column in wanted:
        if column not in fields:
            shown = ", ".join(list(fields)[:_LISTED]) + (" ..." if len(fields) > _LISTED else "")
            raise DataError(f"{name} has no column `{column}`.{did_you_mean(column, fields)} It has: {shown}.")


def _candidates(session: Session, table: Sequence[str]) -> list[Relation]:
    """Return tables of a name, the very name before the one that SQL makes of it: all in small letters."""
    schema, name = (table[0], table[1]) if len(table) == 2 else (None, table[0])
    where = "pg_catalog.pg_table_is_visible(c.oid)" if schema is None else "n.nspname IN ($3, lower($3))"
    values = [name, _READABLE, *([] if schema is None else [schema])]
    rows = session.rows(_FIND.format(where=where), *values)
    return [
        Relation(
            source=f"{quoted(row['schema'])}.{quoted(row['name'])}",
            oid=int(row["oid"]),
            is_in_blocks=row["relkind"] in _IN_BLOCKS
            and all(row[which] for which in ("may_lock", "is_heap", "is_whole")),
            is_lockable=row["relkind"] in _LOCKABLE and bool(row["may_lock"]),
            hidden=tuple(row["hidden"] or ()),
        )
        for row in rows
    ]


# A table that others inherit from has their rows, too, and those lie elsewhere. Access method 2 is the heap; before
# PostgreSQL 12 there was no other. Who may read some columns only may neither lock a table nor see where rows lie.
_FIND = """
    SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS relkind,
        c.relam IN (0, 2) AS is_heap,
        NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid) AS is_whole,
        pg_catalog.has_table_privilege(c.oid, 'SELECT') AS may_lock,
        ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum < 0
            ORDER BY a.attnum DESC) AS hidden
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname IN ($1, lower($1)) AND strpos($2, c.relkind::text) > 0 AND {where}
    ORDER BY c.relname = $1 DESC, n.nspname
"""


def _unknown_table(session: Session, address: Address) -> DataError:
    wanted = ".".join(address.table)
    if len(address.table) == 1:
        names = tables_of(session)
    else:
        names = [f"{row['schema']}.{row['name']}" for row in session.rows(_ALL)]
    shown = ", ".join(names[:_LISTED]) + (" ..." if len(names) > _LISTED else "")
    held = f" It has: {shown}." if names else " It has no table in sight; a schema is named as in table=schema.name."
    return DataError(f"{address.name}: the database has no table `{wanted}`.{did_you_mean(wanted, names)}{held}")


_ALL = """
    SELECT n.nspname::text AS schema, c.relname::text AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    ORDER BY 1, 2
"""


def _shaped(session: Session, relation: Relation, fields: dict[str, Field]) -> dict[str, Field]:
    """Return the fields with the shapes of arrays, which only their values have: each is that of the first."""
    shaped = dict(fields)
    for field in fields.values():
        if field.kind.is_array:
            name = quoted(field.name)
            query = f"SELECT array_dims({name}) AS dims FROM {relation.source} WHERE {name} IS NOT NULL LIMIT 1"  # noqa: S608
            rows = session.rows(query)
            shaped[field.name] = Field(field.name, field.kind, _shape(rows[0]["dims"] if rows else None))
    return shaped


def _shape(dims: str | None) -> tuple[int, ...]:
    """Return the shape that PostgreSQL writes as [1:2][1:3]; an empty array has none."""
    bounds = re.findall(r"\[(-?\d+):(-?\d+)\]", dims or "")
    return tuple(int(upper) - int(lower) + 1 for lower, upper in bounds) or (0,)


def _hidden(session: Session, relation: Relation) -> dict[str, Field]:
    if not relation.hidden:
        return {}
    names = ", ".join(quoted(name) for name in relation.hidden)
    types = session.types(f"SELECT {names} FROM {relation.source}")  # noqa: S608 -- the catalogue's names, quoted
    return {column: Field(column, kind_of(kind)) for column, kind in types}
