"""When two configurations are the same: what says the same in other words is trained once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration


def configuration_identity(configuration: Configuration) -> bytes:
    """Return what is equal for configurations that train the same: their names and numbers do not count.

    Names of optimizers are the same in any case, and so are 1 and 1.0 for an optimizer's parameter; not so for a
    model's, whose function can tell them apart.
    """
    compiled = {**configuration.compile, "optimizer": _optimizer(configuration.compile["optimizer"])}
    return canonical_json([configuration.model, configuration.parameters, compiled, configuration.fit])


def choice_identity(choice: Mapping[str, Any]) -> bytes:
    """Return what is equal for choices that say the same, as far as they tell without an experiment."""
    normal = dict(choice)
    if isinstance(normal.get("model"), str):
        normal["model"] = {"name": normal["model"]}
    if "optimizer" in normal:
        normal["optimizer"] = _optimizer(normal["optimizer"])
    return canonical_json(normal)


def _optimizer(given: Any) -> Any:
    if isinstance(given, str):
        return {"name": given.lower()}
    if not isinstance(given, Mapping):
        return given
    return {**_with_floats(given), "name": str(given.get("name")).lower()}


def _with_floats(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_floats(inner) for key, inner in value.items()}
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
