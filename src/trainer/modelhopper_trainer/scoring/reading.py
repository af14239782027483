"""The rows of a part, from wherever they are."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from modelhopper_contract.errors import DataError
from modelhopper_contract.scoring import Files, Job, Packed, Part, ScoringNames, Spooled
from modelhopper_contract.store import Store
from modelhopper_trainer.scoring import csv_ranges
from modelhopper_trainer.scoring.columns import Table, input_array, label_array
from modelhopper_trainer.scoring.planning import stamp
from modelhopper_trainer.shard_files import Mounted
from modelhopper_trainer.shards import DataSet, open_data

Array = npt.NDArray[Any]

NO_ID = "row"  # the column of ids where the data has none: row numbers, or "shard:row" of a packed data set

_BUFFER_BYTES = 256 << 10  # of each Parquet column


@dataclass(frozen=True)
class Rows:
    """Neighbouring rows, as they would be packed."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]  # nothing where labels are not asked for
    ids: Any  # a pyarrow array


class Reader(Protocol):
    """Gives the rows of parts, in any order; quickest in ascending order."""

    def read(self, part: Part) -> Rows:
        """Return a part's rows; raise DataError for what cannot be read, or has changed since the job began."""

    def close(self) -> None:
        """Close what is open. May be called twice."""


def open_reader(job: Job, store: Store, names: ScoringNames, mounted: str | None = None) -> Reader:
    """Return what reads a job's data. `mounted`: where a shard of packed data is mounted, as /data/{shard}."""
    if isinstance(job.data, Packed):
        return _packed(job, job.data, mounted)
    if isinstance(job.data, Spooled):
        return _SpooledRows(job, job.data, store, names)
    return (_CsvRows if job.data.format == "csv" else _ParquetRows)(job, job.data)


def id_column(job: Job) -> str:
    """Return the name of the column that says which row is which."""
    return job.id or NO_ID


def _packed(job: Job, given: Packed, mounted: str | None) -> Reader:
    data = open_data(given.address)
    if data.manifest.digest() != given.digest:
        raise DataError(f"{given.address} was packed anew since the job began. Start again with another --out.")
    return _PackedRows(job, data if mounted is None else DataSet(mounted, data.manifest, Mounted(mounted)))


@dataclass(frozen=True)
class _PackedRows:
    job: Job
    data: DataSet

    def read(self, part: Part) -> Rows:
        shard = self.data.shard(part.unit)
        cut = slice(part.begin, part.end)
        outputs = {one.name: shard.outputs[one.name][cut] for one in self.job.outputs} if self._is_labelled else {}
        inputs = {one.name: shard.inputs[one.name][cut] for one in self.job.card.inputs}
        return Rows(inputs, outputs, self._ids(part, cut))

    def close(self) -> None:
        """Nothing is open."""

    @property
    def _is_labelled(self) -> bool:
        return self.job.action == "evaluate"

    def _ids(self, part: Part, cut: slice) -> Any:
        if self.job.id is None:
            numbers = pa.array(np.arange(part.begin, part.end)).cast(pa.string())
            return pc.binary_join_element_wise(pa.scalar(str(part.unit)), numbers, ":")
        found = self.data.ids(part.unit)
        assert found is not None  # noqa: S101 -- for the type: the job names their column
        stored = found[cut]
        return pa.array(stored.astype(np.int64)) if stored.dtype.kind == "i" else _text(stored)


def _text(stored: Array) -> Any:
    return pa.array(stored.tolist(), pa.binary()).cast(pa.string())


@dataclass
class _CsvRows:
    job: Job
    data: Files
    _open: tuple[int, IO[bytes]] | None = None  # a compressed file is read on, and not from its beginning

    def read(self, part: Part) -> Rows:
        with _reading(self.data, part) as path:
            file = self._file(part.unit, path)
            file.seek(part.begin)
            found = self._parsed(path, file.read(part.end - part.begin))
        if found.num_rows != part.rows:
            raise DataError(
                f"{path}: rows {part.first + 1:,} to {part.first + part.rows:,} are {found.num_rows:,} rows when they "
                'are read. Most likely a " stands inside of a field that does not begin with one: put that field into '
                'quotes, and write the sign twice ("").'
            )
        return _rows(self.job, Table(found, str(path), part.first))

    def close(self) -> None:
        """Close the file that was read last."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _file(self, unit: int, path: Path) -> IO[bytes]:
        if self._open is None or self._open[0] != unit:
            self.close()
            self._open = (unit, csv_ranges.open_csv(path))
        return self._open[1]

    def _parsed(self, path: Path, data: bytes) -> Any:
        header = csv_ranges.header(path)[0]
        wanted = _wanted(self.job)
        numbers = [name for columns in self.job.columns.values() for name in columns]
        try:
            return self._table(header, wanted, data, dict.fromkeys(numbers, pa.float64()))
        except pa.ArrowInvalid:
            # Text that is no number, or true and false: read as text, whoever uses it says which row it is.
            return self._table(header, wanted, data, {})

    def _table(self, header: list[str], wanted: list[str], data: bytes, types: Mapping[str, Any]) -> Any:
        options = pacsv.ConvertOptions(
            column_types={**dict.fromkeys(wanted, pa.string()), **types},
            include_columns=wanted,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        return pacsv.read_csv(
            io.BytesIO(data),
            read_options=pacsv.ReadOptions(
                column_names=header, use_threads=False, block_size=max(len(data), 1 << 10) + 1
            ),
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=options,
        )


@dataclass
class _ParquetRows:
    job: Job
    data: Files
    _at: tuple[int, int] = (-1, -1)  # the row group that is being read
    _row: int = 0  # the next row of it
    _batches: Iterator[Any] = field(default_factory=lambda: iter(()))
    _rest: list[Any] = field(default_factory=list)

    def read(self, part: Part) -> Rows:
        with _reading(self.data, part) as path:
            if (part.unit, part.group) != self._at or part.begin < self._row:
                self._begin(path, part)
            self._take(part.begin - self._row)
            found = self._take(part.rows)
        table = pa.Table.from_batches(found)
        return _rows(self.job, Table(table, str(path), part.first))

    def close(self) -> None:
        """Let go of the file that is being read."""
        self._at, self._batches, self._rest = (-1, -1), iter(()), []

    def _begin(self, path: Path, part: Part) -> None:
        self._at, self._row, self._rest = (part.unit, part.group), 0, []
        self._batches = _group(path, part.group, part.rows, _wanted(self.job))

    def _take(self, rows: int) -> list[Any]:
        """Return the next so many rows; fewer where the group ends."""
        found = []
        while rows > 0:
            batch = self._rest.pop() if self._rest else next(self._batches, None)
            if batch is None:
                raise EOFError
            if batch.num_rows > rows:
                self._rest.append(batch.slice(rows))
                batch = batch.slice(0, rows)
            found.append(batch)
            rows, self._row = rows - batch.num_rows, self._row + batch.num_rows
        return found


@dataclass(frozen=True)
class _SpooledRows:
    job: Job
    data: Spooled
    store: Store
    names: ScoringNames

    def read(self, part: Part) -> Rows:
        table = pq.read_table(pa.BufferReader(self.store.get(self.names.rows(part.unit))))
        return _rows(self.job, Table(table, self.data.name, part.first))

    def close(self) -> None:
        """Nothing is open."""


def _group(path: Path, group: int, rows: int, wanted: list[str]) -> Iterator[Any]:
    with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
        yield from file.iter_batches(batch_size=rows, row_groups=[group], columns=wanted, use_threads=False)


def _wanted(job: Job) -> list[str]:
    named = [*job.columns.values(), *job.labels.values(), (job.id,) if job.id else ()]
    return list(dict.fromkeys(column for columns in named for column in columns))


def _rows(job: Job, table: Table) -> Rows:
    inputs = {one.name: input_array(table, one, job.columns[one.name]) for one in job.card.inputs}
    outputs = {one.name: label_array(table, one, job.labels[one.name]) for one in job.outputs if job.labels}
    return Rows(inputs, outputs, _ids(job, table))


def _ids(job: Job, table: Table) -> Any:
    if job.id is None:
        return pa.array(np.arange(table.first, table.first + table.batch.num_rows, dtype=np.int64))
    found = table.batch.column(job.id)
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


@contextlib.contextmanager
def _reading(data: Files, part: Part) -> Iterator[Path]:
    """Give the path of a part's file; raise DataError when it is not as it was, before or after it was read."""
    known = data.files[part.unit]
    path = Path(known.path)
    _refuse_changed(path, stamp(path) == known)
    try:
        yield path
    except (pa.ArrowException, OSError, EOFError) as error:
        _refuse_changed(path, stamp(path) == known)
        raise DataError(f"{path} cannot be read: {str(error).rstrip('.') or 'it ends too early'}.") from error
    _refuse_changed(path, stamp(path) == known)


def _refuse_changed(path: Path, is_same: bool) -> None:  # noqa: FBT001 -- one answer
    if not is_same:
        raise DataError(f"{path} has changed since the job began. Run the command again when it is complete.")
