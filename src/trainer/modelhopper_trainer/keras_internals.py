"""The few things that Keras does not offer publicly. No other module touches its private members."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

FUNCTIONAL_MODULE = "keras.src.models.functional"  # as Keras 3 itself writes in a model's JSON


def call_model(model: keras.Model, x: Any, *, training: bool) -> Any:
    """Return a model's predictions; `training` is told to models that ask, as Keras' train_step does."""
    return model(x, training=training) if model._call_has_training_arg else model(x)


def compute_loss(model: keras.Model, x: Any, y: Any, predictions: Any, sample_weight: Any, *, training: bool) -> Any:
    """Return a compiled model's loss, by its own `compute_loss` of whatever signature."""
    return model._compute_loss(x=x, y=y, y_pred=predictions, sample_weight=sample_weight, training=training)


def row_values(metric: keras.metrics.MeanMetricWrapper, y: Any, predictions: Any) -> Any:
    """Return what a metric takes the mean of."""
    return metric._fn(y, predictions, **metric._fn_kwargs)


def declared_outputs(model: keras.Model) -> Any | None:
    """Return the symbolic outputs of a functional or sequential model in their structure, None for a subclassed one."""
    functional = getattr(model, "_functional", model)  # a Sequential holds one once it is built
    return getattr(functional, "_outputs_struct", None)


def outside_seed_state() -> Any | None:
    """Return the variable of the generator that `keras.random` uses where a layer gives no seed, if any was made."""
    generator = global_state.get_global_attribute("global_seed_generator")
    return None if generator is None else generator.state


def use_outside_generator(generator: keras.random.SeedGenerator) -> None:
    """Make `keras.random` draw from this generator where a layer gives no seed."""
    global_state.set_global_attribute("global_seed_generator", generator)


def layer_sizes(model: keras.Model) -> Iterator[tuple[int, int, bool]]:
    """Yield, for each layer, its weights, the positions of its output (1 for a vector), and whether it is trained."""
    for layer in model._flatten_layers(include_self=False):
        numbers = sum(int(np.prod(tuple(variable.shape))) for variable in layer._trainable_variables)
        shape = tuple(layer.output.shape) if getattr(layer, "_inbound_nodes", None) else ()
        yield numbers, int(np.prod([size or 1 for size in shape[1:-1]], dtype=np.int64)), layer.trainable


def named_layers(layer: keras.layers.Layer, around: str = "") -> list[tuple[str, keras.layers.Layer]]:
    """Return all layers inside a model or layer, at any depth, as "outer/inner"; what is outside comes first."""
    found = []
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        name = f"{around}{inner.name}"
        found += [(name, inner), *named_layers(inner, f"{name}/")]
    return found
