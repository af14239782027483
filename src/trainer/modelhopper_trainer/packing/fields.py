"""From columns to what is stored: the shape, dtype and classes of each field, and its values batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import ROW_ID, Input, Output
from modelhopper_trainer.packing.buckets import BLOCK_BYTES, Layout
from modelhopper_trainer.packing.columns import Array, BadValue, Batch, Chunk, Source, ahead
from modelhopper_trainer.packing.ids import IdCode
from modelhopper_trainer.packing.labels import Classes
from modelhopper_trainer.packing.numbers import FLOAT32, UINT8, stored, stored_dtype
from modelhopper_trainer.packing.selection import Selection

Kind = Literal["classes", "encoded", "number"]

# What a batch may take in memory; it is cut smaller than the user's number of rows where rows are large.
BATCH_BYTES = 8 << 20


@dataclass(frozen=True)
class Field:
    """One stored field and the columns that it comes from."""

    name: str
    columns: tuple[str, ...]
    layout: Layout
    stacked: bool = False  # several columns side by side, or one as a row of one
    classes: Classes | None = None
    ids: IdCode | None = None

    def store(self, out: Array, batch: Batch, source: Source, offset: int) -> None:
        """Put the stored values of a batch that begins at row `offset` into an array, shape (rows, *shape)."""
        parts = [self._part(column, batch[column], source, offset) for column in self.columns]
        if self.stacked:
            _stack(parts, out)
        else:
            out[...] = parts[0].reshape(out.shape)

    def _part(self, column: str, chunk: Chunk, source: Source, offset: int) -> Array:
        try:
            if self.classes is not None:
                return self.classes.encode(chunk)
            if self.ids is not None:
                return self.ids.encode(chunk)
            return stored(chunk.numbers(), self.layout.dtype)
        except BadValue as error:
            row = offset + error.row + 1
            raise DataError(f"{source.name}: `{column}`, row {row} (counted from 1): {error.what}") from error
        except KeyError as error:
            raise changed(source) from error


def input_field(source: Source, selection: Selection) -> Field:
    """Return how an input is stored; raise DataError when its columns are no numbers or do not fit together."""
    return _number_field(source, selection, "a feature", "Leave it out of the features, make it a label, or encode it")


def output_field(source: Source, selection: Selection, kind: Kind, classes: Classes | None) -> Field:
    """Return how an output is stored. `classes` belong to the kind of that name."""
    if classes is not None:
        return Field(selection.name, selection.columns, Layout(selection.name, classes.dtype, ()), classes=classes)
    field = _number_field(source, selection, f"a label of kind {kind}", 'Say kind="classes", or turn it into numbers')
    if len(selection.columns) == 1 and not source.columns[selection.columns[0]].shape:
        field = Field(field.name, field.columns, Layout(field.name, field.layout.dtype, ()))
    if kind == "number":
        field = Field(field.name, field.columns, Layout(field.name, FLOAT32, field.layout.shape), field.stacked)
    return field


def id_field(ids: IdCode) -> Field:
    """Return how the ids of rows are stored."""
    return Field(ROW_ID, (ids.column,), Layout(ROW_ID, ids.dtype, ()), ids=ids)


def part_field(column: str, parts: Classes) -> Field:
    """Return the field that only says which part of the rows one belongs to; it is not stored."""
    return Field(column, (column,), Layout(column, parts.dtype, (), is_kept=False), classes=parts)


def kind_of(source: Source, selection: Selection, given: Kind | None) -> Kind:
    """Return the kind of an output: what was said, else `encoded` for an array label and `classes` for a value."""
    is_array = len(selection.columns) > 1 or bool(source.columns[selection.columns[0]].shape)
    kind = given or ("encoded" if is_array else "classes")
    if kind == "classes" and is_array and (len(selection.columns) > 1 or not _is_column(source, selection)):
        raise DataError(
            f"{source.name}: label `{selection.name}` has several values per row, but classes need one. "
            'Say kind="encoded" or "number".'
        )
    return kind


def manifest_input(field: Field, source: Source) -> Input:
    """Return an input's entry in the manifest."""
    layout = field.layout
    columns = field.columns if source.tabular else ()
    return Input(name=field.name, shape=layout.shape, dtype=layout.dtype.name, columns=columns)


def manifest_output(field: Field, kinds: Mapping[str, Kind]) -> Output:
    """Return an output's entry in the manifest."""
    classes, layout = field.classes, field.layout
    return Output(
        name=field.name,
        kind=kinds[field.name],
        shape=layout.shape,
        dtype=layout.dtype.name,
        classes=classes.values if classes is not None else (),
        num_classes=classes.width if classes is not None else None,
    )


@dataclass(frozen=True)
class Rows:
    """Neighbouring rows of a source, to be put where they are wanted."""

    batch: Batch
    fields: Sequence[Field]
    source: Source
    offset: int  # of the first row, from the source's beginning

    def __len__(self) -> int:
        return len(self.batch[self.fields[0].columns[0]])

    def fill(self, fields: Sequence[Array]) -> None:
        """Put the stored values into arrays that have room for as many rows, one for each field."""
        for field, out in zip(self.fields, fields, strict=True):
            field.store(out, self.batch, self.source, self.offset)


def read_fields(source: Source, fields: Sequence[Field], batch_rows: int) -> Iterator[Rows]:
    """Give the rows of all fields, batch by batch, in the source's order of rows."""
    row_bytes = sum(field.layout.row_bytes for field in fields)
    rows = max(1, min(batch_rows, BATCH_BYTES // row_bytes))
    offset = 0
    for batch in ahead(source.read(columns_of(fields), rows)):
        yield (found := Rows(batch, fields, source, offset))
        offset += len(found)


def columns_of(fields: Sequence[Field | Selection]) -> list[str]:
    """Return the columns that fields come from, each once."""
    return list(dict.fromkeys(column for field in fields for column in field.columns))


def changed(source: Source) -> DataError:
    """Return the error for a source that is not the same at the second reading."""
    return DataError(f"{source.name} was changed while it was packed. Pack it again when it is complete.")


def _stack(columns: Sequence[Array], out: Array) -> None:
    """Put columns side by side, by blocks of rows that stay in the processor's cache."""
    rows = max(1, BLOCK_BYTES // (columns[0].itemsize * len(columns)))
    block = np.empty((len(columns), min(rows, len(out))), columns[0].dtype)
    for start in range(0, len(out), rows):
        count = min(rows, len(out) - start)
        np.stack([column[start : start + count] for column in columns], out=block[:, :count])
        out[start : start + count] = block[:, :count].T


def _number_field(source: Source, selection: Selection, use: str, advice: str) -> Field:
    dtypes = [_number_dtype(source, column, use, advice) for column in selection.columns]
    shapes = [source.columns[column].shape for column in selection.columns]
    stacked = source.tabular and shapes[0] == ()
    if len(shapes) > 1 and (not source.tabular or any(shapes)):
        raise DataError(
            f"{source.name}: `{selection.name}` is made of several columns, and not all of them are single numbers. "
            f'Make each an input of its own, as in {{"image": "pixels", "age": "age"}}.'
        )
    if 0 in shapes[0]:
        raise DataError(f"{source.name}: `{selection.columns[0]}` has rows of shape {shapes[0]}, which hold nothing.")
    if not stacked:
        return Field(selection.name, selection.columns, Layout(selection.name, dtypes[0], shapes[0]))
    dtype = UINT8 if all(source.columns[column].dtype == UINT8 for column in selection.columns) else FLOAT32
    return Field(selection.name, selection.columns, Layout(selection.name, dtype, (len(shapes),)), stacked=True)


def _number_dtype(source: Source, column: str, use: str, advice: str) -> np.dtype[Any]:
    dtype = stored_dtype(source.columns[column].dtype)
    if dtype is None:
        holds = source.columns[column].holds
        raise DataError(f"{source.name}: `{column}` holds {holds}, which cannot be {use}. {advice} before packing.")
    return dtype


def _is_column(source: Source, selection: Selection) -> bool:
    return not source.tabular and source.columns[selection.columns[0]].shape == (1,)
