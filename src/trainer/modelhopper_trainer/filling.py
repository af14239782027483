"""Filling a volume with one shard of a packed data set, so that pods which mount it need not fetch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import file_name
from modelhopper_contract.stores import open_store
from modelhopper_trainer.fetching import fetch, stored_manifest
from modelhopper_trainer.shard_files import is_whole


def fill(url: str, shard: int, into: Path, say: Callable[[str], None] = lambda _: None) -> None:
    """Put one shard's files into a folder, such as the root of a mounted volume; leave those that are there already.

    Each file appears under its name only when its digest is right, so a fill that was killed is simply done again.
    `say` hears a line for each file and one at the end. Raises DataError when there is no such shard, CorruptObject
    when what the store holds is not what was packed, and StoreUnavailable when the volume is full.
    """
    store = open_store(url)
    manifest = stored_manifest(store)
    count = len(manifest.shards)
    if not 0 <= shard < count:
        raise DataError(f"{store.url} has no shard {shard}; it has {count}, numbered from 0 to {count - 1}.")
    files = manifest.shards[shard].files
    for field, file in sorted(files.items()):
        path = into / f"{field}.npy"
        if is_whole(path, file):
            say(f"{path} is there already")
            continue
        fetch(store, file_name(shard, field), file, path)
        say(f"{path}: {file.size_bytes / 1e6:,.1f} MB")
    size_bytes = sum(file.size_bytes for file in files.values())
    say(f"{into} holds shard {shard} of {store.url}: {len(files)} files, {size_bytes / 1e6:,.1f} MB")
