"""Sources that are tables: CSV and Parquet files, tables in memory. The only module that needs pyarrow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from modelhopper_contract.errors import DataError
from modelhopper_trainer.packing.columns import Array, BadValue, Batch, Column, Source, listed
from modelhopper_trainer.packing.labels import moment

# A whole line must fit a block; 2 MiB hold a line of 200,000 numbers.
CSV_BLOCK_BYTES = 2 << 20
PARQUET_BUFFER_BYTES = 256 << 10  # for each column
_NEAR = 1 << 16  # integers within this range are counted, which is faster than looking each up


def csv_source(paths: Sequence[Path], name: str) -> Source:
    """Return CSV files with a header line, one after another, as a source.

    Only an empty field without quotes is null, as in PostgreSQL; `NA` is text. Every column is read as text and turned
    into numbers where numbers are needed, so no type is guessed from the first lines.
    """
    headers = [_csv_header(path, name) for path in paths]
    for path, header in zip(paths, headers, strict=True):
        if sorted(header) != sorted(headers[0]):
            raise DataError(f"{path} has the columns {listed(header)}, but {paths[0]} has {listed(headers[0])}.")
    column = Column((), np.dtype(np.float64), "text", None)

    def read(names: Sequence[str], rows: int) -> Iterator[Any]:
        for path in paths:
            for batch in _open_csv(path, names):
                yield from _cut(batch, rows)

    columns = dict.fromkeys(headers[0], column)
    return Source(name, columns, _reader(name, columns, read, untyped=True), tabular=True, untyped=True)


def parquet_source(paths: Sequence[Path], name: str) -> Source:
    """Return Parquet files, one after another, as a source."""
    with _reading(name):
        schemas = [pq.read_schema(path) for path in paths]
        rows = sum(pq.read_metadata(path).num_rows for path in paths)
    _refuse_twins(schemas[0].names, name)
    for path, schema in zip(paths, schemas, strict=True):
        _refuse_other_types(path, schema, paths[0], schemas[0])

    def read(names: Sequence[str], rows: int) -> Iterator[Any]:
        for path in paths:
            with pq.ParquetFile(path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False) as file:
                yield from file.iter_batches(batch_size=rows, columns=list(names), use_threads=False)

    return _typed_source(name, schemas[0], rows, read)


def table_source(table: Any, name: str) -> Source:
    """Return a pyarrow Table, or a pandas DataFrame, as a source."""
    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table, preserve_index=False)

    def read(names: Sequence[str], rows: int) -> Iterator[Any]:
        yield from table.select(list(names)).to_batches(max_chunksize=rows)

    return _typed_source(name, table.schema, table.num_rows, read)


@dataclass(frozen=True)
class TableChunk:
    """Some rows of a table's column."""

    array: Any  # pyarrow.Array
    shape: tuple[int, ...]
    untyped: bool

    def __len__(self) -> int:
        return len(self.array)

    def numbers(self) -> Array:
        """Return the values, shape (rows, *shape); raise BadValue for null, text, and lists of another length."""
        return _parsed(self.array) if self.untyped else _numbers(self.array, self.shape)

    def distinct(self) -> tuple[list[object], Array]:
        """Return the distinct values, and for each row the index of its own; null is None."""
        array = self.array
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        if pa.types.is_integer(array.type) and not array.null_count and len(array):
            found = _distinct_integers(_plain(array))
            if found is not None:
                return found
        coded = array.dictionary_encode(null_encoding="mask")
        values = _python_values(coded.dictionary)
        indices = coded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
        return [*values, None], indices


def _distinct_integers(values: Array) -> tuple[list[object], Array] | None:
    """Return distinct values and the index of each row's, by counting; None where the numbers are far apart."""
    low, high = int(values.min()), int(values.max())
    if high - low >= _NEAR:
        return None
    # Where the type has a sign, 64 bits of it, so that no difference is too large.
    wide = np.uint64 if values.dtype.kind == "u" else np.int64
    places = np.subtract(values, wide(low), dtype=wide).view(np.int64)
    members = np.flatnonzero(np.bincount(places, minlength=high - low + 1))
    distinct: list[object] = [low + member for member in members.tolist()]
    if len(members) == high - low + 1:
        return distinct, places
    index = np.zeros(high - low + 1, np.int64)
    index[members] = np.arange(len(members))
    return distinct, index[places]


def _reader(
    name: str, columns: dict[str, Column], read: Callable[[Sequence[str], int], Iterator[Any]], *, untyped: bool
) -> Callable[[Sequence[str], int], Iterator[Batch]]:
    def batches(names: Sequence[str], rows: int) -> Iterator[Batch]:
        with _reading(name):
            for batch in read(names, rows):
                yield {column: TableChunk(batch.column(column), columns[column].shape, untyped) for column in names}

    return batches


def _typed_source(name: str, schema: Any, rows: int, read: Callable[[Sequence[str], int], Iterator[Any]]) -> Source:
    _refuse_twins(schema.names, name)

    def first(column: str) -> Any:
        with _reading(name):
            return next((batch.column(column) for batch in read([column], 1) if len(batch)), None)

    columns = {field.name: _column(field, rows, first) for field in schema}
    return Source(name, columns, _reader(name, columns, read, untyped=False), tabular=True)


def _column(field: Any, rows: int, first: Callable[[str], Any]) -> Column:
    inner, row = field.type, first(field.name) if _is_list(field.type) else None
    shape: tuple[int, ...] = ()
    while _is_list(inner):
        row = row.flatten() if row is not None else None
        shape += (inner.list_size if pa.types.is_fixed_size_list(inner) else _length(row, shape),)
        inner = inner.value_type
    holds = "text" if _is_text(inner) else str(inner)
    return Column(shape, _numpy_dtype(inner), f"lists of {holds}" if shape else holds, rows)


def _length(row: Any, outer: tuple[int, ...]) -> int:
    """Return the length of a list in the first row; outer lists share it among their elements."""
    return 0 if row is None else len(row) // max(int(np.prod(outer)), 1)


def _numpy_dtype(kind: Any) -> np.dtype[Any] | None:
    if pa.types.is_decimal(kind):
        return np.dtype(np.float64)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
        return dtype
    return None


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _numbers(array: Any, shape: tuple[int, ...]) -> Array:
    _refuse_null(array)
    if not shape:
        array = array.cast(pa.float64()) if pa.types.is_decimal(array.type) else array
        return _plain(array)
    _refuse_other_length(array, shape[0])
    try:
        inner = _numbers(array.flatten(), shape[1:])
    except BadValue as error:
        raise BadValue(error.row // shape[0], error.what) from error
    return inner.reshape(len(array), *shape)


def _plain(array: Any) -> Array:
    """Return an array without nulls as numpy's, not copied where both hold it alike."""
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        return np.from_dlpack(array)  # `to_numpy` imports pandas, which takes longer than to pack a small table
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _refuse_null(array: Any) -> None:
    if array.null_count:
        row = int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
        raise BadValue(row, "the value is null. Fill such values or drop their rows before packing.")


def _refuse_other_length(array: Any, length: int) -> None:
    lengths = _plain(pc.list_value_length(array))
    if (lengths != length).any():
        row = int(np.argmax(lengths != length))
        raise BadValue(row, f"a list of {lengths[row]}, but the first row has {length}. All rows must be as long.")


def _parsed(array: Any) -> Array:
    """Return text as numbers; true and false count as 1 and 0."""
    _refuse_null(array)
    with contextlib.suppress(pa.ArrowInvalid):
        return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False))
    return np.array([_parsed_one(row, text) for row, text in enumerate(array.to_pylist())], np.float64)


def _parsed_one(row: int, text: str) -> float:
    plain = text.strip().lower()
    if plain in {"true", "false"}:
        return float(plain == "true")
    try:
        return float(pa.scalar(plain).cast(pa.float64()).as_py())
    except pa.ArrowInvalid as error:
        raise BadValue(
            row, f'"{text}" is not a number. Leave the column out, or turn it into numbers before packing.'
        ) from error


def _python_values(array: Any) -> list[object]:
    """Return a column's distinct values as Python objects that sort as the column's values do."""
    kind = array.type
    if pa.types.is_duration(kind):
        array = array.cast(pa.duration("us"))
    elif pa.types.is_temporal(kind):
        return [moment(text) for text in array.cast(pa.string()).to_pylist()]
    return list(array.to_pylist())


def _csv_header(path: Path, name: str) -> list[str]:
    with _reading(str(path)), _csv_reader(path, pacsv.ConvertOptions()) as reader:
        header = list(reader.schema.names)
    _refuse_twins(header, name)
    return header


def _open_csv(path: Path, names: Sequence[str]) -> Iterator[Any]:
    options = pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        include_columns=list(names),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    with _csv_reader(path, options) as reader:
        yield from reader


def _csv_reader(path: Path, options: Any) -> Any:
    return pacsv.open_csv(
        str(path),
        read_options=pacsv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=options,
    )


def _cut(batch: Any, rows: int) -> Iterator[Any]:
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _refuse_twins(names: Sequence[str], source: str) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise DataError(f"{source}: several columns are named {listed(twins)}. Rename them.")


def _refuse_other_types(path: Path, schema: Any, first_path: Path, first: Any) -> None:
    for field in first:
        if schema.get_field_index(field.name) < 0:
            raise DataError(f"{path} has no column `{field.name}`, which {first_path} has.")
        if schema.field(field.name).type != field.type:
            raise DataError(
                f"{path}: column `{field.name}` is {schema.field(field.name).type}, but {field.type} in {first_path}."
            )


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name} cannot be read: {str(error).rstrip('.')}.") from error
