"""Sources that are arrays: in memory, in `.npy` files, in an `.npz` archive. Nothing pickled is ever loaded."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from modelhopper_contract.errors import DataError
from modelhopper_trainer.packing.columns import Array, Batch, Column, Source
from modelhopper_trainer.packing.labels import key, moment, plain

Pair = tuple[tuple[str, ...], tuple[str, ...]]
Pieces = Callable[[int], Iterator[Array]]  # gives an array in pieces of so many rows
_NUMBERS = (int, float, np.number)

OpenFile = Callable[[], AbstractContextManager[IO[bytes]]]


def memory_source(arrays: Mapping[str, object], name: str, pair: Pair | None = None) -> Source:
    """Return arrays in memory, by name, as a source."""
    ready = {field: _as_array(f"{name}: {field}", value) for field, value in arrays.items()}
    columns = {field: _column(array.shape, array.dtype) for field, array in ready.items()}
    return _source(name, columns, {field: functools.partial(_slices, array) for field, array in ready.items()}, pair)


def npy_source(paths: Mapping[str, Path], name: str, pair: Pair | None = None) -> Source:
    """Return `.npy` files, by field name, as a source."""
    files: dict[str, OpenFile] = {field: functools.partial(_open_file, path) for field, path in paths.items()}
    return _stored_source(name, files, pair)


def npz_source(path: Path, name: str) -> Source:
    """Return an `.npz` archive as a source. Its members are read in pieces, compressed or not."""
    with _reading(name), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.namelist() if member.endswith(".npy")]
    files = {member.removesuffix(".npy"): functools.partial(_open_member, path, member) for member in members}
    return _stored_source(name, files, None)


@dataclass(frozen=True)
class ArrayChunk:
    """Some rows of an array."""

    values: Array

    def __len__(self) -> int:
        return len(self.values)

    def numbers(self) -> Array:
        """Return the values; an array has no nulls but NaN."""
        return self.values

    def distinct(self) -> tuple[list[object], Array]:
        """Return the distinct values, and for each row the index of its own."""
        values = self.values.reshape(-1)  # labels may be one column, shape (rows, 1)
        if values.dtype.kind == "O":
            return _distinct_objects(values)
        found, indices = np.unique(values, return_inverse=True)
        if found.dtype.kind == "M":
            return [moment(text) for text in np.datetime_as_string(found).tolist()], indices
        if found.dtype.kind == "m":
            found = found.astype("m8[us]")
        return found.tolist(), indices


def _distinct_objects(values: Array) -> tuple[list[object], Array]:
    found: dict[object, int] = {}
    members: list[object] = []
    indices = np.empty(len(values), np.int64)
    for row, value in enumerate(values.tolist()):
        member = plain(value)
        try:
            indices[row] = found.setdefault(key(member), len(found))
        except TypeError as error:
            raise DataError(f"A label is a {type(value).__name__}, but a class is a single value.") from error
        if len(found) > len(members):
            members.append(member)
    return members, indices


def _source(name: str, columns: Mapping[str, Column], pieces: Mapping[str, Pieces], pair: Pair | None) -> Source:
    def read(names: Sequence[str], rows: int) -> Iterator[Batch]:
        for batch in zip(*(pieces[field](rows) for field in names), strict=True):
            yield {field: ArrayChunk(values) for field, values in zip(names, batch, strict=True)}

    return Source(name, columns, read, pair=pair)


def _column(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Column:
    words = {"U": "text", "S": "bytes", "O": "Python objects", "V": "records"}
    numbers = dtype if dtype.kind in "biuf" else None
    return Column(shape[1:], numbers, words.get(dtype.kind, str(dtype)), shape[0])


def _as_array(what: str, value: object) -> Array:
    if isinstance(value, list | tuple) and _is_mixed(value):
        array = np.empty(len(value), object)
        array[:] = value
    else:
        try:
            array = np.asanyarray(value)
        except ValueError as error:
            raise DataError(f"{what} is not an array: its rows differ in shape ({error}).") from error
    if array.ndim == 0:
        raise DataError(f"{what} is a {type(value).__name__}, not an array with one row per example.")
    if np.ma.is_masked(array):
        raise DataError(f"{what} has masked values. Fill them or drop their rows before packing.")
    return np.asarray(array)


def _is_mixed(values: Sequence[object]) -> bool:
    """Return whether numpy would turn a list's values into something else, such as [1, "a"] into text."""
    types = {type(value) for value in values}
    if types & {list, tuple, np.ndarray}:
        return False
    return len(types) > 1 and not all(issubclass(kind, _NUMBERS) and kind is not bool for kind in types)


def _slices(array: Array, rows: int) -> Iterator[Array]:
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    column_major: bool
    dtype: np.dtype[Any]


def _stored_source(name: str, files: Mapping[str, OpenFile], pair: Pair | None) -> Source:
    headers = {}
    for field, open_file in files.items():
        with _reading(name), open_file() as file:
            headers[field] = _header(f"{name}: {field}", file)
    columns = {field: _column(header.shape, header.dtype) for field, header in headers.items()}
    pieces = {field: functools.partial(_pieces, name, open_file, headers[field]) for field, open_file in files.items()}
    return _source(name, columns, pieces, pair)


def _header(what: str, file: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header = _Header(*read(file))
    if header.dtype.hasobject:
        raise DataError(
            f"{what} is an object array, stored as a pickle, which is never loaded. "
            "Save it as numbers or as text, as in np.array(values, dtype=str)."
        )
    if not header.shape:
        raise DataError(f"{what} is a single value, not an array with one row per example.")
    return header


def _pieces(name: str, open_file: OpenFile, header: _Header, rows: int) -> Iterator[Array]:
    read = _column_major_pieces if header.column_major and len(header.shape) > 1 else _row_major_pieces
    with _reading(name), open_file() as file:
        _header(name, file)
        yield from read(file, header, rows)


def _row_major_pieces(file: IO[bytes], header: _Header, rows: int) -> Iterator[Array]:
    row_bytes = int(np.prod(header.shape[1:], dtype=np.int64)) * header.dtype.itemsize
    for start in range(0, header.shape[0], rows):
        count = min(rows, header.shape[0] - start)
        data = file.read(count * row_bytes)
        if len(data) < count * row_bytes:
            raise EOFError("the file ends too early")
        yield np.frombuffer(data, header.dtype).reshape(count, *header.shape[1:])


def _column_major_pieces(file: IO[bytes], header: _Header, rows: int) -> Iterator[Array]:
    # A row's values lie far apart, so the array goes to a file that can be mapped rather than into memory.
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(file, spool)
        spool.flush()
        mapped = np.memmap(spool, header.dtype, "r", shape=header.shape, order="F")
        for piece in _slices(mapped, rows):
            yield np.array(piece, order="C")


def _open_file(path: Path) -> AbstractContextManager[IO[bytes]]:
    return path.open("rb")


@contextlib.contextmanager
def _open_member(path: Path, member: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        yield file


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{name} cannot be read: {error}.") from error
