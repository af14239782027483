"""What every trained model can do, be it one configuration's or an ensemble's: evaluate, predict, be saved."""

from __future__ import annotations

import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from modelhopper.predictions import Array, Predictions, rows_for
from modelhopper.reading import Reader
from modelhopper.sources import training_manifest
from modelhopper_contract.errors import DataError, UserError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.model_card import ModelCard, card_of, card_path, write_card
from modelhopper_contract.specification import Specification
from modelhopper_trainer.notices import without_notices

if TYPE_CHECKING:
    from modelhopper_trainer.assembly import Assembly
    from modelhopper_trainer.shards import DataSet

BATCH_ROWS = 1024  # of predictions; memory for activations grows with it


class Trained(ABC):
    """A model with the words of the data that it was trained on. Using it starts TensorFlow."""

    @property
    @abstractmethod
    def specification(self) -> Specification:
        """The specification of the run whose data it knows."""

    @property
    @abstractmethod
    def reader(self) -> Reader:
        """Where that run's records are."""

    @abstractmethod
    def assembled(self) -> Assembly:
        """Return a new model with all that evaluating and using it needs."""

    def model(self) -> Any:
        """Return a new, compiled keras.Model with the trained weights and the optimizer's state.

        It takes rows as the model's function expects them: what `normalize` divides by while training, divide by too.
        Warns when the file that the model comes from has changed since the run.
        """
        return trainer().compiled_model(self.assembled())

    def save(self, path: str | Path) -> None:
        """Save the model as a `.keras` file, which `keras.models.load_model` reads without modelhopper.

        It is compiled and has the optimizer's state, unless a loss, metric or optimizer is a function of yours. Beside
        it stands a card (`best.card.json`), from which `predict` and `evaluate` know the data's words.
        """
        target = Path(path)
        if target.suffix != ".keras":
            raise UserError(f"{target} does not end in .keras, which is how Keras tells the format.")
        if not target.parent.is_dir():
            raise UserError(f"{target} cannot be written: there is no folder {target.parent}.")
        scratch = target.with_name(f".{uuid.uuid4().hex[:8]}-{target.name}")
        try:
            trainer().save(self.assembled(), scratch)
            card_path(target).unlink(missing_ok=True)  # of a model that was there before
            scratch.replace(target)
            write_card(self._card(target.parent), target)
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
        found: dict[str, float] = trainer().evaluate(self._prepared, self._data(data))
        return found

    def predict(self, rows: Any, batch_size: int = BATCH_ROWS) -> Predictions:
        """Return predictions for rows, or for a packed data set's real rows, given by its path, in its stored order.

        Rows are as before packing: an array, rows first, or for several inputs a mapping or a table. They are cast and
        scaled as in training.
        """
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}: give at least 1.")
        predict: Callable[[Mapping[str, Array], int], dict[str, Array]] = self._predict
        parts = [predict(part, batch_size) for part in self._pieces(rows)]
        values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Predictions(self._manifest.outputs, values)

    @abstractmethod
    def _compiled(self) -> tuple[Mapping[str, Any], str]:
        """Return the compile parameters that it is evaluated by, and the folder that files in them are in."""

    def _card(self, beside: Path) -> ModelCard:
        compiled, folder = self._compiled()
        within = os.path.relpath(folder, beside) if ".py:" in repr(compiled) else "."
        return card_of(self._manifest, compiled, within)

    @cached_property
    def _prepared(self) -> Assembly:
        # Never handed out: a model that the user trains on must not change what this says.
        return self.assembled()

    @cached_property
    def _predict(self) -> Any:
        return trainer().predictor(self._prepared)

    @cached_property
    def _manifest(self) -> Manifest:
        return training_manifest(self.specification, self.reader.store)

    def _data(self, given: str | Path | None) -> DataSet:
        """Return a packed data set that the model fits, by default the run's validation data."""
        written = self.specification.experiment.data.validation
        if given is None and written is None:
            raise UserError("the run has no validation data: give a packed data set, as in evaluate('data/iris-test').")
        return self._opened(self.specification.address(str(written)) if given is None else os.fspath(given))

    def _opened(self, place: str) -> DataSet:
        from modelhopper_trainer.shards import open_data

        opened = open_data(place)
        for part in ("inputs", "outputs", "normalize"):
            if getattr(opened.manifest, part) != getattr(self._manifest, part):
                train = self.specification.experiment.data.train
                raise DataError(
                    f"{place} does not fit {train}, on which the model was trained: their {part} differ. Pack it again "
                    f"with `modelhopper pack ... --against {train}`."
                )
        return opened

    def _pieces(self, rows: Any) -> Iterator[Mapping[str, Array]]:
        if isinstance(rows, str | os.PathLike):
            opened = self._opened(os.fspath(rows))
            shards = (opened.shard(number) for number in range(len(opened.manifest.shards)))
            yield from ({name: array[: shard.real_rows] for name, array in shard.inputs.items()} for shard in shards)
        else:
            yield rows_for(rows, self._manifest.inputs)


def trainer() -> ModuleType:
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
