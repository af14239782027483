"""Reading packed data sets, in folders and in S3: shards as memory-mapped arrays, checked against their digests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelhopper_contract.addresses import is_url
from modelhopper_contract.errors import CorruptObject, DataError
from modelhopper_contract.manifest import MANIFEST_NAME, ROW_ID, Input, Manifest, Output
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.stores import open_store
from modelhopper_trainer.fetching import Cached, cache_folder, stored_manifest
from modelhopper_trainer.shard_files import PACK_AGAIN, InDataSet, ShardFiles

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ShardArrays:
    """One shard: its arrays by field name, rows first. They are memory-mapped and cannot be written."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]
    rows: int  # all that are trained on
    made_up: int = 0  # the last so many are no rows of the source: they are never evaluated on, and never predicted

    @property
    def real_rows(self) -> int:
        """How many rows, from the first on, are the source's."""
        return self.rows - self.made_up


@dataclass(frozen=True)
class DataSet:
    """A packed data set. `open_data` makes one."""

    place: str  # as a user would write it
    manifest: Manifest
    files: ShardFiles
    _opened: dict[int, ShardArrays] = field(default_factory=dict, init=False, repr=False, compare=False)

    def shard(self, number: int) -> ShardArrays:
        """Return a shard's arrays. `number` counts from 0.

        The first time, every file's size and digest are checked, which reads it once, after it was fetched where the
        data set is in S3; later calls give the same arrays. Raises CorruptObject when a file is missing or is not what
        was packed, and StoreUnavailable when it cannot be fetched now or there is no room for it.
        """
        count = len(self.manifest.shards)
        if not 0 <= number < count:
            raise DataError(f"{self.place} has no shard {number}; it has {count}, numbered from 0 to {count - 1}.")
        if number not in self._opened:
            self._opened[number] = self._shard(number)
        return self._opened[number]

    def ids(self, number: int) -> Array | None:
        """Return the ids of a shard's real rows, shape (real_rows,): int64, or UTF-8 bytes of fixed width.

        None where none are kept. Training needs none, so they are fetched and checked only here.
        """
        ids = self.manifest.ids
        if ids is None:
            return None
        return self._array(number, ROW_ID, ids.dtype, (self.manifest.shards[number].real_rows,))

    def _shard(self, number: int) -> ShardArrays:
        shard = self.manifest.shards[number]
        inputs, outputs = (
            {entry.name: self._array(number, entry.name, entry.dtype, (shard.rows, *entry.shape)) for entry in entries}
            for entries in (self.manifest.inputs, self.manifest.outputs)
        )
        return ShardArrays(inputs, outputs, shard.rows, shard.made_up)

    def _array(self, number: int, name: str, dtype: str, shape: tuple[int, ...]) -> Array:
        path = self.files.path(number, name, self.manifest.shards[number].files[name])
        array = _mapped(path)
        if array.shape != shape or array.dtype != np.dtype(dtype):
            held, said = f"{array.dtype} of shape {array.shape}", f"{dtype} of shape {shape}"
            raise CorruptObject(f"{path} holds {held}, but the manifest says {said}. {PACK_AGAIN}")
        return array


def open_data(place: Path | str) -> DataSet:
    """Open a packed data set, a folder or s3://bucket/prefix: read and check its manifest, and no shard yet.

    Raises DataError when there is none at `place`, CorruptObject when its manifest is damaged.
    """
    if isinstance(place, str) and is_url(place):
        return _open_url(place)
    folder = Path(place).expanduser()
    try:
        data = (folder / MANIFEST_NAME).read_bytes()
    except OSError as error:
        raise DataError(_not_packed(folder, error)) from error
    manifest = Manifest.from_json(data, str(folder / MANIFEST_NAME))
    check_manifest(manifest, str(folder / MANIFEST_NAME))
    return DataSet(str(folder), manifest, InDataSet(folder))


def check_manifest(manifest: Manifest, name: str) -> None:
    """Raise CorruptObject, naming the manifest, when it contradicts itself."""
    names, shards = _fields(manifest), manifest.shards
    whole = all(shard.files.keys() == names and 0 <= shard.made_up <= shard.rows for shard in shards)
    uneven = bool(manifest.groups) and len(shards) % len(manifest.groups) != 0
    if not shards or not whole or uneven or sum(shard.rows for shard in shards) != manifest.rows:
        raise CorruptObject(f"{name} contradicts itself about its shards. {PACK_AGAIN}")


def _open_url(url: str) -> DataSet:
    if not url.lower().startswith("s3://"):
        raise DataError(f"`{url}` is not a place of packed data: give a folder, or s3://bucket/prefix.")
    store = open_store(url)
    manifest = stored_manifest(store)
    check_manifest(manifest, f"{store.url}/{MANIFEST_NAME}")
    return DataSet(store.url, manifest, Cached(store, cache_folder()))


def _not_packed(folder: Path, error: OSError) -> str:
    advice = "`modelhopper pack` makes a packed data set."
    if not folder.exists():
        return f"{folder} does not exist.{did_you_mean(folder.name, _names(folder.parent))} {advice}"
    if not folder.is_dir():
        return f"{folder} is a file, not a packed data set. {advice}"
    if (folder / MANIFEST_NAME).exists():
        return f"{folder / MANIFEST_NAME} cannot be read: {error.strerror}."
    names = _names(folder)
    holds = f"holds {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" if names else "is empty"
    return f"{folder} is not a packed data set: it {holds} and has no {MANIFEST_NAME}. {advice}"


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def _fields(manifest: Manifest) -> set[str]:
    entries: Iterable[Input | Output] = (*manifest.inputs, *manifest.outputs)
    return {entry.name for entry in entries} | ({ROW_ID} if manifest.ids is not None else set())


def _mapped(path: Path) -> Array:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError as error:
        raise CorruptObject(f"{path} is not an array that can be mapped: {error}. {PACK_AGAIN}") from error
