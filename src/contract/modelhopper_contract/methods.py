"""How a configuration is trained on its shards: by hopping from one to the next, or on all at once with a merge.

`hop` is what everything else here is made for: one state visits the shards one after another. `average` and `easgd` are
for one big model over all stations: in an iteration every shard trains a replica of one common state, and the replicas
are merged. Pure.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.part import Part
from modelhopper_contract.searches import Static
from modelhopper_contract.space_rules import Misplaced

NAMES = ("hop", "average", "easgd")
_ELASTIC = "{name: easgd, alpha: 0.001, beta: 0.9}"

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Method(Part):
    """How the shards train a configuration. For `hop` and `average` the name alone is enough.

    `average`: after each iteration the weights are the mean of the replicas' weights, each counted by its shard's rows.
    `easgd` (Zhang, Choromanska, LeCun, 2015, https://arxiv.org/abs/1412.6651, with the two numbers of the MADlib
    team's slides): the common state moves the part `beta` of the way to that mean, and each replica then goes on from
    its own end, pulled the part `1 - alpha` of the way to the common state. So alpha 0 and beta 1 is `average`.
    """

    name: Literal["hop", "average", "easgd"] = "hop"
    alpha: Share | None = None  # how much of its own end a replica keeps
    beta: Share | None = None  # how far the common state moves to the mean; more than 0

    @pydantic.model_validator(mode="before")
    @classmethod
    def _accept_the_name_alone(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"name": given}
        if not isinstance(given, Mapping | Method):
            raise ValueError(f"`{given}` is no way to train on shards: use {', '.join(NAMES)}, or {_ELASTIC}")
        name = given.get("name", "hop") if isinstance(given, Mapping) else given.name
        if name not in NAMES:
            near = did_you_mean(str(name), NAMES)
            raise Misplaced(f"`{name}` is no way to train on shards: use {', '.join(NAMES)}.{near}".rstrip("."))
        return given

    @pydantic.model_validator(mode="after")
    def _has_the_numbers_of_its_own(self) -> Method:
        numbers = {key: getattr(self, key) for key in ("alpha", "beta")}
        if self.name != "easgd" and (given := [key for key, value in numbers.items() if value is not None]):
            raise ValueError(f"{' and '.join(given)} cannot be given for `{self.name}`: they are numbers of `easgd`")
        if self.name == "easgd" and (missing := [key for key, value in numbers.items() if value is None]):
            raise ValueError(f"`easgd` needs {' and '.join(missing)}: write {_ELASTIC}")
        if self.beta == 0:
            raise ValueError("beta is 0, and the common state would never move: give more than 0, up to 1")
        return self

    @property
    def merges(self) -> bool:
        """Say whether an iteration trains a replica on every shard, and merges them."""
        return self.name != "hop"

    @property
    def kept(self) -> float:
        """How much of its own end a replica starts the next iteration with; the rest is the common state."""
        return self.alpha or 0.0

    @property
    def step(self) -> float:
        """How far the common state moves to the replicas' mean: 1 is all the way."""
        return 1.0 if self.beta is None else self.beta

    def __str__(self) -> str:
        return f"easgd (alpha {self.alpha:g}, beta {self.beta:g})" if self.name == "easgd" else self.name


def is_hop(method: object) -> bool:
    """Say whether a method is the usual one: `exclude_if` of the field, so that bytes stay as they were."""
    return method == Method()


def refuse_for_replicas(method: Method, search: Part, fuse: object) -> None:
    """Raise Misplaced for what cannot be used together with replicas."""
    if not method.merges:
        return
    if fuse is not False:
        raise Misplaced(
            f"`fuse: {fuse}` was given together with the method {method.name}: programs for several configurations at "
            "once are for hopping. Remove one of them",
            ("fuse",),
        )
    if not isinstance(search, Static):
        used = getattr(search, "method", type(search).__name__)
        raise Misplaced(
            f"the search `{used}` decides while configurations hop, and the method is {method.name}: use a search that "
            "knows all configurations before (grid, list, random), with early_stopping if some shall end sooner",
            ("search", "method"),
        )


def needed_replicas(method: Method, shards: int, newest: int, *, ended: bool) -> range:
    """Return the hops whose replicas somebody needs, or may, once checkpoint `newest` is there.

    Where replicas go on from their own ends, those of the iteration before are the start of the next one, and stay for
    it after the last iteration, too: a run that is extended goes on from them. `ended`: nothing is trained any more.
    """
    first = newest - shards if method.kept else newest
    return range(max(0, first), newest if ended else sys.maxsize)
