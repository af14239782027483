"""Writing tables of results: all rows or none."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args

from modelhopper_contract.errors import ConflictError, DataError, ModelhopperError
from modelhopper_contract.nearest import did_you_mean, one_of
from modelhopper_trainer.databases.addresses import Address, parse
from modelhopper_trainer.databases.relations import quoted
from modelhopper_trainer.databases.sessions import Session

IfExists = Literal["fail", "replace", "append"]

_HERE = """
    SELECT c.relkind::text AS relkind FROM pg_catalog.pg_class c
    WHERE c.oid = pg_catalog.to_regclass($1)
"""


def refuse_existing(address: str) -> None:
    """Raise ConflictError when the table of an address exists, so that nobody finds out after hours of work."""
    parsed = _parsed(address)
    with contextlib.closing(Session(parsed)) as session:
        if _is_there(session, parsed):
            raise _conflict(parsed)


def write(address: str, batches: Iterable[Any], *, schema: Any = None, if_exists: IfExists = "fail") -> int:
    """Write pyarrow record batches to the table of an address, and return how many rows there were.

    All or nothing: others see the table when it is whole, and after an error or a crash nothing of it is there. The
    rows are copied into a table of another name, which takes its name at the end of the same transaction. `replace`
    drops the table that is there, with its rights and indexes; `append` adds to it, and its columns must fit. `schema`
    is that of the batches, and is needed only where there may be none.

    Raises ConflictError when the table exists and `if_exists` is "fail", DataError for what cannot be written,
    StoreUnavailable for a server that gives no answer. Errors of `batches` come through.
    """
    if if_exists not in get_args(IfExists):
        allowed = get_args(IfExists)
        raise DataError(f"if_exists is {if_exists!r}; allowed are {one_of(allowed)}.{did_you_mean(if_exists, allowed)}")
    parsed = _parsed(address)
    with contextlib.closing(Session(parsed)) as session:
        is_there = _is_there(session, parsed)
        if is_there and if_exists == "fail":
            raise _conflict(parsed)
        rows = _whole(parsed, batches, schema)
        return _written(session, parsed, rows, append=is_there and if_exists == "append", replace=is_there)


def _parsed(address: str) -> Address:
    parsed = parse(address)
    if not parsed.table:
        raise DataError(f"{parsed.name}: results are written to a table; say table=NAME.")
    return parsed


def _whole(address: Address, batches: Iterable[Any], schema: Any) -> tuple[Any, Iterator[Any]]:
    """Return the schema and all batches; the first says the schema where it is not given."""
    waiting = iter(batches)
    if schema is not None:
        return schema, waiting
    first = next(waiting, None)
    if first is None:
        raise DataError(f"{address.name}: there are no rows to write, so it is not known which columns it has.")
    return first.schema, itertools.chain([first], waiting)


def _written(
    session: Session, address: Address, batches: tuple[Any, Iterator[Any]], *, append: bool, replace: bool
) -> int:
    schema = address.table[0] if len(address.table) == 2 else None
    name = address.table[-1]
    loaded = name if append else f"modelhopper_{secrets.token_hex(8)}"
    session.run("BEGIN")
    rows = _loaded(session, loaded, batches, mode="append" if append else "create", schema=schema)
    if replace and not append:
        session.run(f"DROP TABLE {_sql_name(address.table)}")
    if not append:
        prefix = () if schema is None else (schema,)
        _rename(session, address, (*prefix, loaded), name)
    session.run("COMMIT")
    return rows


def _loaded(session: Session, table: str, batches: tuple[Any, Iterator[Any]], *, mode: str, schema: str | None) -> int:
    import pyarrow as pa  # noqa: PLC0415 -- it takes a moment

    raised: list[BaseException] = []

    def watched() -> Iterator[Any]:
        try:
            yield from batches[1]
        except BaseException as error:
            raised.append(error)
            raise

    try:
        return session.load(table, pa.RecordBatchReader.from_batches(batches[0], watched()), mode=mode, schema=schema)
    except ModelhopperError:
        # The driver turns an error of the batches into one of its own.
        if raised:
            raise raised[0] from None
        raise


def _rename(session: Session, address: Address, loaded: tuple[str, ...], name: str) -> None:
    try:
        session.run(f"ALTER TABLE {_sql_name(loaded)} RENAME TO {quoted(name)}")
    except DataError as error:
        if getattr(error.__cause__, "sqlstate", None) == "42P07":  # somebody made one of this name meanwhile
            raise _conflict(address) from error
        raise


def _is_there(session: Session, address: Address) -> bool:
    rows = session.rows(_HERE, _sql_name(address.table))
    if rows and rows[0]["relkind"] not in {"r", "p"}:
        raise ConflictError(f"{address.name} is a view, or something else that is no table. Choose another name.")
    return bool(rows)


def _conflict(address: Address) -> ConflictError:
    return ConflictError(
        f"{address.name}: the table exists already. Choose another name, or say overwrite (if_exists)."
    )


def _sql_name(table: tuple[str, ...]) -> str:
    return ".".join(quoted(part) for part in table)
