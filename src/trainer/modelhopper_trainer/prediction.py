"""Using what was trained: a live model with a checkpoint's state, its exact metrics on any data, its predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from modelhopper_contract.checkpoint import State
from modelhopper_contract.errors import SpecError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification
from modelhopper_trainer.assembly import NAMED_BY_FORM, Assembly, assemble_for
from modelhopper_trainer.compilation import make_loss, make_metric
from modelhopper_trainer.encoding import Form, by_output, in_float32
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.functions import load_function
from modelhopper_trainer.room import Room
from modelhopper_trainer.shards import DataSet

Array = npt.NDArray[Any]


def restore(specification: Specification, configuration: Configuration, manifest: Manifest, state: State) -> Assembly:
    """Build and compile a configuration, and give it a checkpoint's state, to the bit.

    Raises SpecError when the model that is built now has other variables than the checkpoint.
    """
    assembly = assemble_for(specification, configuration, manifest, with_weights=False)
    variables = assembly.variables.all
    for name in sorted(variables.keys() | state.keys()):
        mine = tuple(variables[name].shape) if name in variables else None
        theirs = state[name].shape if name in state else None
        if mine != theirs:
            build = specification.experiment.models[configuration.model].build
            raise SpecError(
                f"the model that `{build}` builds now is not the one that was trained: its `{name}` is "
                f"{_shape(mine)}, and {_shape(theirs)} in the checkpoint. Bring that file back as it was."
            )
    for name, variable in variables.items():
        variable.assign(state[name])
    return assembly


def compiled_model(assembly: Assembly) -> keras.Model:
    """Return the assembly's model, compiled as in the experiment: with its metrics, and the optimizer's state kept."""
    model, folder = assembly.model, assembly.folder
    losses = {name: _keras_loss(given, folder) for name, given in assembly.losses.items()}
    metrics = {
        name: [one if one in NAMED_BY_FORM else make_metric(one, folder) for one in given]
        for name, given in assembly.metrics.items()
    }
    single = assembly.outputs[0] if len(losses) == 1 else None
    model.compile(
        optimizer=model.optimizer,
        loss=losses[single] if single else losses,
        metrics=metrics[single] if single else metrics,
        loss_weights=None if single and assembly.loss_weights[single] == 1.0 else dict(assembly.loss_weights),
        jit_compile=assembly.jit_compile,
    )
    return model


def save(assembly: Assembly, path: Path) -> None:
    """Save the model as a `.keras` file that Keras loads by itself.

    It is compiled and has the optimizer's state, unless the compile parameters name files of the user's: such a model
    is saved for prediction, because Keras could not load it without them.
    """
    model = compiled_model(assembly)
    if ".py:" in repr(assembly.configuration.compile):
        model.compiled = False
    model.save(path)


def evaluate(assembly: Assembly, data: DataSet) -> dict[str, float]:
    """Return the exact metrics on a packed data set, as a run records them: loss and metrics by name."""
    evaluator = Evaluator(assembly)
    shards = [data.shard(number) for number in range(len(data.manifest.shards))]
    # Each is read once, so none needs to stay.
    feeds = [Feed({**shard.inputs, **shard.outputs}, shard.rows, Room(0), made_up=shard.made_up) for shard in shards]
    return evaluator.merge([evaluator.evaluate(feed.stored()) for feed in feeds])


def predictor(assembly: Assembly) -> Callable[[Mapping[str, Array], int], dict[str, Array]]:
    """Return a function from rows, by input name and as they are packed, and a batch size to outputs by name.

    Rows are cast and scaled as in training. Class outputs come as probabilities, one column per class, also where the
    model has one sigmoid unit for two classes, or gives logits; all others as the model gives them.
    """
    model, encoding = assembly.model, assembly.encoding

    def outputs(fields: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        x = encoding.encode_inputs(fields)
        takes_training = model._call_has_training_arg  # noqa: SLF001 -- as Keras' own steps ask
        predictions = model(x, training=False) if takes_training else model(x)
        found = in_float32(by_output(model, assembly.outputs, predictions))
        forms = zip(assembly.outputs, encoding.forms, strict=True)
        return {name: _probabilities(found[name], form, assembly.losses[name]) for name, form in forms}

    compiled = tf.function(outputs, autograph=False, reduce_retracing=True)

    def predict(rows: Mapping[str, Array], batch_size: int) -> dict[str, Array]:
        count = len(next(iter(rows.values())))
        parts: dict[str, list[Array]] = {}
        for start in range(0, max(count, 1), batch_size):
            batch = {name: tf.constant(array[start : start + batch_size]) for name, array in rows.items()}
            for name, value in compiled(batch).items():
                parts.setdefault(name, []).append(value.numpy())
        return {name: np.concatenate(part) for name, part in parts.items()}

    return predict


def _keras_loss(given: str | Mapping[str, Any], folder: Path) -> Any:
    if isinstance(given, str) and ".py:" in given:
        own = load_function(given, folder)
        return own() if isinstance(own, type) else own
    return make_loss(given, folder)


def _probabilities(prediction: tf.Tensor, form: Form, loss: Any) -> tf.Tensor:
    if form is Form.AS_STORED:
        return prediction
    logits = isinstance(loss, Mapping) and bool(loss.get("from_logits"))
    if form is not Form.BINARY:
        return tf.nn.softmax(prediction) if logits else prediction
    second = tf.nn.sigmoid(prediction) if logits else prediction
    return tf.concat([1 - second, second], axis=-1)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {shape}"
