"""Spaces: what can vary between configurations, and the values it can take.

A value is one of a list, or is drawn from a range: `{linear: [low, high]}`, `{log: [low, high]}`, or
`{log_near_one: [low, high]}` for numbers such as momentum, whose distance from 1 is what counts (MADlib's
generate_model_configs has the same three). `integer: true` beside it draws whole numbers. Each dictionary in a list of
optimizers or models has parameters of its own, which are lists or ranges again.

In an experiment that was read, a space is in its normal form (see `space_rules`): each key has a list or a range, and
`integer` stands beside every range of whole numbers.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, cast

COMPILE_KEYS = ("optimizer", "loss", "metrics", "loss_weights", "jit_compile", "precision")
FIT_KEYS = ("batch_size", "epochs", "shuffle", "class_weight")
CHOICE_KEYS = ("model", *COMPILE_KEYS, *FIT_KEYS)
CONDITIONAL_KEYS = ("model", "optimizer")  # their dictionaries have parameters, each of which can vary by itself

Scale = Literal["linear", "log", "log_near_one"]
SCALES = ("linear", "log", "log_near_one")

_DIGITS = 6  # of what is drawn: short for people, and the same number after JSON
_MOST_DIGITS = 16  # that a float can tell apart
_EXACT = decimal.Context(prec=40)


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included, and the scale on which draws are uniform.

    Values have six significant digits, or as many as the range's width needs for six of its own; on the scale
    log_near_one it is the distance from 1 that has them. Computed with decimal numbers, whose logarithms are the same
    on every platform.
    """

    scale: Scale
    low: float  # an int where it is written as one
    high: float
    is_integer: bool = False

    def at(self, fraction: float) -> float:
        """Return the value at a fraction, from 0 to 1, of the way from `low` to `high` on the scale.

        An int where the range is of whole numbers: there each number is the middle of an interval of width 1, so that
        the bounds have a full share.
        """
        with decimal.localcontext(_EXACT):
            low, width = _scaled(self)
            return self._value(self._number(low + Decimal(fraction) * width))

    def nearest(self, value: float) -> float:
        """Return the value of the range that is nearest to any number: within its bounds, whole, in few digits."""
        with decimal.localcontext(_EXACT):
            return self._value(_decimal(min(max(value, self.low), self.high)))

    def _number(self, position: Decimal) -> Decimal:
        if self.scale == "linear":
            return position
        return position.exp() if self.scale == "log" else 1 - (-position).exp()

    def _value(self, number: Decimal) -> float:
        low, high = _limits(self)
        if self.is_integer:
            return int(min(max(number.to_integral_value(), low), high))
        is_near_one = self.scale == "log_near_one"
        short = 1 - _short(1 - number, high - low) if is_near_one else _short(number, high - low)
        return float(min(max(short, low), high))


def range_of(values: Any) -> Range | None:
    """Return the range that a value of a space in its normal form is; None for anything else."""
    if not isinstance(values, Mapping) or not values.keys() <= {*SCALES, "integer"}:
        return None
    found = [(scale, values[scale]) for scale in SCALES if scale in values]
    if len(found) != 1 or not isinstance(found[0][1], list | tuple) or len(found[0][1]) != 2:
        return None
    scale, (low, high) = found[0]
    if not (isinstance(low, int | float) and isinstance(high, int | float)):
        return None
    return Range(cast(Scale, scale), low, high, values.get("integer", False))


def varied(values: Any) -> Range | Sequence[Any]:
    """Return what one key or parameter of a space can be: a range, or a list of values, if only of one."""
    found = range_of(values)
    return found if found is not None else values if isinstance(values, list | tuple) else [values]


def points(space: Mapping[str, Any]) -> float:
    """Return how many different points a space has at most; infinity where a range has fractions."""
    return math.prod(_points(values, is_conditional=key in CONDITIONAL_KEYS) for key, values in space.items())


def _points(values: Any, *, is_conditional: bool) -> float:
    options = varied(values)
    if isinstance(options, Range):
        return options.high - options.low + 1 if options.is_integer else math.inf
    return sum(
        _inner_points(option.values()) if is_conditional and isinstance(option, Mapping) else 1 for option in options
    )


def _inner_points(parameters: Iterable[Any]) -> float:
    return math.prod(_points(values, is_conditional=False) for values in parameters)


@lru_cache(maxsize=64)
def _scaled(values: Range) -> tuple[Decimal, Decimal]:
    """Return where a range begins on its scale, and how wide it is there."""
    half = Decimal("0.5") if values.is_integer else Decimal(0)
    low, high = _limits(values)
    begin = _position(values, low - half)
    return begin, _position(values, high + half) - begin


@lru_cache(maxsize=64)
def _limits(values: Range) -> tuple[Decimal, Decimal]:
    return _decimal(values.low), _decimal(values.high)


def _position(values: Range, number: Decimal) -> Decimal:
    if values.scale == "linear":
        return number
    return number.ln() if values.scale == "log" else -(1 - number).ln()


def _decimal(value: float) -> Decimal:
    # As it is written: 0.1 is a tenth, so that 1 - 0.9 is one too.
    return Decimal(value) if isinstance(value, int) else Decimal(repr(float(value)))


def _short(number: Decimal, span: Decimal) -> Decimal:
    if not number:
        return number
    digits = max(_DIGITS, _DIGITS + number.adjusted() - span.adjusted())
    return number.quantize(Decimal(1).scaleb(number.adjusted() + 1 - min(digits, _MOST_DIGITS)))
