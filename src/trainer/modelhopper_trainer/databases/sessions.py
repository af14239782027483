"""One connection to a database: statements, and their rows as Arrow batches."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from modelhopper_contract.errors import ModelhopperError, UserError
from modelhopper_contract.nearest import did_you_mean
from modelhopper_trainer.databases.addresses import Address
from modelhopper_trainer.databases.failures import failed, unreachable

BATCH_BYTES = 2 << 20  # of rows that the driver collects before it gives them


class Session:
    """A connection without a transaction of its own: what it shall do is said in SQL. For one thread at a time.

    Raises DataError for what the user can mend and StoreUnavailable for a server that gives no answer.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._driver = _driver()
        try:
            self._connection = self._driver.connect(address.server, autocommit=True)
        except self._driver.Error as error:
            raise _with_near_database(unreachable(error, address.name), address, str(error)) from error

    def run(self, statement: str) -> None:
        """Do a statement that gives no rows."""
        with self._translated(), self._connection.cursor() as cursor:
            cursor.execute(statement)

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of a small query; `values` are those of $1, $2, ..."""
        with self._translated(), self._connection.cursor() as cursor:
            cursor.execute(query, values or None)
            rows: list[dict[str, Any]] = cursor.fetch_arrow_table().to_pylist()
            return rows

    def types(self, query: str) -> list[tuple[str, str]]:
        """Return the columns of a query, not run, each with the name of its type in `pg_type`."""
        with self._translated(), self._connection.cursor() as cursor:
            schema = cursor.adbc_execute_schema(query)
        return [(field.name, field.metadata[b"POSTGRESQL:type"].decode()) for field in schema]

    def batches(self, query: str) -> Iterator[Any]:
        """Give the rows of a query as pyarrow record batches, as they come."""
        with self._translated(), self._connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            cursor.execute(query)
            with contextlib.closing(cursor.fetch_record_batch()) as reader:
                yield from reader

    def load(self, table: str, reader: Any, *, mode: str, schema: str | None = None) -> int:
        """Copy a reader's rows to a table, made for them where `mode` is "create", and return how many there were."""
        with self._translated(), self._connection.cursor() as cursor:
            return int(cursor.adbc_ingest(table, reader, mode=mode, db_schema_name=schema))

    def close(self) -> None:
        """End the connection, and with it a transaction that was not committed."""
        with contextlib.suppress(self._driver.Error):
            self._connection.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (self._driver.Error, OSError, *_arrow_errors()) as error:
            raise failed(error, self.address.name, is_lost=not self._answers()) from error

    def _answers(self) -> bool:
        """Say whether the connection still stands; a transaction that an error ended is an answer, too."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except self._driver.Error as error:
            return bool(error.sqlstate)
        return True


def tables_of(session: Session) -> list[str]:
    """Return the names of the tables and views that the user finds without naming a schema."""
    return [str(row["name"]) for row in session.rows(_VISIBLE)]


_VISIBLE = """
    SELECT c.relname::text AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND pg_catalog.pg_table_is_visible(c.oid)
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""


def _driver() -> ModuleType:
    try:  # an extra, and it takes half a second
        return importlib.import_module("adbc_driver_postgresql.dbapi")
    except ImportError as error:
        raise UserError(
            "Tables of a database need the driver ADBC, which is not installed: pip install 'modelhopper[postgres]'."
        ) from error


def _arrow_errors() -> tuple[type[Exception], ...]:
    import pyarrow as pa  # noqa: PLC0415 -- it takes a moment

    return (pa.ArrowException,)


def _with_near_database(error: ModelhopperError, address: Address, said: str) -> ModelhopperError:
    """Return the error with the name of the database that was probably meant, where the server tells its names."""
    _, found, rest = said.partition('database "')
    wanted = rest.partition('"')[0]
    if not found or "FATAL" not in said or address.server.endswith("dbname=postgres"):
        return error
    joint = "&" if "?" in address.server else "?"
    elsewhere = Address(f"{address.server}{joint}dbname=postgres", address.name)
    try:
        with contextlib.closing(Session(elsewhere)) as session:
            names = [str(row["name"]) for row in session.rows(_DATABASES)]
    except ModelhopperError:
        return error
    if wanted in names:
        return error
    return type(error)(f"{error}{did_you_mean(wanted, names)} It holds: {', '.join(names)}.")


_DATABASES = "SELECT datname::text AS name FROM pg_catalog.pg_database WHERE NOT datistemplate ORDER BY 1"
