"""The parts of an experiment as users build them in Python: the contract's, with one clear message for a mistake.

The contract's own parts raise pydantic's errors, which its reader of files turns into messages with line numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydantic

from modelhopper.references import plain, reference
from modelhopper_contract import experiment as contract
from modelhopper_contract.errors import SpecError


@contextmanager
def explained(kind: type[contract.Part]) -> Iterator[None]:
    """Raise SpecError with the first mistake where pydantic finds some."""
    try:
        yield
    except pydantic.ValidationError as error:
        found = contract.mistake(kind, error)
        if kind is not contract.Experiment:
            words = str(found).replace(f"a key of the {kind.__name__.lower()}", f"a key of {kind.__name__}")
            found = SpecError(words, found.path)
        raise found from error


class Data(contract.Data):
    """Packed data sets: folders made by `modelhopper pack`."""

    def __init__(self, **given: Any) -> None:
        """Take `train` and `validation`, each a path."""
        with explained(contract.Data):
            super().__init__(**plain(given, Path.cwd(), functions=False))


class Model(contract.Model):
    """How to build a model: `Model(mlp, layers=3)`, or `Model("models.py:mlp", layers=3)`."""

    def __init__(self, build: str | Callable[..., Any], /, **parameters: Any) -> None:
        """Take a function, `file.py:function`, a `.json` or a `.keras` file; and the function's parameters."""
        named = build if isinstance(build, str) else reference(build, Path.cwd())
        with explained(contract.Model):
            super().__init__(build=named, parameters=plain(parameters, Path.cwd(), functions=False))


class Compile(contract.Compile):
    """Keras compile parameters: names, dictionaries with a `name` and parameters, or functions of your own."""

    def __init__(self, **given: Any) -> None:
        """Take `optimizer`, `loss`, `metrics`, `loss_weights` and `jit_compile`."""
        with explained(contract.Compile):
            super().__init__(**plain(given, Path.cwd()))


class Fit(contract.Fit):
    """Keras fit parameters of one hop."""

    def __init__(self, **given: Any) -> None:
        """Take `batch_size`, `epochs`, `shuffle` and `class_weight`."""
        with explained(contract.Fit):
            super().__init__(**plain(given, Path.cwd(), functions=False))


class Grid(contract.Grid):
    """All combinations, the last key varying fastest."""

    def __init__(self, **given: Any) -> None:
        """Take the space as keywords, `Grid(batch_size=[4, 8])`."""
        with explained(contract.Grid):
            super().__init__(**plain(given, Path.cwd()))


class Explicit(contract.Explicit):
    """An explicit list of configurations."""

    def __init__(self, configurations: list[dict[str, Any]]) -> None:
        """Take the list: `Explicit([{"model": "small", "batch_size": 4}, ...])`."""
        with explained(contract.Explicit):
            super().__init__(plain(configurations, Path.cwd()))


class Devices(contract.Devices):
    """What stations run on. The number of stations never changes a result."""

    def __init__(self, **given: Any) -> None:
        """Take `kind`, `stations`, `threads` and `deterministic`."""
        with explained(contract.Devices):
            super().__init__(**plain(given, Path.cwd(), functions=False))
