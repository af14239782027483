"""The blueprint of a configuration: what must be equal to train it side by side with others, and its own numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.errors import HopError
from modelhopper_contract.record import canonical_json
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.keras_internals import OPEN_MODELS, named_layers
from modelhopper_trainer.lanes import LaneNumber
from modelhopper_trainer.program import has_own_train_step


class Blueprint(NamedTuple):
    """What a configuration shares with others of its kind, and what it has for itself."""

    kind: str  # a digest of all that must be equal, but for fit parameters and program
    numbers: dict[str, float]  # what may differ, "optimizer.momentum" or "layers/2.rate"; the same names in a kind


def blueprint(assembly: Assembly) -> Blueprint:
    """Return what a configuration must share with others to be trained side by side with them.

    A model made of Keras' own layers is known by its structure. Any other may hide what it computes, and is known by
    the parameters of its function, as where one program trains one configuration after another. Raises HopError, saying
    why, where a model can only be trained alone.
    """
    if has_own_train_step(assembly.model):
        raise HopError("the model has its own train_step, which only Keras' own loop can run")
    numbers = numbers_of(assembly)
    with _set({name: (number, 0.5) for name, number in numbers.items()}):
        parts = {
            "model": (_structure(assembly.model) if _is_open(assembly.model) else None) or _origin(assembly),
            "optimizer": _optimizer(assembly),
            "variables": _variables(assembly),
            "losses": assembly.losses,
            "loss_weights": assembly.loss_weights,
            "encoding": repr(assembly.encoding),
        }
    return Blueprint(digest_bytes(canonical_json(parts)), {name: number.given for name, number in numbers.items()})


class Number(NamedTuple):
    """Where a number is that configurations of a kind may have each for itself."""

    owner: Any
    attribute: str
    given: float
    below: float


@contextmanager
def with_numbers(numbers: Mapping[str, Number], given: Mapping[str, tf.Tensor]) -> Iterator[None]:
    """Let a model and its optimizer compute with these numbers, float64 scalars, for the time being."""
    with _set({name: (numbers[name], LaneNumber(value, 0.0, numbers[name].below)) for name, value in given.items()}):
        yield


# What these compute with a number is arithmetic, as long as it lies between 0 and 1: a lane each can have its own.
# Only exactly these classes: another one, derived from them, may do anything with it.
_BETAS = ("beta_1", "beta_2")
_IN_OPTIMIZERS: dict[type, tuple[str, ...]] = {
    keras.optimizers.SGD: ("momentum",),
    keras.optimizers.RMSprop: ("rho", "momentum", "epsilon"),
    keras.optimizers.Adam: (*_BETAS, "epsilon"),
    keras.optimizers.AdamW: (*_BETAS, "epsilon"),
    keras.optimizers.Nadam: (*_BETAS, "epsilon"),
    keras.optimizers.Adamax: (*_BETAS, "epsilon"),
    keras.optimizers.Adagrad: ("epsilon",),
    keras.optimizers.Adadelta: ("rho", "epsilon"),
    keras.optimizers.Lion: _BETAS,
    keras.optimizers.Lamb: (*_BETAS, "epsilon"),
}
_IN_ALL_OPTIMIZERS = ("weight_decay", "ema_momentum")
_CLIPS = ("clipnorm", "global_clipnorm", "clipvalue")  # positive, and used as they are
_IN_LAYERS: dict[type, str] = {
    keras.layers.Dropout: "rate",
    keras.layers.SpatialDropout1D: "rate",
    keras.layers.SpatialDropout2D: "rate",
    keras.layers.SpatialDropout3D: "rate",
    keras.layers.AlphaDropout: "rate",
    keras.layers.GaussianNoise: "stddev",
}


def numbers_of(assembly: Assembly) -> dict[str, Number]:
    """Return the numbers that a configuration may have for itself among others of its kind, by name."""
    if any(variable.dtype != "float32" for variable in assembly.model.trainable_weights):
        return {}  # a number is rounded to float32 where Keras does not say what to
    optimizer = _innermost(assembly.model.optimizer)
    found = {}
    if type(optimizer) in _IN_OPTIMIZERS:
        for attribute in (*_IN_OPTIMIZERS[type(optimizer)], *_IN_ALL_OPTIMIZERS, *_CLIPS):
            below = math.inf if attribute in _CLIPS else 1.0
            found[f"optimizer.{attribute}"] = Number(optimizer, attribute, getattr(optimizer, attribute), below)
    if _is_open(assembly.model):
        for place, layer in enumerate(_layers(assembly.model)):
            if type(layer) in _IN_LAYERS:
                attribute = _IN_LAYERS[type(layer)]
                found[f"layers/{place}.{attribute}"] = Number(layer, attribute, getattr(layer, attribute), 1.0)
    return {name: number for name, number in found.items() if _is_between(number)}


def _is_between(number: Number) -> bool:
    # Zero, one and None are no numbers here: Keras asks for them, and then computes something else.
    unused = number.attribute == "ema_momentum" and not number.owner.use_ema
    return not unused and isinstance(number.given, int | float) and 0 < number.given < number.below


@contextmanager
def _set(values: Mapping[str, tuple[Number, Any]]) -> Iterator[None]:
    try:
        for number, value in values.values():
            setattr(number.owner, number.attribute, value)
        yield
    finally:
        for number, _ in values.values():
            setattr(number.owner, number.attribute, number.given)


def _innermost(optimizer: Any) -> Any:
    return getattr(optimizer, "inner_optimizer", optimizer)


def _layers(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for _, layer in named_layers(model)]


def _is_open(model: keras.Model) -> bool:
    """Say whether a model's configuration in Keras' sense tells all that it computes."""
    return type(model) in OPEN_MODELS and all(map(_is_known, [model, *_layers(model)]))


def _is_known(layer: keras.layers.Layer) -> bool:
    # What a layer was adapted to, or was given as an array or a function, is not in its configuration.
    own = _is_from_keras(type(layer)) and not isinstance(layer, keras.layers.Lambda) and not hasattr(layer, "adapt")
    return own and not any(_is_hidden(name, value) for name, value in vars(layer).items())


def _is_hidden(name: str, value: Any) -> bool:
    if isinstance(value, tf.Tensor | np.ndarray):
        return True
    if name.endswith("_initializer"):
        return False  # it has done its work
    return callable(value) and not _is_from_keras(value if hasattr(value, "__name__") else type(value))


def _is_from_keras(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).partition(".")[0] == "keras"


def _structure(model: keras.Model) -> Any:
    """Return what a model computes, by its configuration; None where an operation in its graph has none."""
    try:
        config = model.get_config()
    except NotImplementedError:
        return None
    places = {layer.name: f"#{place}" for place, layer in enumerate([model, *_layers(model)])}
    outputs = list(model.output_names) if len(model.outputs) > 1 else None
    return [type(model).__name__, _plain(config, places), outputs]


# A layer's name, and where it is written down to say what is connected with what.
_REFERENCES = ("name", "keras_history", "input_layers", "output_layers")


def _plain(value: Any, places: Mapping[str, str], refers: str | None = None) -> Any:
    """Return a Keras configuration as JSON takes it, with layers by place, and without what has done its work."""
    if isinstance(value, Mapping):
        return {
            str(key): _plain(inner, places, key if key in _REFERENCES else refers if refers != "name" else None)
            for key, inner in value.items()
            if not str(key).endswith("_initializer")
        }
    if isinstance(value, list | tuple):
        return [_plain(inner, places, refers) for inner in value]
    if isinstance(value, str):
        return places.get(value, value) if refers else value
    return value if value is None or isinstance(value, bool | int | float) else repr(value)


def _origin(assembly: Assembly) -> Any:
    configuration = assembly.configuration
    return [configuration.model, configuration.parameters]


def _optimizer(assembly: Assembly) -> Any:
    optimizer = _innermost(assembly.model.optimizer)
    if not _is_from_keras(type(optimizer)):
        return assembly.configuration.compile["optimizer"]
    config = assembly.model.optimizer.get_config()
    inner = config["inner_optimizer"]["config"] if "inner_optimizer" in config else config
    for one in (inner, config):
        one.pop("name", None)
    if not isinstance(inner["learning_rate"], Mapping):
        del inner["learning_rate"]  # a variable
    return [type(assembly.model.optimizer).__name__, type(optimizer).__name__, _plain(config, {})]


def _variables(assembly: Assembly) -> Any:
    trained = {id(variable) for variable in assembly.model.trainable_weights}
    return [
        [list(variable.shape), str(variable.dtype), id(variable) in trained]
        for variable in assembly.variables.all.values()
    ]
