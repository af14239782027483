"""What every search has to keep to, checked on each answer, with the allowed in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modelhopper_contract.decisions import GoOn, Start, Stop, Verdict
from modelhopper_contract.errors import SpecError
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.spaces import CHOICE_KEYS
from modelhopper_scheduler.searches.search import Past, Search


class Checked:
    """A search whose answers are checked: SpecError says whose answer it was, what it was, and what is allowed."""

    def __init__(self, search: Search, name: str, shards: int) -> None:
        self._search = search
        self._shards = shards
        self._name = name
        self.rungs: Sequence[int] = self._checked_rungs(search.rungs)

    def start(self, past: Past) -> Sequence[Start]:
        """Return what the search starts, checked."""
        starts = self._items("start", self._search.start(past))
        for number, start in enumerate(starts, len(past.trials) + 1):
            self._check_start(past, start, number)
        return starts

    def judge(self, past: Past) -> Sequence[Verdict]:
        """Return the search's verdicts, checked."""
        verdicts = self._items("judge", self._search.judge(past))
        waiting = {trial.number: trial.until for trial in past.waiting}
        for verdict in verdicts:
            self._check_verdict(past, verdict, waiting)
        return verdicts

    def _checked_rungs(self, rungs: Any) -> list[int]:
        items = self._items("rungs", rungs)
        is_whole = all(isinstance(rung, int) and not isinstance(rung, bool) and rung > 0 for rung in items)
        if not is_whole or items != sorted(set(items)):
            raise self._wrong("rungs", items, "they are iterations: whole numbers from 1, ascending")
        return items

    def _check_start(self, past: Past, start: Any, number: int) -> None:
        if not isinstance(start, Start):
            raise self._wrong("start", start, "each item is a Start")
        if start.configuration != number:
            raise self._wrong(
                "start", f"configuration {start.configuration}", f"numbers continue without gaps; next is {number}"
            )
        for key in start.choice:
            if key not in CHOICE_KEYS:
                near = did_you_mean(key, CHOICE_KEYS)
                raise self._wrong("start", f"a choice with `{key}`", f"what can vary is {', '.join(CHOICE_KEYS)}{near}")
        self._check_until("start", start, past, self._begun(past, start))
        self._check_json(start)

    def _begun(self, past: Past, start: Start) -> int:
        """Return the iterations that are behind a configuration when it starts."""
        origin = start.origin
        if origin is None:
            return 0
        if origin.experiment is not None:
            given = f"the origin {origin.experiment} for configuration {start.configuration}"
            raise self._wrong("start", given, "a search copies configurations of its own experiment")
        number = origin.configuration
        if not 1 <= number <= len(past.trials):
            given = f"the origin {number} for configuration {start.configuration}"
            raise self._wrong("start", given, f"it is one of the {len(past.trials)} that were started before")
        hops = [iteration * self._shards for iteration in sorted(past.trial(number).values)]
        if origin.hop not in hops:
            there = f"it arrived at {', '.join(map(str, hops))}" if hops else "it has not arrived anywhere"
            raise self._wrong("start", f"hop {origin.hop} of configuration {number}", there)
        return origin.hop // self._shards

    def _check_json(self, start: Start) -> None:
        for what, value in (("choice", start.choice), ("memo", start.memo)):
            if not _is_plain(value):
                raise self._wrong(
                    "start",
                    f"{what} {value}",
                    "it is written down as JSON: text, finite numbers of Python's own, lists and dictionaries",
                )

    def _check_verdict(self, past: Past, verdict: Any, waiting: dict[int, int]) -> None:
        if not isinstance(verdict, GoOn | Stop):
            raise self._wrong("judge", verdict, "each item is a GoOn or a Stop")
        number = verdict.configuration
        if number not in waiting:
            those = ", ".join(map(str, waiting)) or "nobody"
            state = past.trial(number).state if 1 <= number <= len(past.trials) else "unknown"
            raise self._wrong(
                "judge", f"a {type(verdict).__name__} for configuration {number} ({state})", f"{those} can be judged"
            )
        reached = waiting.pop(number)  # a second verdict on it is wrong, too
        if isinstance(verdict, GoOn):
            self._check_until("judge", verdict, past, reached)

    def _check_until(self, what: str, decision: Start | GoOn, past: Past, reached: int) -> None:
        allowed = [until for until in sorted({*self.rungs, past.iterations}) if until > reached]
        if decision.until not in allowed:
            raise self._wrong(
                what,
                f"until {decision.until} for configuration {decision.configuration}",
                f"it is one of `rungs` or the last iteration: {', '.join(map(str, allowed))}",
            )

    def _items(self, what: str, answer: Any) -> list[Any]:
        if not isinstance(answer, Iterable) or isinstance(answer, str | bytes | Mapping):
            raise self._wrong(what, answer, "give a list, an empty one for nothing")
        return list(answer)

    def _wrong(self, what: str, given: object, allowed: str) -> SpecError:
        return SpecError(f"{self._name} gave {_short(given)} as `{what}`: {allowed}.", ("search", "method"))


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value))


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
