"""Trying a store out: how fast what is put is safe there. What is put is taken away again."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelhopper_contract.errors import ModelhopperError, UserError
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.directory import DirectoryStore

LARGE_BYTES = 10_000_000
_SMALL_BYTES = 200
_MOST_SMALL = 100
_SMALL_S = 1.0


@dataclass(frozen=True)
class StoreTrial:
    """What a store does, on this machine and now."""

    url: str
    free_bytes: int | None  # of a directory's disk
    large_s: float | None  # until a checkpoint of 10 MB is safe
    small_per_s: float | None  # small records, one after another
    problem: str | None = None
    exit_code: int = 0


def try_store(address: str) -> StoreTrial:
    """Put a large object and small ones, as a run does, and take them away; say what is wrong where that fails."""
    free_bytes = None
    try:
        store = open_store(address)
        address = store.url
        if isinstance(store, DirectoryStore):
            free_bytes = shutil.disk_usage(_existing(Path(store.url))).free
        with _scratch(store) as (scratch, prefix):
            large_s, small_per_s = _rates(scratch, prefix)
    except ModelhopperError as error:
        return StoreTrial(address, free_bytes, None, None, str(error), int(error.exit_code))
    return StoreTrial(address, free_bytes, large_s, small_per_s)


def _rates(store: Store, prefix: str) -> tuple[float, float]:
    store.put(f"{prefix}/first", b"")  # what is made once, such as folders and connections
    data = os.urandom(LARGE_BYTES)
    large_s = min(_timed(store, f"{prefix}/large", data) for _ in range(2))
    began_s, count = time.perf_counter(), 0
    while count < _MOST_SMALL and time.perf_counter() - began_s < _SMALL_S:
        store.put(f"{prefix}/{count}", data[:_SMALL_BYTES])
        count += 1
    return large_s, count / (time.perf_counter() - began_s)


def _timed(store: Store, name: str, data: bytes) -> float:
    began_s = time.perf_counter()
    store.put(name, data)
    return time.perf_counter() - began_s


@contextlib.contextmanager
def _scratch(store: Store) -> Iterator[tuple[Store, str]]:
    prefix = f"doctor-{uuid.uuid4().hex[:12]}"
    if isinstance(store, DirectoryStore):
        # In a folder beside it: a store that is not there yet is not made by looking at it.
        parent = _existing(Path(store.url))
        try:
            folder = tempfile.mkdtemp(prefix=".modelhopper-doctor-", dir=parent)
        except OSError as error:
            raise UserError(
                f"{store.url} cannot be a store: {error.strerror} ({parent}). Give --store a folder that you may "
                "write to."
            ) from error
        try:
            yield DirectoryStore(Path(folder)), prefix
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        yield store, prefix
    finally:
        with contextlib.suppress(ModelhopperError):
            for entry in store.list(f"{prefix}/"):
                store.delete(entry.name)


def _existing(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.is_dir())
