"""Finding what the user probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(given: object, allowed: Iterable[str]) -> str:
    """Return " Did you mean `x`?" for the nearest allowed name, or "" when none is near."""
    by_lower_case = {name.lower(): name for name in allowed}
    near = difflib.get_close_matches(str(given).lower(), by_lower_case, n=1, cutoff=0.6)
    return f" Did you mean `{by_lower_case[near[0]]}`?" if near else ""


def one_of(allowed: Iterable[str]) -> str:
    """Return the allowed names as a sorted list in words: "a, b, c"."""
    return ", ".join(sorted(allowed))
