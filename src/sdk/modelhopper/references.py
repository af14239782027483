"""Python values as the specification holds them: functions as `file.py:function`, numpy's numbers as plain ones."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelhopper_contract.errors import SpecError
from modelhopper_contract.part import Part

Path_ = tuple[str | int, ...]

_PUT_INTO_A_FILE = (
    "Stations find it by file and name: put it into a .py file, at the top level, and import it from there"
)


def reference(function: Callable[..., Any], folder: Path) -> str:
    """Return how a station finds a function or class of the user's: `models.py:mlp`, the file relative to `folder`.

    A file outside `folder` is named by its absolute path; what is Keras' own, by its name. Raises SpecError for what no
    other process can find: a lambda, a function inside another, one typed into a notebook or at the prompt.
    """
    inner: Any = inspect.unwrap(function)
    if not (inspect.isfunction(inner) or inspect.isclass(inner)):
        raise SpecError(
            f"a {type(inner).__name__} is neither a function nor a class. Give the function itself; parameters stand "
            "beside it, as in mh.Model(function, layers=3)."
        )
    if str(inner.__module__).partition(".")[0] == "keras":
        return str(inner.__name__)
    return f"{_written(_file(inner), folder)}:{inner.__name__}"


def plain(value: Any, folder: Path, path: Path_ = (), *, functions: bool = True) -> Any:
    """Return `value` with functions as references, numpy values and paths as plain ones.

    `functions`: whether functions are allowed. Raises SpecError, with the path of the value, for any other object.
    """
    if isinstance(value, Part):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return {key: plain(inner, folder, (*path, key), functions=functions) for key, inner in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(inner, folder, (*path, at), functions=functions) for at, inner in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # an array or number of numpy
        return value.tolist()
    return _named(value, folder, path, functions=functions)


def _named(value: Any, folder: Path, path: Path_, *, functions: bool) -> str:
    where = ".".join(map(str, path)) or "a value"
    if functions and (inspect.isfunction(value) or inspect.isclass(value)):
        try:
            return reference(value, folder)
        except SpecError as error:
            raise SpecError(f"{where}: {error}", path) from error
    kind = type(value).__name__
    advice = "give text, a number, a list or a dictionary"
    if type(value).__module__.partition(".")[0] == "keras":
        advice = (
            f'write it by its name and its parameters, as {{"name": "{kind}", ...}}, so that each station makes its own'
        )
    raise SpecError(f"{where} is an object of type {kind}: {advice}.", path)


def _file(function: Any) -> Path:
    name = function.__qualname__
    if name != function.__name__ or not name.isidentifier():
        what = "a lambda" if "<lambda>" in name else f"`{name.replace('.<locals>', '')}`, which is inside another"
        raise SpecError(f"{what} cannot be used. {_PUT_INTO_A_FILE}.")
    try:
        found = inspect.getsourcefile(function)
    except (OSError, TypeError):  # a class of the prompt or of a notebook
        found = None
    if found is None or not Path(found).is_file() or not found.endswith(".py"):
        raise SpecError(f"`{name}` was typed into a notebook or at the prompt. {_PUT_INTO_A_FILE}.")
    return Path(found).resolve()


def _written(file: Path, folder: Path) -> str:
    within = folder.resolve()
    return (file.relative_to(within) if file.is_relative_to(within) else file).as_posix()
