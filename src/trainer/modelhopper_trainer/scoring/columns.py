"""From columns of a table to what a model takes: numbers by input, and labels as they are packed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import Input, Output
from modelhopper_contract.nearest import did_you_mean
from modelhopper_trainer.packing.labels import key, moment, plain, typed

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Table:
    """Some neighbouring rows of a table, and where they are from, for messages."""

    batch: Any  # a pyarrow table
    name: str
    first: int  # the first row's number in all the data, from 0

    def numbers(self, column: str) -> Array:
        """Return a column's numbers, of one row or of lists; raise DataError, with the row, for anything else."""
        found = self.batch.column(column)
        array = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
        array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
        return self._numbers(column, array, 1)

    def refuse(self, column: str, row: int, what: str) -> DataError:
        """Return the error for a value."""
        return DataError(f"{self.name}: `{column}`, row {self.first + row + 1} (counted from 1): {what}")

    def _numbers(self, column: str, array: Any, per_row: int) -> Array:
        if array.null_count:
            at = int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
            raise self.refuse(column, at // per_row, "the value is null. Fill such values or leave their rows out.")
        kind = array.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            return self._lists(column, array, per_row)
        if pa.types.is_decimal(kind) or pa.types.is_boolean(kind):
            array = array.cast(pa.float64() if pa.types.is_decimal(kind) else pa.uint8())
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return self._parsed(column, array)
        elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise DataError(f"{self.name}: `{column}` holds {kind}, and the model takes numbers.")
        return np.asarray(array.to_numpy(zero_copy_only=False))

    def _lists(self, column: str, array: Any, per_row: int) -> Array:
        lengths = np.asarray(pc.list_value_length(array))
        if len(lengths) and (lengths != lengths[0]).any():
            at = int(np.argmax(lengths != lengths[0]))
            raise self.refuse(column, at // per_row, f"a list of {lengths[at]}, but the first row has {lengths[0]}.")
        length = int(lengths[0]) if len(lengths) else 0
        inner = self._numbers(column, array.flatten(), per_row * max(length, 1))
        return inner.reshape(len(array), length, *inner.shape[1:])

    def _parsed(self, column: str, array: Any) -> Array:
        with contextlib.suppress(pa.ArrowInvalid):
            return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False))
        return np.array([self._parsed_one(column, row, text) for row, text in enumerate(array.to_pylist())])

    def _parsed_one(self, column: str, row: int, text: str) -> float:
        ready = text.strip().lower()
        if ready in {"true", "false"}:
            return float(ready == "true")
        try:
            return float(pa.scalar(ready).cast(pa.float64()).as_py())
        except pa.ArrowInvalid as error:
            raise self.refuse(column, row, f'"{text}" is not a number.') from error


def input_array(table: Table, field: Input, columns: Sequence[str]) -> Array:
    """Return an input's rows, shape (rows, *shape), of its dtype; raise DataError where they do not fit."""
    return _stacked(table, field.name, columns, field.shape, np.dtype(field.dtype))


def label_array(table: Table, output: Output, columns: Sequence[str]) -> Array:
    """Return a label's rows as they are packed: class indices, or numbers."""
    if output.kind != "classes":
        return _stacked(table, output.name, columns, output.shape, np.dtype(output.dtype))
    column = columns[0]
    values, indices = _distinct(table.batch.column(column))
    untyped = pa.types.is_string(table.batch.schema.field(column).type)
    codes = _codes(table, output, column, values, indices, untyped=untyped)
    return codes[indices].astype(output.dtype)


def _stacked(table: Table, name: str, columns: Sequence[str], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    rows = table.batch.num_rows
    parts = [_checked(table, column, table.numbers(column), dtype) for column in columns]
    if len(parts) == 1:
        found = parts[0]
    else:
        found = np.empty((rows, len(parts)), dtype)
        for at, part in enumerate(parts):
            if part.ndim > 1:
                raise DataError(f"{table.name}: `{columns[at]}` holds lists, and `{name}` is made of several columns.")
            found[:, at] = part
    if found.size != rows * int(np.prod(shape, dtype=np.int64)):
        given = " x ".join(map(str, found.shape[1:])) or "one number"
        wanted = " x ".join(map(str, shape)) or "one number"
        raise DataError(f"{table.name}: `{name}` takes {wanted} for each row, and {', '.join(columns)} gives {given}.")
    return np.ascontiguousarray(found).reshape(rows, *shape)


def _checked(table: Table, column: str, values: Array, dtype: np.dtype[Any]) -> Array:
    """Return numbers in the dtype that the model was trained on; raise DataError for one that it does not hold."""
    with np.errstate(over="ignore", invalid="ignore"):
        ready = values.astype(dtype, copy=False)
        bad = ~np.isfinite(ready) if dtype.kind == "f" else ready != values
    if bad.any():
        flat = int(np.argmax(bad.reshape(-1)))
        value = values.reshape(-1)[flat]
        what = "is no finite number" if dtype.kind == "f" else f"is not what the model was trained on, {dtype}"
        raise table.refuse(column, flat // max(values.size // len(values), 1), f"{value} {what}.")
    return ready


def _distinct(column: Any) -> tuple[list[object], Array]:
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    coded = column.dictionary_encode(null_encoding="mask")
    kind = coded.dictionary.type
    values: list[object] = coded.dictionary.to_pylist()
    if pa.types.is_temporal(kind) and not pa.types.is_duration(kind):
        values = [moment(text) for text in coded.dictionary.cast(pa.string()).to_pylist()]
    indices = coded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    return [*values, None], indices


def _codes(
    table: Table, output: Output, column: str, values: Sequence[object], indices: Array, *, untyped: bool
) -> Array:
    """Return the class index of each distinct value; raise DataError for those that are no class of the model."""
    known = {key(value): number for number, value in enumerate(output.classes)}
    given = {key(plain(value)): plain(value) for value in values}
    read: Mapping[Any, object] = typed(given, like=output.classes) if untyped else given
    found = [known.get(key(plain(read[key(plain(value))])), -1) for value in values]
    codes = np.array(found, np.int64)
    used = np.bincount(indices, minlength=len(values))
    lacking = [at for at, code in enumerate(found) if code < 0 and used[at]]
    if lacking:
        raise _unknown(table, output, column, values[lacking[0]], int(used[lacking[0]]))
    return codes


def _unknown(table: Table, output: Output, column: str, value: object, rows: int) -> DataError:
    names = [one if isinstance(one, str) else json.dumps(one) for one in output.classes]
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    said = json.dumps(plain(value), default=str, ensure_ascii=False)
    count = "1 row" if rows == 1 else f"{rows} rows"
    what = "has no label in" if value is None else f"holds {said} in"
    return DataError(
        f"{table.name}: `{column}` {what} {count}, which is not among the model's classes: {shown}."
        f"{did_you_mean(value, names) if value is not None else ''}"
    )
