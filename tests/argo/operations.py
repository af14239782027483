"""What the operators and functions of expressions do; their types are as strict as those of Go."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable
from typing import Any


def text_of(value: object) -> str:
    """The text that Argo puts in place of a tag: JSON, but a text without its quotes."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # Go writes the JSON number 2.0 as 2
    return json.dumps(value, separators=(",", ":"))


def truth(value: object) -> bool:
    """The value, which must be a boolean: nothing else counts as true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _integer(value: object) -> int:
    if isinstance(value, str) and not re.fullmatch(r"[-+]?\d+", value):
        raise ValueError(f"'{value}' is no whole number")
    return int(value)  # type: ignore[call-overload, no-any-return]


def _kind(value: object) -> object:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _of_one_kind(apply: Callable[[Any, Any], Any], *kinds: type) -> Callable[[Any, Any], Any]:
    def checked(left: Any, right: Any) -> Any:
        if _kind(left) is not _kind(right) or _kind(left) not in kinds:
            raise TypeError(f"{left!r} and {right!r} do not go together here")
        return apply(left, right)

    return checked


def _equal(left: object, right: object) -> bool:
    return _kind(left) is _kind(right) and left == right


def _remainder(left: float, right: float) -> float:
    # Go's remainder has the sign of the left side, Python's has that of the right side.
    return type(left)(math.fmod(left, right))


def _contained(left: object, right: object) -> bool:
    if not isinstance(right, list):
        raise TypeError(f"{right!r} is no list")
    return any(_equal(left, item) for item in right)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": _of_one_kind(operator.lt, float, str),
    "<=": _of_one_kind(operator.le, float, str),
    ">": _of_one_kind(operator.gt, float, str),
    ">=": _of_one_kind(operator.ge, float, str),
    "+": _of_one_kind(operator.add, float, str),
    "-": _of_one_kind(operator.sub, float),
    "*": _of_one_kind(operator.mul, float),
    "/": _of_one_kind(operator.truediv, float),
    "%": _of_one_kind(_remainder, float),
    "in": _contained,
    "list": lambda *items: list(items),
    "unary !": lambda value: not truth(value),
    "unary -": lambda value: -value,
    "asInt(": _integer,
    "int(": _integer,
    "asFloat(": float,
    "float(": float,
    "string(": text_of,
}
