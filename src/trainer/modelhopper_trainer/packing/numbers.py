"""Which numbers are stored as what, and the check that none is lost on the way."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelhopper_trainer.packing.columns import Array, BadValue

UINT8 = np.dtype(np.uint8)
INT32 = np.dtype(np.int32)
FLOAT32 = np.dtype(np.float32)


def stored_dtype(dtype: np.dtype[Any] | None) -> np.dtype[Any] | None:
    """Return the dtype on disk of an array's numbers, or None when they cannot be stored.

    Images stay uint8. Every float becomes float32, also float16: one float type for every model that follows.
    """
    if dtype is None or dtype.kind not in "biuf":
        return None
    if dtype.kind == "b" or dtype == UINT8:
        return UINT8
    return FLOAT32 if dtype.kind == "f" else INT32


def stored(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return numbers as they are on disk, not copied where they are so already.

    Raises BadValue for the first that does not fit, NaN and infinity included.
    """
    if dtype == FLOAT32:
        return _floats(values)
    if values.dtype != np.bool_ and not np.can_cast(values.dtype, dtype):
        _refuse_misfit(values, dtype)
    return values.astype(dtype, copy=False)


def _floats(values: Array) -> Array:
    # Integers go through float64 because a CSV file's do: the same number gives the same bytes from every source.
    exact = values if values.dtype.kind == "f" else values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        floats = exact.astype(FLOAT32, copy=False)
    finite = np.isfinite(floats)
    if not finite.all():
        row, value = _first(~finite, values)
        raise BadValue(row, f"{_unusable(value)}. Fill such values or drop their rows before packing.")
    return floats


def _unusable(value: object) -> str:
    name = f"{value}"
    if name == "nan":
        return "NaN is not a number that a model can train on"
    return f"{name} is not finite" if name in {"inf", "-inf"} else f"{name} is too large for float32"


def _refuse_misfit(values: Array, dtype: np.dtype[Any]) -> None:
    limits = np.iinfo(dtype)
    misfit = (values < limits.min) | (values > limits.max)
    if misfit.any():
        row, value = _first(misfit, values)
        raise BadValue(
            row,
            f"{value} does not fit {dtype} ({limits.min} to {limits.max}), as integers are stored. "
            "Convert the column to float before packing.",
        )


def _first(bad: Array, values: Array) -> tuple[int, object]:
    """Return the row and the value of the first bad element."""
    index = int(np.argmax(bad.reshape(-1)))
    return index // (values.size // len(values)), values.reshape(-1)[index]
