"""What tells configurations apart, for people: the settings that vary, and a name for each configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration
from modelhopper_contract.spaces import CHOICE_KEYS, CONDITIONAL_KEYS, points

_BARE = ("model", "optimizer", "loss", "part")  # whose values speak for themselves


def varying(configurations: Sequence[Configuration]) -> dict[int, dict[str, Any]]:
    """Return, by configuration number, the settings in which configurations differ: "learning_rate" to 0.1."""
    found = _varying([_settings(configuration) for configuration in configurations])
    return {one.number: settings for one, settings in zip(configurations, found, strict=True)}


def labels(configurations: Sequence[Configuration]) -> list[str]:
    """Return a name for each of all configurations: "deep  Adam  learning_rate 0.1", without what does not vary."""
    found = _varying([_settings(configuration) for configuration in configurations])
    return [
        "  ".join(_label(key, value) for key, value in settings.items()) or one.model
        for one, settings in zip(configurations, found, strict=True)
    ]


def choice_label(choice: Mapping[str, Any], space: Mapping[str, Any]) -> str:
    """Return a name for one choice of a space, whatever the others are and whatever the order of its keys.

    The model first, then the optimizer, their parameters sorted, then the rest in the order of CHOICE_KEYS; without
    what the space gives one value only, so it can be empty.
    """
    keys = [key for key in CHOICE_KEYS if key in choice and points({key: space.get(key, (0, 1))}) > 1]
    return "  ".join(part for key in keys for part in _parts(key, choice[key]))


def _parts(key: str, value: Any) -> list[str]:
    if key not in CONDITIONAL_KEYS or not isinstance(value, Mapping):
        return [_label(key, value)]
    parameters = [_label(name, value[name]) for name in sorted(value) if name != "name"]
    return [_label(key, value.get("name")), *parameters]


def _varying(flat: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    differing = [key for key in keys if _differ([settings.get(key) for settings in flat])]
    return [{key: settings[key] for key in differing if key in settings} for settings in flat]


def _differ(values: Sequence[Any]) -> bool:
    """Say whether values are not all written the same: 1, 1.0 and true are three."""
    first = values[0]
    if isinstance(first, Mapping | list | tuple):
        written = canonical_json(first)
        return any(canonical_json(value) != written for value in values)
    return any(value != first or type(value) is not type(first) for value in values)


def _settings(configuration: Configuration) -> dict[str, Any]:
    compiled = dict(configuration.compile)
    optimizer = compiled.pop("optimizer")
    settings = {"model": configuration.model, **configuration.parameters}
    settings |= {"optimizer": optimizer.get("name")}
    settings |= {name: value for name, value in optimizer.items() if name != "name"}
    part = {} if configuration.part_name is None else {"part": configuration.part_name}
    return settings | compiled | configuration.fit | part


def _label(key: str, value: Any) -> str:
    shown = _short(value) if isinstance(value, float) else str(value)
    return shown if key in _BARE else f"{key} {shown}"


def _short(value: float) -> str:
    """Return a number that was perhaps drawn in four digits; just below 1, it is the distance from 1 that has them."""
    if value.is_integer() or not abs(value) < 1000:
        return str(value)
    if 0.9 < value < 1:
        return str(1 - Decimal(f"{1 - Decimal(repr(value)):.4g}"))
    return f"{value:.4g}"
