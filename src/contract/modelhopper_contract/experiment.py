"""What the user says: data, models, compile and fit parameters, search, length, seed, devices, store.

The same names and the same checks for the YAML file and for Python. Values that only Keras can judge (a loss, an
optimizer's parameters, a model function) are checked when every configuration is built, before any training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import Field

from modelhopper_contract.early_stopping import EarlyStopping, refuse_rungs
from modelhopper_contract.errors import SpecError
from modelhopper_contract.methods import Method, is_hop, refuse_for_replicas
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.part import Part
from modelhopper_contract.partition import Folds
from modelhopper_contract.record import is_unused
from modelhopper_contract.records import Precision
from modelhopper_contract.searches import TAGS, Search, Static, known_method

Scalar = bool | int | float | str | None


class Data(Part):
    """Packed data sets: folders made by `modelhopper pack`, or where `modelhopper copy` put them, s3://bucket/prefix."""

    train: str
    validation: str | None = None


RESERVED = ("initial_weights", "frozen_layers")  # beside a function's parameters, in a model's short form

_WEIGHTS_FILES = "give a `.keras` or a `.weights.h5` file, as `save` and `save_weights` of a keras.Model write them"


class Model(Part):
    """How to build a model.

    `build` is `file.py:function`, called with `parameters` and returning a Keras model; a Keras JSON file (of Keras 3,
    or the older JSON of Keras 2); or a `.keras` file, whose weights are then the start. `initial_weights` is a file
    whose layers give those of their names their weights; `frozen_layers` are patterns for names of layers that keep
    theirs. A function's own parameters of these two names are given in `parameters`.
    """

    build: str
    parameters: dict[str, Any] = Field(default={})
    initial_weights: str | None = None
    frozen_layers: list[Annotated[str, Field(min_length=1)]] = Field(default=[])

    @pydantic.model_validator(mode="before")
    @classmethod
    def _accept_short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"build": value}
        if isinstance(value, Mapping) and "build" in value and "parameters" not in value:
            own = {key: value[key] for key in ("build", *RESERVED) if key in value}
            return {**own, "parameters": {key: inner for key, inner in value.items() if key not in own}}
        return value

    @pydantic.field_validator("build")
    @classmethod
    def _has_a_known_form(cls, build: str) -> str:
        if not re.search(r"(\.py:[A-Za-z_]\w*|\.json|\.keras)$", build):
            raise ValueError(f"`{build}` is not a model: give `file.py:function`, a `.json` or a `.keras` file")
        return build

    @pydantic.field_validator("initial_weights")
    @classmethod
    def _is_a_weights_file(cls, file: str | None) -> str | None:
        if file is None or file.endswith((".keras", ".weights.h5")):
            return file
        old = file.endswith((".h5", ".hdf5"))
        todo = "load it with `keras.models.load_model` and save it as a `.keras` file" if old else _WEIGHTS_FILES
        raise ValueError(f"`{file}` is not a file of weights{' of Keras 3' if old else ''}: {todo}")

    @pydantic.model_validator(mode="after")
    def _only_functions_take_parameters(self) -> Model:
        if self.parameters and not self.is_function:
            near = did_you_mean(next(iter(self.parameters)), RESERVED)
            raise ValueError(
                f"`{self.build}` takes no parameters ({', '.join(self.parameters)}): only a function does.{near}"
            )
        return self

    @property
    def is_function(self) -> bool:
        """Say whether the model is built by a function of the user's."""
        return ".py:" in self.build


BatchSize = Annotated[int, Field(gt=0)]
Epochs = Annotated[int, Field(gt=0)]
ClassWeight = Literal["balanced"] | dict[Any, float] | None


class Compile(Part):
    """Keras compile parameters: built-in names, dictionaries with a `name` and parameters, or `file.py:function`.

    `precision` is not one of Keras' own: Keras sets it for the whole process (`keras.config.set_dtype_policy`).
    """

    optimizer: str | dict[str, Any] = "rmsprop"  # as in Keras
    loss: str | dict[str, Any] | None = None
    metrics: list[Any] | dict[str, Any] = Field(default=[])
    loss_weights: dict[str, float] | list[float] | None = None
    jit_compile: bool | Literal["auto"] = False  # XLA; auto: if it is measured to be faster when the run begins
    precision: Precision | Literal["auto"] = "float32"  # Keras' dtype policy; auto: as `jit_compile`


class Fit(Part):
    """Keras fit parameters of one hop."""

    batch_size: BatchSize = 32  # as in Keras
    epochs: Epochs = 1  # passes over the shard per hop
    shuffle: bool = True  # the rows of the shard, anew for each pass
    class_weight: ClassWeight = None


class Devices(Part):
    """What stations run on. The number of stations never changes a result; `threads` can change last bits."""

    kind: Literal["auto", "cpu", "gpu"] = "auto"
    stations: Annotated[int, Field(gt=0)] | None = None  # None: `per_gpu` for each GPU, or one per CPU core
    per_gpu: Annotated[int, Field(gt=0)] = 1  # stations that share a GPU, where models are too small to fill it
    threads: Annotated[int, Field(gt=0)] = 1  # of one station, for one operation
    deterministic: bool = True  # on a GPU: only operations whose result never varies


# In a file, `off` and `no` are false. A number is an upper bound: there may be fewer configurations of a kind.
Fuse = Literal[False, "auto"] | Annotated[int, Field(ge=2, le=1024, strict=True)]


class WarmStart(Part):
    """An earlier experiment in the same store, whose results are what configurations begin with."""

    experiment: str
    configurations: dict[int, int] | None = None  # number here to number there; None: those that are in both


class Experiment(Part):
    """One run: data, configurations, number of iterations, seed."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    data: Data
    models: Annotated[dict[str, Model], Field(min_length=1)]
    compile: Compile = Compile()
    fit: Fit = Fit()
    search: Search
    iterations: Annotated[int, Field(gt=0)] = 1
    evaluate_every: Annotated[int, Field(gt=0)] | None = None  # iterations; None: see `evaluation_period`
    early_stopping: EarlyStopping | None = None  # a number alone is the patience
    objective: str | None = None  # "validation accuracy"; None: the first metric, on validation data where there is any
    folds: Folds | None = Field(default=None, exclude_if=is_unused)  # cross-validation; a number alone is how many
    # Whether each group of the data, or each shard, gets models of its own.
    groups: bool | Literal["shards"] = Field(default=False, exclude_if=is_unused)
    method: Method = Field(default=Method(), exclude_if=is_hop)  # how shards train a configuration: hop, average, easgd
    warm_start: WarmStart | None = None  # None: every configuration begins with its own initial weights
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    devices: Devices = Devices()
    fuse: Fuse = False  # how many configurations of a kind one compiled program trains; False: each alone
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
        return known_method(search)

    @pydantic.field_validator("fuse", mode="before")
    @classmethod
    def _fuses_some_or_none(cls, fuse: Any) -> Any:
        is_number = isinstance(fuse, int) and not isinstance(fuse, bool) and 2 <= fuse <= 1024
        if fuse is False or fuse == "auto" or is_number:
            return fuse
        raise ValueError(
            f"{fuse!r} cannot be: give `false`, `auto`, or how many configurations train together, from 2 to 1024"
        )

    @pydantic.field_validator("groups", mode="before")
    @classmethod
    def _has_groups_or_none(cls, given: Any) -> Any:
        if isinstance(given, bool) or given == "shards":
            return given
        raise ValueError(
            f"{given!r} cannot be: give `true` for the groups that the data was packed by (pack --group-by), or "
            "`shards` for a model of its own on each shard"
        )

    @pydantic.field_validator("warm_start", mode="before")
    @classmethod
    def _experiment_needs_no_key(cls, given: Any) -> Any:
        return {"experiment": given} if isinstance(given, str) else given

    @pydantic.model_validator(mode="after")
    def _begins_with_what_is_there(self) -> Experiment:
        if self.warm_start is None:
            return self
        if self.warm_start.experiment == self.name:
            raise ValueError(
                f"{self.name} cannot begin with its own results: give it another name, or let it have more iterations "
                "with --extend"
            )
        if not isinstance(self.search, Static):
            raise ValueError(
                f"`warm_start` goes by configuration numbers, and `{self.search.method}` gives them while it runs: use "
                "a search that knows all configurations before it begins (grid, list, random)"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _evaluates_within_the_run(self) -> Experiment:
        if self.evaluate_every is not None and self.evaluate_every > self.iterations:
            raise ValueError(
                f"evaluate_every is {self.evaluate_every}, and there are only {self.iterations} iterations"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _stops_early_by_one_rule(self) -> Experiment:
        if self.early_stopping is not None:
            refuse_rungs(self.search)
        return self

    @pydantic.model_validator(mode="after")
    def _merges_what_can_be_merged(self) -> Experiment:
        refuse_for_replicas(self.method, self.search, self.fuse)
        return self

    @pydantic.model_validator(mode="after")
    def _parts_the_data_in_one_way(self) -> Experiment:
        if self.folds is None and not self.groups:
            return self
        what = "folds" if self.groups is False else "groups"
        if self.folds is not None and self.groups:
            raise ValueError("`folds` and `groups` were given: data is parted in one way. Remove one of them")
        if self.folds is not None and self.data.validation is not None:
            raise ValueError(
                f"`folds` are evaluated on the training data's own shards: remove the validation data "
                f"({self.data.validation}), and evaluate the final model on it"
            )
        if not isinstance(self.search, Static):
            raise ValueError(
                f"`{what}` cannot be used with `{self.search.method}`, which decides by single configurations while "
                "they train: use a search that knows all of them before (grid, list, random)"
            )
        if self.warm_start is not None:
            raise ValueError(f"`{what}` and `warm_start` were given: results are by setting and part here. Remove one")
        if self.fuse is not False:
            raise ValueError(f"`{what}` and `fuse` were given: those of different {what} meet other shards. Remove one")
        return self

    @property
    def evaluation_period(self) -> int:
        """Iterations between evaluations; by default only the last is evaluated, and every one for early stopping."""
        return self.evaluate_every or (self.iterations if self.early_stopping is None else 1)


def validated(kind: type[Part], value: object) -> Any:
    """Return `value` as a part of the specification; raise SpecError for the first mistake in it."""
    try:
        return kind.model_validate(value)
    except pydantic.ValidationError as error:
        raise mistake(kind, error) from error


def mistake(kind: type[Part], error: pydantic.ValidationError) -> SpecError:
    """Return the first of pydantic's errors in modelhopper's words."""
    errors = error.errors()
    # A key that there is not is told before one that is missing: most likely the one is meant for the other.
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    path = _without_tags(first["loc"])
    where = ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        allowed = _fields_at(kind, path[:-1])
        parent = ".".join(map(str, path[:-1])) or f"the {kind.__name__.lower()}"
        use = f": use {', '.join(allowed)}." if allowed else "."
        return SpecError(f"`{path[-1]}` is not a key of {parent}{use}{did_you_mean(path[-1], allowed)}", path)
    if first["type"] == "missing":
        return SpecError(f"`{where}` is missing.", path[:-1])
    if first["type"] == "value_error":
        found = first["ctx"]["error"]
        return SpecError(f"{where + ': ' if where else ''}{found}", (*path, *getattr(found, "path", ())))
    given = repr(first["input"])
    return SpecError(f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}, but {given[:200]} was given.", path)


def _without_tags(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    # Pydantic names the kind of a search after `search`, and after its position in a list of them. In a file, that list
    # is `search` itself.
    if loc[:3] == ("search", "several", "searches"):
        loc = ("search", *loc[3:])
    pairs = zip(("", *loc), loc, strict=False)
    return tuple(part for before, part in pairs if part not in TAGS or not (before == "search" or type(before) is int))


def _fields_at(kind: type[Part], path: tuple[str | int, ...]) -> list[str]:
    inner: Any = kind
    for part in path:
        inner = getattr(inner, "model_fields", {}).get(part)
        inner = getattr(inner, "annotation", None)
        # Of a part that can be left out, the part.
        inner = next((one for one in get_args(inner) if hasattr(one, "model_fields")), inner)
    return list(getattr(inner, "model_fields", {}))
