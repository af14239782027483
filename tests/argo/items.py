"""Expands a step over `withItems`, `withParam` or `withSequence`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.argo.expressions import ExpressionError, holds
from tests.argo.refusals import ManifestError, NodeError, Unsupported
from tests.argo.tags import Scope, mentions_item, replaced

LOOPS = ("withItems", "withParam", "withSequence")


def loops(step: Mapping[str, Any]) -> bool:
    """Whether the step is expanded at all."""
    found = [name for name in LOOPS if name in step]
    if len(found) > 1:
        raise ManifestError(f"step '{step.get('name')}' has {' and '.join(found)}; only one is allowed")
    return bool(found)


def expanded(step: Mapping[str, Any], scope: Scope, where: str) -> list[tuple[str, Scope]]:
    """The step's copies: the name of each, e.g. `chain(0:a)`, and what `{{item}}` stands for in it."""
    return [
        (f"{step['name']}({index}:{_shown(item)})", _item_scope(item, where))
        for index, item in enumerate(_items(step, scope, where))
    ]


def _items(step: Mapping[str, Any], scope: Scope, where: str) -> list[Any]:
    if "withItems" in step:
        return list(replaced(step["withItems"], scope, f"{where}.withItems"))
    if "withSequence" in step:
        return list(_sequence(replaced(step["withSequence"], scope, f"{where}.withSequence"), where))
    try:
        return _json_list(replaced(step["withParam"], scope, f"{where}.withParam"))
    except NodeError:
        if _never_runs(step, scope, where):
            return []
        raise


def _json_list(text: str) -> list[Any]:
    try:
        items = json.loads(text)
    except ValueError as error:
        raise NodeError(f"withParam value could not be parsed as a JSON list: {text}: {error}") from error
    if not isinstance(items, list):
        raise NodeError(f"withParam value could not be parsed as a JSON list: {text}")
    return items


def _never_runs(step: Mapping[str, Any], scope: Scope, where: str) -> bool:
    when = step.get("when", "")
    try:
        return not mentions_item(when) and not holds(replaced(when, scope, f"{where}.when"))
    except ExpressionError:
        return False


def _sequence(bounds: Mapping[str, Any], where: str) -> list[str]:
    if ("count" in bounds) == ("end" in bounds):
        raise ManifestError(f"{where}.withSequence needs either count or end")
    numbers = {name: _number(bounds[name], f"{where}.withSequence.{name}") for name in bounds if name != "format"}
    start = numbers.get("start", 0)
    if numbers.get("count") == 0:
        return []
    end = numbers["end"] if "end" in numbers else start + numbers["count"] - 1
    step = 1 if start <= end else -1
    return [_formatted(bounds.get("format", "%d"), number, where) for number in range(start, end + step, step)]


def _number(value: int | str, where: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise NodeError(f"{where} is '{value}', which is no whole number") from error


def _formatted(pattern: str, number: int, where: str) -> str:
    # Python and Go agree on these verbs only.
    if not re.fullmatch(r"[^%]*%0?\d*[dxX][^%]*", pattern):
        raise Unsupported(f"{where}.withSequence.format '{pattern}' is not known to the fake; it knows %d, %x and %0Nd")
    return pattern % number


def _item_scope(item: object, where: str) -> dict[str, str]:
    if isinstance(item, dict):
        return {"item": _plain(item, where)} | {f"item.{key}": _plain(value, where) for key, value in item.items()}
    return {"item": _plain(item, where)}


def _plain(value: object, where: str) -> str:
    if value is None:
        raise Unsupported(f"{where}: null as an item is not known to the fake")
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _shown(item: object) -> str:
    if isinstance(item, dict):
        text = ",".join(sorted(f"{key}:{_plain(value, 'item')}" for key, value in item.items()))
    else:
        text = _plain(item, "item")
    return text.replace("(", "").replace(")", "")  # parentheses are for the index
