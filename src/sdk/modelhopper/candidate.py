"""One configuration of a run, and the model that came out of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelhopper.history import RunHistory
from modelhopper.leaderboard import Row
from modelhopper.reading import Reader
from modelhopper.sources import RunChanged, changed_files, submitted_folder, warn
from modelhopper.trained import Trained, trainer
from modelhopper_contract import checkpoint
from modelhopper_contract.checkpoint import Checkpoint
from modelhopper_contract.errors import ObjectNotFound, UserError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.names import checkpoint_number
from modelhopper_contract.records import Configuration, Failure
from modelhopper_contract.specification import Specification

if TYPE_CHECKING:
    from modelhopper.experiment import Experiment
    from modelhopper_trainer.assembly import Assembly

__all__ = ["Candidate", "RunChanged"]


@dataclass(frozen=True, eq=False)
class Candidate(Trained):
    """One configuration: what is recorded of it, and its model.

    Reading records is quick; `model`, `save`, `evaluate` and `predict` start TensorFlow. They take its result, and the
    newest checkpoint of a configuration that is still going on; one that failed cannot be used.
    """

    row: Row
    history: RunHistory  # its own
    configuration: Configuration  # as it runs
    _specification: Specification
    _reader: Reader
    _hop: int | None = None  # of its checkpoint; None: its result

    @property
    def number(self) -> int:
        """The configuration's number, from 1."""
        return self.row.number

    @property
    def run_name(self) -> str:
        """The name of the experiment that it is of."""
        return self._name

    @property
    def snapshot(self) -> int | None:
        """The iteration after which this is its state, where that was asked for; None: this is its result."""
        return None if self._hop is None else self.row.iteration

    @property
    def specification(self) -> Specification:
        """The specification of its run."""
        return self._specification

    @property
    def reader(self) -> Reader:
        """Where its run's records are."""
        return self._reader

    @property
    def is_going_on(self) -> bool:
        """Say whether this is the newest state of a configuration that is still trained."""
        return self._hop is None and self.row.state == "going on"

    @property
    def identity(self) -> tuple[str, str, int, int | None]:
        """What is equal for the same model: store, experiment, number, and iteration of a snapshot."""
        return self._reader.store.url, self._name, self.number, self.snapshot

    @property
    def manifest(self) -> Manifest:
        """What the data is that it was trained on: inputs, outputs, classes."""
        return self._manifest

    @property
    def label(self) -> str:
        """The model's name and every setting that varies."""
        return self.row.label

    @property
    def metrics(self) -> dict[str, float]:
        """The last recorded metrics by full name, such as "validation accuracy"."""
        return self.row.metrics

    @property
    def failure(self) -> Failure | None:
        """Why it failed, with the traceback, or None."""
        return self.row.failure

    def assembled(self) -> Assembly:
        """Return a new model with all that evaluating and using it needs."""
        state = self._checkpoint().state
        specification = self._specification.model_copy(update={"folder": self._folder()})
        assembly: Assembly = trainer().restore(specification, self.configuration, self._manifest, state)
        return assembly

    def stored(self) -> tuple[str, bytes]:
        """Return the name and the bytes of the checkpoint that its model is made of; raise UserError for none."""
        if self.failure is not None:
            raise UserError(
                f"configuration {self.number} failed, so it has no trained model: {self.failure.reason}. "
                f"`modelhopper logs {self._name} {self.number}` shows more."
            )
        for name in self._checkpoints():
            try:
                return name, self._reader.store.get(name)
            except ObjectNotFound:
                continue
        raise UserError(
            f"configuration {self.number} has no checkpoint in {self._reader.store.url}, so there is no model to "
            "use. Run the experiment again to go on with it."
        )

    @property
    def is_built_as_submitted(self) -> bool:
        """Say whether its model is built from the files that were submitted, because those here have changed."""
        return self._folder() != self._specification.folder

    @property
    def iterations(self) -> list[int]:
        """The iterations after which its state is kept, ascending; see `keep_checkpoints`."""
        listed = self._reader.store.list(self._reader.names.checkpoints(self.number))
        hops = [checkpoint_number(entry.name)[1] for entry in listed]
        outcome, period = self._reader.outcomes().get(self.number), self._specification.ring.shards
        last = outcome.hops_trained if outcome else max(hops, default=0)
        return [hop // period for hop in hops if hop and hop % period == 0 and hop <= last]

    def at(self, iteration: int) -> Candidate:
        """Return the configuration as it was after an iteration, whose checkpoint must be there: see `iterations`."""
        kept = self.iterations
        if iteration not in kept:
            there = f"there are those of {', '.join(map(str, kept))}" if kept else "there is none of a whole iteration"
            raise UserError(
                f"configuration {self.number} has no checkpoint of iteration {iteration}: {there}. With "
                "`keep_checkpoints: iterations` in the experiment, one of every iteration is kept."
            )
        history = next((point.record for point in self.history.rows if point.iteration == iteration), None)
        row = replace(self.row, history=history, iteration=iteration)
        return replace(self, row=row, _hop=iteration * self._specification.ring.shards)

    def continued(self, iterations: int, name: str | None = None) -> Experiment:
        """Return an experiment that trains this configuration's result for so many more iterations: `run` it.

        It begins with the weights and the optimizer's state of a configuration that has ended, in the same store, and
        counts iterations from 1. `name`: by default this experiment's with the number, such as "iris-5". The results of
        both stay; the same call, run again, goes on with what was interrupted.
        """
        from modelhopper.experiment import Experiment
        from modelhopper.warm_start import continued

        value = continued(self._specification, self.configuration, iterations, name)
        return Experiment.in_folder({**value, "store": self._reader.store.url}, Path(self._specification.folder))

    def __repr__(self) -> str:
        return f"configuration {self.number} ({self.label}), {self.row.state}"

    @property
    def _name(self) -> str:
        return self._specification.experiment.name

    def _compiled(self) -> tuple[dict[str, Any], str]:
        return self.configuration.compile, self._specification.folder

    def _checkpoint(self) -> Checkpoint:
        name, data = self.stored()
        return checkpoint.from_bytes(data, name)

    def _checkpoints(self) -> list[str]:
        """Return the checkpoints to try, by name: the result, or all, because a run that goes on removes older ones."""
        names = self._reader.names
        if self._hop is not None:
            return [names.checkpoint(self.number, self._hop)]
        outcome = self._reader.outcomes().get(self.number)
        if outcome is not None:
            return [names.checkpoint(self.number, outcome.hops)]
        return [entry.name for entry in reversed(self._reader.store.list(names.checkpoints(self.number)))]

    def _folder(self) -> str:
        """Return the folder of the files that the model is built from, which may have changed."""
        changed = changed_files(self._specification, self.configuration)
        if not changed:
            return self._specification.folder
        submitted = self._submitted
        if submitted is not None:
            return submitted
        for written in changed:
            path = self._specification.path(written)
            if not path.is_file():
                raise UserError(
                    f"configuration {self.number} is built from {written}, and there is no file {path} any more. "
                    "Put it back as it was at the time of the run."
                )
            warn(f"{written} has changed since the run {self._name}; the model is built by what it is now.")
        return self._specification.folder

    @cached_property
    def _submitted(self) -> str | None:
        return submitted_folder(self._specification, self._reader.store)
