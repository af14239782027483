"""The card of a model that comes without one: from the model itself, and what the user says of classes and inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.manifest import ClassValue, Input, Manifest, Output
from modelhopper_contract.model_card import Gives, ModelCard
from modelhopper_contract.nearest import did_you_mean
from modelhopper_trainer.keras_internals import output_layers
from modelhopper_trainer.scoring.loading import assembled, read_model

__all__ = ["Said", "card_for", "read_model"]

Classes = Sequence[ClassValue] | Mapping[str, Sequence[ClassValue]]


@dataclass(frozen=True)
class Said:
    """What the user says of a model without a card."""

    classes: Classes | None = None
    labels: Mapping[str, Sequence[str]] | Sequence[str] | None = None
    normalize: float | None = None


def card_for(model: keras.Model, name: str, said: Said, manifest: Manifest | None = None) -> ModelCard:
    """Return a card for a model; raise UserError where what is said does not fit it.

    A last layer of softmax, or of a sigmoid, gives probabilities: its classes are those that are said, else those of
    the packed data that is scored (`manifest`), else 0, 1, 2 and so on. Any other gives numbers, or logits where
    classes are said. Inputs and scaling are those of the packed data, if it is packed.
    """
    card = _card(model, name, said, manifest)
    try:
        assembled(model, card)
    except SpecError as error:
        raise UserError(f"{name} does not fit: {error}") from error
    return card


def _card(model: keras.Model, name: str, said: Said, manifest: Manifest | None) -> ModelCard:
    inputs = manifest.inputs if manifest else _inputs(model, name)
    tensors = _tensors(model, name, "outputs")
    packed = manifest.outputs if manifest and len(manifest.outputs) == len(tensors) else ()
    names = [output.name for output in packed] or _output_names(model, tensors, said)
    classes = _classes_by_output(said.classes, names, name)
    if not classes:
        classes = {output.name: output.classes for output in packed if output.kind == "classes"}
    made = [
        _output(one, tensor, activation, classes.get(one), name)
        for one, tensor, activation in zip(names, tensors, _activations(model, len(tensors)), strict=True)
    ]
    scale = manifest.normalize if manifest and said.normalize is None else said.normalize
    outputs = packed if packed and said.classes is None else tuple(output for output, _ in made)
    return ModelCard(
        inputs=inputs,
        outputs=outputs,
        normalize=1.0 if scale is None else scale,
        gives={output.name: gives for output, gives in made},
    )


def _inputs(model: keras.Model, name: str) -> tuple[Input, ...]:
    found = tuple(_input(one) for one in _tensors(model, name, "inputs"))
    return found if len(found) > 1 else (found[0].model_copy(update={"name": "x"}),)


def _tensors(model: keras.Model, name: str, what: str) -> list[Any]:
    found = getattr(model, what, None)
    if not found or any(size is None for tensor in found for size in tensor.shape[1:]):
        raise UserError(
            f"{name} does not say the shape of its {what}: put a keras.Input in front, call it on some rows before you "
            "save it, or give it a card."
        )
    return list(found)


def _input(tensor: Any) -> Input:
    dtype = str(tensor.dtype)
    # What is computed in half precision, or text, is given as numbers of the usual width.
    stored = "int32" if dtype.startswith(("int", "uint")) and dtype != "uint8" else dtype
    return Input(
        name=tensor.name,
        shape=tuple(tensor.shape[1:]),
        dtype=stored if stored in ("int32", "uint8") else "float32",
    )


def _output_names(model: keras.Model, tensors: Sequence[Any], said: Said) -> list[str]:
    names = list(getattr(model, "output_names", ()))
    if len(tensors) == 1:
        # A label of one model needs no name but that of its column.
        if isinstance(said.labels, Mapping) and len(said.labels) == 1:
            return [next(iter(said.labels))]
        if said.labels and not isinstance(said.labels, Mapping) and len(said.labels) == 1:
            return [next(iter(said.labels))]
        return ["y"] if not isinstance(said.classes, Mapping) or len(said.classes) != 1 else list(said.classes)
    return names if len(names) == len(tensors) else [f"y{at}" for at in range(len(tensors))]


def _classes_by_output(classes: Classes | None, names: Sequence[str], model: str) -> dict[str, Sequence[ClassValue]]:
    if classes is None:
        return {}
    if not isinstance(classes, Mapping):
        if len(names) > 1:
            raise UserError(
                f"{model} has the outputs {', '.join(names)}: say whose the classes are, as in {names[0]}=a,b,c."
            )
        return {names[0]: classes}
    for one in classes:
        if one not in names:
            raise UserError(f"{model} has no output `{one}`: it has {', '.join(names)}.{did_you_mean(one, names)}")
    return dict(classes)


def _output(
    name: str, tensor: Any, activation: str, classes: Sequence[ClassValue] | None, model: str
) -> tuple[Output, Gives]:
    shape = tuple(int(size) for size in tensor.shape[1:])
    width = math.prod(shape)
    is_classed = len(shape) == 1 and (classes is not None or activation in ("softmax", "sigmoid"))
    if not is_classed:
        if classes is not None:
            raise UserError(f"{model} gives {shape} numbers for each row, which are no classes.")
        return Output(name=name, kind="number", shape=() if shape == (1,) else shape, dtype="float32"), "numbers"
    count = 2 if width == 1 else width
    values = tuple(range(count)) if classes is None else tuple(classes)
    if len(values) != count:
        units = "1 unit, which tells 2 classes" if width == 1 else f"{width} units"
        raise UserError(
            f"{model} has {units}, and {len(values)} classes were given: {', '.join(map(str, values[:20]))}. Give one "
            "for each, in the order of the units."
        )
    gives: Gives = "probabilities" if activation in ("softmax", "sigmoid") else "logits"
    output = Output(name=name, kind="classes", shape=(), dtype="int32", classes=values, num_classes=count)
    return output, gives


def _activations(model: keras.Model, count: int) -> list[str]:
    layers = [one for one in output_layers(model) if not isinstance(one, keras.Model)]
    found = [_activation(one) for one in layers]
    return found if len(found) == count else [""] * count


def _activation(layer: Any) -> str:
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    return str(getattr(getattr(layer, "activation", None), "__name__", ""))
