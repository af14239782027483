"""Lists of configurations from grids of parameters, as MADlib's generate_model_configs makes them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from modelhopper.references import plain
from modelhopper_contract.errors import SpecError
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.space_rules import Misplaced, normal_space
from modelhopper_contract.spaces import COMPILE_KEYS, FIT_KEYS, SCALES, points, range_of
from modelhopper_scheduler.searches.identity import choice_identity
from modelhopper_scheduler.searches.space import fresh, product

Choice = dict[str, Any]

_OPTIMIZERS = "optimizer_params_list"
_COMPILE = (_OPTIMIZERS, *COMPILE_KEYS)


def generate_model_configs(
    models: Sequence[Any] | str,
    compile_params_grid: Mapping[str, Any],
    fit_params_grid: Mapping[str, Any],
    search_type: str = "grid",
    num_configs: int | None = None,
    random_state: int | None = None,
) -> list[Choice]:
    """Return configurations as a list for `mh.Explicit`: all combinations, or random ones. None is there twice.

    `models`: names of the experiment's models, or dictionaries with a `name` and parameters. `compile_params_grid`:
    lists of values of `loss`, `metrics` and so on; `optimizer_params_list` is a list of dictionaries, each with an
    `optimizer` (RMSprop where it has none) and lists of that optimizer's parameters, which never meet another's.
    `fit_params_grid`: lists of values of `batch_size`, `epochs` and so on. `search_type`: "grid" or "random", or how
    either begins, in any case. For "random" only: `num_configs`, how many; `random_state`, the seed, 0 where it is
    None; and for a list of values `[low, high, "linear"]`, or "log", or "log_near_one". `batch_size` and `epochs` are
    drawn as whole numbers.

    Lists of several calls can be joined with +; what is there twice then is trained once. The parameters are those of
    MADlib's generate_model_configs, with `models` in place of its tables, and `lr` taken for `learning_rate`. Raises
    SpecError.
    """
    is_random = _is_random(search_type)
    _check_numbers(num_configs, random_state, is_random=is_random)
    values = _listed(models, compile_params_grid, fit_params_grid)
    given = _ranged(values, is_random=is_random)
    try:
        space = normal_space(given, ranges=is_random)
    except Misplaced as error:
        raise SpecError(str(error)) from error
    return _drawn(space, num_configs or 0, random_state or 0) if is_random else _all(space)


def _is_random(search_type: str) -> bool:
    given = str(search_type).lower()
    found = [name for name in ("grid", "random") if given and name.startswith(given)]
    if not found:
        near = did_you_mean(search_type, ("grid", "random"))
        raise SpecError(
            f"search_type is `grid` or `random`, or how either begins, but `{search_type}` was given.{near}"
        )
    return found == ["random"]


def _check_numbers(num_configs: Any, random_state: Any, *, is_random: bool) -> None:
    if not is_random:
        for name, value in (("num_configs", num_configs), ("random_state", random_state)):
            if value is not None:
                raise SpecError(
                    f"`{name}` is {value}, and a grid takes every combination: leave it out, or use "
                    'search_type="random".'
                )
        return
    if isinstance(num_configs, bool) or not isinstance(num_configs, int) or num_configs < 1:
        raise SpecError(f"a random search needs `num_configs`, a whole number above 0, but {num_configs!r} was given.")
    if random_state is not None and (isinstance(random_state, bool) or not isinstance(random_state, int)):
        raise SpecError(f"`random_state` is a whole number or None, but {random_state!r} was given.")


def _listed(models: Any, compile_params: Any, fit_params: Any) -> dict[str, Any]:
    """Return everything that varies, by today's keys."""
    _check_keys("compile_params_grid", compile_params, _COMPILE)
    _check_keys("fit_params_grid", fit_params, FIT_KEYS)
    named = {"model": list(models) if isinstance(models, list | tuple) else [models]}
    compiled = {key: value for key, value in compile_params.items() if key != _OPTIMIZERS}
    if _OPTIMIZERS in compile_params:
        if "optimizer" in compiled:
            raise SpecError(f"`optimizer` stands inside {_OPTIMIZERS}, and not beside it.")
        compiled = {"optimizer": [_optimizer(one) for one in _dictionaries(compile_params[_OPTIMIZERS])], **compiled}
    return plain({**named, **compiled, **fit_params}, Path.cwd())  # type: ignore[no-any-return]


def _check_keys(name: str, given: Any, allowed: Sequence[str]) -> None:
    if not isinstance(given, Mapping):
        raise SpecError(f"{name} is a dictionary of lists of values, but {given!r} was given.")
    for key in given:
        if key not in allowed:
            inside = f" An optimizer's parameters stand inside {_OPTIMIZERS}." if allowed is _COMPILE else ""
            use = ", ".join(allowed)
            raise SpecError(f"`{key}` is not a key of {name}: use {use}.{did_you_mean(key, allowed)}{inside}")


def _dictionaries(given: Any) -> list[Mapping[str, Any]]:
    listed = list(given) if isinstance(given, list | tuple) else [given]
    for one in listed:
        if not isinstance(one, Mapping) or not one:
            raise SpecError(
                f"{_OPTIMIZERS} is a list of dictionaries, each with an optimizer and its parameters, such as "
                f'[{{"optimizer": ["SGD"], "learning_rate": [0.1, 0.01]}}], but it holds {one!r}.'
            )
    return listed


def _optimizer(given: Mapping[str, Any]) -> Choice:
    today = {"optimizer": "name", "lr": "learning_rate"}
    renamed = {today.get(key, key): value for key, value in given.items()}
    if len(renamed) < len(given):
        raise SpecError(
            f"{dict(given)} gives one parameter by two names: `lr` is `learning_rate`, `optimizer` is `name`."
        )
    return {"name": renamed.pop("name", "RMSprop"), **renamed}


def _ranged(given: Mapping[str, Any], *, is_random: bool) -> dict[str, Any]:
    """Return the space with MADlib's ranges in today's form."""
    inner = {"model", "optimizer"}
    return {
        key: [_inner(one, is_random=is_random) for one in value]
        if key in inner and isinstance(value, list)
        else _range(key, value, is_random=is_random)
        for key, value in given.items()
    }


def _inner(one: Any, *, is_random: bool) -> Any:
    if not isinstance(one, Mapping):
        return one
    return {key: _range(key, value, is_random=is_random) for key, value in one.items()}


def _range(key: str, values: Any, *, is_random: bool) -> Any:
    scale = _scale(values)
    if scale is None:
        if not is_random and range_of(values) is not None:
            _refuse_range(key, values)
        return values
    if not is_random:
        _refuse_range(key, values)
    if scale not in SCALES:
        raise SpecError(
            f"`{key}`: {values[-1]!r} is not a scale of a range: use {', '.join(SCALES)}.{did_you_mean(scale, SCALES)}"
        )
    if len(values) != 3:
        raise SpecError(f"`{key}`: a range is [low, high, {scale!r}], but {values} was given.")
    return {scale: values[:2]}


def _scale(values: Any) -> str | None:
    """Return the last word of a list of numbers that ends with what is, or almost is, a scale."""
    if not isinstance(values, list) or len(values) < 2 or not isinstance(values[-1], str):
        return None
    has_numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values[:-1])
    near = difflib.get_close_matches(values[-1].lower(), SCALES, n=1, cutoff=0.8)
    return values[-1].lower() if has_numbers and near else None


def _refuse_range(key: str, values: Any) -> NoReturn:
    raise SpecError(
        f"`{key}` is a range, {values}, and a grid takes every value of a list: give a list of values, or use "
        'search_type="random" with num_configs.'
    )


def _all(space: Mapping[str, Any]) -> list[Choice]:
    unique: dict[bytes, Choice] = {}
    for choice in product(space):
        unique.setdefault(choice_identity(choice), choice)
    return list(unique.values())


def _drawn(space: Mapping[str, Any], count: int, seed: int) -> list[Choice]:
    found: dict[bytes, Choice] = {}
    most = points(space)
    for number in range(1, count + 1):
        new = (
            fresh(space, seed, number, lambda choice: choice_identity(choice) not in found) if number <= most else None
        )
        if new is None:
            raise SpecError(
                f"num_configs is {count}, and the space has only {number - 1} different ones: ask for at most as many, "
                'or take all of them with search_type="grid".'
            )
        found[choice_identity(new)] = new
    return list(found.values())
