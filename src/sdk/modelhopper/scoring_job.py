"""A scoring job in its store: begun, gone on with, done, and removed when its result is where it belongs."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from modelhopper.scoring_models import Models
from modelhopper_contract.errors import ConflictError, ObjectNotFound, UserError
from modelhopper_contract.scoring import Job, Merged, Part, ScoringNames
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.directory import DirectoryStore
from modelhopper_contract.stores.files import upload
from modelhopper_scheduler.exclusion import exclusive

if TYPE_CHECKING:
    from modelhopper_trainer.scoring.destination import Destination

EngineName = Literal["local", "inline"]


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    rows: int
    all_rows: int
    step: Literal["reading", "scoring", "writing"]


OnProgress = Callable[[Progress], None]


def unheard(progress: Progress) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class How:
    """How a job is done, which changes no result."""

    workers: int | None = None  # None: one for each GPU, or for each CPU core
    engine: EngineName = "local"
    on_progress: OnProgress = unheard


class ScoringRun:
    """One job at work, by this process alone. A context manager, which holds the job's lock."""

    def __init__(self, job: Job, models: Models, source: str, store: str | Store) -> None:
        self.job = job
        self._models, self._source = models, source
        self._store = models.store or (open_store(store) if isinstance(store, str) else store)
        self._name = job.name(models.shown)
        self._names = ScoringNames(self._name)
        self._lock = exclusive(self._store.url, self._name)

    def __enter__(self) -> Self:
        if importlib.util.find_spec("tensorflow") is None:
            raise UserError(
                "Scoring needs TensorFlow, which is not installed: pip install 'modelhopper[cpu]', or [gpu]."
            )
        try:
            self._lock.__enter__()
        except ConflictError as error:
            raise ConflictError("the same command is at work on this machine. Wait for it, or stop it.") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__(None, None, None)

    def predict(self, place: Destination, how: How) -> int:
        """Do all parts, write the predictions, and return the rows of the data."""
        is_begun = self._read()
        is_published = is_begun and not place.overwrite and self._is_published(place)
        if not is_published:
            place.refuse_existing()
            self._score(how, is_begun=is_begun)
            how.on_progress(Progress(self.job.rows, self.job.rows, "writing"))
            self._publish(place)
        self._remove()
        return self.job.rows

    def evaluate(self, how: How) -> Merged:
        """Do all parts, and return the merged numbers."""
        self._score(how, is_begun=self._read(), merges=True)
        merged = Merged.from_json(self._store.get(self._names.evaluation()), self._names.evaluation())
        self._remove()
        return merged

    def _score(self, how: How, *, is_begun: bool, merges: bool = False) -> None:
        try:
            if not is_begun:
                self._begin(how)
            self._do_parts(how, merges=merges)
        except UserError:
            self._remove()  # nobody can go on with what cannot work
            raise

    def _read(self) -> bool:
        with suppress(ObjectNotFound):
            self.job = Job.from_json(self._store.get(self._names.record()), self._names.record())
            return True
        return False

    def _begin(self, how: How) -> None:
        """Settle the parts, put the models' files beside them, and last the record."""
        how.on_progress(Progress(0, 0, "reading"))
        self.job = self.job.model_copy(update={"parts": self._parts()})
        for sha256, path in self._models.files.items():
            upload(self._store, self._names.model(sha256), path)
        self._store.put(self._names.record(), self.job.to_json())

    def _parts(self) -> tuple[Part, ...]:
        from modelhopper_trainer.scoring.planning import Ground, cut, rows_of_a_part

        job = self.job
        rows = rows_of_a_part(job.card, job.answer, len(job.models))
        if job.data.kind != "spooled":
            return cut(job.data, rows)
        from modelhopper_trainer.scoring.spooling import spool

        ground = Ground(job.data, job.columns, job.labels, job.id)
        return spool(self._source, ground, rows, self._store, self._names)

    def _do_parts(self, how: How, *, merges: bool = False) -> None:
        done = {entry.name for entry in self._store.list(self._names.parts())}
        left = [part for part in self.job.parts if self._names.part(part.number) not in done]
        rows = self.job.rows - sum(part.rows for part in left)
        how.on_progress(Progress(rows, self.job.rows, "scoring"))

        def tell(part: Part) -> None:
            nonlocal rows
            rows += part.rows
            how.on_progress(Progress(rows, self.job.rows, "scoring"))

        if left or merges:
            (self._here if how.engine == "inline" else self._beside)(left, how, tell, merges=merges)

    def _here(self, left: Sequence[Part], how: How, tell: Callable[[Part], None], *, merges: bool) -> None:  # noqa: ARG002
        """Do parts in this process."""
        from modelhopper.trained import trainer

        trainer()
        from modelhopper_trainer.scoring.work import Work

        work = Work(self._store, self._name)
        try:
            for part in left:
                work.do(part.number)
                tell(part)
            if merges:
                work.merge()
        finally:
            work.close()

    def _beside(self, left: Sequence[Part], how: How, tell: Callable[[Part], None], *, merges: bool) -> None:
        """Do parts in child processes."""
        from modelhopper.scoring_workers import Workers, devices_of

        if self._store.url == "memory:":
            raise UserError("a store in memory is seen by this process only: use engine='inline'.")
        with Workers(self._store, self._name, self.job, devices_of(how.workers, len(left))) as workers:
            workers.do(left, tell)
            if merges:
                workers.merge()

    def _publish(self, place: Destination) -> None:
        from modelhopper_trainer.scoring.merging import merged

        with merged(self._store, self._name, self.job) as (schema, batches):
            place.write(schema, batches, self._name[-12:], lambda: self._store.put(self._names.published(), b""))

    def _is_published(self, place: Destination) -> bool:
        """Say whether all was done but to remove the job."""
        return bool(self._store.list(self._names.published())) and place.is_there()

    def _remove(self) -> None:
        """Remove the job; its record last, so that what is left of it after a kill is still known."""
        for entry in self._store.list(self._names.root()):
            if entry.name != self._names.record():
                self._store.delete(entry.name)
        self._store.delete(self._names.record())
        if isinstance(self._store, DirectoryStore):
            shutil.rmtree(Path(self._store.url, self._name), ignore_errors=True)  # its empty folders
