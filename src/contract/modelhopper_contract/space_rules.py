"""What a space may hold: checked, with one message for each mistake, and brought into its normal form.

In the normal form each key has a list of values or a range, and `integer` stands beside every range of whole numbers:
`batch_size` and `epochs` are always whole, a model's parameter where both bounds are written as whole numbers.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NoReturn

from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.spaces import CHOICE_KEYS, CONDITIONAL_KEYS, SCALES, range_of

Path = tuple[str | int, ...]
Wholeness = Literal["always", "as written", "on request"]

WHOLE_KEYS = ("batch_size", "epochs")  # always whole numbers, and positive

_RANGE_KEYS = (*SCALES, "integer")
_FORM = "A range is {linear: [low, high]}, {log: [low, high]} or {log_near_one: [low, high]}"


class Misplaced(ValueError):
    """A mistake inside a value; `path` leads to it from there."""

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.path = path


@contextmanager
def placed(*path: str | int) -> Iterator[None]:
    """Put `path` before the path of each mistake that is found inside."""
    try:
        yield
    except Misplaced as error:
        error.path = (*path, *error.path)
        raise


def normal_space(space: Any, *, ranges: bool) -> dict[str, Any]:
    """Return a space in its normal form; raise Misplaced for what cannot be one.

    `ranges`: whether the search draws, so that a range can be among the values.
    """
    if not isinstance(space, Mapping):
        raise Misplaced("a space is a mapping from what varies to the list of its values")
    for key in space:
        known_choice(key)
    return {key: _normal(key, values, ranges=ranges) for key, values in space.items()}


def check_choice(choice: Mapping[str, Any]) -> None:
    """Raise Misplaced for a key that cannot vary, and for a range, in an explicit configuration."""
    for key, value in choice.items():
        known_choice(key)
        for path, inner in [((key,), value), *_nested((key,), value)]:
            if range_of(inner) is not None:
                raise Misplaced(
                    f"`{path[-1]}` is a range, and a list of configurations holds their values: give one value, or "
                    "draw from ranges with `method: random`",
                    path,
                )


def known_choice(key: str) -> None:
    """Raise Misplaced for a key that cannot vary."""
    if key not in CHOICE_KEYS:
        raise Misplaced(
            f"`{key}` is not something that can vary: use {', '.join(CHOICE_KEYS)}.{did_you_mean(key, CHOICE_KEYS)} "
            "Parameters of an optimizer or a model's function go into its dictionary: "
            "`optimizer: [{name: Adam, learning_rate: [0.01, 0.001]}]`.",
            (key,),
        )


def _normal(key: str, values: Any, *, ranges: bool) -> Any:
    path: Path = (key,)
    if key in WHOLE_KEYS:
        return _as_list(_varied(path, values, "always", ranges=ranges))
    if range_of(values) is not None:
        raise Misplaced(f"`{key}` cannot be a range: only numbers can. Give the list of its values", path)
    if isinstance(values, list | tuple) and not values:
        raise Misplaced(_no_values(key), path)
    listed = _listed(key, values)
    if key not in CONDITIONAL_KEYS:
        return listed
    is_list = isinstance(values, list | tuple)
    return [_expanding(key, (*path, at) if is_list else path, one, ranges=ranges) for at, one in enumerate(listed)]


def _listed(key: str, values: Any) -> list[Any]:
    # One metric list or one loss-weight list is one value, not several.
    if key in ("metrics", "loss_weights"):
        nested = isinstance(values, list) and all(_is_whole(value) for value in values)
        return values if nested else [values]
    return list(values) if isinstance(values, list | tuple) else [values]


def _is_whole(value: Any) -> bool:
    # A dictionary with a `name` is one metric of a list; any other says a list for each output.
    return isinstance(value, list) or (isinstance(value, dict) and "name" not in value)


def _expanding(key: str, path: Path, value: Any, *, ranges: bool) -> Any:
    if not isinstance(value, Mapping):
        return value
    if not value:
        raise Misplaced(f"`{key}` has an empty dictionary among its values: give it a `name`, or remove it", path)
    if range_of(value) is not None:
        raise Misplaced(f"`{key}` cannot be a range: a range stands for one of its parameters", path)
    wholeness: Wholeness = "as written" if key == "model" else "on request"
    return {name: _varied((*path, name), given, wholeness, ranges=ranges) for name, given in value.items()}


def _varied(path: Path, values: Any, wholeness: Wholeness, *, ranges: bool) -> Any:
    """Return a list of values, a range in its normal form, or any other value as it is."""
    if _is_meant_as_range(values, strictly=wholeness == "as written"):
        found = _normal_range(path, values, wholeness)
        if not ranges:
            _refuse_in_grid(path, values)
        if path[-1] == "name":
            raise Misplaced("`name` cannot be a range: give a name, or a list of names", path)
        return found
    if not isinstance(values, list | tuple):
        _refuse_inside(path, values)
        return values
    if not values:
        raise Misplaced(_no_values(path[-1]), path)
    _refuse_madlib_form(path, values)
    for value in values:
        if range_of(value) is not None:
            raise Misplaced(
                f"`{path[-1]}` has a range inside a list: give the range alone, or a list of values alone", path
            )
        _refuse_inside(path, value)
    return list(values)


def _as_list(values: Any) -> Any:
    return values if isinstance(values, list) or range_of(values) is not None else [values]


def _is_meant_as_range(values: Any, *, strictly: bool) -> bool:
    if not isinstance(values, Mapping) or not values or "name" in values:
        return False
    if not strictly:
        return True
    # A model's parameter may be any dictionary, so only what looks very much like a range is one.
    near = {key: difflib.get_close_matches(str(key).lower(), _RANGE_KEYS, n=1, cutoff=0.8) for key in values}
    has_bounds = any(isinstance(bounds, list | tuple) and near[key] != ["integer"] for key, bounds in values.items())
    return all(near.values()) and has_bounds


def _normal_range(path: Path, given: Mapping[str, Any], wholeness: Wholeness) -> dict[str, Any]:
    name = path[-1]
    for key in given:
        if key not in _RANGE_KEYS:
            raise Misplaced(
                f"`{name}`: `{key}` is not a key of a range: use {', '.join(_RANGE_KEYS)}."
                f"{did_you_mean(key, _RANGE_KEYS)} {_FORM}",
                path,
            )
    scales = [scale for scale in SCALES if scale in given]
    if len(scales) != 1:
        raise Misplaced(
            f"`{name}`: a range has one scale, but {' and '.join(scales) or 'none'} was given. {_FORM}", path
        )
    low, high = _bounds(path, scales[0], given[scales[0]])
    integer = given.get("integer", {"always": True, "on request": False}.get(wholeness, _are_ints(low, high)))
    if not isinstance(integer, bool):
        raise Misplaced(f"`{name}`: `integer` is true or false, but {integer!r} was given", path)
    if wholeness == "always" and (not integer or low < 1):
        raise Misplaced(f"`{name}` is always a whole number: give bounds of 1 or more, without `integer: false`", path)
    if not integer:
        return {scales[0]: [low, high], **({"integer": False} if wholeness == "as written" else {})}
    return {scales[0]: _whole_bounds(path, low, high), "integer": True}


def _bounds(path: Path, scale: str, bounds: Any) -> tuple[float, float]:
    def refuse(why: str) -> NoReturn:
        raise Misplaced(f"`{path[-1]}`: {why}", path)

    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        refuse(f"the bounds of a range are two numbers, {{{scale}: [low, high]}}, but {bounds!r} was given")
    for bound in bounds:
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
            refuse(f"the bounds of a range are finite numbers, but {bound!r} was given")
    low, high = bounds
    if low >= high:
        why = "give that number alone" if low == high else f"write {_told(scale, high, low)}"
        refuse(f"the low bound of a range is below the high one, but [{low}, {high}] was given: {why}")
    if scale == "log" and low <= 0:
        refuse(f"a logarithmic range lies above 0, but it begins at {low}: raise the bound, or use linear")
    if scale == "log_near_one" and not 0 <= low < high < 1:
        refuse(f"log_near_one is for numbers from 0 to below 1, but [{low}, {high}] was given: use linear or log")
    return low, high


def _whole_bounds(path: Path, low: float, high: float) -> list[int]:
    if low != int(low) or high != int(high):
        raise Misplaced(f"`{path[-1]}`: a range of whole numbers has whole bounds, but [{low}, {high}] was given", path)
    return [int(low), int(high)]


def _are_ints(low: float, high: float) -> bool:
    return isinstance(low, int) and isinstance(high, int)


def _refuse_in_grid(path: Path, given: Mapping[str, Any]) -> NoReturn:
    scale, (low, high) = next((key, given[key]) for key in SCALES if key in given)
    raise Misplaced(
        f"`{path[-1]}` is a range, {_told(scale, low, high)}, and a grid takes every value of a list: give a list, "
        "or draw from the range with `method: random` and a number of `configurations`",
        path,
    )


def _refuse_madlib_form(path: Path, values: Any) -> None:
    if len(values) == 3 and isinstance(values[2], str) and values[2].lower() in SCALES and _are_numbers(values[:2]):
        low, high, scale = values
        raise Misplaced(
            f"`{path[-1]}` is a list of {low}, {high} and a text: as a range, write {_told(scale.lower(), low, high)}",
            path,
        )


def _are_numbers(values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _refuse_inside(path: Path, value: Any) -> None:
    for inner, found in _nested((), value):
        if range_of(found) is not None:
            where = ".".join(map(str, inner))
            raise Misplaced(
                f"`{where}` inside `{path[-1]}` is a range, and only a parameter itself can vary: give one value "
                f"for it, or several whole values for `{path[-1]}`",
                path,
            )


def _nested(path: Path, value: Any) -> list[tuple[Path, Any]]:
    if not isinstance(value, Mapping):
        return []
    return [found for key, inner in value.items() for found in [((*path, key), inner), *_nested((*path, key), inner)]]


def _no_values(key: str | int) -> str:
    return f"`{key}` has no values: give at least one"


def _told(scale: str, low: float, high: float) -> str:
    return f"{{{scale}: [{low}, {high}]}}"
