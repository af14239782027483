"""The few things that Keras does not offer publicly. No other module touches its private members."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras.src import ops as keras_ops
from keras.src.backend.common import global_state
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.backend.tensorflow.optimizer import TFOptimizer
from keras.src.models.functional import Functional
from keras.src.optimizers.base_optimizer import BaseOptimizer

OPEN_MODELS = (Functional, keras.Sequential)  # whose configuration says how they compute; Model itself is never made
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


def output_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers that make a model's outputs, also those inside of a model that is the last layer."""
    if isinstance(model, keras.Sequential):
        last = model.layers[-1:]
    else:
        last = [tensor._keras_history.operation for tensor in getattr(model, "outputs", None) or []]
    return [inner for one in last for inner in [one, *(output_layers(one) if isinstance(one, keras.Model) else [])]]


def current_scope() -> keras.StatelessScope:
    """Return the StatelessScope that the code is in."""
    return get_stateless_scope()


def values_in(scope: keras.StatelessScope) -> dict[int, Any]:
    """Return the values of variables in a scope, by the variables' identity; to change it changes them."""
    values: dict[int, Any] = scope.state_mapping
    return values


@contextmanager
def conditions(choose: Callable[[Any, Callable[[], Any], Callable[[], Any]], Any]) -> Iterator[None]:
    """Let Keras' own code choose by this function instead of `tf.cond` for the time being."""
    own = keras_ops.cond
    keras_ops.cond = choose
    try:
        yield
    finally:
        keras_ops.cond = own


@contextmanager
def without_distribution() -> Iterator[None]:
    """Undo for the time being what Keras' TensorFlow backend adds to optimizers for `tf.Variable`s and `tf.distribute`.

    What is left are the methods that work on values of variables too, as with JAX.
    """
    own = {name: method for name, method in vars(TFOptimizer).items() if name in vars(BaseOptimizer)}
    own = {name: method for name, method in own.items() if not name.startswith("__")}
    try:
        for name in own:
            setattr(TFOptimizer, name, vars(BaseOptimizer)[name])
        TFOptimizer._var_key = staticmethod(_variable_key)
        yield
    finally:
        for name, method in own.items():
            setattr(TFOptimizer, name, method)


def _variable_key(variable: Any) -> Any:
    # The key by which an optimizer knows a variable since it was built, which was outside of any scope.
    return variable._value._unique_id


@contextmanager
def outside_generator(generator: keras.random.SeedGenerator, own: Sequence[Any]) -> Iterator[None]:
    """Let `keras.random` draw from this generator where a layer gives no seed, unless the model has that generator."""
    before = global_state.get_global_attribute("global_seed_generator")
    if before is None or all(variable is not before.state for variable in own):
        use_outside_generator(generator)
    try:
        yield
    finally:
        global_state.set_global_attribute("global_seed_generator", before)
