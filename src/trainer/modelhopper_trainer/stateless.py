"""Training as a function of values: Keras' optimizers inside a `keras.StatelessScope`, where no variable is changed.

Keras offers that with JAX only. With TensorFlow its optimizers write to `tf.Variable`s, and decide with `tf.cond`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from modelhopper_trainer.keras_internals import conditions, current_scope, values_in, without_distribution


@contextmanager
def stateless() -> Iterator[None]:
    """Make optimizers work inside a StatelessScope for the time being."""
    with conditions(choose), without_distribution():
        yield


def choose(condition: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> None:
    """Do what both functions do to variables, and keep what the condition says.

    A branch in the graph would be taken by some lanes and not by others, and what a lane computes there could depend on
    how many they are.
    """
    if isinstance(condition, bool):
        (yes if condition else no)()
        return
    now = values_in(current_scope())
    if_so, if_not = _tried(yes, now), _tried(no, now)
    for key in if_so.keys() | if_not.keys():
        one, other = if_so.get(key, now.get(key)), if_not.get(key, now.get(key))
        if one is not other:
            now[key] = tf.where(condition, one, other)


def _tried(function: Callable[[], Any], now: Mapping[int, Any]) -> dict[int, Any]:
    with keras.StatelessScope() as scope:
        values_in(scope).update(now)
        function()
        return dict(values_in(scope))
