"""What a server's and a driver's errors mean to a user."""

from __future__ import annotations

import re

from modelhopper_contract.errors import DataError, ModelhopperError, StoreUnavailable

_FRAME = re.compile(r"^.*?(FATAL|ERROR|PANIC|FEHLER|ERREUR): +", re.DOTALL)
_CONNECTING = re.compile(r"^\w+: \[libpq\] Failed to connect: ")
_HINTS = re.compile(r"\n\tIs the server running[^\n]*|\n\tThis probably means[^\n]*\n[^\n]*")
_PASSWORD = re.compile("no password supplied|authentication failed", re.IGNORECASE)
_SETTING = re.compile("^(invalid|missing|unexpected|extra|unrecognized|unsupported|forbidden|end of string) ")
_BUSY = re.compile("starting up|shutting down|too many|connection slots|recovery", re.IGNORECASE)
_LOST = re.compile("server closed the connection|no connection to the server|connection .* (reset|refused|timed out)")

_AGAIN = "Nothing was written; the same command can succeed later."
# Classes and codes of SQLSTATE, see appendix A of PostgreSQL's manual.
_UNAVAILABLE = ("08", "53", "57", "40", "55P03", "25P03", "25P04")
# By words, since an error in the middle of a COPY comes without its code.
_ADVICE = (
    ("permission denied", " Ask its owner for GRANT SELECT, or connect as another user."),
    ("read-only transaction", " A query may only read."),
    ("syntax error", " The query is one SELECT, without what comes before or after it."),
    ("out of range for type double", " Leave the number out, or make it smaller in a query."),
)


def sqlstate_of(error: BaseException) -> str:
    """Return the server's code for an error, or ""."""
    return str(getattr(error, "sqlstate", None) or "")


def first_words(error: BaseException) -> str:
    """Return the server's own sentence, without the driver's frame, the query and the hints around it."""
    details = dict(getattr(error, "details", None) or [])
    if said := details.get("PG_DIAG_MESSAGE_PRIMARY") or details.get(b"PG_DIAG_MESSAGE_PRIMARY"):
        return (said.decode(errors="replace") if isinstance(said, bytes) else str(said)).rstrip(".")
    text = _HINTS.sub("", str(error))
    lines = _FRAME.sub("", text).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^\w+: |\[libpq\] |PQgetCopyData\(\) failed: ", "", lines[0]).strip().rstrip(".")


def unreachable(error: BaseException, name: str) -> ModelhopperError:
    """Return what a failed attempt to connect means."""
    text = _HINTS.sub("", _CONNECTING.sub("", str(error)).strip())
    said = "; ".join(line.strip() for line in text.splitlines()[:3]).rstrip(".")
    if _PASSWORD.search(text):
        return DataError(f"{name}: {_after_fatal(said)}. Set PGPASSWORD, or give the password a line in ~/.pgpass.")
    if _SETTING.match(text):
        return DataError(f"{name}: {said}. Behind the ? stand table, query, order, readers, and what libpq knows.")
    if "FATAL" in text and _BUSY.search(text):
        return StoreUnavailable(f"{name}: the database takes no connection now: {_after_fatal(said)}. Try again later.")
    if "FATAL" in text:
        return DataError(f"{name}: {_after_fatal(said)}.")
    return StoreUnavailable(f"{name}: no connection to the database: {said}. Is its address right, and does it run?")


def failed(error: BaseException, name: str, *, is_lost: bool = False) -> ModelhopperError:
    """Return what an error of a statement means; `is_lost` says that the connection is gone."""
    code, said = sqlstate_of(error), first_words(error)
    if code == "55P03":
        return StoreUnavailable(f"{name}: somebody else has locked it for longer than we wait ({said}). {_AGAIN}")
    if code.startswith(_UNAVAILABLE) or is_lost or _LOST.search(str(error)):
        return StoreUnavailable(f"{name}: the database stopped answering ({said}). {_AGAIN}")
    advice = next((advice for words, advice in _ADVICE if words in said), "")
    return DataError(f"{name}: {said}.{advice}")


def _after_fatal(said: str) -> str:
    return re.sub(r"^.*FATAL: +", "", said)
