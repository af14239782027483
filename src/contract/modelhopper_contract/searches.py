"""The ways to choose configurations, as the user says them: a method, a space, and the method's own numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Discriminator, Field, Tag

from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.part import Part
from modelhopper_contract.search_rules import check_keys
from modelhopper_contract.space_rules import Misplaced, check_choice, normal_space, placed
from modelhopper_contract.spaces import points

Count = Annotated[int, Field(gt=0)]
Eta = Annotated[int, Field(gt=1)]
Space = dict[str, Any]


class Method(Part):
    """A way to choose configurations."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _has_its_keys(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            method = str(given.get("method") or cls.model_fields["method"].default)
            check_keys(method, {key: field.is_required() for key, field in cls.model_fields.items()}, given, _owners)
        return given


class Grid(Method):
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
        return normal_space(space, ranges=False)


class Explicit(Method):
    """An explicit list of configurations."""

    method: Literal["list"] = "list"
    configurations: Annotated[list[dict[str, Any]], Field(min_length=1)]

    def __init__(self, configurations: list[dict[str, Any]] | None = None, **given: Any) -> None:
        """Take the list as the only argument."""
        super().__init__(**({} if configurations is None else {"configurations": configurations}), **given)

    @pydantic.field_validator("configurations")
    @classmethod
    def _can_vary(cls, configurations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for at, configuration in enumerate(configurations):
            with placed(at):
                check_choice(configuration)
        return configurations


class Sampled(Method):
    """A search that draws from a space, whose values are lists or ranges."""

    space: Space

    @pydantic.field_validator("space", mode="before")
    @classmethod
    def _is_a_space(cls, space: Any) -> Any:
        return normal_space(space, ranges=True)


class Drawn(Sampled):
    """A search whose configurations are so many draws from a space, each by itself."""

    configurations: Count

    @pydantic.model_validator(mode="after")
    def _has_enough_points(self) -> Drawn:
        count, most = self.configurations, points(self.space)
        if count > most:
            raise Misplaced(
                f"`configurations` is {count}, and the space has only {most:.0f}: ask for at most as many, or "
                "take all of them with `method: grid`",
                ("configurations",),
            )
        return self


class Random(Drawn):
    """Independent draws, all different; the experiment's seed decides them."""

    method: Literal["random"] = "random"


class Hyperband(Sampled):
    """Brackets of successive halving, all at the same time (Li et al., JMLR 2018). `iterations` is the paper's R."""

    method: Literal["hyperband"] = "hyperband"
    eta: Eta = 3
    skip_last: Annotated[int, Field(ge=0)] = 0  # rungs at the end of each bracket that are left out, as in MADlib
    # additive: what a rung says is trained on top of the rungs before, as in MADlib.
    budget: Literal["cumulative", "additive"] = "cumulative"
    rounding: Literal["up", "down"] = "up"  # of the brackets' sizes: up as in the paper, or down as in MADlib


class Halving(Drawn):
    """Successive halving: the best of every `eta` go on, to `eta` times as many iterations."""

    method: Literal["halving"] = "halving"
    eta: Eta = 3
    first: Count = 1  # iterations before the first decision


class Asha(Drawn):
    """Asynchronous successive halving (Li et al., MLSys 2020): nobody waits for a rung to fill."""

    method: Literal["asha"] = "asha"
    eta: Eta = 3
    first: Count = 1  # iterations before the first decision
    parallel: Count | None = None  # configurations that train at a time; None: twice as many as shards


class Median(Drawn):
    """Stops what is worse than the median of the others at the same iteration (Golovin et al., KDD 2017)."""

    method: Literal["median"] = "median"
    every: Count = 1  # iterations between decisions
    grace: Count = 1  # iterations that everyone trains
    parallel: Count | None = None


class Optuna(Sampled):
    """A sampler of Optuna, asked for a configuration whenever there is room, and told how each one ended."""

    method: Literal["tpe", "optuna"] = "tpe"
    configurations: Count
    sampler: str = "TPESampler"  # of optuna.samplers
    options: dict[str, Any] = Field(default={})  # of the sampler
    parallel: Count | None = None

    @pydantic.model_validator(mode="after")
    def _is_what_it_is_called(self) -> Optuna:
        if self.method == "tpe" and self.sampler != "TPESampler":
            raise Misplaced(f"`tpe` is the sampler TPESampler: use `method: optuna` for {self.sampler}", ("sampler",))
        return self


class Pbt(Sampled):
    """Population based training (Jaderberg et al., 2017): the worst go on from copies of the best, with changes."""

    method: Literal["pbt"] = "pbt"
    configurations: Annotated[int, Field(gt=1)]  # of the population
    every: Count = 1  # iterations between decisions
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25  # that is replaced, and that is copied
    resample: Annotated[float, Field(ge=0, le=1)] = 0.25  # how likely a value is drawn anew instead of being changed
    factors: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)] = Field(
        default=[0.8, 1.2]
    )  # by which numbers change


class Custom(Part):
    """A search of the user's own: `file.py:Class`. Keys other than `space` are its options."""

    model_config = pydantic.ConfigDict(frozen=True, extra="allow")

    method: str
    space: Space = Field(default={})

    @pydantic.field_validator("method")
    @classmethod
    def _is_a_reference(cls, method: str) -> str:
        if not _CUSTOM.search(method):
            raise ValueError(f"`{method}` is not a class of yours: give file.py:Class")
        return method

    @pydantic.field_validator("space", mode="before")
    @classmethod
    def _is_a_space(cls, space: Any) -> Any:
        return normal_space(space, ranges=True)

    @property
    def options(self) -> dict[str, Any]:
        """The search's own parameters."""
        return dict(self.model_extra or {})


SEARCH_METHODS = ("grid", "list", "random", "hyperband", "halving", "asha", "median", "tpe", "optuna", "pbt")
STATIC_METHODS = ("grid", "list", "random")
_OPTUNA = ("tpe", "optuna")
_CUSTOM = re.compile(r"\.py:[A-Za-z_]\w*$")
TAGS = (*SEARCH_METHODS, "several", "custom")


def _tag(search: Any) -> str:
    method = str(search.get("method") if isinstance(search, Mapping) else getattr(search, "method", ""))
    return "custom" if _CUSTOM.search(method) else "optuna" if method in _OPTUNA else method


class Several(Method):
    """Searches one after another: the configurations of each continue the numbering of those before."""

    method: Literal["several"] = "several"
    searches: Annotated[list[Annotated[Grid | Explicit | Random, Field(discriminator="method")]], Field(min_length=1)]

    @pydantic.field_validator("searches", mode="before")
    @classmethod
    def _are_static(cls, searches: Any) -> Any:
        for at, one in enumerate(searches if isinstance(searches, list | tuple) else ()):
            with placed(at):
                _check_static(one)
        return searches


Search = Annotated[
    Annotated[Grid, Tag("grid")]
    | Annotated[Explicit, Tag("list")]
    | Annotated[Random, Tag("random")]
    | Annotated[Hyperband, Tag("hyperband")]
    | Annotated[Halving, Tag("halving")]
    | Annotated[Asha, Tag("asha")]
    | Annotated[Median, Tag("median")]
    | Annotated[Optuna, Tag("optuna")]
    | Annotated[Pbt, Tag("pbt")]
    | Annotated[Several, Tag("several")]
    | Annotated[Custom, Tag("custom")],
    Discriminator(_tag),
]
Static = Grid | Explicit | Random | Several


def known_method(search: Any) -> Any:
    """Return a search as it was given, a list of them as one; raise Misplaced for a method that there is not."""
    if isinstance(search, list | tuple):
        if not search:
            raise Misplaced("the list of searches is empty: give at least one")
        return {"method": "several", "searches": list(search)}
    if isinstance(search, Mapping):
        method = search.get("method")
        if method not in (*SEARCH_METHODS, "several") and not _CUSTOM.search(str(method)):
            raise Misplaced(_unknown(method), ("method",) if method else ())
        return search
    if not isinstance(search, Method | Custom):
        raise Misplaced(f"a search is a mapping with a `method`, or a list of them, but {search!r} was given")
    return search


def _check_static(search: Any) -> None:
    if isinstance(search, list | tuple):
        raise Misplaced("a list of searches cannot hold another list: write one list")
    known_method(search)
    method = search["method"] if isinstance(search, Mapping) else search.method
    if method not in STATIC_METHODS:
        raise Misplaced(
            f"`{method}` decides while configurations train, and cannot be one of several: only "
            f"{', '.join(STATIC_METHODS)} can. Make it the only search of an experiment",
            ("method",),
        )


def _unknown(method: Any) -> str:
    given = f"`{method}` is not a search method" if method else "a search needs a `method`"
    allowed = f"{', '.join(SEARCH_METHODS)}, or a class of yours, file.py:Class"
    return f"{given}: use {allowed}.{did_you_mean(method, SEARCH_METHODS)}"


def _owners(key: str) -> list[str]:
    kinds = (Grid, Random, Hyperband, Halving, Asha, Median, Optuna, Pbt)
    return [str(kind.model_fields["method"].default) for kind in kinds if key in kind.model_fields]
