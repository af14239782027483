"""Where predictions go: a Parquet or CSV file, a folder of Parquet files, S3, a table. All of them, or nothing."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from modelhopper_contract.addresses import is_url
from modelhopper_contract.errors import ConflictError, UserError
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.disk_errors import explained
from modelhopper_contract.stores.files import upload
from modelhopper_trainer.scoring.spooling import databases, gathered

FILE_ROWS = 1 << 20  # of each file of a folder
GROUP_ROWS = 1 << 17  # of a row group
COMPLETE = "_SUCCESS"  # the last file of a folder: as Spark writes it

_ALLOWED = (
    "give a file that ends in .parquet or .csv, or a folder, which ends in / (each may begin with s3://bucket/), or "
    "postgresql://...?table=NAME"
)

Batches = Iterator[Any]
Form = Literal["parquet", "csv", "folder", "table"]


@dataclass(frozen=True)
class Destination:
    """A place for predictions. `destination` makes one."""

    written: str  # as a user would write it
    form: Form
    overwrite: bool

    @property
    def shown(self) -> str:
        """The place for messages, without a password."""
        if self.form != "table":
            return self.written
        from modelhopper_trainer.databases.addresses import parse  # noqa: PLC0415 -- as all of databases

        return parse(self.written).name

    @property
    def path(self) -> Path:
        """The place on this machine."""
        return Path(self.written).expanduser()

    def refuse_existing(self) -> None:
        """Raise ConflictError when something is there that may not be replaced; a UserError where nothing can be."""
        if self.form == "table":
            if not self.overwrite:
                databases().refuse_existing(self.written)
            return
        if is_url(self.written):
            store, name = _bucket(self.written)
            if not self.overwrite and store.list(name if self.form != "folder" else f"{name}/"):
                raise _there_is(self.written)
            return
        _refuse(self)

    def is_there(self) -> bool:
        """Say whether the place holds something; a table's database alone knows."""
        if self.form == "table" or is_url(self.written):
            return False
        return self.path.exists()

    def write(self, schema: Any, batches: Batches, token: str, announce: Callable[[], None]) -> None:
        """Write all lines. What is there, if anything, stays until all of them are written.

        `token`: of the job, so that the same job finds, and replaces, what it began to write before it was killed.
        `announce` is called when all is written, and about to appear at its place.
        """
        if self.form == "table":
            how = "replace" if self.overwrite else "fail"
            databases().write(self.written, batches, schema=schema, if_exists=how)
        elif is_url(self.written):
            self._write_to_bucket(schema, batches)
        else:
            self._write_here(schema, batches, token, announce)

    def _write_here(self, schema: Any, batches: Batches, token: str, announce: Callable[[], None]) -> None:
        target = self.path.absolute()
        scratch = target.with_name(f".{target.name}.{token}.scoring")
        with explained(target, "writing it"):
            _remove(scratch)
            try:
                _WRITERS[self.form](scratch, schema, batches)
                _refuse(self)  # again: it may have appeared meanwhile
                announce()
                _publish(scratch, target)
            except BaseException:
                _remove(scratch)
                raise

    def _write_to_bucket(self, schema: Any, batches: Batches) -> None:
        store, name = _bucket(self.written)
        with tempfile.TemporaryDirectory(prefix="modelhopper-") as folder:
            scratch = Path(folder, "out")
            _WRITERS[self.form](scratch, schema, batches)
            if self.form != "folder":
                upload(store, name, scratch)
                return
            stale = {entry.name for entry in store.list(f"{name}/")}
            store.delete(f"{name}/{COMPLETE}")
            new = sorted(path.name for path in scratch.iterdir() if path.name != COMPLETE)
            for file in new:
                upload(store, f"{name}/{file}", scratch / file)
            for old in stale - {f"{name}/{file}" for file in new}:
                store.delete(old)
            store.put(f"{name}/{COMPLETE}", b"")


def destination(out: str, *, overwrite: bool) -> Destination:
    """Return the place that a user names; raise UserError for one whose form cannot be told."""
    if out.lower().startswith(("postgresql://", "postgres://")):
        return Destination(out, "table", overwrite)
    if is_url(out) and not out.lower().startswith("s3://"):
        raise UserError(f"`{out}` cannot be written: {_ALLOWED}.")
    if out.endswith("/") or (not is_url(out) and Path(out).expanduser().is_dir()):
        return Destination(out.rstrip("/"), "folder", overwrite)
    ending = Path(out).suffix.lower()
    if ending not in (".parquet", ".csv"):
        near = did_you_mean(ending, (".parquet", ".csv")) if ending else ""
        raise UserError(f"`{out}` does not say what to write: {_ALLOWED}.{near}")
    return Destination(out, "csv" if ending == ".csv" else "parquet", overwrite)


def _refuse(place: Destination) -> None:
    path = place.path
    if not path.parent.is_dir():
        raise UserError(f"{place.written} cannot be written: there is no folder {path.parent}.")
    if not path.exists():
        return
    if not place.overwrite:
        raise _there_is(place.written)
    is_ours = path.is_file() if place.form != "folder" else (path / COMPLETE).is_file() or not any(path.iterdir())
    if not is_ours:
        raise ConflictError(f"{place.written} is not a result of predict, so it is not replaced. Choose another name.")


def _there_is(written: str) -> ConflictError:
    return ConflictError(f"{written} exists already. Choose another name, or say --overwrite to replace it.")


def _publish(scratch: Path, target: Path) -> None:
    if not target.is_dir():
        scratch.replace(target)
        return
    old = scratch.with_name(f"{scratch.name}.old")
    _remove(old)
    target.rename(old)
    try:
        scratch.rename(target)
    except OSError:
        old.rename(target)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _bucket(url: str) -> tuple[Any, str]:
    above, _, name = url.rpartition("/")
    if not name or above.lower() in ("s3:", "s3:/"):
        raise UserError(f"`{url}` names no object: write s3://bucket/name.parquet.")
    return open_store(above), name


def _write_parquet(path: Path, schema: Any, batches: Batches) -> None:
    with pq.ParquetWriter(path, schema) as file:
        for batch in gathered(batches, GROUP_ROWS):
            file.write_table(batch)


def _write_csv(path: Path, schema: Any, batches: Batches) -> None:
    plain = pa.schema([_as_text(field) for field in schema])
    with pacsv.CSVWriter(str(path), plain) as file:
        for batch in batches:
            file.write_batch(_textual(batch, plain))


def _write_folder(path: Path, schema: Any, batches: Batches) -> None:
    path.mkdir()
    for number, table in enumerate(gathered(batches, FILE_ROWS)):
        pq.write_table(table, path / f"part-{number:05d}.parquet", row_group_size=GROUP_ROWS)
    if not any(path.iterdir()):
        pq.write_table(schema.empty_table(), path / "part-00000.parquet")
    (path / COMPLETE).touch()


def _as_text(field: Any) -> Any:
    return pa.field(field.name, pa.string()) if pa.types.is_list(field.type) else field


def _textual(batch: Any, schema: Any) -> Any:
    columns = [
        pa.array([None if value is None else json.dumps(value) for value in column.to_pylist()], pa.string())
        if pa.types.is_list(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


_WRITERS: dict[str, Callable[[Path, Any, Batches], None]] = {
    "parquet": _write_parquet,
    "csv": _write_csv,
    "folder": _write_folder,
}
