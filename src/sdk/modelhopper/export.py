"""Results as files for other programs: CSV, JSON and Parquet, and as pandas data frames."""

from __future__ import annotations

import csv
import io
import json
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelhopper_contract.errors import UserError
from modelhopper_contract.nearest import did_you_mean

Rows = Sequence[Mapping[str, Any]]


def write(rows: Rows, path: Path, form: str | None = None) -> None:
    """Write rows of equal keys to a file: all of it, or nothing.

    `form`: csv, json or parquet; by default what the path ends in. Raises UserError for another one, and when the
    place cannot be written.
    """
    data = encode(rows, _form(path, form))
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error


def encode(rows: Rows, form: str) -> bytes:
    """Return rows of equal keys as CSV, JSON (NaN is null) or Parquet."""
    if form not in _ENCODERS:
        raise UserError(f"`{form}` is not a format: use {', '.join(_ENCODERS)}.{did_you_mean(form, _ENCODERS)}")
    return _ENCODERS[form](rows)


def to_pandas(rows: Rows) -> Any:
    """Return rows as a pandas DataFrame; raise UserError when pandas is not installed."""
    try:
        import pandas  # type: ignore[import-untyped,unused-ignore]
    except ModuleNotFoundError as error:
        raise UserError("A data frame needs pandas, which is not installed: pip install pandas") from error
    return pandas.DataFrame([dict(row) for row in rows])


def _form(path: Path, form: str | None) -> str:
    if form is not None:
        return form
    found = path.suffix.lower().removeprefix(".")
    if found not in _ENCODERS:
        allowed = ", ".join(f".{name}" for name in _ENCODERS)
        raise UserError(f"{path} does not say its format: let it end in {allowed}.{did_you_mean(found, _ENCODERS)}")
    return found


def _csv(rows: Rows) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0] if rows else [])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return text.getvalue().encode()


def _json(rows: Rows) -> bytes:
    finite = [{key: _finite(value) for key, value in row.items()} for row in rows]
    return json.dumps(finite, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _parquet(rows: Rows) -> bytes:
    import pyarrow
    import pyarrow.parquet

    columns = {key: _uniform([row[key] for row in rows]) for key in (rows[0] if rows else {})}
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return bytes(sink.getvalue())


_ENCODERS: dict[str, Callable[[Rows], bytes]] = {"csv": _csv, "json": _json, "parquet": _parquet}


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | tuple) else value


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _uniform(values: Sequence[Any]) -> list[Any]:
    """Return a column whose values have one type: text where settings are of several kinds."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 and not kinds & {list, dict, tuple}:
        return list(values)
    if kinds <= {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
