"""Numbers that differ between configurations trained side by side: one each, inside one compiled step."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import tensorflow as tf


@numbers.Real.register  # TensorFlow's dropout asks whether its rate is a real number
class LaneNumber:
    """A number of a layer or an optimizer that Keras takes for a Python float, and that differs by lane.

    Arithmetic with other Python numbers is done in double precision, as Python would, so that a lane computes what a
    configuration alone does; as a tensor it is rounded to what is asked for. A comparison is answered where all numbers
    between `low` and `high` answer alike; anything else, such as `float()`, raises TypeError: never a silent mistake.
    """

    def __init__(self, value: tf.Tensor, low: float = -math.inf, high: float = math.inf) -> None:
        """Wrap a float64 scalar that lies strictly between `low` and `high`."""
        self.value = value
        self._low = low
        self._high = high

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> tf.Tensor:
        """Return the number as TensorFlow takes it: by default as Keras' usual float32."""
        return tf.cast(self.value, tf.float32 if dtype is None else dtype, name=name)

    def __float__(self) -> float:
        raise TypeError("a number that differs by lane has no single value.")

    def __bool__(self) -> bool:
        return self != 0

    def __lt__(self, other: Any) -> bool:
        return self._is_below(other)

    def __le__(self, other: Any) -> bool:
        return self._is_below(other)

    def __gt__(self, other: Any) -> bool:
        return not self._is_below(other)

    def __ge__(self, other: Any) -> bool:
        return not self._is_below(other)

    def __eq__(self, other: object) -> bool:
        if other is None:
            return False
        self._is_below(other)
        return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __neg__(self) -> LaneNumber:
        return LaneNumber(-self.value)

    def __add__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a + b)

    def __radd__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: b + a)

    def __sub__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a * b)

    def __rmul__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: b * a)

    def __truediv__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a / b)

    def __rtruediv__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: b / a)

    def __pow__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a**b)

    def _with(self, other: Any, operation: Callable[[Any, Any], Any]) -> Any:
        if isinstance(other, LaneNumber):
            return LaneNumber(operation(self.value, other.value))
        if isinstance(other, int | float):
            return LaneNumber(operation(self.value, tf.constant(float(other), tf.float64)))
        if tf.is_tensor(other):
            return operation(self.__tf_tensor__(other.dtype), other)
        return NotImplemented  # a Keras variable, which has the arithmetic itself

    def _is_below(self, other: object) -> bool:
        if isinstance(other, int | float) and other >= self._high:
            return True
        if isinstance(other, int | float) and other <= self._low:
            return False
        raise TypeError(f"numbers that differ by lane cannot be compared with {other}.")
