"""What the user says: data, models, compile and fit parameters, search, length, seed, devices, store.

The same names and the same checks for the YAML file and for Python. Values that only Keras can judge (a loss, an
optimizer's parameters, a model function) are checked when every configuration is built, before any training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from modelhopper_contract.errors import SpecError
from modelhopper_contract.nearest import did_you_mean

Scalar = bool | int | float | str | None


class Part(pydantic.BaseModel):
    """A part of the specification: frozen, and unknown keys are mistakes."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Data(Part):
    """Packed data sets: folders made by `modelhopper pack`, or where `modelhopper copy` put them, s3://bucket/prefix."""

    train: str
    validation: str | None = None


class Model(Part):
    """How to build a model.

    `build` is `file.py:function`, called with `parameters` and returning a Keras model; a Keras JSON file (of Keras 3,
    or the older JSON of Keras 2); or a `.keras` file, whose weights are then the start.
    """

    build: str
    parameters: dict[str, Any] = {}

    @pydantic.model_validator(mode="before")
    @classmethod
    def _accept_short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"build": value}
        if isinstance(value, Mapping) and "build" in value and "parameters" not in value:
            return {"build": value["build"], "parameters": {k: v for k, v in value.items() if k != "build"}}
        return value

    @pydantic.field_validator("build")
    @classmethod
    def _has_a_known_form(cls, build: str) -> str:
        if not re.search(r"(\.py:[A-Za-z_]\w*|\.json|\.keras)$", build):
            raise ValueError(f"`{build}` is not a model: give `file.py:function`, a `.json` or a `.keras` file")
        return build

    @pydantic.model_validator(mode="after")
    def _only_functions_take_parameters(self) -> Model:
        if self.parameters and not self.is_function:
            raise ValueError(f"`{self.build}` takes no parameters ({', '.join(self.parameters)}): only a function does")
        return self

    @property
    def is_function(self) -> bool:
        """Say whether the model is built by a function of the user's."""
        return ".py:" in self.build


COMPILE_KEYS = ("optimizer", "loss", "metrics", "loss_weights", "jit_compile")
FIT_KEYS = ("batch_size", "epochs", "shuffle", "class_weight")
CHOICE_KEYS = ("model", *COMPILE_KEYS, *FIT_KEYS)

BatchSize = Annotated[int, Field(gt=0)]
Epochs = Annotated[int, Field(gt=0)]
ClassWeight = Literal["balanced"] | dict[Any, float] | None


class Compile(Part):
    """Keras compile parameters: built-in names, dictionaries with a `name` and parameters, or `file.py:function`."""

    optimizer: str | dict[str, Any] = "rmsprop"  # as in Keras
    loss: str | dict[str, Any] | None = None
    metrics: list[Any] | dict[str, Any] = []
    loss_weights: dict[str, float] | list[float] | None = None
    jit_compile: bool = False  # XLA: measured faster only where a step is long or a GPU runs it


class Fit(Part):
    """Keras fit parameters of one hop."""

    batch_size: BatchSize = 32  # as in Keras
    epochs: Epochs = 1  # passes over the shard per hop
    shuffle: bool = True  # the rows of the shard, anew for each pass
    class_weight: ClassWeight = None


class Grid(Part):
    """All combinations, the last key varying fastest.

    A dictionary in `model` or `optimizer` expands by its own product only, so one optimizer's parameters never meet
    another optimizer (as `optimizer_params_list` in MADlib's generate_model_configs).
    """

    method: Literal["grid"] = "grid"
    space: dict[str, list[Any]]

    def __init__(self, **given: Any) -> None:
        """Take the space as keywords, `Grid(batch_size=[4, 8])`, or as `Grid(space={...})`."""
        super().__init__(**(given if {"space", "method"} & given.keys() else {"space": given}))

    @pydantic.field_validator("space", mode="before")
    @classmethod
    def _is_a_space(cls, space: Any) -> Any:
        if not isinstance(space, Mapping):
            raise ValueError("a space is a mapping from what varies to the list of its values")
        for key, values in space.items():
            _known_choice(key)
            if isinstance(values, list | tuple) and not values:
                raise ValueError(f"`{key}` has no values: give at least one")
            _no_empty_dictionary(key, values)
        return {key: _as_list(key, values) for key, values in space.items()}


class Explicit(Part):
    """An explicit list of configurations."""

    method: Literal["list"] = "list"
    configurations: Annotated[list[dict[str, Any]], Field(min_length=1)]

    def __init__(self, configurations: list[dict[str, Any]] | None = None, **given: Any) -> None:
        """Take the list as the only argument."""
        super().__init__(**({} if configurations is None else {"configurations": configurations}), **given)

    @pydantic.field_validator("configurations")
    @classmethod
    def _has_known_keys(cls, configurations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for configuration in configurations:
            for key in configuration:
                _known_choice(key)
        return configurations


SEARCH_METHODS = ("grid", "list")


class Devices(Part):
    """What stations run on. The number of stations never changes a result; `threads` can change last bits."""

    kind: Literal["auto", "cpu", "gpu"] = "auto"
    stations: Annotated[int, Field(gt=0)] | None = None  # None: one per GPU, or one per CPU core
    threads: Annotated[int, Field(gt=0)] = 1  # of one station, for one operation
    deterministic: bool = True  # on a GPU: only operations whose result never varies


class Experiment(Part):
    """One run: data, configurations, number of iterations, seed."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    data: Data
    models: Annotated[dict[str, Model], Field(min_length=1)]
    compile: Compile = Compile()
    fit: Fit = Fit()
    search: Annotated[Grid | Explicit, Field(discriminator="method")]
    iterations: Annotated[int, Field(gt=0)] = 1
    evaluate_every: Annotated[int, Field(gt=0)] | None = None  # iterations; None: only the last
    objective: str | None = None  # "validation accuracy"; None: the first metric, on validation data where there is any
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    devices: Devices = Devices()
    store: str | None = None  # a folder or s3://bucket/prefix; None: runs
    keep_checkpoints: Literal["last", "iterations"] = "last"

    @pydantic.field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        # Also a label and an object name on Kubernetes (RFC 1123).
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
            raise ValueError(f"`{name}` is not a name: use lower-case letters, digits and `-` inside")
        return name

    @pydantic.field_validator("models", mode="before")
    @classmethod
    def _one_model_needs_no_name(cls, models: Any) -> Any:
        return models if isinstance(models, Mapping) else {"model": models}

    @pydantic.field_validator("search", mode="before")
    @classmethod
    def _has_a_known_method(cls, search: Any) -> Any:
        if isinstance(search, Mapping):
            method = search.get("method")
            if method not in SEARCH_METHODS:
                given = f"`{method}` is not a search method" if method else "a search needs a `method`"
                raise ValueError(f"{given}: use {' or '.join(SEARCH_METHODS)}.{did_you_mean(method, SEARCH_METHODS)}")
        return search

    @pydantic.model_validator(mode="after")
    def _evaluates_within_the_run(self) -> Experiment:
        if self.evaluate_every is not None and self.evaluate_every > self.iterations:
            raise ValueError(
                f"evaluate_every is {self.evaluate_every}, and there are only {self.iterations} iterations"
            )
        return self

    @property
    def evaluation_period(self) -> int:
        """Iterations between evaluations."""
        return self.evaluate_every or self.iterations


def _known_choice(key: str) -> None:
    if key not in CHOICE_KEYS:
        raise ValueError(
            f"`{key}` is not something that can vary: use {', '.join(CHOICE_KEYS)}.{did_you_mean(key, CHOICE_KEYS)} "
            "A model function's parameters go into a dictionary: `model: [{name: small, layers: [2, 3]}]`."
        )


def _as_list(key: str, values: Any) -> list[Any]:
    # One metric list or one loss-weight list is one value, not several.
    if key in ("metrics", "loss_weights"):
        nested = isinstance(values, list) and all(_is_whole(value) for value in values)
        return values if nested else [values]
    return list(values) if isinstance(values, list | tuple) else [values]


def _is_whole(value: Any) -> bool:
    # A dictionary with a `name` is one metric of a list; any other says a list for each output.
    return isinstance(value, list) or (isinstance(value, dict) and "name" not in value)


def _no_empty_dictionary(key: str, values: Any) -> None:
    for value in values if isinstance(values, list | tuple) else [values]:
        if value == {}:
            raise ValueError(f"`{key}` has an empty dictionary among its values: give it a `name`, or remove it")


def validated(kind: type[Part], value: object) -> Any:
    """Return `value` as a part of the specification; raise SpecError for the first mistake in it."""
    try:
        return kind.model_validate(value)
    except pydantic.ValidationError as error:
        raise mistake(kind, error) from error


def mistake(kind: type[Part], error: pydantic.ValidationError) -> SpecError:
    """Return the first of pydantic's errors in modelhopper's words."""
    first = error.errors()[0]
    path = tuple(part for part in first["loc"] if part not in SEARCH_METHODS)
    where = ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        allowed = _fields_at(kind, path[:-1])
        parent = ".".join(map(str, path[:-1])) or f"the {kind.__name__.lower()}"
        use = f": use {', '.join(allowed)}." if allowed else "."
        return SpecError(f"`{path[-1]}` is not a key of {parent}{use}{did_you_mean(path[-1], allowed)}", path)
    if first["type"] == "missing":
        return SpecError(f"`{where}` is missing.", path[:-1])
    if first["type"] == "value_error":
        return SpecError(f"{where + ': ' if where else ''}{first['ctx']['error']}", path)
    given = repr(first["input"])
    return SpecError(f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}, but {given[:200]} was given.", path)


def _fields_at(kind: type[Part], path: tuple[str | int, ...]) -> list[str]:
    inner: Any = kind
    for part in path:
        inner = getattr(inner, "model_fields", {}).get(part)
        inner = getattr(inner, "annotation", None)
    return list(getattr(inner, "model_fields", {}))
