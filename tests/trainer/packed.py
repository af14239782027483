"""What tests ask of packed data sets, and the small data that they pack."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelhopper_contract.manifest import Manifest
from modelhopper_trainer.shards import open_data

Array = npt.NDArray[Any]


@contextmanager
def folder() -> Iterator[Path]:
    """Give an empty folder; hypothesis runs a test many times in one `tmp_path`."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def column(path: Path, name: str) -> Array:
    """Return one field of all shards, one shard after another."""
    data = open_data(path)
    shards = [data.shard(number) for number in range(len(data.manifest.shards))]
    return np.concatenate([{**shard.inputs, **shard.outputs}[name] for shard in shards])


def files(manifest: Manifest) -> list[dict[str, str]]:
    """Return the digests of all files, shard by shard."""
    return [{name: file.sha256 for name, file in shard.files.items()} for shard in manifest.shards]


def numbered(rows: int) -> tuple[Array, Array]:
    """Return rows that hold their own number."""
    return np.arange(rows, dtype=np.float32).reshape(-1, 1), np.arange(rows) % 3
