"""What every source gives: named columns, read in pieces, as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class BadValue(Exception):
    """A value cannot be packed. `row` counts from 0 within its chunk; the reader adds the column and the true row."""

    def __init__(self, row: int, what: str) -> None:
        super().__init__(what)
        self.row = row
        self.what = what


@dataclass(frozen=True)
class Column:
    """What is known of a column before it is read."""

    shape: tuple[int, ...]  # of one row
    dtype: np.dtype[Any] | None  # of its numbers; None where it holds anything else
    holds: str  # in words: float64, text, timestamp[us], ...
    rows: int | None  # None where only reading tells


class Chunk(Protocol):
    """Some neighbouring rows of one column."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def numbers(self) -> Array:
        """Return the values, shape (rows, *shape); raise BadValue for null and text."""

    def distinct(self) -> tuple[list[object], Array]:
        """Return the distinct values, and for each row the index of its own; null is None."""


Batch = Mapping[str, Chunk]


@dataclass(frozen=True)
class Source:
    """Rows in a fixed order, that can be read any number of times.

    `read(names, rows)` gives the named columns in batches of at most about `rows` rows; batches may be smaller.
    """

    name: str  # as the user wrote it, for messages
    columns: Mapping[str, Column]
    read: Callable[[Sequence[str], int], Iterator[Batch]]
    tabular: bool = False  # a table's columns are stacked; arrays are inputs of their own
    untyped: bool = False  # a CSV file holds only text; what a label means is known when all were read
    pair: tuple[tuple[str, ...], tuple[str, ...]] | None = None  # names of inputs and outputs, where given as a pair
    close: Callable[[], None] = lambda: None  # lets go of what reading needs, such as connections


def ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Give all batches; while one is used, another thread reads the next."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def listed(names: Iterable[str], limit: int = 20) -> str:
    """Return names in their order as words: "a, b, c and 5 more"."""
    shown = list(names)
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
