"""From columns to what is stored: the shape, dtype and classes of each field, and its values batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import Input, Output
from modelhopper_trainer.packing.columns import Array, BadValue, Batch, Chunk, Source
from modelhopper_trainer.packing.labels import Classes
from modelhopper_trainer.packing.numbers import FLOAT32, UINT8, stored, stored_dtype
from modelhopper_trainer.packing.scatter import Layout
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

    def values(self, batch: Batch, source: Source, offset: int) -> Array:
        """Return the stored values of a batch that begins at row `offset`."""
        parts = [self._part(column, batch[column], source, offset) for column in self.columns]
        return np.stack(parts, axis=1) if self.stacked else parts[0].reshape(-1, *self.layout.shape)

    def _part(self, column: str, chunk: Chunk, source: Source, offset: int) -> Array:
        try:
            if self.classes is not None:
                return self.classes.encode(chunk)
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


def read_fields(source: Source, fields: Sequence[Field], batch_rows: int) -> Iterator[Mapping[str, Array]]:
    """Give the stored values of all fields, batch by batch, in the source's order of rows."""
    row_bytes = sum(_row_bytes(field.layout) for field in fields)
    names = columns_of(fields)
    offset = 0
    for batch in source.read(names, max(1, min(batch_rows, BATCH_BYTES // row_bytes))):
        yield {field.name: field.values(batch, source, offset) for field in fields}
        offset += len(batch[names[0]])


def columns_of(fields: Sequence[Field | Selection]) -> list[str]:
    """Return the columns that fields come from, each once."""
    return list(dict.fromkeys(column for field in fields for column in field.columns))


def changed(source: Source) -> DataError:
    """Return the error for a source that is not the same at the second reading."""
    return DataError(f"{source.name} was changed while it was packed. Pack it again when it is complete.")


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


def _row_bytes(layout: Layout) -> int:
    return int(np.prod(layout.shape, dtype=np.int64)) * layout.dtype.itemsize
