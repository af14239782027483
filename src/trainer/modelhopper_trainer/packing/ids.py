"""The ids of rows: which columns can be one, and how an id is stored.

An id is kept as it is: a whole number as int64, text as UTF-8 bytes of the width of the longest. Nobody checks that no
two rows have the same one, for that would take all of them in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import Ids
from modelhopper_trainer.packing.columns import Array, BadValue, Batch, Chunk, Source
from modelhopper_trainer.packing.labels import plain

_INT64 = np.dtype("<i8")
_LIMITS = np.iinfo(np.int64)
_MISSING = "the id is null. Give every row an id, or leave out those that have none."


@dataclass(frozen=True)
class IdCode:
    """How the ids of one column are stored."""

    column: str
    dtype: np.dtype[Any]
    is_plain: bool  # the column holds whole numbers, and not text that says them

    @property
    def ids(self) -> Ids:
        """What the manifest says of it."""
        return Ids(column=self.column, dtype="<i8" if self.dtype == _INT64 else f"S{self.dtype.itemsize}")

    def encode(self, chunk: Chunk) -> Array:
        """Return the ids of some rows; raise KeyError for one that was not there at first, BadValue for null."""
        if self.is_plain:
            return _whole(chunk.numbers())
        values, indices = _present(chunk)
        found = [_as_integer(value) for value in values] if self.dtype == _INT64 else _texts(values)
        if None in found or (self.dtype != _INT64 and _width(found) > self.dtype.itemsize):
            raise KeyError(self.column)
        return np.array(found, self.dtype)[indices]


class IdSurvey:
    """Finds out how a column's ids are stored, by reading it where its type does not tell."""

    def __init__(self, source: Source, column: str) -> None:
        """Raise DataError for a column of another type than whole numbers and text."""
        self._source = source
        self.column = column
        known = source.columns[column]
        self.is_plain = not source.untyped and known.dtype is not None and known.dtype.kind in "iu"
        if known.shape or not (self.is_plain or source.untyped or known.dtype is None):
            raise DataError(
                f"{source.name}: `{column}` holds {known.holds}, which cannot be an id: ids are whole numbers or text."
            )
        self._are_integers = True
        self._width = 1

    def add(self, batch: Batch, offset: int) -> None:
        """Look at some rows, which begin at row `offset`; raise DataError for what cannot be an id."""
        try:
            values, _ = _present(batch[self.column])
            self._look_at(values)
        except BadValue as error:
            row = offset + error.row + 1
            what = f"`{self.column}`, row {row} (counted from 1): {error.what}"
            raise DataError(f"{self._source.name}: {what}") from error

    def code(self) -> IdCode:
        """Return how the ids that were seen are stored."""
        integers = self.is_plain or self._are_integers
        return IdCode(self.column, _INT64 if integers else np.dtype(f"S{self._width}"), self.is_plain)

    def _look_at(self, values: list[object]) -> None:
        # Text of a typed column stays text: 7 and "7" are different ids there.
        read = self._source.untyped or not {str, bytes} & set(map(type, values))
        self._are_integers = self._are_integers and read and all(_as_integer(value) is not None for value in values)
        texts = _texts(values)
        if None in texts:
            raise DataError(
                f"{self._source.name}: `{self.column}` holds {values[texts.index(None)]!r}, which cannot be an id: ids "
                "are whole numbers or text, without a zero byte at the end."
            )
        self._width = max(self._width, _width(texts))


def _present(chunk: Chunk) -> tuple[list[object], Array]:
    """Return the distinct values that are there, and for each row the index of its own; raise BadValue for null."""
    listed, indices = chunk.distinct()
    used = np.bincount(indices, minlength=len(listed)) > 0  # a chunk may list None without having any
    there = [value for value, is_there in zip(listed, used.tolist(), strict=True) if is_there]
    values = there if set(map(type, there)) <= {str, int} else [plain(value) for value in there]
    places = (np.cumsum(used) - 1)[indices]
    if None in values:
        raise BadValue(int(np.argmax(places == values.index(None))), _MISSING)
    return values, places


def _whole(values: Array) -> Array:
    if values.dtype.kind == "u" and values.size and values.max() > _LIMITS.max:
        row = int(np.argmax(values > _LIMITS.max))
        raise BadValue(row, f"{values[row]} does not fit 64 bits with a sign, as ids are stored. Make it text.")
    return values.astype(_INT64)


def _as_integer(value: object) -> int | None:
    """Return the whole number that an id is, in no more than 64 bits; None where another text would say the same."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    is_exact = isinstance(value, int) or str(number) == value
    return number if is_exact and _LIMITS.min <= number <= _LIMITS.max else None


def _texts(values: Sequence[object]) -> list[bytes | None]:
    """Return ids as UTF-8 bytes; None for what is no text and no whole number, or cannot be stored so."""
    if set(map(type, values)) == {str}:
        with contextlib.suppress(UnicodeError):  # at once, for there may be millions
            return [None if text.endswith(b"\0") else text for text in map(str.encode, map(str, values))]
    return [_text(value) for value in values]


def _text(value: object) -> bytes | None:
    if isinstance(value, bool) or not isinstance(value, str | bytes | int):
        return None
    try:
        data = value.decode().encode() if isinstance(value, bytes) else str(value).encode()
    except UnicodeError:
        return None
    return None if data.endswith(b"\0") else data


def _width(texts: Sequence[bytes | int | None]) -> int:
    return max((len(text) for text in texts if isinstance(text, bytes)), default=0)
