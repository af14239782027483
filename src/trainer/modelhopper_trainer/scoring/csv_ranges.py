"""Where rows begin and end in a CSV file, found without parsing it: so that every worker can read its own rows only."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from modelhopper_contract.errors import DataError

BLOCK_BYTES = 8 << 20

_NEWLINE, _RETURN, _QUOTE = 10, 13, 34
_HEADER_BYTES = 64 << 10  # that are read at first


@dataclass(frozen=True)
class Range:
    """Neighbouring rows of a file: bytes from `begin` to before `end`, unpacked where the file is compressed."""

    begin: int
    end: int
    rows: int


def open_csv(path: Path) -> IO[bytes]:
    """Open a CSV file, unpacked where its name ends in .gz."""
    return gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def header(path: Path) -> tuple[list[str], int]:
    """Return the names of the columns, and where the first row begins."""
    beginning, end = b"", 0
    with open_csv(path) as file:
        while not end and (more := file.read(max(_HEADER_BYTES, len(beginning)))):
            beginning += more
            ends = _ends(np.frombuffer(beginning, np.uint8), 0)[0]
            end = int(ends[0]) + 1 if len(ends) else 0
    end = end or len(beginning)
    try:
        names = next(csv.reader(io.StringIO(beginning[:end].decode("utf-8-sig"), newline="")), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} does not begin with a line of column names: {error}.") from error
    return names, end


def ranges(path: Path, begin: int, part_rows: int) -> Iterator[Range]:
    """Yield ranges of `part_rows` rows, and a last one of the rest. Empty lines are no rows.

    A line break inside of quotes ends no row. Reads the file once, in blocks.
    """
    start, rows, last = begin, 0, begin
    for ends, is_row in _lines(path, begin):
        if not len(ends):
            continue
        count, taken = np.cumsum(is_row), 0  # of this block's rows, those that are in a range already
        while rows + int(count[-1]) - taken >= part_rows:
            taken += part_rows - rows
            end = int(ends[np.searchsorted(count, taken)]) + 1
            yield Range(start, end, part_rows)
            start, rows = end, 0
        rows += int(count[-1]) - taken
        last = int(ends[-1]) + 1
    if rows:
        yield Range(start, last, rows)


def _lines(path: Path, begin: int) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """Yield, block by block, where lines end, and which of them are rows; the last may end at the end of the file."""
    inside, offset, line_start, before = 0, begin, begin, _NEWLINE
    with open_csv(path) as file:
        file.seek(begin)
        while block := file.read(BLOCK_BYTES):
            data = np.frombuffer(block, np.uint8)
            found, inside = _ends(data, inside)
            starts = np.concatenate([[line_start], offset + found[:-1] + 1]) if len(found) else found
            ends = offset + found
            last = data[np.maximum(found - 1, 0)]
            last = np.where(found > 0, last, before)
            length = ends - starts - ((last == _RETURN) & (ends > starts))
            yield ends, length > 0
            line_start = int(ends[-1]) + 1 if len(ends) else line_start
            offset, before = offset + len(data), int(data[-1])
    if offset > line_start:
        yield np.array([offset - 1]), np.array([True])


def _ends(data: npt.NDArray[np.uint8], inside: int) -> tuple[npt.NDArray[Any], int]:
    """Return where lines end in a block, and whether its end is inside of quotes."""
    found = np.flatnonzero(data == _NEWLINE)
    quotes = np.flatnonzero(data == _QUOTE)
    if len(quotes) or inside:
        found = found[(np.searchsorted(quotes, found) + inside) % 2 == 0]
    return found, (inside + len(quotes)) % 2
