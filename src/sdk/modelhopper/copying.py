"""Copying a packed data set between a folder and S3: in parallel, what is there already left alone, checked."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelhopper_contract.addresses import is_url
from modelhopper_contract.errors import ConflictError, CorruptObject, ObjectNotFound, UserError
from modelhopper_contract.manifest import MANIFEST_NAME, File, Manifest, file_name
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.disk_errors import explained
from modelhopper_contract.stores.files import upload
from modelhopper_trainer.fetching import fetch
from modelhopper_trainer.shard_files import is_whole
from modelhopper_trainer.shards import DataSet, open_data

COPYING = "copying.json"  # the manifest of a copy that is not complete

_AT_ONCE = 4


@dataclass(frozen=True)
class Progress:
    """How far a copy is."""

    files: int
    all_files: int
    size_bytes: int
    all_size_bytes: int
    already_there: int  # files that were left alone


class _Target(Protocol):
    """Where a data set is copied to."""

    def begin(self, manifest: Manifest) -> None:
        """Refuse what may not be overwritten, and see what is there."""

    def copy(self, shard: int, field: str, file: File) -> bool:
        """Copy a file; return False when it is there already."""

    def end(self, manifest: Manifest) -> None:
        """Write the manifest, which makes it a data set."""


def copy_data(source: str, target: str, on_progress: Callable[[Progress], None] = lambda _: None) -> Manifest:
    """Copy a packed data set from a folder to s3://bucket/prefix, or back, and return its manifest.

    Every file's digest is checked, and the manifest comes last: what is at `target` is not a data set before it is
    whole. A copy that was interrupted goes on where it stopped. Raises DataError when there is none at `source`,
    ConflictError when something else is at `target`, CorruptObject for a file that is not what was packed, and
    StoreUnavailable when there is no answer or no room.
    """
    if is_url(source) == is_url(target):
        both, instead = ("on servers", "Go through a folder.") if is_url(source) else ("folders", "Take cp -r.")
        raise UserError(
            f"{source} and {target} are both {both}: copy goes from a folder to s3://bucket/prefix, or back. {instead}"
        )
    opened = open_data(source)
    manifest = opened.manifest
    place: _Target = _Bucket(opened, open_store(target)) if is_url(target) else _Folder(open_store(source), target)
    place.begin(manifest)
    _copy_files(manifest, place, on_progress)
    place.end(manifest)
    if open_data(target).manifest != manifest:
        raise CorruptObject(f"{target} was changed while it was written: its manifest is another. Copy it again.")
    return manifest


def _copy_files(manifest: Manifest, target: _Target, on_progress: Callable[[Progress], None]) -> None:
    files = [(shard, field, file) for shard, one in enumerate(manifest.shards) for field, file in one.files.items()]
    done = Progress(0, len(files), 0, manifest.size_bytes, 0)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        copies = {threads.submit(target.copy, *each): each[2] for each in files}
        try:
            for copy in as_completed(copies):
                there = done.already_there + (not copy.result())
                size_bytes = done.size_bytes + copies[copy].size_bytes
                done = Progress(done.files + 1, len(files), size_bytes, manifest.size_bytes, there)
                on_progress(done)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)  # what has begun is finished; nothing more begins
            raise


class _Bucket:
    """A prefix in S3. A listing tells sizes, not contents, so a note of the copy in progress says whose they are."""

    def __init__(self, source: DataSet, store: Store) -> None:
        self._source = source
        self._store = store
        self._sizes: dict[str, int] = {}

    def begin(self, manifest: Manifest) -> None:
        """Raise ConflictError when another data set is there."""
        known = [self._found(name) for name in (MANIFEST_NAME, COPYING)]
        if known[0] is not None and known[0] != manifest:
            raise _occupied(self._store.url)
        if manifest in known:
            self._sizes = {entry.name: entry.size_bytes for entry in self._store.list("")}
        else:
            self._store.put(COPYING, manifest.to_json())

    def copy(self, shard: int, field: str, file: File) -> bool:
        """Check the file and upload it; one of its size is there already, since this copy or a complete one put it."""
        name = file_name(shard, field)
        if self._sizes.get(name) == file.size_bytes:
            return False
        upload(self._store, name, self._source.files.path(shard, field, file))
        return True

    def end(self, manifest: Manifest) -> None:
        """Write the manifest, then remove the note."""
        self._store.put(MANIFEST_NAME, manifest.to_json())
        self._store.delete(COPYING)

    def _found(self, name: str) -> Manifest | None:
        try:
            return Manifest.from_json(self._store.get(name), f"{self._store.url}/{name}")
        except ObjectNotFound:
            return None
        except CorruptObject as error:
            raise _occupied(self._store.url) from error


class _Folder:
    """A folder of this machine. What is there already is known by its digest."""

    def __init__(self, store: Store, written: str) -> None:
        self._store = store
        self._folder = Path(written).expanduser()

    def begin(self, manifest: Manifest) -> None:
        """Raise ConflictError when something else is there, a data set or not."""
        names = {MANIFEST_NAME, *(file_name(shard, "").partition("/")[0] for shard in range(len(manifest.shards)))}
        with explained(self._folder, "making this folder"):
            self._folder.mkdir(parents=True, exist_ok=True)
            found = {path.name for path in self._folder.iterdir() if not path.name.startswith(".")}
        is_another = MANIFEST_NAME in found and open_data(self._folder).manifest != manifest
        if is_another or found - names:
            raise _occupied(str(self._folder))

    def copy(self, shard: int, field: str, file: File) -> bool:
        """Download the file, unless it is there."""
        path = self._folder / file_name(shard, field)
        if is_whole(path, file):
            return False
        fetch(self._store, file_name(shard, field), file, path)
        return True

    def end(self, manifest: Manifest) -> None:
        """Write the manifest under another name, then under its own."""
        scratch = self._folder / f".{MANIFEST_NAME}"
        with explained(self._folder, "writing the manifest"):
            scratch.write_bytes(manifest.to_json())
            scratch.replace(self._folder / MANIFEST_NAME)


def _occupied(place: str) -> ConflictError:
    return ConflictError(f"{place} holds something else already, which is not overwritten. Choose another place.")
