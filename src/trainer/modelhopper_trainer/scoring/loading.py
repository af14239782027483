"""The models of a job, ready to score: built from a run's checkpoint, or read from files that were brought."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from modelhopper_contract import checkpoint, experiment
from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.errors import CorruptObject, ObjectNotFound, SpecError, UserError
from modelhopper_contract.manifest import Output
from modelhopper_contract.model_card import Gives, ModelCard
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration
from modelhopper_contract.scoring import ModelFile, Scored, ScoringNames, Trained
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.submission import read_submission
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.encoding import Form, by_output, encoding_for, in_float32
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.keras_internals import call_model
from modelhopper_trainer.models import build_model
from modelhopper_trainer.places import unpack
from modelhopper_trainer.prediction import restore
from modelhopper_trainer.state import Variables

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Loaded:
    """A model that scores rows."""

    card: ModelCard
    assembly: Assembly

    def predict(self, rows: Mapping[str, Array], batch_size: int) -> dict[str, Array]:
        """Return what the model gives by output, rows first: classes as probabilities, one column for each."""
        count = len(next(iter(rows.values())))
        parts: dict[str, list[Array]] = {output.name: [] for output in self.card.outputs}
        for start in range(0, count, batch_size):
            batch = {name: tf.constant(array[start : start + batch_size]) for name, array in rows.items()}
            for name, value in self._scores(batch).items():
                parts[name].append(value.numpy())
        return {name: np.concatenate(part) for name, part in parts.items()}

    @cached_property
    def evaluator(self) -> Evaluator:
        """What evaluates it."""
        return Evaluator(self.assembly)

    @cached_property
    def _scores(self) -> Callable[..., Any]:
        model, encoding, gives = self.assembly.model, self.assembly.encoding, self.card.gives

        def scores(fields: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            given = call_model(model, encoding.encode_inputs(fields), training=False)
            found = in_float32(by_output(model, self.assembly.outputs, given))
            forms = zip(encoding.outputs, encoding.forms, strict=True)
            return {one.name: _told(found[one.name], one, form, gives[one.name]) for one, form in forms}

        shapes = {one.name: tf.TensorSpec([None, *one.shape], one.dtype) for one in self.card.inputs}
        return tf.function(scores, autograph=False).get_concrete_function(shapes)  # type: ignore[no-any-return]


def load(scored: Scored, store: Store, names: ScoringNames) -> Loaded:
    """Build a job's model, with its weights; raise SpecError where its files do not make the model that was trained."""
    if isinstance(scored.model, Trained):
        return Loaded(scored.card, _trained(scored.card, scored.model, store))
    return Loaded(scored.card, assembled(_from_file(scored.model, store, names), scored.card))


def read_model(model: Path, weights: Path | None) -> keras.Model:
    """Read a `.keras` file, or Keras JSON with a file of weights; raise UserError where they cannot be read."""
    try:
        found = build_model(experiment.Model(build=str(model.resolve())), {}, Path("/"), seed=0)
    except SpecError as error:
        raise UserError(str(error)) from error
    if weights is not None:
        _load_weights(found, model, weights)
    return found


def assembled(model: keras.Model, card: ModelCard) -> Assembly:
    """Return a model that was brought, fitted to its card; raise SpecError where it does not fit."""
    losses = {one.name: card.losses.get(one.name, default_loss(one, card.gives[one.name])) for one in card.outputs}
    return Assembly(
        configuration=Configuration(number=0, name="", model="", parameters={}, compile={}, fit={}),
        model=model,
        variables=Variables(model),
        encoding=encoding_for(model, card.manifest(), losses),
        losses=losses,
        loss_weights={one.name: card.loss_weights.get(one.name, 1.0) for one in card.outputs},
        metrics={one.name: list(card.metrics.get(one.name, ())) for one in card.outputs},
        folder=Path(card.folder),
    )


def default_loss(output: Output, gives: Gives) -> Any:
    """Return the loss of a model whose card says none: crossentropy of classes, squared error of numbers."""
    if gives == "numbers":
        return "mean_squared_error"
    name = "binary_crossentropy" if output.kind == "classes" and output.num_classes == 2 else "categorical_crossentropy"
    return {"name": name, "from_logits": True} if gives == "logits" else name


def _told(given: tf.Tensor, output: Output, form: Form, gives: Gives) -> tf.Tensor:
    if gives == "numbers":
        return given
    if form is Form.BINARY:
        second = tf.nn.sigmoid(given) if gives == "logits" else given
        return tf.concat([1 - second, second], axis=-1)
    found = tf.nn.softmax(given) if gives == "logits" else given
    return tf.reshape(found, [-1, int(np.prod(output.shape))]) if output.kind == "encoded" else found


def _trained(card: ModelCard, model: Trained, store: Store) -> Assembly:
    place = store if model.store == store.url else open_store(model.store)
    names = Names(model.experiment)
    specification = Specification.from_json(place.get(names.specification()), names.specification())
    name = names.configuration(model.configuration)
    configuration = Configuration.from_json(place.get(name), name)
    if model.is_submitted:
        specification = specification.model_copy(update={"folder": _submitted(place, model.experiment)})
    name = names.checkpoint(model.configuration, model.hop)
    try:
        data = place.get(name)
    except ObjectNotFound as error:
        raise UserError(
            f"{place.url}/{name} is not there any more, with which this job began: the run went on, or was extended. "
            "Start again with another --out."
        ) from error
    if digest_bytes(data) != model.sha256:
        raise CorruptObject(f"{place.url}/{name} is not what it was when the job began. Start again.")
    return restore(specification, configuration, card.manifest(), checkpoint.from_bytes(data, name).state)


def _submitted(store: Store, name: str) -> str:
    folder = tempfile.TemporaryDirectory(prefix="modelhopper-")
    atexit.register(folder.cleanup)
    return str(unpack(store, name, read_submission(store, name).files, Path(folder.name)))


def _from_file(model: ModelFile, store: Store, names: ScoringNames) -> keras.Model:
    with tempfile.TemporaryDirectory(prefix="modelhopper-") as folder:
        path = Path(folder, f"model.{model.format}")
        path.write_bytes(_whole(store, names, model.sha256))
        weights = None
        if model.weights is not None:
            weights = Path(folder, "model.weights.h5")
            weights.write_bytes(_whole(store, names, model.weights))
        return read_model(path, weights)


def _whole(store: Store, names: ScoringNames, sha256: str) -> bytes:
    data = store.get(names.model(sha256))
    if digest_bytes(data) != sha256:
        raise CorruptObject(f"{store.url}/{names.model(sha256)} is damaged. Remove it, and start again.")
    return data


def _load_weights(model: keras.Model, file: Path, weights: Path) -> None:
    try:
        model.load_weights(weights)
    except (ValueError, OSError, KeyError, TypeError) as error:
        first = str(error).partition("\n")[0].rstrip(".")
        raise UserError(f"the weights {weights.name} do not fit the model {file.name}: {first}.") from error
