"""From what a user calls the data to parts: which rows there are, and which columns become what. No TensorFlow."""

from __future__ import annotations

import glob
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelhopper_contract.addresses import is_url
from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import MANIFEST_NAME
from modelhopper_contract.model_card import ModelCard
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.scoring import Action, Answer, Data, Files, FileStamp, Packed, Part, Spooled
from modelhopper_trainer.packing.columns import listed
from modelhopper_trainer.packing.sources import CSV_SUFFIXES, PARQUET_SUFFIXES
from modelhopper_trainer.scoring import csv_ranges
from modelhopper_trainer.scoring.fitting import Columns, check_fit, choose
from modelhopper_trainer.shards import DataSet, open_data

PART_BYTES = 32 << 20  # of a part's rows and what is said of them, about
MOST_ROWS = 1 << 17  # of a part
FEWEST_ROWS = 1 << 10  # of a part; a power of two, so that evaluation has the same batches as in a run

_ALLOWED = (
    "Allowed are a packed data set (a folder or s3://bucket/prefix), a CSV or Parquet file, a folder or pattern of "
    "them, and postgresql:// addresses."
)


@dataclass(frozen=True)
class Ground:
    """What a job reads."""

    data: Data
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    id: str | None = None


def is_table(source: str) -> bool:
    """Say whether a source is a table of a database."""
    return source.lower().startswith(("postgresql://", "postgres://"))


def survey(source: str, card: ModelCard, action: Action, said: Columns) -> Ground:
    """Return what a packed data set, or CSV or Parquet files, hold for models of this card. Reads no rows.

    Raises DataError for what cannot be read, and for columns, labels or classes that the models do not fit.
    """
    path = Path(source).expanduser()
    if is_url(source) or (path / MANIFEST_NAME).is_file():
        return _packed(source, card, action, said)
    paths, form = _files(path, source)
    chosen = choose(_columns_of(paths, form), source, card, action, said)
    data = Files(format=form, name=source, files=tuple(stamp(one) for one in paths))  # type: ignore[arg-type]
    return Ground(data, *chosen)


def cut(data: Data, part_rows: int) -> tuple[Part, ...]:
    """Return the parts of what was surveyed. Of CSV files this reads every byte once, to see where rows end."""
    if isinstance(data, Spooled):
        raise TypeError("what is copied from a database is cut while it is copied")
    if isinstance(data, Packed):
        found, name = _shard_parts(open_data(data.address), part_rows), data.address
    else:
        paths, name = [Path(one.path) for one in data.files], data.name
        found = _csv_parts(paths, part_rows) if data.format == "csv" else _parquet_parts(paths, part_rows)
    return numbered(found, name)


def numbered(found: Iterable[Mapping[str, int]], name: str) -> tuple[Part, ...]:
    """Return parts in their order, each with its number and that of its first row; raise DataError for none."""
    parts, first = [], 0
    for number, one in enumerate(found):
        parts.append(Part(number=number, first=first, **one))
        first += one["rows"]
    if not parts:
        raise DataError(f"{name} has no rows.")
    return tuple(parts)


def rows_of_a_part(card: ModelCard, answer: Answer, models: int) -> int:
    """Return how many rows make a part: a function of what is asked only, so that parts are always the same."""
    read = sum(math.prod(one.shape) * 8 for one in card.inputs)
    told = 0
    for output in card.outputs:
        width = output.num_classes or math.prod(output.shape)
        lines = 1 if answer.type == "response" else min(width, answer.top or width)
        told += 8 * width + 48 * lines
    rows = PART_BYTES // (read + told * models) // FEWEST_ROWS * FEWEST_ROWS
    return max(FEWEST_ROWS, min(MOST_ROWS, rows))


def stamp(path: Path) -> FileStamp:
    """Return what tells whether a file has changed."""
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    return FileStamp(path=str(path.absolute()), size_bytes=found.st_size, modified_ns=found.st_mtime_ns)


def _packed(source: str, card: ModelCard, action: Action, said: Columns) -> Ground:
    data = open_data(source)
    manifest = data.manifest
    check_fit(manifest, source, card, action)
    for option, given in (("--features", said.features), ("--labels", said.labels)):
        if given is not None:
            raise DataError(f"{source} is packed, so {option} says nothing: its inputs and labels are settled.")
    if said.id is not None and (manifest.ids is None or manifest.ids.column != said.id):
        there = "keeps no ids" if manifest.ids is None else f"keeps the ids of `{manifest.ids.column}`"
        raise DataError(f"{source} {there}, so there is no id column `{said.id}`. Pack it again, with --id {said.id}.")
    address = data.place if is_url(source) else str(Path(source).expanduser().absolute())
    ids = manifest.ids.column if manifest.ids is not None else None
    return Ground(Packed(address=address, digest=manifest.digest()), id=ids)


def _shard_parts(data: DataSet, part_rows: int) -> Iterator[dict[str, int]]:
    for number, shard in enumerate(data.manifest.shards):
        for begin in range(0, shard.real_rows, part_rows):
            end = min(begin + part_rows, shard.real_rows)
            yield {"unit": number, "begin": begin, "end": end, "rows": end - begin}


def _csv_parts(paths: Sequence[Path], part_rows: int) -> Iterator[dict[str, int]]:
    for number, path in enumerate(paths):
        _, begin = csv_ranges.header(path)
        for one in csv_ranges.ranges(path, begin, part_rows):
            yield {"unit": number, "begin": one.begin, "end": one.end, "rows": one.rows}


def _parquet_parts(paths: Sequence[Path], part_rows: int) -> Iterator[dict[str, int]]:
    for number, path in enumerate(paths):
        metadata = _parquet(path).metadata
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            for begin in range(0, rows, part_rows):
                end = min(begin + part_rows, rows)
                yield {"unit": number, "group": group, "begin": begin, "end": end, "rows": end - begin}


def _files(path: Path, name: str) -> tuple[list[Path], str]:
    if path.is_dir():
        found = sorted(path.rglob("*"))
    elif not path.exists() and any(sign in name for sign in "*?["):
        found = sorted(Path(one) for one in glob.glob(str(path), recursive=True))  # noqa: PTH207 -- any pattern
    else:
        found = [path]
    if found == [path] and not path.is_file():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{name} does not exist.{did_you_mean(path.name, beside)}")
    found = [one for one in found if one.is_file() and (one == path or not one.name.startswith(("_", ".")))]
    kinds = {"csv": CSV_SUFFIXES, "parquet": PARQUET_SUFFIXES}
    by_kind = {kind: [one for one in found if one.name.endswith(ends)] for kind, ends in kinds.items()}
    present = [kind for kind, paths in by_kind.items() if paths]
    if len(present) != 1:
        what = "holds CSV and Parquet files; give one kind" if present else "is no data that can be scored"
        raise DataError(f"{name} {what}. {_ALLOWED}")
    return by_kind[present[0]], present[0]


def _columns_of(paths: Sequence[Path], form: str) -> list[str]:
    """Return the columns that all files have; raise DataError when one has others."""
    all_names = [_header(path) if form == "csv" else list(_parquet(path).schema_arrow.names) for path in paths]
    for path, names in zip(paths, all_names, strict=True):
        twins = sorted({one for one in names if names.count(one) > 1})
        if twins:
            raise DataError(f"{path}: several columns are named {listed(twins)}. Rename them.")
        if sorted(names) != sorted(all_names[0]):
            raise DataError(f"{path} has the columns {listed(names)}, but {paths[0]} has {listed(all_names[0])}.")
    return all_names[0]


def _header(path: Path) -> list[str]:
    try:
        return csv_ranges.header(path)[0]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _parquet(path: Path) -> Any:
    import pyarrow as pa  # noqa: PLC0415 -- packed data is scored without reading tables
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            return file
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read: {str(error).rstrip('.')}.") from error
