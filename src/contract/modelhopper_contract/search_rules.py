"""Which keys a search has: one message for each that is unknown or missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.space_rules import Misplaced
from modelhopper_contract.spaces import CHOICE_KEYS

_HINTS = {
    "configurations": "how many, such as `configurations: 20`",
    "space": "what varies, such as `space: {batch_size: [4, 8]}`",
    "searches": "a list of searches",
}
_LIST = "a list of at least one, such as `configurations: [{batch_size: 4}, {batch_size: 8}]`"


def check_keys(
    method: str, fields: Mapping[str, bool], given: Mapping[str, Any], owners: Callable[[str], Iterable[str]]
) -> None:
    """Raise Misplaced for a key that a method does not have, and for one that is missing.

    `fields`: the method's keys, and whether each must be given. `owners`: returns which methods have a key.
    """
    own = [key for key in fields if key != "method"]
    for key in given:
        if key not in fields:
            raise Misplaced(
                f"`{key}` is not a key of {method}: use {', '.join(own)}.{_advice(key, own, owners)}", (key,)
            )
    for key, is_required in fields.items():
        if is_required and key not in given:
            raise Misplaced(f"{method} needs `{key}`: {_LIST if method == 'list' else _HINTS[key]}")


def _advice(key: str, own: Iterable[str], owners: Callable[[str], Iterable[str]]) -> str:
    if key in CHOICE_KEYS and "space" in own:
        return " What varies stands inside `space`."
    others = ", ".join(owners(key))
    return did_you_mean(key, own) or (f" It is a key of {others}." if others else "")
