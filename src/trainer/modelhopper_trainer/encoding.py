"""How stored rows become what a model takes: casting, scaling, one-hot codes. Runs inside the compiled step."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from modelhopper_contract.errors import SpecError
from modelhopper_contract.manifest import Input, Manifest, Output
from modelhopper_trainer.keras_internals import declared_outputs

WEIGHT_FIELD = "sample weight"  # a row's weight; no field of a data set can have this name (it has a space)

Fields = Mapping[str, tf.Tensor]


class Form(enum.Enum):
    """What the loss of one output compares predictions with."""

    ONE_HOT = "one-hot"  # float32, as wide as the classes
    INDEX = "index"  # int32 class index, for sparse losses
    BINARY = "binary"  # float32 0 or 1 in one column, for one sigmoid unit and two classes
    AS_STORED = "as stored"  # float32: an encoded label, or a number


@dataclass(frozen=True)
class Encoding:
    """What a model takes from a data set's fields."""

    inputs: tuple[Input, ...]
    input_dtypes: tuple[str, ...]
    outputs: tuple[Output, ...]
    forms: tuple[Form, ...]
    normalize: float

    def encode_inputs(self, fields: Fields) -> Any:
        """Return the model's input: a tensor, or for several inputs a dictionary by name. Rows first."""
        encoded = {
            field.name: self._scaled(fields[field.name], dtype)
            for field, dtype in zip(self.inputs, self.input_dtypes, strict=True)
        }
        return encoded if len(encoded) > 1 else next(iter(encoded.values()))

    def encode_outputs(self, fields: Fields) -> dict[str, tf.Tensor]:
        """Return what predictions are compared with, by output name. Rows first."""
        return {
            output.name: _encoded(fields[output.name], output, form)
            for output, form in zip(self.outputs, self.forms, strict=True)
        }

    def _scaled(self, stored: tf.Tensor, dtype: str) -> tf.Tensor:
        cast = tf.cast(stored, dtype)
        # What a model takes as whole numbers is an index, such as of a word, and no measure.
        scales = self.normalize != 1.0 and cast.dtype.is_floating
        return cast / tf.constant(self.normalize, dtype) if scales else cast


def encoding_for(model: keras.Model, manifest: Manifest, losses: Mapping[str, Any]) -> Encoding:
    """Fit a data set to a model; raise SpecError, with both shapes, where they do not fit.

    `losses` are the losses as the user wrote them, by output name: a sparse one takes class indices.
    """
    _check_inputs(model, manifest)
    dtypes = _input_dtypes(model, manifest)
    widths = _output_widths(model, manifest)
    forms = tuple(
        _form(output, width, losses[output.name]) for output, width in zip(manifest.outputs, widths, strict=True)
    )
    return Encoding(manifest.inputs, dtypes, manifest.outputs, forms, manifest.normalize)


def by_output(model: keras.Model, names: tuple[str, ...], predictions: Any) -> dict[str, tf.Tensor]:
    """Return a model's predictions by output name, whatever structure the model returns them in."""
    if isinstance(predictions, Mapping):
        return {name: predictions[name] for name in names}
    if isinstance(predictions, list | tuple):
        order = list(model.output_names) if set(names) == set(getattr(model, "output_names", ())) else list(names)
        found = dict(zip(order, predictions, strict=True))
        return {name: found[name] for name in names}
    return {names[0]: predictions}


def in_float32(outputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Return outputs of half precision as float32, in which metrics are computed and predictions given."""
    half = (tf.float16, tf.bfloat16)
    return {name: tf.cast(output, tf.float32) if output.dtype in half else output for name, output in outputs.items()}


def _encoded(stored: tf.Tensor, output: Output, form: Form) -> tf.Tensor:
    if form is Form.ONE_HOT:
        return tf.one_hot(tf.cast(stored, tf.int32), output.num_classes, dtype=tf.float32)
    if form is Form.INDEX:
        return tf.cast(stored, tf.int32)
    number = tf.cast(stored, tf.float32)
    # Keras compares (rows, 1) predictions with (rows, 1) targets; a bare vector would be broadcast by some losses.
    return number if number.shape.rank != 1 else number[:, None]


def _input_dtypes(model: keras.Model, manifest: Manifest) -> tuple[str, ...]:
    wanted = _model_inputs(model)
    # A single input fits whatever the two are called.
    single = next(iter(wanted.values())) if len(wanted) == len(manifest.inputs) == 1 else None
    found = [single if single is not None else wanted.get(field.name) for field in manifest.inputs]
    dtypes = ["float32" if tensor is None else str(tensor.dtype) for tensor in found]
    return tuple(dtype if dtype.startswith(("int", "uint", "float")) else "float32" for dtype in dtypes)


def _model_inputs(model: keras.Model) -> dict[str, Any]:
    tensors = getattr(model, "inputs", None) or []
    return {tensor.name: tensor for tensor in tensors}


def _check_inputs(model: keras.Model, manifest: Manifest) -> None:
    wanted = _model_inputs(model)
    if not wanted:
        return  # a subclassed model takes what it takes; it is called once below, before any training
    given = {field.name: field for field in manifest.inputs}
    if len(wanted) != len(given) or (len(given) > 1 and set(wanted) != set(given)):
        raise SpecError(
            f"the model has the inputs {', '.join(sorted(wanted))}, and the data has {', '.join(sorted(given))}: "
            "name the model's Input layers as the data's inputs."
        )
    for name, tensor in wanted.items():
        field = given[name] if len(given) > 1 else manifest.inputs[0]
        shape = tuple(tensor.shape[1:])
        if len(shape) != len(field.shape) or any(w not in (None, g) for w, g in zip(shape, field.shape, strict=True)):
            raise SpecError(
                f"the model takes inputs of shape {shape}, and the data's `{field.name}` has {field.shape}."
            )


def _output_widths(model: keras.Model, manifest: Manifest) -> list[int]:
    names = tuple(output.name for output in manifest.outputs)
    declared = declared_outputs(model)
    predictions = _zero_predictions(model, manifest) if declared is None else declared
    several = isinstance(predictions, Mapping | list | tuple)
    if len(predictions) != len(names) if several else len(names) != 1:
        count = len(predictions) if several else 1
        raise SpecError(f"the model has {count} outputs, and the data has {len(names)}: {', '.join(names)}.")
    if isinstance(predictions, Mapping) and set(predictions) != set(names):
        raise SpecError(f"the model's outputs are {', '.join(predictions)}, and the data's are {', '.join(names)}.")
    return [int(prediction.shape[-1]) for prediction in by_output(model, names, predictions).values()]


def _zero_predictions(model: keras.Model, manifest: Manifest) -> Any:
    fields = {
        field.name: tf.zeros((2, *field.shape), dtype)
        for field, dtype in zip(manifest.inputs, _input_dtypes(model, manifest), strict=True)
    }
    return model(fields if len(fields) > 1 else next(iter(fields.values())), training=False)


def _form(output: Output, width: int, loss: Any) -> Form:
    name = loss.get("name", "") if isinstance(loss, Mapping) else str(loss)
    if output.kind != "classes":
        stored = output.shape[-1] if output.shape else 1
        if stored != width:
            raise SpecError(f"the model's output `{output.name}` has {width} units, and the data's label has {stored}.")
        return Form.AS_STORED
    if width == 1 and output.num_classes == 2:
        return Form.BINARY
    if width != output.num_classes:
        classes = ", ".join(str(value) for value in output.classes[:10])
        raise SpecError(
            f"the model's output `{output.name}` has {width} units, and the data has {output.num_classes} classes "
            f"({classes}{', ...' if len(output.classes) > 10 else ''}): give the last layer {output.num_classes} units."
        )
    return Form.INDEX if name.lower().replace("_", "").startswith("sparse") else Form.ONE_HOT
