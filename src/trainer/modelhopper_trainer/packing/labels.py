"""Classes: which values a label has, in which order, and which index each gets."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import ClassValue
from modelhopper_contract.record import canonical_json
from modelhopper_trainer.packing.columns import Array, Chunk

# Far beyond any classifier, and few enough to keep in memory.
MOST_CLASSES = 1_000_000

Key = tuple[str, object]

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,999})")  # a leading zero is part of a name: 01234 is a postal code
_FLOAT = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|nan", re.IGNORECASE)
_TRUTH = re.compile("true|false", re.IGNORECASE)
_READINGS: tuple[tuple[re.Pattern[str], Callable[[str], object]], ...] = (
    (_INTEGER, int),
    (_FLOAT, float),
    (_TRUTH, lambda text: text.strip().lower() == "true"),
)
_FRACTION = re.compile(r"(?<=:[0-9]{2})\.[0-9]+")


@dataclass(frozen=True)
class Classes:
    """The classes of one output. `codes` leads from every value that the source has to its class index."""

    values: tuple[ClassValue, ...]  # ascending, None first
    width: int  # of the one-hot code; at least len(values)
    codes: Mapping[Key, int]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest dtype that holds every class index."""
        return np.dtype(next((t for t in (np.uint8, np.uint16) if self.width - 1 <= np.iinfo(t).max), np.int32))

    def encode(self, chunk: Chunk) -> Array:
        """Return the class index of each row; raise KeyError for a value that was not there at first."""
        values, indices = chunk.distinct()
        # A chunk may list None without having any, so what is not used is not looked up.
        used = np.bincount(indices, minlength=len(values)) > 0
        table = [self.codes[key(plain(value))] if used[i] else 0 for i, value in enumerate(values)]
        return np.asarray(table, self.dtype)[indices]


class Tally:
    """Counts the values of one column. Memory grows with the number of distinct values only.

    `nouns`, one and several, say what each value makes; `limit` is the most of them, by default MOST_CLASSES.
    """

    def __init__(
        self,
        what: str,
        nouns: tuple[str, str] = ("class", "classes"),
        limit: int | None = None,
        advice: str = 'For regression, say kind="number".',
    ) -> None:
        self.what = what
        self._nouns = nouns
        self._limit = MOST_CLASSES if limit is None else limit
        self._advice = advice
        self.values: dict[Key, object] = {}
        self.counts: dict[Key, int] = {}

    def add(self, chunk: Chunk) -> None:
        """Count one chunk; raise DataError when there are too many different values."""
        values, indices = chunk.distinct()
        for value, count in zip(values, np.bincount(indices, minlength=len(values)).tolist(), strict=True):
            if count:
                self._count(plain(value), count)
        if len(self.values) > self._limit:
            raise DataError(
                f"{self.what} has more than {self._limit:,} different values, too many for {self._nouns[1]}. "
                f"{self._advice}"
            )

    def _count(self, value: object, count: int) -> None:
        if isinstance(value, float) and math.isinf(value):
            raise DataError(f"{self.what} holds {value}, which cannot be a {self._nouns[0]}. {self._advice}")
        place = key(value)
        self.values.setdefault(place, value)
        self.counts[place] = self.counts.get(place, 0) + count


class Pairs:
    """Counts how often the values of two columns come together. Memory grows with the number of such pairs only."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Key, Key], int] = {}

    def add(self, first: Chunk, second: Chunk) -> None:
        """Count two chunks of the same rows."""
        (one, one_of), (other, other_of) = first.distinct(), second.distinct()
        places, counts = np.unique(one_of * len(other) + other_of, return_counts=True)
        for place, count in zip(places.tolist(), counts.tolist(), strict=True):
            pair = key(plain(one[place // len(other)])), key(plain(other[place % len(other)]))
            self._counts[pair] = self._counts.get(pair, 0) + count

    def table(self, first: Classes, second: Classes) -> Array:
        """Return the rows by class of the first column and class of the second."""
        found = np.zeros((first.width, second.width), np.int64)
        for (one, other), count in self._counts.items():
            found[first.codes[one], second.codes[other]] += count
        return found


def find_classes(tally: Tally, *, untyped: bool) -> tuple[tuple[ClassValue, ...], dict[Key, int]]:
    """Return the classes in ascending order, and the index of every value."""
    values = typed(tally.values, like=()) if untyped else _promoted(tally.values)
    ordered = {
        key(json_value(value, tally.what)): json_value(value, tally.what) for value in ascending(values.values())
    }
    index = {place: number for number, place in enumerate(ordered)}
    codes = {place: index[key(json_value(value, tally.what))] for place, value in values.items()}
    return tuple(ordered.values()), codes


def match_classes(
    tally: Tally, classes: Sequence[ClassValue], *, untyped: bool
) -> tuple[dict[Key, int], dict[Key, ClassValue]]:
    """Return the index of every value among given classes, and the values that are not among them."""
    values = typed(tally.values, like=classes) if untyped else tally.values
    index = {key(value): number for number, value in enumerate(classes)}
    plain_values = {place: json_value(value, tally.what) for place, value in values.items()}
    codes = {place: index[key(value)] for place, value in plain_values.items() if key(value) in index}
    return codes, {place: value for place, value in plain_values.items() if place not in codes}


def typed(texts: Mapping[Key, object], like: Iterable[ClassValue]) -> dict[Key, object]:
    """Return what the texts of a CSV column mean: all integers, else all numbers, else all true or false, else text.

    `like` are classes that the column shall match: where one of them is text, the column is text.
    """
    present = [text for text in texts.values() if isinstance(text, str)]
    if not any(isinstance(value, str) for value in like):
        for pattern, read in _READINGS:
            if all(pattern.fullmatch(text.strip()) for text in present):
                return {place: plain(read(text)) if isinstance(text, str) else None for place, text in texts.items()}
    return dict(texts)


def ascending(values: Iterable[object]) -> list[object]:
    """Return values in ascending order, None first; types that cannot be ordered follow each other by name."""

    def place(value: Any) -> Any:
        return value is not None, type(value).__name__, value

    ready = list(values)
    try:
        return sorted(ready, key=place)
    except TypeError:  # a type without an order
        return sorted(ready, key=lambda value: (*place(value)[:2], str(value)))


def key(value: object) -> Key:
    """Return what tells a class from another: 1 and 1.0 are the same class, 1 and True are not."""
    if isinstance(value, bool):
        return "bool", value
    return ("number" if isinstance(value, int | float) else type(value).__name__), value


def plain(value: object) -> object:
    """Return a label as a plain Python value: NaN is None, -0.0 is 0.0, dates and times are text."""
    if isinstance(value, np.datetime64):
        return moment(str(value))
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:  # of pandas
        return None
    if isinstance(value, float | decimal.Decimal):
        return None if math.isnan(value) else value + 0  # -0.0 + 0 is 0.0
    return moment(str(value)) if isinstance(value, dt.date | dt.time) else value


def moment(text: str | None) -> str | None:
    """Return a date or time as text, the same whatever its resolution is; None for none."""
    if text is None or text == "NaT":
        return None
    return _FRACTION.sub(lambda found: found[0].rstrip("0").rstrip("."), text.replace("T", " ", 1))


def json_value(value: object, what: str) -> ClassValue:
    """Return a class as it stands in the manifest: bool, int, float, str or None; other types become text."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    ready = value if value is None or isinstance(value, bool | int | float) else str(value)
    try:
        canonical_json(ready)
    except UnicodeEncodeError as error:
        raise DataError(f"{what} holds {ready!r}, which is not valid text.") from error
    return ready


def _promoted(values: Mapping[Key, object]) -> dict[Key, object]:
    """Return integers as floats where the label has floats too, as numpy does."""
    if not any(isinstance(value, float) for value in values.values()):
        return dict(values)
    return {place: float(value) if type(value) is int else value for place, value in values.items()}
