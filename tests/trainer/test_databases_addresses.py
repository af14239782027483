"""What the address of a table says, and what it never shows."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import DataError
from modelhopper_trainer.databases.addresses import is_table, parse
from modelhopper_trainer.databases.relations import quoted

PLACE = "postgresql://me@host:5432/db"
ALWAYS = "client_encoding=UTF8&connect_timeout=10&application_name=modelhopper"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGCONNECT_TIMEOUT", "PGAPPNAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://h/d?table=t", True),
        ("postgres://h/d?table=t", True),
        ("postgresql:/h", False),
        ("s3://bucket/rows", False),
        ("rows.csv", False),
        (3, False),
    ],
)
def test_an_address_is_told_from_a_path(given: object, expected: bool) -> None:
    assert is_table(given) == expected


@pytest.mark.parametrize(
    ("written", "table"),
    [
        ("t", ("t",)),
        ("s.t", ("s", "t")),
        ("My%20Schema.t", ("My Schema", "t")),
        ('"a.b".t', ("a.b", "t")),
        ('"a""b"', ('a"b',)),
        ("größe", ("größe",)),
    ],
)
def test_a_table_is_a_name_or_two(written: str, table: tuple[str, ...]) -> None:
    assert parse(f"{PLACE}?table={written}").table == table


@given(
    names=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1), min_size=1, max_size=2
    )
)
def test_every_name_in_quotes_is_read_back(names: list[str]) -> None:
    written = urlencode({"table": ".".join(quoted(name) for name in names)})
    assert parse(f"{PLACE}?{written}").table == tuple(names)


@pytest.mark.parametrize(
    ("written", "query"),
    [
        ("query=SELECT a FROM t WHERE b LIKE '%20%' & c = 1 + 2; ", "SELECT a FROM t WHERE b LIKE '%20%' & c = 1 + 2"),
        ("query=SELECT%20a+FROM%20t%20WHERE%20b%3D1%26c", "SELECT a FROM t WHERE b=1&c"),
        ("sslmode=require&query=SELECT a\nFROM t?x#y", "SELECT a\nFROM t?x#y"),
    ],
)
def test_a_query_is_taken_as_it_stands_or_decoded(written: str, query: str) -> None:
    assert parse(f"{PLACE}?{written}").query == query


def test_what_is_not_ours_goes_to_libpq() -> None:
    address = parse(f"{PLACE}?sslmode=require&table=t&options=-c%20a%3Db&order=x,%22y,z%22&readers=3")
    assert address.server == f"{PLACE}?sslmode=require&options=-c%20a%3Db&{ALWAYS}"
    assert (address.order, address.readers) == (("x", "y,z"), 3)


def test_a_password_is_never_shown() -> None:
    address = parse("postgresql://me:hunter2@host/db?table=t&password=hunter3&sslmode=require")
    assert address.name == "postgresql://me@host/db?table=t"
    assert "hunter2" in address.server
    assert "hunter3" in address.server
    assert "hunter" not in repr(address)
    with pytest.raises(DataError, match="Write it as %40") as caught:
        parse("postgresql://me:hun@ter2@host/db?table=t")
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize("password", ["hun/ter2", "hun?ter2", "1/hunter2", "1?hunter2", "1/2@hunter2"])
def test_a_password_with_a_character_that_ends_it_is_not_taken_for_a_host(password: str) -> None:
    with pytest.raises(DataError, match="written as %2F, %3F or %40") as caught:
        parse(f"postgresql://me:{password}@host/db?table=t")
    assert "unter" not in str(caught.value)
    assert "hun" not in str(caught.value)


@pytest.mark.parametrize("host", ["", "h", "h:1", "h1:1,h2:2", "[::1]", "[::1]:5432", "%2Ftmp%2Frun", "h1,h2:"])
def test_every_host_that_libpq_knows_is_taken(host: str) -> None:
    assert parse(f"postgresql://{host}/db?table=t").name == f"postgresql://{host}/db?table=t"
    assert parse(f"postgresql://me:x@{host}/db?table=t").name == f"postgresql://me@{host}/db?table=t"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("tabel=t", "there is no setting `tabel`. Did you mean `table`"),
        ("table=", "table is empty"),
        ("table=t&table=u", "table is given twice"),
        ("table=t&query=SELECT 1", "names a table and a query"),
        ("table=a.b.c", "it is a name, or schema.name"),
        ('table="a', "is no name"),
        ("table=t&readers=0", "readers is `0`; allowed are whole numbers from 1 to 64"),
        ("table=t&readers=1000", "readers is `1000`"),
        ("table=t&readers=many", "readers is `many`"),
        ("query=;", "query is empty"),
    ],
)
def test_an_address_that_says_nothing_useful_is_refused(written: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(f"{PLACE}?{written}")
