"""Exact sums of floating-point numbers: the same for any order, grouping and number of shards.

Every finite double is an integer multiple of 2**-1074, so a sum of doubles is an integer in that unit, and Python's
integers hold it exactly (the idea of Kulisch's long accumulator). Written as text: the integer in hexadecimal.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

_UNIT_EXPONENT = -1074
_MANTISSA_BITS = 53


def exact_sum(values: npt.NDArray[Any]) -> str:
    """Return the exact sum of an array of floats; "nan" when any value is not finite."""
    flat = np.asarray(values, np.float64).ravel()
    if not np.isfinite(flat).all():
        return "nan"
    mantissas, exponents = np.frexp(flat)
    integers = np.ldexp(mantissas, _MANTISSA_BITS).astype(np.int64)
    total = 0
    for exponent in np.unique(exponents):
        # Python's sum does not overflow where int64 would.
        same = integers[exponents == exponent].tolist()
        total += _shift(sum(same), int(exponent) - _MANTISSA_BITS - _UNIT_EXPONENT)
    return format(total, "x")


def merge(sums: list[str]) -> str:
    """Return the exact sum of exact sums."""
    if "nan" in sums:
        return "nan"
    return format(sum(int(text, 16) for text in sums), "x")


def times(text: str, factor: int) -> str:
    """Return an exact sum multiplied by a whole number."""
    return text if text == "nan" else format(int(text, 16) * factor, "x")


def value(text: str, divisor: int = 1) -> float:
    """Return the nearest double to an exact sum divided by a whole number."""
    if text == "nan":
        return float("nan")
    fraction = Fraction(int(text, 16), divisor) * Fraction(2) ** _UNIT_EXPONENT
    try:
        return float(fraction)
    except OverflowError:
        return float("inf") if fraction > 0 else float("-inf")


def _shift(integer: int, bits: int) -> int:
    # Denormals have fewer mantissa bits than they are scaled to, so the bits shifted out are zeros.
    return integer << bits if bits >= 0 else integer >> -bits
