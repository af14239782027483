"""Which types of PostgreSQL are read as what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Kind:
    """How values of a type are read."""

    cast: str | None  # what the server turns them into first; None where they are read as they are
    dtype: np.dtype[Any] | None  # of their numbers; None where they are none
    holds: str  # in words
    is_array: bool = False


_NUMBERS = {
    "bool": np.bool_,
    "int2": np.int16,
    "int4": np.int32,
    "int8": np.int64,
    "float4": np.float32,
    "float8": np.float64,
}
_PLAIN = {
    "text": "text",
    "varchar": "text",
    "bytea": "bytes",
    "date": "dates",
    "time": "times",
    "timestamp": "timestamps",
    "timestamptz": "timestamps",
}
_CAST = {
    "numeric": Kind("float8", np.dtype(np.float64), "numeric"),  # the driver gives its digits as text
    "money": Kind("numeric::float8", np.dtype(np.float64), "money"),
    "oid": Kind("int8", np.dtype(np.int64), "oid"),  # unsigned, and signed in the driver
}


def kind_of(name: str) -> Kind:
    """Return how a type is read, by its name in `pg_type`; an array's begins with an underscore.

    Types that are neither numbers, text, bytes nor times, such as uuid, json and enumerations, are read as their text.
    """
    if name.startswith("_"):
        inner = _element(name[1:])
        return Kind(f"{inner.cast}[]" if inner.cast else None, inner.dtype, inner.holds, is_array=True)
    return _element(name)


def _element(name: str) -> Kind:
    if name in _NUMBERS:
        dtype: np.dtype[Any] = np.dtype(_NUMBERS[name])
        return Kind(None, dtype, dtype.name)
    if name in _PLAIN:
        return Kind(None, None, _PLAIN[name])
    if name in _CAST:
        return _CAST[name]
    # The blanks that fill a char(n) say nothing; as text they are gone.
    return Kind("text", None, "text" if name == "bpchar" else f"{name} as text")
