"""An ensemble in words: its members with their metrics, its own, and what these are worth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from modelhopper.leaderboard import setting_columns
from modelhopper.tables import Column, Table, number

if TYPE_CHECKING:
    from modelhopper.combining import Combine
    from modelhopper.ensembles import Ensemble

_WORDS: dict[Combine, str] = {
    "average": "the average of what they predict",
    "logits": "the average of their logits",
    "vote": "their vote",
    "stack": "stacked by a small regression",
}


def text(ensemble: Ensemble, width: int | None = None) -> str:
    """Return the members with their metrics and the ensemble's own, no line longer than `width`, and the caveats."""
    weighted = "" if ensemble.combination.weights is None else ", weighted"
    heading = f"{ensemble.choice.words}: {_WORDS[ensemble.combination.combine]}{weighted}"
    notes = [*ensemble.choice.notes, *caveats(ensemble)]
    return "\n".join([heading, "", *_table(ensemble).lines(width), *([""] if notes else []), *notes])


def caveats(ensemble: Ensemble) -> list[str]:
    """Return what should be known of the ensemble's metrics."""
    found = []
    if not ensemble.is_evaluated:
        rows = "is of its own fold" if ensemble.members[0].configuration.part is not None else "is as recorded"
        found.append(
            f"The run has no validation data, so the ensemble is not evaluated, and what is said of a member {rows}: "
            "evaluate the ensemble on a packed data set of rows that no member was trained on."
        )
    return [*found, *_lessons(ensemble)]


def _lessons(ensemble: Ensemble) -> list[str]:
    if ensemble.combination.combine != "stack":
        return []
    data, holdout = ensemble.specification.experiment.data, ensemble.combination.holdout
    place = ensemble.combination.data or (data.validation if ensemble.choice.folds is None else data.train)
    if holdout is not None:
        return [f"Stacking learned from {1 - holdout:.0%} of {place}; all metrics are of the other {holdout:.0%}."]
    if ensemble.combination.data is not None:
        return [f"Stacking learned from {place}."]
    if ensemble.choice.folds is not None:
        return [f"Stacking learned from what each model says of the fold that it was not trained on, in {place}."]
    advice = "hold out a part of it (holdout=0.3, --holdout 0.3), or evaluate on other data"
    return [f"Stacking learned from {place}, so the ensemble's own metrics there are optimistic: {advice}."]


def _table(ensemble: Ensemble) -> Table:
    members, own = ensemble.members, [ensemble.metrics] if ensemble.metrics else []
    end = ["" for _ in own]
    rows = [replace(one.row, settings=one.row.settings or {"model": one.label}) for one in members]
    names = [*map(ensemble.name_of, members), *("all" for _ in own)]
    columns = [Column("", names, "member", is_number=False, importance=9)]
    columns += [replace(one, group="member", cells=[*one.cells, *end]) for one in setting_columns(rows)]
    weights = ensemble.combination.weights
    if weights is not None:
        pairs = zip(weights, ensemble.choice.seats, strict=True)
        cells = [f"{weight:.3g}" for weight, seat in pairs for _ in seat.candidates]
        columns.append(Column("weight", [*cells, *end], "member", importance=7))
    for name in ensemble.metric_names:
        split, _, plain = name.partition(" ")
        cells = [number(found.get(name)) for found in (*ensemble.member_metrics, *own)]
        importance = 9 if name == str(ensemble.choice.metric) else 5
        columns.append(Column(plain, cells, split, importance=importance))
    return Table(columns)
