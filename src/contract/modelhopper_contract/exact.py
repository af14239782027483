"""Exact sums of floating-point numbers: the same for any order, grouping and number of shards.

Every finite double is a whole number times a power of two, so a sum of doubles is one, too, and Python's integers
hold it exactly (the idea of Kulisch's long accumulator). Written as text, "3p-2" is 3 times 2 to the -2; the whole
number is hexadecimal and odd, so equal sums are equal texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

_MANTISSA_BITS = 53
_NOT_A_NUMBER = "nan"


def exact_sum(values: npt.NDArray[Any]) -> str:
    """Return the exact sum of an array of floats; "nan" when any value is not finite."""
    return column_sums(np.asarray(values).reshape(-1, 1))[0]


def column_sums(table: npt.NDArray[Any]) -> list[str]:
    """Return the exact sum of each column of a two-dimensional array of floats."""
    table = np.asarray(table, np.float64)
    # Counts are the common case: whole numbers whose sum a double holds exactly.
    if np.isfinite(table).all() and (table == np.rint(table)).all() and _magnitude(table) < 2.0**_MANTISSA_BITS:
        return [_text(int(total), 0) for total in table.sum(axis=0)]
    return [_column_sum(column) for column in table.T]


def merge(sums: Iterable[str]) -> str:
    """Return the exact sum of exact sums."""
    total, exponent = 0, 0
    for text in sums:
        if text == _NOT_A_NUMBER:
            return text
        total, exponent = _add(total, exponent, *_parsed(text))
    return _text(total, exponent)


def value(text: str, divisor: int = 1) -> float:
    """Return the nearest double to an exact sum divided by a whole number."""
    if text == _NOT_A_NUMBER:
        return float("nan")
    total, exponent = _parsed(text)
    fraction = Fraction(total, divisor) * Fraction(2) ** exponent
    try:
        return float(fraction)
    except OverflowError:
        return float("inf") if fraction > 0 else float("-inf")


def _magnitude(table: npt.NDArray[np.float64]) -> float:
    with np.errstate(over="ignore"):  # infinity is an answer: too much
        return float(np.abs(table).sum())


def _column_sum(column: npt.NDArray[Any]) -> str:
    if not np.isfinite(column).all():
        return _NOT_A_NUMBER
    mantissas, exponents = np.frexp(column)
    integers = np.ldexp(mantissas, _MANTISSA_BITS).astype(np.int64)
    total, exponent = 0, 0
    for each in np.unique(exponents).tolist():
        # Python's sum does not overflow where int64 would.
        total, exponent = _add(total, exponent, sum(integers[exponents == each].tolist()), each - _MANTISSA_BITS)
    return _text(total, exponent)


def _add(left: int, left_exponent: int, right: int, right_exponent: int) -> tuple[int, int]:
    lower = min(left_exponent, right_exponent)
    return (left << (left_exponent - lower)) + (right << (right_exponent - lower)), lower


def _text(total: int, exponent: int) -> str:
    if total == 0:
        return "0p0"
    zeros = (total & -total).bit_length() - 1
    return f"{total >> zeros:x}p{exponent + zeros}"


def _parsed(text: str) -> tuple[int, int]:
    total, exponent = text.split("p")
    return int(total, 16), int(exponent)
