"""Searches of the user's own, from a class in a file of theirs: `method: file.py:Class`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from modelhopper_contract.decisions import Start, Verdict
from modelhopper_contract.errors import ModelhopperError, SpecError
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.searches import Custom
from modelhopper_scheduler.searches.checking import Checked
from modelhopper_scheduler.searches.search import Past, Search, Setting

T = TypeVar("T")

_METHOD = ("search", "method")
_NEEDED = ("rungs", "start", "judge")


def load_search(part: Custom, setting: Setting, folder: Path) -> Search:
    """Return the search that `part.method` names, `file.py:Class`, made as `Class(setting, **options)`.

    The file's path is relative to `folder`. It may import modules and packages that lie beside it, in its functions,
    too, and has no need of TensorFlow. What it answers is checked. Raises SpecError when the file or the class is not
    there, when the file fails to run, or when the class cannot be made with these options.
    """
    file, _, name = part.method.rpartition(":")
    path = Path(folder, file).resolve()
    if not path.is_file():
        near = did_you_mean(path.name, [other.name for other in path.parent.glob("*.py")])
        raise SpecError(f"`{part.method}`: there is no file {path}.{near}", _METHOD)
    beside = _Neighbours(path.parent)
    kind = _class(_module(path, beside), name, part.method)
    with beside.importable():
        made = _made(kind, setting, part, beside.folder)
    return Checked(_Beside(made, part.method, beside), f"`{part.method}`", setting.shards)


class _Beside:
    """A user's search, asked where it finds its neighbours; raises SpecError, with the line, when it fails."""

    def __init__(self, search: Search, method: str, beside: _Neighbours) -> None:
        self._search = search
        self._method = method
        self._beside = beside

    @property
    def rungs(self) -> Sequence[int]:
        return self._asked("rungs", lambda: self._search.rungs)

    def start(self, past: Past) -> Sequence[Start]:
        return self._asked("start", lambda: self._search.start(past))

    def judge(self, past: Past) -> Sequence[Verdict]:
        return self._asked("judge", lambda: self._search.judge(past))

    def _asked(self, what: str, question: Callable[[], Sequence[T]]) -> Sequence[T]:
        with self._beside.importable(), _in_words(f"`{self._method}` failed in `{what}`", self._beside.folder):
            answer = question()
            # A generator runs while it is read, so it is read here.
            return list(answer) if isinstance(answer, Iterator) else answer


class _Neighbours:
    """What lies beside a user's file, importable as beside a script, and only while that file's code runs.

    Two files in two folders can both import their own `curves`, and neither hides a module of anybody else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = {entry.name.removesuffix(".py") for entry in folder.iterdir() if _is_importable(entry)}
        self._own: dict[str, ModuleType] = {}

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Let imports find the neighbours; what they hid, and the path, are as before afterwards."""
        hidden = self._taken()
        sys.modules.update(self._own)
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))
            self._own = self._taken()
            sys.modules.update(hidden)

    def _taken(self) -> dict[str, ModuleType]:
        """Take what is imported under the neighbours' names, and below them, out of the imported modules."""
        return {key: sys.modules.pop(key) for key in list(sys.modules) if key.partition(".")[0] in self._names}


def _is_importable(entry: Path) -> bool:
    # A folder of data that is called as a library is must not hide the library.
    return entry.suffix == ".py" or (entry.is_dir() and any(entry.glob("*.py")))


def _module(path: Path, beside: _Neighbours) -> ModuleType:
    name = f"modelhopper_search_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SpecError(f"{path} cannot be imported: it is not a Python file.", _METHOD)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses, for one, look for it
    with beside.importable(), _in_words(f"{path} cannot be imported", beside.folder):
        spec.loader.exec_module(module)
    return module


def _class(module: ModuleType, name: str, method: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    own = [key for key, value in vars(module).items() if inspect.isclass(value) and value.__module__ == module.__name__]
    if found is None:
        there = f"it has {', '.join(own)}" if own else "it has no class"
        file = Path(str(module.__file__)).name
        raise SpecError(f"`{method}`: {file} has no `{name}`: {there}.{did_you_mean(name, own)}", _METHOD)
    if not callable(found):
        kind = type(found).__name__
        raise SpecError(
            f"`{method}` is an object of type {kind}: give a class, which is called with a Setting.", _METHOD
        )
    checked: Callable[..., Any] = found
    return checked


def _made(kind: Callable[..., Any], setting: Setting, part: Custom, folder: Path) -> Search:
    _check_options(kind, part)
    with _in_words(f"`{part.method}` cannot be made", folder):
        made = kind(setting, **part.options)
    missing = [name for name in _NEEDED if not hasattr(type(made), name) and name not in vars(made)]
    if missing:
        raise SpecError(
            f"`{part.method}` is no search: it lacks {' and '.join(f'`{name}`' for name in missing)}. A search has "
            "`rungs`, `start(past)` and `judge(past)`.",
            _METHOD,
        )
    found: Search = made
    return found


def _check_options(kind: Callable[..., Any], part: Custom) -> None:
    taken = list(inspect.signature(kind).parameters.values())
    if not any(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL) for one in taken):
        raise SpecError(f"`{part.method}` takes no Setting: its first argument has to be one.", _METHOD)
    first = taken[0]
    if first.name in part.options and first.kind is first.POSITIONAL_OR_KEYWORD:
        raise SpecError(
            f"`{first.name}` is the first parameter of `{part.method}`, and that one gets the Setting: write "
            f"`def __init__(self, setting, {first.name}, ...)`.",
            ("search",),
        )
    named = {one.name: one for one in taken[1:] if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    if not any(one.kind is one.VAR_KEYWORD for one in taken):
        for option in part.options:
            if option not in named:
                known = ", ".join(named) or "none"
                near = did_you_mean(option, named)
                raise SpecError(f"`{option}` is not an option of `{part.method}`: it takes {known}.{near}", ("search",))
    for name, one in named.items():
        if one.default is one.empty and name not in part.options:
            raise SpecError(f"`{part.method}` needs the option `{name}`: give it beside `method`.", ("search",))


@contextmanager
def _in_words(what: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except ModelhopperError:
        raise
    except Exception as error:
        no_trainer = isinstance(error, ModuleNotFoundError) and error.name in ("keras", "tensorflow")
        advice = " Searches also run where TensorFlow is not: keep models in another file." if no_trainer else ""
        raise SpecError(f"{what}: {type(error).__name__}: {error}{_place(error, folder)}.{advice}", _METHOD) from error


def _place(error: Exception, folder: Path) -> str:
    frames = [one for one in traceback.extract_tb(error.__traceback__) if Path(one.filename).is_relative_to(folder)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
