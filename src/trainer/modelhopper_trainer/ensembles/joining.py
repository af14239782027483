"""Several trained models joined into one Keras model: their average, their vote, or a small model on top of them.

What comes out is a functional model of Keras' own layers and operations, with the members as models inside of it, so a
file of it is opened by Keras alone. It is compiled and evaluated like a configuration's model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from modelhopper_contract.errors import UserError
from modelhopper_contract.manifest import Input, Manifest
from modelhopper_contract.records import Program
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.encoding import Encoding, by_output, encoding_for
from modelhopper_trainer.ensembles.agreement import Agreement, agree
from modelhopper_trainer.ensembles.blending import Blend
from modelhopper_trainer.keras_internals import OPEN_MODELS, declared_outputs, named_layers
from modelhopper_trainer.state import Variables

Combine = Literal["average", "logits", "vote", "stack"]

SMALLEST = 1e-7  # of a probability whose logarithm is taken, as in Keras' losses
TIE = 1e-4  # the part of a vote that the average of probabilities has, which decides between equal votes


@dataclass(frozen=True)
class Member:
    """One trained model of an ensemble."""

    name: str  # unique in the ensemble, after the characters that no layer's name may have are replaced
    assembly: Assembly
    weight: float = 1.0  # relative to the others
    fold: int | None = None  # the one that it was not trained on, in cross-validation


@dataclass(frozen=True)
class Joint:
    """The members side by side on the same inputs, before anything is combined.

    A seat is what counts as one: a member, or the models that one setting has become in cross-validation, of whose
    predictions it is the average.
    """

    seats: tuple[tuple[Member, ...], ...]
    agreement: Agreement
    inputs: dict[str, Any]  # symbolic, by name
    predictions: dict[str, list[Any]]  # symbolic, by output: probabilities or numbers of each seat

    def model(self, combine: Combine, blends: Mapping[str, Blend] | None = None) -> keras.Model:
        """Return the model that combines the members; `blends`, by output, are what stacking has found."""
        outputs = {name: self._combined(name, combine, blends) for name in self.predictions}
        return self._model({name: self._named(name, tensor) for name, tensor in outputs.items()})

    def scores(self) -> keras.Model:
        """Return the model that gives, by output, what stacking learns from: shape (rows, ..., seats, columns)."""
        found = {name: ops.stack(self._scores(name), axis=-2) for name in self.predictions}
        return keras.Model(self.inputs, found)

    def _model(self, outputs: Mapping[str, Any]) -> keras.Model:
        inputs = self.inputs if len(self.inputs) > 1 else next(iter(self.inputs.values()))
        return keras.Model(inputs, dict(outputs) if len(outputs) > 1 else next(iter(outputs.values())), name="ensemble")

    def _combined(self, name: str, combine: Combine, blends: Mapping[str, Blend] | None) -> Any:
        shares, reading = self._shares(), self.agreement.readings[name]
        if blends is not None:
            return self._blended(name, blends[name])
        if combine == "vote" and reading != "numbers":
            average = _weighted(self.predictions[name], shares)
            votes = _weighted([_vote(tensor, reading) for tensor in self.predictions[name]], shares)
            return votes * (1 - TIE) + average * TIE
        if combine == "logits" and reading != "numbers":
            return ACTIVATIONS[reading](_weighted(self._scores(name), shares))
        return _weighted(self.predictions[name], shares)

    def _blended(self, name: str, blend: Blend) -> Any:
        scores = self._scores(name)
        joined = keras.layers.Concatenate(dtype="float32", name=self._layer_name(f"scores_of_{name}"))(scores)
        link = {"classes": "softmax", "chances": "sigmoid", "numbers": "linear"}[self.agreement.readings[name]]
        layer = keras.layers.Dense(
            blend.bias.size, activation=link, dtype="float32", name=self._layer_name(f"stack_of_{name}")
        )
        found = layer(joined)
        layer.set_weights([blend.kernel(), blend.bias])
        return found

    def _scores(self, name: str) -> list[Any]:
        """Return what is averaged before softmax or sigmoid: logarithms of probabilities, log odds, or numbers."""
        reading, tensors = self.agreement.readings[name], self.predictions[name]
        if reading == "numbers":
            return tensors
        if reading == "classes":
            return [ops.log(ops.clip(tensor, SMALLEST, 1.0)) for tensor in tensors]
        clipped = [ops.clip(tensor, SMALLEST, 1.0 - SMALLEST) for tensor in tensors]
        return [ops.log(tensor) - ops.log(1.0 - tensor) for tensor in clipped]

    def _shares(self) -> list[float]:
        weights = [seat[0].weight for seat in self.seats]
        return [weight / sum(weights) for weight in weights]

    def _named(self, name: str, tensor: Any) -> Any:
        return keras.layers.Identity(dtype="float32", name=self._layer_name(name))(tensor)

    def _layer_name(self, wanted: str) -> str:
        taken = {layer_name(name) for name in self.inputs} | {
            layer_name(member.name) for seat in self.seats for member in seat
        }
        found = layer_name(wanted)
        return f"{found}_output" if found in taken else found


ACTIVATIONS = {"classes": ops.softmax, "chances": ops.sigmoid, "numbers": lambda tensor: tensor}


def join(seats: Sequence[Sequence[Member]], manifest: Manifest) -> Joint:
    """Put members side by side on the inputs of a data set. They are frozen: nothing trains them any more.

    Raises UserError for a model that cannot be inside of another, and where inputs do not agree.
    """
    members = [member for seat in seats for member in seat]
    for member in members:
        _check_open(member)
    agreement = agree([(member.name, member.assembly) for member in members], manifest)
    inputs = {
        field.name: _input(field, at, members, is_one_of_several=len(manifest.inputs) > 1)
        for at, field in enumerate(manifest.inputs)
    }
    predictions: dict[str, list[Any]] = {name: [] for name in agreement.readings}
    for seat in seats:
        found = [_called(member, inputs, agreement) for member in seat]
        for name, tensors in predictions.items():
            tensors.append(_weighted([one[name] for one in found], [1 / len(found)] * len(found)))
    return Joint(tuple(tuple(seat) for seat in seats), agreement, inputs, predictions)


def assembled(joint: Joint, model: keras.Model, manifest: Manifest) -> Assembly:
    """Return a combined model as what is evaluated, predicted with and saved like a configuration's."""
    agreement, lead = joint.agreement, joint.seats[0][0].assembly
    compiled = {
        "optimizer": "sgd",  # never used, but a compiled model has one
        "loss": agreement.losses,
        "metrics": agreement.metrics,
        "loss_weights": lead.loss_weights,
    }
    update = {"compile": compiled, "program": Program(), "name": "ensemble"}
    configuration = lead.configuration.model_copy(update=update)
    model.compile(optimizer="sgd")
    encoding = encoding_for(model, manifest, agreement.losses)
    return Assembly(
        configuration,
        model,
        Variables(model),
        encoding,
        agreement.losses,
        lead.loss_weights,
        agreement.metrics,
        lead.folder,
    )


def layer_name(wanted: str) -> str:
    """Return a name that a layer may have."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", wanted) or "layer"


def own_layers(model: keras.Model) -> list[str]:
    """Return the classes of layers that whoever opens the model's file needs, because Keras does not have them."""
    kinds = {type(layer) for _, layer in named_layers(model)}
    own = {kind.__name__ for kind in kinds if not kind.__module__.startswith("keras.") or kind is keras.layers.Lambda}
    return sorted(own)


def _check_open(member: Member) -> None:
    if type(member.assembly.model) not in OPEN_MODELS:
        kind = type(member.assembly.model).__name__
        raise UserError(
            f"{member.name} is a model of a class of its own (`{kind}`), which cannot be a part of another model's "
            "file: an ensemble joins functional and sequential models."
        )


def _input(field: Input, at: int, members: Sequence[Member], *, is_one_of_several: bool) -> Any:
    dtypes = {member.name: member.assembly.encoding.input_dtypes[at] for member in members}
    if len({np.dtype(dtype).kind for dtype in dtypes.values()}) > 1:
        said = ", ".join(f"{name} as {dtype}" for name, dtype in dtypes.items())
        raise UserError(
            f"the members take the input `{field.name}` differently ({said}): those that take whole numbers and those "
            "that take measures cannot be joined into one model. Name members that agree."
        )
    dtype = str(np.result_type(*dtypes.values()))
    # Of several inputs the names are the members' own, by which rows are given.
    name = field.name if is_one_of_several else layer_name(field.name)
    return keras.Input(field.shape, dtype=dtype, name=name)


def _called(member: Member, inputs: Mapping[str, Any], agreement: Agreement) -> dict[str, Any]:
    """Return what a member gives for the ensemble's inputs, by output, as the ensemble reads it."""
    model, names = member.assembly.model, member.assembly.outputs
    by_name = by_output(model, names, declared_outputs(model))
    # The same layers under a name that no other member has, and with outputs in the data's order.
    inside = keras.Model(list(model.inputs), list(by_name.values()), name=layer_name(member.name))
    inside.trainable = False  # nor do penalties of its weights count any more
    given = [_fed(tensor, inputs, member.assembly.encoding) for tensor in model.inputs]
    called = inside(given)
    found = called if isinstance(called, list | tuple) else [called]
    return {
        name: agreement.read(member.name, name, ops.cast(tensor, "float32"))
        for name, tensor in zip(by_name, found, strict=True)
    }


def _fed(tensor: Any, inputs: Mapping[str, Any], encoding: Encoding) -> Any:
    """Return the ensemble's input that a member's own input takes."""
    chosen = inputs[tensor.name] if len(encoding.inputs) > 1 else next(iter(inputs.values()))
    return chosen if chosen.dtype == tensor.dtype else ops.cast(chosen, tensor.dtype)


def _vote(tensor: Any, reading: str) -> Any:
    if reading == "chances":
        return ops.cast(tensor > 0.5, "float32")
    return ops.one_hot(ops.argmax(tensor, axis=-1), tensor.shape[-1], dtype="float32")


def _weighted(tensors: Sequence[Any], shares: Sequence[float]) -> Any:
    if len(tensors) == 1:
        return tensors[0]
    if len(set(shares)) == 1:
        return keras.layers.Average(dtype="float32")(list(tensors))
    return keras.layers.Add(dtype="float32")([share * tensor for share, tensor in zip(shares, tensors, strict=True)])
