"""Functions and classes from the user's own files, named `file.py:function`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from modelhopper_contract.errors import ModelhopperError, SpecError
from modelhopper_contract.nearest import did_you_mean

_PREFIX = "modelhopper_user_"  # of the names that users' files have as modules


def load_function(reference: str, folder: Path) -> Callable[..., Any]:
    """Return what `file.py:name` names; the file's path is relative to `folder`.

    The file may import modules and packages that lie beside it, inside its functions, too. Raises SpecError when the
    file or the name is not there, or when the file itself fails to run.
    """
    file, _, name = reference.partition(":")
    path = Path(folder, file).resolve()
    if not path.is_file():
        near = did_you_mean(path.name, [other.name for other in path.parent.glob("*.py")])
        raise SpecError(f"`{reference}`: there is no file {path}.{near}")
    module = _load_module(path)
    if not hasattr(module, name):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise SpecError(f"`{reference}`: {file} has no `{name}`.{did_you_mean(name, functions)}")
    function: Callable[..., Any] = getattr(module, name)
    return function


def file_being_loaded() -> str | None:
    """Return the user's file that `load_function` is importing right now, if the caller runs because of that.

    Read from the call stack, so it holds for the file's own imports, too, and needs no state.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(_PREFIX):
            return str(frame.f_globals.get("__file__"))
        frame = frame.f_back
    return None


def call(reference: str, function: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    """Call a user's function with parameters by name; raise SpecError, naming it, when they do not fit."""
    check_parameters(f"`{reference}`", function, parameters)
    return function(**parameters)


def check_parameters(
    what: str, function: Callable[..., Any], parameters: Mapping[str, Any], *, only_named: bool = False
) -> None:
    """Raise SpecError when a function or class does not take these parameters, with the nearest that it takes.

    `only_named`: a `**kwargs` takes nothing (Keras' optimizers have one, only to refuse what comes through it).
    """
    taken = inspect.signature(function).parameters
    named = {name: one for name, one in taken.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)}
    if only_named or len(named) == len(taken):
        for name in parameters:
            if name not in named:
                known = ", ".join(named) or "none"
                near = did_you_mean(name, named)
                raise SpecError(f"`{name}` is not a parameter of {what}: it takes {known}.{near}", (name,))
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in parameters:
            raise SpecError(f"{what} needs the parameter `{name}`, and it is not given.")


def _load_module(path: Path) -> ModuleType:
    # The name depends on the path only, so that a file is run once in a process however many functions it gives.
    name = f"{_PREFIX}{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SpecError(f"{path} cannot be imported: it is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    folder, others = path.parent, _user_folders() - {path.parent}
    _forget_other_neighbours(folder, others)
    sys.modules[name] = module
    # A model file may import its neighbours, as a script may.
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    except ModelhopperError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise SpecError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(folder))
    _keep_on_path(folder, others)
    return module


def _user_folders() -> set[Path]:
    """Return the folders of the files that were loaded before."""
    return {Path(str(module.__file__)).parent for key, module in sys.modules.items() if key.startswith(_PREFIX)}


def _forget_other_neighbours(folder: Path, others: set[Path]) -> None:
    """Let a file import its own `layers.py` though the file of another run has imported one of that name."""
    beside = {entry.name.removesuffix(".py") for entry in folder.iterdir()} if others else set()
    for key, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) if key.partition(".")[0] in beside else None
        above = set(Path(file).parents) if file else set()
        if above & others and folder not in above:
            del sys.modules[key]


def _keep_on_path(folder: Path, others: set[Path]) -> None:
    """Let imports inside functions, which run later, find neighbours: after what is installed, before other runs'."""
    if str(folder) not in sys.path:
        known = {str(other) for other in others}
        at = next((at for at, entry in enumerate(sys.path) if entry in known and at > 0), len(sys.path))
        sys.path.insert(at, str(folder))
