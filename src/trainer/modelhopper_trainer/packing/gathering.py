"""Bringing all shards of a packed data set to one place: a data set of one shard, with the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modelhopper_contract.digest import digest_file
from modelhopper_contract.manifest import MANIFEST_NAME, File, Manifest, Shard, file_name
from modelhopper_trainer.packing.place import building
from modelhopper_trainer.shards import DataSet

_PIECE_ROWS = 65_536


def gather(data: DataSet, out: Path) -> Manifest:
    """Write the rows of all shards, one shard after another, as the only shard of a data set at `out`.

    What is there is replaced; the same shards give the same bytes. Rows that were made up stay at the end of all, so
    that they are still left out of what is evaluated. Raises CorruptObject for a damaged shard.
    """
    manifest = data.manifest
    made_up = sum(shard.made_up for shard in manifest.shards)
    with building(out, overwrite=True) as folder:
        (folder / file_name(0, "x")).parent.mkdir()
        files = {name: _joined(data, name, folder / file_name(0, name)) for name in manifest.shards[0].files}
        one = Shard(rows=manifest.rows, files=files, made_up=made_up)
        whole = manifest.model_copy(update={"shards": (one,), "groups": (), "group_column": None, "stratified": None})
        (folder / MANIFEST_NAME).write_bytes(whole.to_json())
    return whole


def _joined(data: DataSet, field: str, path: Path) -> File:
    shards = data.manifest.shards
    opened = [np.load(data.files.path(at, field, shard.files[field]), mmap_mode="r") for at, shard in enumerate(shards)]
    shape = (sum(len(array) for array in opened), *opened[0].shape[1:])
    whole = np.lib.format.open_memmap(path, mode="w+", dtype=opened[0].dtype, shape=shape)
    ranges = [(array, 0, shard.real_rows) for array, shard in zip(opened, shards, strict=True)]
    ranges += [(array, shard.real_rows, shard.rows) for array, shard in zip(opened, shards, strict=True)]
    at = 0
    for array, begin, end in ranges:
        for start in range(begin, end, _PIECE_ROWS):
            piece = array[start : min(start + _PIECE_ROWS, end)]
            whole[at : at + len(piece)] = piece
            at += len(piece)
    whole.flush()
    return File(size_bytes=path.stat().st_size, sha256=digest_file(path))
