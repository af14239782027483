"""The parts of an experiment as users build them in Python: the contract's, with one clear message for a mistake.

The contract's own parts raise pydantic's errors, which its reader of files turns into messages with line numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydantic

from modelhopper.references import plain, reference
from modelhopper_contract import experiment as contract
from modelhopper_contract import searches
from modelhopper_contract.errors import SpecError
from modelhopper_contract.part import Part
from modelhopper_contract.spaces import CHOICE_KEYS


@contextmanager
def explained(kind: type[Part]) -> Iterator[None]:
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

    def __init__(
        self,
        build: str | Callable[..., Any],
        /,
        *,
        initial_weights: str | Path | None = None,
        frozen_layers: Sequence[str] = (),
        **parameters: Any,
    ) -> None:
        """Take a function, `file.py:function`, a `.json` or a `.keras` file; and the function's parameters.

        `initial_weights`: a `.keras` or `.weights.h5` file that gives layers of equal name their weights.
        `frozen_layers`: names, or patterns such as "conv*", of layers that are not trained.
        """
        named = build if isinstance(build, str) else reference(build, Path.cwd())
        start = {"initial_weights": initial_weights, "frozen_layers": frozen_layers}
        with explained(contract.Model):
            given = {key: plain(value, Path.cwd(), functions=False) for key, value in start.items()}
            super().__init__(build=named, parameters=plain(parameters, Path.cwd(), functions=False), **given)


class Compile(contract.Compile):
    """Keras compile parameters: names, dictionaries with a `name` and parameters, or functions of your own."""

    def __init__(self, **given: Any) -> None:
        """Take `optimizer`, `loss`, `metrics`, `loss_weights`, `jit_compile` and `precision`."""
        with explained(contract.Compile):
            super().__init__(**plain(given, Path.cwd()))


class Fit(contract.Fit):
    """Keras fit parameters of one hop."""

    def __init__(self, **given: Any) -> None:
        """Take `batch_size`, `epochs`, `shuffle` and `class_weight`."""
        with explained(contract.Fit):
            super().__init__(**plain(given, Path.cwd(), functions=False))


class Grid(searches.Grid):
    """All combinations, the last key varying fastest."""

    def __init__(self, **given: Any) -> None:
        """Take the space as keywords, `Grid(batch_size=[4, 8])`."""
        with explained(searches.Grid):
            super().__init__(**plain(given, Path.cwd()))


class Explicit(searches.Explicit):
    """An explicit list of configurations."""

    def __init__(self, configurations: list[dict[str, Any]]) -> None:
        """Take the list: `Explicit([{"model": "small", "batch_size": 4}, ...])`."""
        with explained(searches.Explicit):
            super().__init__(plain(configurations, Path.cwd()))


class Random(searches.Random):
    """Independent draws from a space, all different; the experiment's seed decides them."""

    def __init__(self, **given: Any) -> None:
        """Take `configurations`, their number, and the space: `Random(configurations=20, batch_size=[4, 8])`."""
        with explained(searches.Random):
            super().__init__(**_with_space(searches.Random, given))


class Hyperband(searches.Hyperband):
    """Brackets of successive halving, all at the same time; `iterations` of the experiment is the paper's R."""

    def __init__(self, **given: Any) -> None:
        """Take `eta`, `skip_last`, `budget`, `rounding` and the space: `Hyperband(eta=3, batch_size=[4, 8])`."""
        with explained(searches.Hyperband):
            super().__init__(**_with_space(searches.Hyperband, given))


class Halving(searches.Halving):
    """Successive halving: the best of every `eta` go on, to `eta` times as many iterations."""

    def __init__(self, **given: Any) -> None:
        """Take `configurations`, `eta`, `first` and the space."""
        with explained(searches.Halving):
            super().__init__(**_with_space(searches.Halving, given))


class Asha(searches.Asha):
    """Asynchronous successive halving: nobody waits for a rung to fill."""

    def __init__(self, **given: Any) -> None:
        """Take `configurations`, `eta`, `first`, `parallel` and the space."""
        with explained(searches.Asha):
            super().__init__(**_with_space(searches.Asha, given))


class Median(searches.Median):
    """Stops what is worse than the median of the others at the same iteration."""

    def __init__(self, **given: Any) -> None:
        """Take `configurations`, `every`, `grace`, `parallel` and the space."""
        with explained(searches.Median):
            super().__init__(**_with_space(searches.Median, given))


class Optuna(searches.Optuna):
    """A sampler of Optuna, by its name in optuna.samplers."""

    def __init__(self, **given: Any) -> None:
        """Take `configurations`, `sampler`, `options` of the sampler, `parallel` and the space."""
        with explained(searches.Optuna):
            super().__init__(**_with_space(searches.Optuna, {"method": "optuna", **given}))


class Tpe(searches.Optuna):
    """Optuna's TPE: draws where good configurations were."""

    def __init__(self, **given: Any) -> None:
        """Take `configurations`, `options` of optuna.samplers.TPESampler, `parallel` and the space."""
        with explained(searches.Optuna):
            super().__init__(**_with_space(searches.Optuna, {"method": "tpe", **given}))


class Pbt(searches.Pbt):
    """Population based training: the worst go on from copies of the best, with changed values."""

    def __init__(self, **given: Any) -> None:
        """Take `configurations`, `every`, `quantile`, `resample`, `factors` and the space."""
        with explained(searches.Pbt):
            super().__init__(**_with_space(searches.Pbt, given))


class Custom(searches.Custom):
    """A search of your own: a class at the top level of a .py file."""

    def __init__(self, search: str | type, /, space: Mapping[str, Any] | None = None, **options: Any) -> None:
        """Take the class, or `file.py:Class`; the space; and the search's own options."""
        method = search if isinstance(search, str) else reference(search, Path.cwd())
        with explained(searches.Custom):
            super().__init__(
                method=method,
                space=plain(space or {}, Path.cwd()),
                **plain(options, Path.cwd(), functions=False),
            )


def linear(low: float, high: float, *, integer: bool | None = None) -> dict[str, Any]:
    """Return a range in which all numbers are drawn equally often; `integer`: only whole ones.

    By default whole where the parameter is: `batch_size`, `epochs`, and a model's parameter between two ints.
    """
    return _range("linear", low, high, integer=integer)


def log(low: float, high: float, *, integer: bool | None = None) -> dict[str, Any]:
    """Return a range in which all orders of magnitude are drawn equally often, such as for a learning rate."""
    return _range("log", low, high, integer=integer)


def log_near_one(low: float, high: float) -> dict[str, Any]:
    """Return a range in which all orders of magnitude of the distance from 1 are, such as for a momentum."""
    return _range("log_near_one", low, high)


class Devices(contract.Devices):
    """What stations run on. The number of stations never changes a result."""

    def __init__(self, **given: Any) -> None:
        """Take `kind`, `stations`, `threads` and `deterministic`."""
        with explained(contract.Devices):
            super().__init__(**plain(given, Path.cwd(), functions=False))


def _range(scale: str, low: float, high: float, *, integer: bool | None = None) -> dict[str, Any]:
    return {scale: [low, high]} if integer is None else {scale: [low, high], "integer": integer}


def _with_space(kind: type[searches.Method], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of a search, those that can vary gathered in its space as `Grid` does."""
    own = {key: value for key, value in given.items() if key not in CHOICE_KEYS or key in kind.model_fields}
    varying = {key: value for key, value in given.items() if key not in own}
    if varying and "space" in own:
        raise SpecError(f"give the space as `space`, or as keywords ({', '.join(varying)}), and not as both.")
    return plain({**own, "space": varying} if varying else own, Path.cwd())  # type: ignore[no-any-return]
