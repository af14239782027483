"""Precision: the dtype policy of Keras that a model is built under, and what a configuration uses of it and of XLA.

Under a mixed policy layers compute in half precision, and their variables stay float32, so checkpoints are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from modelhopper_contract.records import Configuration, Precision, Program
from modelhopper_trainer.keras_internals import named_layers, output_layers

_DEFAULT: Precision = "float32"


def used_program(configuration: Configuration) -> Program:
    """Return how a configuration is compiled: as its compile parameters say, and where they say "auto", as measured.

    A value that the user wrote always holds. So a configuration made by hand, or of a run that began before there was a
    choice, is compiled as it asks, whatever its `program` is. "auto" that nothing was measured for is the default.
    """
    asked = {"jit_compile": False, "precision": _DEFAULT, **configuration.compile}
    written = {key: asked[key] for key in ("jit_compile", "precision") if asked[key] != "auto"}
    return configuration.program.model_copy(update=written)


@contextmanager
def policy(precision: Precision) -> Iterator[None]:
    """Build what is built inside under a policy, and give the process its own back: it may be a notebook's."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def take_policy(model: keras.Model) -> None:
    """Give a model that was read from a file the policy of the moment, because a file brings the policy of each layer.

    Layers whose policy in the file is not float32 keep it. So do those that make the model's outputs: Keras advises
    float32 for them, and a file that was saved in float32 cannot say which layers were meant to stay so.
    """
    current = keras.config.dtype_policy()
    if current.name == _DEFAULT:
        return
    last = {id(layer) for layer in output_layers(model)}
    for layer in [model, *(layer for _, layer in named_layers(model))]:
        if layer.dtype_policy.name == _DEFAULT and id(layer) not in last:
            layer.dtype_policy = current
