"""A worker's work: the result of one part, written once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from modelhopper_contract.errors import CorruptObject, ObjectNotFound
from modelhopper_contract.scoring import Job, Part, PartEvaluation, ScoringNames
from modelhopper_contract.store import Store
from modelhopper_trainer.scoring import evaluating
from modelhopper_trainer.scoring.answers import table
from modelhopper_trainer.scoring.loading import load
from modelhopper_trainer.scoring.ordering import stable_order
from modelhopper_trainer.scoring.reading import Rows, id_column, open_reader

Array = npt.NDArray[Any]

CHUNK_ROWS = 8192  # of a batch of a part's result, as which a merge takes it into memory


class Work:
    """The parts of one job, done by this process. Making one builds the models."""

    def __init__(self, store: Store, name: str, mounted: str | None = None) -> None:
        """Take the job of this name from a store; `mounted`: see `open_reader`."""
        self.job = read_job(store, name)
        self._store, self._names = store, ScoringNames(name)
        self._models = [load(scored, store, self._names) for scored in self.job.models]
        self._reader = open_reader(self.job, store, self._names, mounted)

    def do(self, number: int) -> None:
        """Put a part's result into the store."""
        self._store.put(self._names.part(number), self.result(self.job.parts[number]))

    def result(self, part: Part) -> bytes:
        """Return a part's result: a pure function of the job and the part."""
        rows = self._reader.read(part)
        if self.job.action == "evaluate":
            shares = tuple(evaluating.evaluate(self.job, model, rows) for model in self._models)
            return PartEvaluation(models=shares).to_json()
        return _encoded(self._told(rows))

    def merge(self) -> None:
        """Merge all parts of a job that evaluates, and put the result into the store."""
        parts = (read_evaluation(self._store, self._names, part.number) for part in self.job.parts)
        merged = evaluating.merge(self._models, parts)
        self._store.put(self._names.evaluation(), merged.to_json())

    def close(self) -> None:
        """Close what is open."""
        self._reader.close()

    def _told(self, rows: Rows) -> Any:
        found: list[Mapping[str, Array]] = [model.predict(rows.inputs, self.job.batch_size) for model in self._models]
        told = table(self.job, rows.ids, found)
        # Where the data has ids, the result is in their order: of sorted parts it is merged in little memory.
        if self.job.data.kind == "packed" and self.job.id is not None:
            told = told.take(stable_order(told.column(id_column(self.job))))
        return told


def read_job(store: Store, name: str) -> Job:
    """Return the job of this name; raise ObjectNotFound when there is none."""
    record = ScoringNames(name).record()
    return Job.from_json(store.get(record), record)


def read_evaluation(store: Store, names: ScoringNames, number: int) -> PartEvaluation:
    """Return a part's share of an evaluation; raise CorruptObject when it is missing or damaged."""
    name = names.part(number)
    try:
        return PartEvaluation.from_json(store.get(name), name)
    except ObjectNotFound as error:
        raise CorruptObject(f"{store.url}/{name} was removed while the job was going on. Start it again.") from error


def _encoded(told: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, told.schema) as file:
        file.write_table(told.combine_chunks(), max_chunksize=CHUNK_ROWS)
    return bytes(memoryview(sink.getvalue()))
