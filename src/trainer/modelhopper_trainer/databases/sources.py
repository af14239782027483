"""A table as packing reads it."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from modelhopper_trainer.databases.reading import open_table
from modelhopper_trainer.databases.relations import Field
from modelhopper_trainer.packing.columns import Array, Batch, Chunk, Column, Source
from modelhopper_trainer.packing.tables import TableChunk

_V = TypeVar("_V")


def source(address: str, *, readers: int | None = None) -> Source:
    """Return a table, view or query of a database as a source. Close it at the end.

    Both readings of packing see the table as it is now, whatever happens to it meanwhile.
    """
    table, turn, begun = open_table(address, readers=readers), threading.Lock(), list[Generator[Any]]()

    def read(names: Sequence[str], rows: int) -> Iterator[Batch]:
        begun.append(batches := table.batches(names, rows))
        while True:
            with turn:
                batch = next(batches, None)
            if batch is None:
                return
            yield {name: _chunk(batch.column(name), fields[name]) for name in names}

    def close() -> None:
        # Packing reads ahead in another thread, also while it fails: to close under that thread would crash the driver.
        with turn:
            for batches in begun:
                batches.close()
            table.close()

    fields = _WithHidden(table.fields, table.hidden)
    columns = _WithHidden(_columns(table.fields), _columns(table.hidden))
    return Source(table.name, columns, read, tabular=True, close=close)


class _WithHidden(Mapping[str, _V]):
    """A mapping with keys that are found and never listed: a pattern, or "all columns", does not mean them."""

    def __init__(self, listed: Mapping[str, _V], hidden: Mapping[str, _V]) -> None:
        self._listed = listed
        self._hidden = hidden

    def __getitem__(self, key: str) -> _V:
        return self._listed[key] if key in self._listed else self._hidden[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


@dataclass(frozen=True)
class _Shaped:
    """Arrays of several dimensions, which come as flat lists."""

    flat: TableChunk
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.flat)

    def numbers(self) -> Array:
        """Return the values, shape (rows, *shape); raise BadValue for null, and arrays of another shape."""
        return self.flat.numbers().reshape(-1, *self.shape)

    def distinct(self) -> tuple[list[object], Array]:
        """Return the distinct values, and for each row the index of its own; null is None."""
        return self.flat.distinct()


def _chunk(array: object, field: Field) -> Chunk:
    size = 1
    for length in field.shape:
        size *= length
    flat = TableChunk(array, (size,) if field.kind.is_array else (), untyped=False)
    return _Shaped(flat, field.shape) if len(field.shape) > 1 else flat


def _columns(fields: Mapping[str, Field]) -> dict[str, Column]:
    return {name: _column(field) for name, field in fields.items()}


def _column(field: Field) -> Column:
    holds = f"lists of {field.kind.holds}" if field.kind.is_array else field.kind.holds
    # Only reading tells the number of rows: the server's own number is an estimate.
    return Column(field.shape, field.kind.dtype, holds, rows=None)
