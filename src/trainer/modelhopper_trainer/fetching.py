"""Fetching packed data from a store, into a cache on this machine. Every file's digest is checked."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelhopper_contract.errors import CorruptObject, DataError, ObjectNotFound, StoreUnavailable
from modelhopper_contract.manifest import MANIFEST_NAME, File, Manifest, file_name
from modelhopper_contract.store import Store
from modelhopper_contract.stores.disk_errors import NO_ROOM, explained
from modelhopper_contract.stores.files import download
from modelhopper_trainer.shard_files import is_whole

CACHE_VARIABLE = "MODELHOPPER_CACHE"
LEFTOVER_AGE_S = 3600.0  # a file that was not written to for so long has lost its writer

_SCRATCH = ".fetching"


@dataclass(frozen=True)
class Cached:
    """Files of a data set in a store, fetched on first use.

    The cache names files by their digests, so equal ones are shared by shards, data sets and processes. It is never
    cleaned, and may be removed at any time that nobody trains.
    """

    store: Store  # its root is the data set
    cache: Path

    def path(self, shard: int, field: str, expected: File) -> Path:
        """Return a file of the cache. One that is not there, or is damaged, is fetched."""
        path = self.cache / f"{expected.sha256}.npy"
        if not is_whole(path, expected):
            _fetch_into(self.cache, self.store, file_name(shard, field), expected, path)
        return path


def cache_folder() -> Path:
    """Return where fetched shards are kept: $MODELHOPPER_CACHE, or ~/.cache/modelhopper."""
    given = os.environ.get(CACHE_VARIABLE)
    return (Path(given) if given else Path("~/.cache/modelhopper")).expanduser().absolute()


def stored_manifest(store: Store) -> Manifest:
    """Return the manifest of the data set in a store; raise DataError when there is none."""
    try:
        data = store.get(MANIFEST_NAME)
    except ObjectNotFound as error:
        raise DataError(
            f"{store.url} is not a packed data set: it has no {MANIFEST_NAME}. `modelhopper copy FOLDER {store.url}` "
            "puts a packed one there."
        ) from error
    return Manifest.from_json(data, f"{store.url}/{MANIFEST_NAME}")


def fetch(store: Store, name: str, expected: File, path: Path) -> None:
    """Download an object to a file that appears whole, and only when it is what was packed.

    Several processes may do so at once. Raises CorruptObject when the object is missing or is another, StoreUnavailable
    when there is no answer or no room.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SCRATCH}")
    with explained(path.parent, "making this folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    try:
        _check(store, name, expected, _downloaded(store, name, scratch), scratch)
        with explained(path, "renaming what was fetched"):
            scratch.replace(path)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()


def _fetch_into(cache: Path, store: Store, name: str, expected: File, path: Path) -> None:
    try:
        fetch(store, name, expected, path)
    except StoreUnavailable as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_ROOM:
            raise StoreUnavailable(
                f"{error} {expected.size_bytes / 1e6:,.1f} MB were to come into {cache}; {CACHE_VARIABLE} can name "
                "another folder."
            ) from error
        raise


def _downloaded(store: Store, name: str, scratch: Path) -> str:
    try:
        return download(store, name, scratch)
    except ObjectNotFound as error:
        raise CorruptObject(
            f"{store.url}/{name} is missing, though the manifest names it. Copy the data set there again."
        ) from error


def _check(store: Store, name: str, expected: File, digest: str, scratch: Path) -> None:
    size_bytes = scratch.stat().st_size
    if size_bytes != expected.size_bytes:
        how = f"it has {size_bytes:,} bytes, but {expected.size_bytes:,} were packed"
    elif digest != expected.sha256:
        how = f"its digest is {digest}, but {expected.sha256} was packed"
    else:
        return
    raise CorruptObject(
        f"{store.url}/{name} is not what was packed: {how}. Remove that object and copy the data set there again."
    )


def _sweep(folder: Path) -> None:
    """Remove what killed processes left; no failure here may stop the fetch that it precedes."""
    with contextlib.suppress(OSError):
        for path in _leftovers(folder):
            with contextlib.suppress(OSError):
                path.unlink()


def _leftovers(folder: Path) -> Iterator[Path]:
    for path in folder.glob(f".*{_SCRATCH}"):
        if time.time() - path.stat().st_mtime > LEFTOVER_AGE_S:
            yield path
