"""One configuration of a run, and the model that came out of it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from modelhopper.history import RunHistory
from modelhopper.leaderboard import Row
from modelhopper.predictions import Array, Predictions, rows_for
from modelhopper.reading import Reader
from modelhopper.sources import RunChanged, changed_files, submitted_folder, training_manifest, warn
from modelhopper_contract import checkpoint
from modelhopper_contract.checkpoint import Checkpoint
from modelhopper_contract.errors import DataError, ObjectNotFound, UserError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.records import Configuration, Failure
from modelhopper_contract.specification import Specification
from modelhopper_trainer.notices import without_notices

if TYPE_CHECKING:
    from modelhopper.experiment import Experiment
    from modelhopper_trainer.assembly import Assembly
    from modelhopper_trainer.shards import DataSet

__all__ = ["Candidate", "RunChanged"]

BATCH_ROWS = 1024  # of predictions; memory for activations grows with it


@dataclass(frozen=True, eq=False)
class Candidate:
    """One configuration: what is recorded of it, and its model.

    Reading records is quick; `model`, `save`, `evaluate` and `predict` start TensorFlow. They take its result, and the
    newest checkpoint of a configuration that is still going on; one that failed cannot be used.
    """

    row: Row
    history: RunHistory  # its own
    configuration: Configuration  # as it runs
    _specification: Specification
    _reader: Reader

    @property
    def number(self) -> int:
        """The configuration's number, from 1."""
        return self.row.number

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

    def model(self) -> Any:
        """Return a new, compiled keras.Model with the trained weights and the optimizer's state.

        It takes rows as the model's function expects them: what `normalize` divides by while training, divide by too.
        Warns when the file that the model comes from has changed since the run.
        """
        return _trainer().compiled_model(self._assembled())

    def save(self, path: str | Path) -> None:
        """Save the model as a `.keras` file, which `keras.models.load_model` reads without modelhopper.

        It is compiled and has the optimizer's state, unless a loss, metric or optimizer is a function of yours.
        """
        target = Path(path)
        if target.suffix != ".keras":
            raise UserError(f"{target} does not end in .keras, which is how Keras tells the format.")
        if not target.parent.is_dir():
            raise UserError(f"{target} cannot be written: there is no folder {target.parent}.")
        scratch = target.with_name(f".{uuid.uuid4().hex[:8]}-{target.name}")
        try:
            _trainer().save(self._assembled(), scratch)
            scratch.replace(target)
        except OSError as error:
            raise UserError(f"{target} cannot be written: {error.strerror or error}.") from error
        finally:
            scratch.unlink(missing_ok=True)

    def evaluate(self, data: str | Path | None = None) -> dict[str, float]:
        """Return the loss and metrics on a packed data set, by default the run's validation data.

        Exact sums over rows, as in the run: on the same kind of device, the same numbers to the bit.
        """
        if not isinstance(data, str | os.PathLike | None):
            raise UserError(
                f"evaluate takes the folder of a packed data set, and a {type(data).__name__} was given. Pack the rows "
                "with modelhopper.pack(..., against=...), or call predict, which takes rows."
            )
        written = self._specification.experiment.data.validation
        if data is None and written is None:
            raise UserError("the run has no validation data: give a packed data set, as in evaluate('data/iris-test').")
        opened = self._opened(self._specification.address(str(written)) if data is None else os.fspath(data))
        found: dict[str, float] = _trainer().evaluate(self._prepared, opened)
        return found

    def predict(self, rows: Any, batch_size: int = BATCH_ROWS) -> Predictions:
        """Return predictions for rows, or for a packed data set given by its path, in its stored order.

        Rows are as before packing: an array, rows first, or for several inputs a mapping or a table. They are cast and
        scaled as in training.
        """
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}: give at least 1.")
        predict: Callable[[Mapping[str, Array], int], dict[str, Array]] = self._predict
        parts = [predict(part, batch_size) for part in self._pieces(rows)]
        values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Predictions(self._manifest.outputs, values)

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

    @cached_property
    def _prepared(self) -> Assembly:
        # Never handed out: a model that the user trains on must not change what this says.
        return self._assembled()

    @cached_property
    def _predict(self) -> Any:
        return _trainer().predictor(self._prepared)

    @cached_property
    def _manifest(self) -> Manifest:
        return training_manifest(self._specification, self._reader.store)

    @property
    def _name(self) -> str:
        return self._specification.experiment.name

    def _assembled(self) -> Assembly:
        trainer, state = _trainer(), self._checkpoint().state
        specification = self._specification.model_copy(update={"folder": self._folder()})
        assembly: Assembly = trainer.restore(specification, self.configuration, self._manifest, state)
        return assembly

    def _checkpoint(self) -> Checkpoint:
        if self.failure is not None:
            raise UserError(
                f"configuration {self.number} failed, so it has no trained model: {self.failure.reason}. "
                f"`modelhopper logs {self._name} {self.number}` shows more."
            )
        for name in self._checkpoints():
            try:
                return checkpoint.from_bytes(self._reader.store.get(name), name)
            except ObjectNotFound:
                continue
        raise UserError(
            f"configuration {self.number} has no checkpoint in {self._reader.store.url}, so there is no model to "
            "use. Run the experiment again to go on with it."
        )

    def _checkpoints(self) -> list[str]:
        """Return the checkpoints to try, by name: the result, or all, because a run that goes on removes older ones."""
        names = self._reader.names
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

    def _opened(self, place: str) -> DataSet:
        from modelhopper_trainer.shards import open_data

        opened = open_data(place)
        for part in ("inputs", "outputs", "normalize"):
            if getattr(opened.manifest, part) != getattr(self._manifest, part):
                train = self._specification.experiment.data.train
                raise DataError(
                    f"{place} does not fit {train}, on which the model was trained: their {part} differ. Pack it again "
                    f"with `modelhopper pack ... --against {train}`."
                )
        return opened

    def _pieces(self, rows: Any) -> Iterator[Mapping[str, Array]]:
        if isinstance(rows, str | os.PathLike):
            opened = self._opened(os.fspath(rows))
            yield from (opened.shard(number).inputs for number in range(len(opened.manifest.shards)))
        else:
            yield rows_for(rows, self._manifest.inputs)


def _trainer() -> ModuleType:
    """Return what uses models; TensorFlow starts here."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with without_notices():
            from modelhopper_trainer import prediction
    except ModuleNotFoundError as error:
        if error.name not in ("tensorflow", "keras"):
            raise
        raise UserError(
            f"Using a model needs {error.name}, which is not installed: pip install 'modelhopper[cpu]', or [gpu]."
        ) from error
    return prediction
