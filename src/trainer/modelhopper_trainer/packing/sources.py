"""Opening whatever the user has: files, folders, arrays, tables."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import MANIFEST_NAME
from modelhopper_contract.nearest import did_you_mean
from modelhopper_trainer.databases.addresses import is_table
from modelhopper_trainer.packing import arrays
from modelhopper_trainer.packing.columns import Source, listed

if TYPE_CHECKING:
    from types import ModuleType

CSV_SUFFIXES = (".csv", ".csv.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")
ALLOWED = (
    "Allowed are .npz, .csv, .csv.gz and .parquet files, a folder or pattern of CSV or Parquet files, "
    "a pair of .npy files, arrays by name, a pair of arrays, and postgresql://user@host/database?table=name."
)


def open_source(source: object, name: str) -> Source:
    """Return the user's data as a source; raise DataError when it is nothing that can be packed.

    `name` stands in messages for data that comes from memory.
    """
    if is_table(source):
        return _tables_of_databases().source(source)  # type: ignore[no-any-return]
    if isinstance(source, str | Path):
        return _path_source(Path(source).expanduser(), str(source))
    if isinstance(source, Mapping):
        return arrays.memory_source(_named(source), name)
    if isinstance(source, tuple | list) and len(source) == 2:
        return _pair_source(source[0], source[1], name)
    if type(source).__module__.partition(".")[0] in {"pyarrow", "pandas"}:
        return _tables().table_source(source, name)  # type: ignore[no-any-return]
    raise DataError(f"A {type(source).__name__} cannot be packed. {ALLOWED}")


def _pair_source(first: object, second: object, name: str) -> Source:
    if isinstance(first, str | Path) and isinstance(second, str | Path):
        paths = {"x": Path(first).expanduser(), "y": Path(second).expanduser()}
        for path in paths.values():
            _refuse_missing(path)
            if path.suffix != ".npy":
                raise DataError(
                    f"{path} is not an .npy file, and two paths are a pair of .npy files. Several columns go into one "
                    f"word, as a,b. {ALLOWED}"
                )
        return arrays.npy_source(paths, f"{first} and {second}", (("x",), ("y",)))
    inputs = _named(first) if isinstance(first, Mapping) else {"x": first}
    outputs = _named(second) if isinstance(second, Mapping) else {"y": second}
    twins = sorted(inputs.keys() & outputs.keys())
    if twins:
        raise DataError(f"{listed(twins)} is the name of an input and of an output. Rename one of them.")
    return arrays.memory_source(inputs | outputs, name, (tuple(inputs), tuple(outputs)))


def _named(given: Mapping[object, object]) -> dict[str, object]:
    for name in given:
        if not isinstance(name, str):
            raise DataError(f"{name!r} names an array; names are text.")
    return {str(name): value for name, value in given.items()}


def _path_source(path: Path, name: str) -> Source:
    if path.is_dir():
        return _parts_source(sorted(path.rglob("*")), name)
    if not path.exists() and any(sign in name for sign in "*?["):
        return _parts_source(_matches(path), name)
    _refuse_missing(path)
    if path.name.endswith(".npz"):
        return arrays.npz_source(path, name)
    if path.name.endswith(".npy"):
        return arrays.npy_source({"x": path}, name)
    if path.name.endswith((*CSV_SUFFIXES, *PARQUET_SUFFIXES)):
        return _parts_source([path], name)
    raise DataError(f"{name} is of no known kind. {ALLOWED}")


def _parts_source(found: list[Path], name: str) -> Source:
    # Spark and others put `_SUCCESS` and `.crc` files beside the parts.
    paths = [path for path in found if path.is_file() and not path.name.startswith(("_", "."))]
    parquet = [path for path in paths if path.name.endswith(PARQUET_SUFFIXES)]
    csv = [path for path in paths if path.name.endswith(CSV_SUFFIXES)]
    if parquet and csv:
        raise DataError(f"{name} holds CSV and Parquet files ({csv[0].name}, {parquet[0].name}). Give one kind.")
    if not parquet and not csv and any(path.name == MANIFEST_NAME for path in paths):
        raise DataError(f"{name} is a packed data set already.")
    if not parquet and not csv:
        raise DataError(f"{name} holds no CSV or Parquet files. {ALLOWED}")
    return (_tables().parquet_source if parquet else _tables().csv_source)(parquet or csv, name)  # type: ignore[no-any-return]


def _matches(pattern: Path) -> list[Path]:
    # `Path.glob` wants a folder and a relative pattern; a user's pattern may be either.
    return sorted(Path(found) for found in glob.glob(str(pattern), recursive=True))  # noqa: PTH207


def _tables() -> ModuleType:
    # Arrays are packed without pyarrow, which takes a moment to import.
    from modelhopper_trainer.packing import tables  # noqa: PLC0415

    return tables


def _tables_of_databases() -> ModuleType:
    from modelhopper_trainer.databases import sources  # noqa: PLC0415 -- its source is made of what lives here

    return sources


def _refuse_missing(path: Path) -> None:
    if path.is_file():
        return
    folder = path.parent
    beside = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    where = "" if folder.is_dir() else f" The folder {folder} does not exist either."
    raise DataError(f"{path} does not exist.{did_you_mean(path.name, beside)}{where}")
