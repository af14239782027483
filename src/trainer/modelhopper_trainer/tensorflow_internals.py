"""The few things that TensorFlow does not offer publicly. No other module touches its private members."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor

_MOST_LANES = 64  # beyond which TensorFlow's own loop over lanes keeps the graph small

_OWN_LOOPS = "Conv2DBackpropFilter"  # converted by a loop over lanes that TensorFlow has written for it alone


@contextmanager
def unrolled(lanes: int, width: int) -> Iterator[None]:
    """Let `tf.vectorized_map` do for each lane, one after another, what it cannot do for all at once.

    By itself it would loop over them in the graph, which takes several times longer for small operations. Lanes from
    `lanes` to `width` are copies of the first, and are not computed again.
    """
    fallback, own = pfor._fallback_converter, pfor._pfor_converter_registry[_OWN_LOOPS]

    def convert(given: Any, *rest: Any, **options: Any) -> Any:
        length = tf.get_static_value(given.pfor.loop_len_vector)
        if lanes > _MOST_LANES or length is None or int(length[0]) != width:
            return fallback(given, *rest, **options)
        return _one_by_one(given, lanes, width)

    pfor._fallback_converter, pfor._pfor_converter_registry[_OWN_LOOPS] = convert, _stacked_only(convert, own)
    try:
        yield
    finally:
        pfor._fallback_converter, pfor._pfor_converter_registry[_OWN_LOOPS] = fallback, own


def _one_by_one(given: Any, lanes: int, width: int) -> list[Any]:
    inputs = [tf.unstack(one.t, width)[:lanes] if one.is_stacked else [one.t] * lanes for one in given.inputs]
    types, attributes = [output.dtype for output in given.outputs], given.op.node_def.attr
    made = [
        pfor._create_op(given.op_type, list(each), types, attrs=attributes).outputs
        for each in zip(*inputs, strict=True)
    ]
    filled = made + [made[0]] * (width - lanes)
    return [pfor.wrap(tf.stack(outputs)) for outputs in zip(*filled, strict=True)]


def _stacked_only(convert: Callable[[Any], Any], own: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda given: convert(given) if given.inputs[0].is_stacked else own(given)
