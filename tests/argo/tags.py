"""Replaces `{{tags}}`: each must name something that exists where it stands.

Real Argo replaces in several passes over the manifest's JSON and leaves a tag for the next pass when a name is not
known yet. Here each text is replaced once, when all that it may name is known; the result is the same, and a leftover
is an error instead of a literal `{{...}}` in a container.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.argo import expressions
from tests.argo.operations import text_of
from tests.argo.refusals import NodeError, Unresolved

# What a name stands for; None is an output that does not exist because its step was skipped or failed.
Scope = Mapping[str, str | None]
TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


def nothing_stays(_name: str) -> bool:
    """The usual case: every tag must be replaced."""
    return False


def replaced(value: Any, scope: Scope, where: str, stays: Callable[[str], bool] = nothing_stays) -> Any:
    """The same tree of lists and mappings with every text's tags replaced; keys stay as they are.

    `where` is the place in the manifest, for messages. Tags whose names `stays` accepts are left as they are.
    Raises `Unresolved` for a name that does not exist and `NodeError` for an output that a skipped step did not write.
    """
    if isinstance(value, str):
        return _text(value, scope, where, stays)
    if isinstance(value, list):
        return [replaced(item, scope, f"{where}[{index}]", stays) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: replaced(item, scope, f"{where}.{key}", stays) for key, item in value.items()}
    return value


def mentions_item(text: str) -> bool:
    """Whether the text needs the item of `withItems`, `withParam` or `withSequence`."""
    return any(re.search(r"\bitem\b", tag) for tag in TAG.findall(text))


def _text(text: str, scope: Scope, where: str, stays: Callable[[str], bool]) -> str:
    if "{{" in TAG.sub("", text):
        raise Unresolved(f"{where}: a tag is opened and not closed in '{text}'")

    def replacement(match: re.Match[str]) -> str:
        tag = match[1].strip()
        if tag.startswith("="):
            return _computed(tag[1:].strip(), scope, where)
        if tag not in scope and stays(tag):
            return match[0]
        return _named(tag, scope, where)

    return TAG.sub(replacement, text)


def _named(name: str, scope: Scope, where: str) -> str:
    if name not in scope:
        raise Unresolved(f"{where}: failed to resolve {{{{{name}}}}}; known here: {', '.join(sorted(scope))}")
    value = scope[name]
    if value is None:
        raise NodeError(f"unable to substitute {{{{{name}}}}}: output is an absent optional")
    return value


def _computed(text: str, scope: Scope, where: str) -> str:
    try:
        expression = expressions.parse(text)
        missing = sorted(expression.names() - scope.keys())
        if missing:
            raise Unresolved(
                f"{where}: '{missing[0]}' is missing for {{{{={text}}}}}; known: {', '.join(sorted(scope))}"
            )
        if any(scope[name] is None for name in expression.names()):
            raise NodeError(f"failed to evaluate expression '{text}': an output is an absent optional")
        value = expression.value(scope)
    except expressions.ExpressionError as error:
        raise Unresolved(f"{where}: failed to evaluate expression {{{{={text}}}}}: {error}") from error
    if value is None:
        raise NodeError(f"failed to evaluate expression '{text}'")
    return text_of(value)
