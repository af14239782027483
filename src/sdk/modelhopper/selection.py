"""Selection: which configurations of a run go on, by a rule, and why each of the others does not. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modelhopper.display.words import count
from modelhopper.leaderboard import Leaderboard, Row, setting_columns
from modelhopper.tables import Column, Table, number
from modelhopper_contract.errors import UserError
from modelhopper_contract.metrics import Metric, values
from modelhopper_contract.records import Configuration, Split

Why = Literal["chosen", "failed", "no value", "gap", "same", "rank"]

_ROUNDING = 1e-9  # a gap of 0.8 - 0.7 is one of 0.1
_SAID: dict[Why, str] = {
    "gap": "with a wider gap",
    "same": "with the settings of a better one",
    "rank": "of a lower rank",
    "no value": "without a value",
    "failed": "failed",
}


@dataclass(frozen=True)
class Place:
    """One configuration in the ranking, and what becomes of it."""

    rank: int  # from 1
    row: Row
    values: Mapping[Split, float | None]  # of the metric
    gap: float | None  # how much worse it is on validation data than on training data; None without validation data
    why: Why
    becomes: int | None = None  # its number in the second stage
    reason: str = ""  # in words; "" for one that is chosen

    @property
    def number(self) -> int:
        """The configuration's number."""
        return self.row.number


@dataclass(frozen=True)
class Selection:
    """All configurations of a run, ranked, with those that go on and why the others do not. Shows itself as a table."""

    experiment: str
    metric: Metric
    top: int  # how many were asked for
    max_gap: float | None
    places: tuple[Place, ...]

    @property
    def chosen(self) -> list[Place]:
        """Those that go on, the best first."""
        return [one for one in self.places if one.becomes is not None]

    def text(self, width: int | None = None) -> str:
        """Return who goes on and who is passed over before the last of them, and in a line why all others do not."""
        last = max(one.rank for one in self.chosen)
        return "\n".join([self._heading(), "", *_table(self.places[:last], self.metric).lines(width), *self._rest()])

    def records(self) -> list[dict[str, Any]]:
        """Return all places as flat dictionaries with equal keys, for files and data frames."""
        return [
            {"rank": one.rank, "configuration": one.number, "label": one.row.label}
            | {f"{split} {self.metric.name}": value for split, value in one.values.items()}
            | {"gap": one.gap, "becomes": one.becomes, "reason": one.reason or None}
            for one in self.places
        ]

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame; raise UserError when pandas is not installed."""
        from modelhopper.export import to_pandas

        return to_pandas(self.records())

    def __repr__(self) -> str:
        return self.text()

    def _heading(self) -> str:
        found, of = len(self.chosen), count(len(self.places), "configuration")
        limit = "" if self.max_gap is None else f" with a gap of at most {self.max_gap:g} to training"
        wanted = f"; {self.top} were asked for" if found < self.top else ""
        return f"{self.experiment}: {found} of {of} {_go(found)} on, the best by {self.metric}{limit}{wanted}"

    def _rest(self) -> list[str]:
        counts = Counter(one.why for one in self.places)
        parts = [f"{counts[why]} {said}" for why, said in _SAID.items() if counts[why]]
        return ["", f"The others: {', '.join(parts)}"] if parts else []


def select(board: Leaderboard, identities: Mapping[int, bytes], top: int, max_gap: float | None = None) -> Selection:
    """Return which configurations of a run that is complete go on: the first `top` of its leaderboard that may.

    `identities`: what is equal for configurations of the same settings, of which only the best goes on. `max_gap`: how
    much worse the metric may be on validation data than on training data; being better there is never too much. Failed
    ones and those without a value stay behind. Raises UserError when nothing can go on.
    """
    if top < 1:
        raise UserError(f"top is {top}: give how many go on, at least 1.")
    if max_gap is not None and math.isnan(max_gap):
        raise UserError("max_gap is NaN: give a number, such as 0.1.")
    places = tuple(_placed(board, identities, top, max_gap))
    found = Selection(board.experiment, board.metric, top, max_gap, places)
    if not found.chosen:
        raise UserError(f"{board.experiment} has no configuration that can go on: {_nobody(found)}")
    return found


def same_settings(configurations: Sequence[Configuration]) -> dict[int, bytes]:
    """Return what is equal for configurations of the same settings, by number."""
    from modelhopper_scheduler.searches.identity import configuration_identity

    return {one.number: configuration_identity(one) for one in configurations}


def _placed(board: Leaderboard, identities: Mapping[int, bytes], top: int, max_gap: float | None) -> list[Place]:
    found: list[Place] = []
    chosen: dict[bytes, int] = {}
    for rank, row in enumerate(board.rows, start=1):
        both: dict[Split, float | None] = {split: _value(row, split, board.metric) for split in _splits(board)}
        gap = _gap(both, board.metric)
        why, reason = _hindered(row, board.metric, both, gap, max_gap)
        better = chosen.get(identities[row.number])
        if why == "chosen" and better is not None:
            why, reason = "same", f"the settings of {better}"
        elif why == "chosen" and len(chosen) == top:
            why, reason = "rank", f"rank {rank}, and {top} go on"
        if why == "chosen":
            chosen[identities[row.number]] = row.number
        found.append(Place(rank, row, both, gap, why, len(chosen) if why == "chosen" else None, reason))
    return found


def _hindered(
    row: Row, metric: Metric, both: Mapping[Split, float | None], gap: float | None, max_gap: float | None
) -> tuple[Why, str]:
    """Return what keeps a configuration from going on, whatever the others are."""
    if row.failure is not None:
        return "failed", f"failed: {row.failure.reason}"
    splits: list[Split] = [metric.split] if max_gap is None else [metric.split, *both]
    for split in splits:
        value = both.get(split)
        if value is None or math.isnan(value):
            return "no value", f"{split} {metric.name} is {'not recorded' if value is None else 'NaN'}"
    if max_gap is not None and (gap is None or not gap <= max_gap + _ROUNDING):
        return "gap", f"gap above {max_gap:g}"
    return "chosen", ""


def _splits(board: Leaderboard) -> tuple[Split, ...]:
    validated = any(row.history is not None and row.history.validation is not None for row in board.rows)
    return ("validation", "training") if validated else ("training",)


def _value(row: Row, split: Split, metric: Metric) -> float | None:
    return None if row.history is None else values(row.history, split).get(metric.name)


def _gap(both: Mapping[Split, float | None], metric: Metric) -> float | None:
    validation, training = both.get("validation"), both.get("training")
    if validation is None or training is None:
        return None
    return validation - training if metric.lower_is_better else training - validation


def _nobody(found: Selection) -> str:
    """Return why nothing goes on, and what to do."""
    name, places = found.metric.name, found.places
    gaps = [(one.gap, one.number) for one in places if one.why == "gap" and one.gap is not None]
    if gaps:
        least, whose = min(gaps)
        return (
            f"the smallest gap of {name} between training and validation data is {number(least)} (configuration "
            f"{whose}), and at most {found.max_gap:g} was asked for. Allow a wider one."
        )
    if any(one.why == "gap" for one in places):
        return "there is no validation data, so there is no gap to training data. Leave the limit of the gap out."
    if all(one.why == "failed" for one in places):
        return f"every configuration failed. `modelhopper logs {found.experiment}` shows more."
    reason = next(one.reason for one in places if one.why == "no value")
    return f"{reason} for all that did not fail."


def _table(places: Sequence[Place], metric: Metric) -> Table:
    rows = [one.row for one in places]
    columns = [
        Column("rank", [str(one.rank) for one in places], importance=8),
        Column("", [str(one.number) for one in places], "configuration", importance=9),
        *setting_columns(rows),
    ]
    for split in places[0].values:
        importance = 9 if split == metric.split else 5
        columns.append(Column(metric.name, [number(one.values[split]) for one in places], split, importance=importance))
    if any(one.gap is not None for one in places):
        columns.append(Column("gap", [_gap_text(one, metric) for one in places], importance=7))
    ends = [one.reason or f"goes on as {one.becomes}" for one in places]
    return Table([*columns, Column("", ends, is_number=False, importance=9)])


def _gap_text(place: Place, metric: Metric) -> str:
    """Return a gap in as many decimals as the values that it is the difference of."""
    value = place.values[metric.split]
    if place.gap is None or value is None or math.isnan(place.gap) or abs(value) < 0.01:
        return number(place.gap)
    return f"{place.gap:.3f}"


def _go(found: int) -> str:
    return "goes" if found == 1 else "go"
