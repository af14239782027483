"""The results of all parts as one stream of lines: in the data's order, or, where it has ids, in theirs.

The order by ids is made by merging sorted parts, at most 32 at a time and a little of each, so memory does not grow
with the number of rows. What is merged from many parts goes to a folder of this machine in between.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelhopper_contract.errors import CorruptObject, ObjectNotFound
from modelhopper_contract.scoring import Job, ScoringNames
from modelhopper_contract.store import Store
from modelhopper_contract.stores.directory import DirectoryStore
from modelhopper_contract.stores.files import download
from modelhopper_trainer.scoring.ordering import stable_order
from modelhopper_trainer.scoring.reading import id_column

MOST_AT_ONCE = 32  # parts that are merged; each has a chunk in memory

Batches = Iterator[Any]
Source = Callable[[], Batches]


@contextmanager
def merged(store: Store, name: str, job: Job) -> Iterator[tuple[Any, Batches]]:
    """Give the schema and the lines of a job's parts, all of which are done; raise CorruptObject where one is not."""
    names = ScoringNames(name)
    with tempfile.TemporaryDirectory(prefix="modelhopper-") as folder:
        scratch = Path(folder)
        sources = [_source(store, names.part(part.number), scratch) for part in job.parts]
        schema = _first(sources[0]())
        if job.data.kind == "packed" and job.id is not None:
            yield schema, _by_id(sources, id_column(job), scratch)
        else:
            yield schema, (batch for source in sources for batch in source())


def _by_id(sources: Sequence[Source], column: str, scratch: Path) -> Batches:
    level = 0
    while len(sources) > MOST_AT_ONCE:
        groups = [sources[at : at + MOST_AT_ONCE] for at in range(0, len(sources), MOST_AT_ONCE)]
        sources = [
            _kept(_together(group, column), scratch / f"{level}-{number}") for number, group in enumerate(groups)
        ]
        level += 1
    return _together(sources, column)


def _together(sources: Sequence[Source], column: str) -> Batches:
    """Merge sorted lines: of what is in memory, all up to the least of the last ids can go out."""
    streams = [_whole(source(), column) for source in sources]
    held: list[Any] = [_next(stream) for stream in streams]
    while any(one is not None for one in held):
        lasts = [one.column(column)[-1] for one in held if one is not None]
        bound = min(lasts, key=_key)
        ready = []
        for at, one in enumerate(held):
            if one is not None:
                count = _not_above(one.column(column), bound)
                ready.append(one.slice(0, count))
                held[at] = one.slice(count) if count < one.num_rows else _next(streams[at])
        yield from _sorted(ready, column)


def _whole(batches: Batches, column: str) -> Batches:
    """Cut a stream so that no id is in two pieces: a row's lines stay together, whoever else has its id."""
    rest = None
    for batch in batches:
        if not batch.num_rows:
            continue
        joined = batch if rest is None else _joined([rest, batch])
        ids = joined.column(column)
        below = _not_above(ids, ids[-1], strictly=True)
        if below:
            yield joined.slice(0, below)
        rest = joined.slice(below)
    if rest is not None:
        yield rest


def _joined(batches: Sequence[Any]) -> Any:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _sorted(ready: Sequence[Any], column: str) -> Batches:
    table = pa.Table.from_batches(ready)
    # By id, and equal ids by part: two rows of one id keep the order of the data.
    yield from table.take(stable_order(table.column(column))).combine_chunks().to_batches()


def _not_above(ids: Any, bound: Any, *, strictly: bool = False) -> int:
    """Return how many of ascending ids are at most the bound, or strictly below it."""
    if pa.types.is_integer(ids.type):
        side = "left" if strictly else "right"
        return int(np.searchsorted(ids.to_numpy(zero_copy_only=False), bound.as_py(), side=side))  # type: ignore[call-overload]
    return int(pc.sum((pc.less if strictly else pc.less_equal)(ids, bound)).as_py() or 0)


def _key(scalar: Any) -> Any:
    value = scalar.as_py()
    return value.encode() if isinstance(value, str) else value


def _next(stream: Batches) -> Any:
    return next((batch for batch in stream if batch.num_rows), None)


def _kept(batches: Batches, path: Path) -> Source:
    first = next(batches)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, first.schema) as file:
        file.write_batch(first)
        for batch in batches:
            file.write_batch(batch)
    return lambda: _batches(path)


def _source(store: Store, name: str, scratch: Path) -> Source:
    if isinstance(store, DirectoryStore):
        return lambda: _batches(Path(store.url, name))

    def fetched() -> Batches:
        path = scratch / name.replace("/", "-")
        try:
            download(store, name, path)
        except ObjectNotFound as error:
            raise _missing(name) from error
        yield from _batches(path)
        path.unlink()

    return fetched


def _batches(path: Path) -> Batches:
    try:
        with pa.memory_map(str(path)) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
            if not reader.num_record_batches:
                yield pa.RecordBatch.from_pylist([], reader.schema)
    except FileNotFoundError as error:
        raise _missing(str(path)) from error
    except pa.ArrowInvalid as error:
        raise CorruptObject(f"{path} is damaged: {error}. Remove it, and start the same command again.") from error


def _first(batches: Batches) -> Any:
    return next(batches).schema


def _missing(name: str) -> CorruptObject:
    return CorruptObject(f"{name} was removed while the job was going on. Start the same command again.")
