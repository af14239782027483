"""The addresses of tables and queries, as a user writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from modelhopper_contract.errors import DataError
from modelhopper_contract.nearest import did_you_mean

EXAMPLE = "postgresql://user@host:5432/database?table=schema.name"
CONNECT_TIMEOUT_S = 10
MOST_READERS = 64  # each is a process of the server

_SCHEME = re.compile(r"postgres(ql)?://")
_AUTHORITY = re.compile(r"(?P<scheme>\w+://)(?P<authority>[^/?]*)(?P<rest>.*)", re.DOTALL)
_HOSTS = re.compile(r"(?:(?:\[[^\]]*\]|[^:,\[\]]*)(?::\d*)?(?:,|$))*")
_QUERY = re.compile(r"(^|&)query=(?P<text>.*)", re.DOTALL)
_OURS = ("table", "query", "order", "readers")
_SHOWN_QUERY = 60  # characters


@dataclass(frozen=True)
class Address:
    """A table, or the rows of a query, on a server."""

    server: str = field(repr=False)  # as libpq takes it, password and all: never shown
    name: str  # for messages: without password and settings
    table: tuple[str, ...] = ()  # name, or schema and name
    query: str | None = None
    order: tuple[str, ...] = ()  # columns
    readers: int | None = None


def is_table(address: object) -> bool:
    """Say whether what a user gave is the address of a database, and not a path."""
    return isinstance(address, str) and _SCHEME.match(address) is not None


def parse(address: str) -> Address:
    """Return what an address says; raise DataError where it is none.

    Before the question mark it is libpq's connection URI, and so is every setting behind it but `table`, `query`,
    `order` and `readers`. A query that is written with spaces is taken as it stands and goes to the end; one without is
    percent-encoded.
    """
    place, _, written = address.partition("?")
    _refuse_torn(place, written)
    shown = _without_password(place)
    settings, given = _settings(written, shown)
    _refuse_both(given, shown)
    table, query = given.get("table"), given.get("query")
    what = f"table={table}" if table else f"query={_shortened(query)}" if query else ""
    return Address(
        server=_server(place, settings),
        name=f"{shown}?{what}" if what else shown,
        table=_names(table, shown) if table else (),
        query=_single(query, shown) if query else None,
        order=tuple(_parts(given["order"])) if given.get("order") else (),
        readers=_count(given["readers"], shown) if "readers" in given else None,
    )


def refuse_nowhere(address: Address, tables: Sequence[str]) -> None:
    """Raise DataError for an address that names no table and no query."""
    if not address.table and address.query is None:
        held = f" It holds: {', '.join(tables)}." if tables else " It holds no table that you may read."
        raise DataError(f"{address.name}: say which table, as in {EXAMPLE}, or give a query=SELECT ....{held}")


def _refuse_torn(place: str, written: str) -> None:
    """Raise DataError where a password may have ended too early: the rest of it would be shown as something else."""
    found = _AUTHORITY.match(place)
    host = "" if found is None else found["authority"].rpartition("@")[2]
    beyond = ("" if found is None else found["rest"]) + written.partition("=")[0]
    if "@" in beyond or not _HOSTS.fullmatch(host):
        raise DataError(
            "The host in this address is no host, or its port no number. A /, ? or @ in a user's name or password is "
            f"written as %2F, %3F or %40. An address looks like {EXAMPLE}."
        )


def _without_password(place: str) -> str:
    found = _AUTHORITY.match(place)
    if found is None:
        raise DataError(f"This is no address of a table; one looks like {EXAMPLE}.")
    user, at, host = found["authority"].rpartition("@")
    if "@" in user:
        raise DataError(f"The user or password in the address for {host} holds an @. Write it as %40.")
    return f"{found['scheme']}{user.partition(':')[0]}{at}{host}{found['rest']}"


def _settings(written: str, shown: str) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Return libpq's settings, and ours by name."""
    found = _QUERY.search(written)
    given = {}
    if found is not None and re.search(r"\s", found["text"]):
        given["query"], written = found["text"], written[: found.start()]
    pairs = parse_qsl(written, keep_blank_values=True)
    ours = [(name, value) for name, value in pairs if name in _OURS]
    for name, value in ours:
        if name in given:
            raise DataError(f"{shown}: {name} is given twice.")
        if not value.strip():
            raise DataError(f"{shown}: {name} is empty.")
        given[name] = value
    rest = [(name, value) for name, value in pairs if name not in _OURS]
    if not given:
        _refuse_near(rest, shown)
    return rest, given


def _refuse_near(settings: Sequence[tuple[str, str]], shown: str) -> None:
    for name, _ in settings:
        if hint := did_you_mean(name, _OURS):
            raise DataError(f"{shown}: there is no setting `{name}`.{hint}")


def _refuse_both(given: dict[str, str], shown: str) -> None:
    if "table" in given and "query" in given:
        raise DataError(f"{shown}: it names a table and a query. Give one of them.")


def _server(place: str, settings: Sequence[tuple[str, str]]) -> str:
    known = dict(settings)
    # Arrow's text is UTF-8, whatever the database's is.
    settings = [*((name, value) for name, value in settings if name != "client_encoding"), ("client_encoding", "UTF8")]
    if "connect_timeout" not in known and "PGCONNECT_TIMEOUT" not in os.environ:
        settings = [*settings, ("connect_timeout", str(CONNECT_TIMEOUT_S))]
    if "application_name" not in known and "PGAPPNAME" not in os.environ:
        settings = [*settings, ("application_name", "modelhopper")]
    # libpq takes %20 for a space, and + for a plus.
    encoded = urlencode(settings).replace("+", "%20")
    return f"{place}?{encoded}" if encoded else place


def _single(query: str, shown: str) -> str:
    text = query.strip().rstrip(";").strip()
    if not text:
        raise DataError(f"{shown}: query is empty.")
    return text


def _names(table: str, shown: str) -> tuple[str, ...]:
    parts = _parts(table, ".")
    if not 1 <= len(parts) <= 2:
        raise DataError(
            f'{shown}: table is {table}; it is a name, or schema.name. A name with a dot goes into quotes: "my.table".'
        )
    return tuple(parts)


def _parts(text: str, separator: str = ",") -> list[str]:
    """Return names as they stand between separators; double quotes keep a separator, and stand twice for themselves."""
    found: list[str] = []
    pattern = re.compile(rf'\s*(?:"((?:[^"]|"")+)"|([^"{re.escape(separator)}]+?))\s*(?:{re.escape(separator)}|$)')
    place = 0
    while place < len(text):
        match = pattern.match(text, place)
        if match is None:
            raise DataError(f'`{text}` is no name. A name that holds a quote is written with two: "a""b".')
        found.append(match[1].replace('""', '"') if match[1] else match[2])
        place = match.end()
    return found


def _count(text: str, shown: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_READERS:
        raise DataError(f"{shown}: readers is `{text}`; allowed are whole numbers from 1 to {MOST_READERS}.")
    return int(text)


def _shortened(query: str | None) -> str:
    text = " ".join((query or "").split())
    return text if len(text) <= _SHOWN_QUERY else f"{text[: _SHOWN_QUERY - 3]}..."
