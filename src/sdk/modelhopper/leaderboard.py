"""The leaderboard: one row per configuration, the best first."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.text import Text

from modelhopper.display.compiled import summary
from modelhopper.display.words import duration
from modelhopper.tables import Column, Table, number
from modelhopper_contract.errors import UserError
from modelhopper_contract.metrics import Metric, flat, recorded, values
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.records import Configuration, Failure, History, Outcome, Program, Split
from modelhopper_contract.specification import Specification

_LONGEST_SETTING = 28
_SPLITS: tuple[Split, ...] = ("validation", "training")


@dataclass(frozen=True)
class Row:
    """One configuration's line."""

    number: int
    label: str  # the model's name and every setting that varies
    settings: Mapping[str, Any]  # the settings that vary, by name
    history: History | None  # of the result, or of the last evaluated iteration; None before the first
    iteration: int  # complete iterations of the result, or up to now
    train_s: float  # training, without moving and waiting
    state: str  # "finished", "stopped", "failed" or "going on"
    failure: Failure | None = None
    reason: str | None = None  # why it was stopped, or has an earlier result than its last
    program: Program = field(default_factory=Program)  # how it was compiled
    began_with: str | None = None  # the result that it began with, where that is of another experiment: "iris/5"

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics by full name, such as "validation accuracy"."""
        return flat(self.history)


@dataclass(frozen=True)
class Leaderboard:
    """The configurations of a run, the best first; failed ones last. Shows itself as a table."""

    experiment: str
    metric: Metric
    rows: tuple[Row, ...]
    hops: int  # of one configuration; what failed later than that, failed at its end

    def text(self, width: int | None = None, limit: int | None = None) -> str:
        """Return the table as text, no line longer than `width`, with at most `limit` rows."""
        lines = self._table(limit).lines(width)
        hidden = 0 if limit is None else max(0, len(self.rows) - limit)
        return "\n".join(lines + ([f"and {hidden} more"] if hidden else []) + self._notes())

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame; raise UserError when pandas is not installed."""
        from modelhopper.export import to_pandas

        return to_pandas(self.records())

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as flat dictionaries with equal keys, for files and data frames."""
        names = _metric_names(self.rows, self.metric)
        settings = list(dict.fromkeys(key for row in self.rows for key in row.settings))
        has_reasons = any(row.reason for row in self.rows)
        has_origins = any(row.began_with for row in self.rows)
        return [
            {"configuration": row.number, "label": row.label}
            | {key: row.settings.get(key) for key in settings}
            | {name: row.metrics.get(name) for name in names}
            | {"iteration": row.iteration, "train_s": row.train_s, "state": row.state}
            | {"failure": row.failure.reason if row.failure else None}
            | ({"reason": row.reason} if has_reasons else {})
            | ({"began_with": row.began_with} if has_origins else {})
            for row in self.rows
        ]

    def __repr__(self) -> str:
        return self.text()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        table = self._table(None)
        for at, line in enumerate(table.lines(options.max_width)):
            failed = at - table.heading_lines in table.notes
            style = "bold" if at < table.heading_lines else "red" if failed else ""
            yield Text(line, style=style, no_wrap=True)
        yield from (Text(note, style="dim") for note in self._notes())

    def _repr_html_(self) -> str:
        return self._table(None).html() + "".join(f"<p>{html.escape(note)}</p>" for note in self._notes())

    def _table(self, limit: int | None) -> Table:
        rows = self.rows[:limit]
        columns = [Column("", [str(row.number) for row in rows], "configuration", importance=9)]
        columns += setting_columns(rows)
        if any(row.began_with for row in rows):
            found = [row.began_with or "" for row in rows]
            columns.append(Column("began with", found, is_number=False, importance=8))
        columns += _metric_columns(rows, self.metric)
        if len({row.iteration for row in rows if row.failure is None}) > 1:
            columns.append(Column("iteration", [str(row.iteration) for row in rows], importance=2))
        columns.append(Column("time", [duration(row.train_s) for row in rows], importance=1))
        if any(row.state == "stopped" for row in rows):
            columns.append(Column("", ["stopped" if row.state == "stopped" else "" for row in rows], is_number=False))
        notes = {at: self._note(row.number, row.failure) for at, row in enumerate(rows) if row.failure}
        return Table(columns, notes)

    def _notes(self) -> list[str]:
        """Return how configurations were compiled, where that was not as by default."""
        said = summary([row.program for row in self.rows])
        return [said] if said else []

    def _note(self, number: int, failure: Failure) -> str:
        at = f" at hop {failure.hop}" if failure.hop < self.hops else ""
        return f"failed{at}: {failure.reason} (modelhopper logs {self.experiment} {number})"


def leaderboard(specification: Specification, rows: Sequence[Row], metric: Metric) -> Leaderboard:
    """Sort rows: by the metric, then by loss on the same data, then by number; failed ones last."""
    loss = Metric(metric.split, "loss", lower_is_better=True)

    def rank(row: Row) -> tuple[Any, ...]:
        order = (metric.rank(metric.of(row.history)), loss.rank(loss.of(row.history)))
        return row.failure is not None, *order, row.number

    name = specification.experiment.name
    return Leaderboard(name, metric, tuple(sorted(rows, key=rank)), specification.ring.hops)


def of_group(specification: Specification, board: Leaderboard, group: str | None) -> Leaderboard:
    """Return the rows of one group, such as "country DE"; all, where each is evaluated on the same rows.

    Raises UserError, with the groups, where each has rows of its own and none, or none of them, is named.
    """
    names = specification.group_names
    if group is None and specification.experiment.groups is not True:
        return board
    if group not in names:
        said = f"`{group}` is not one of them" if group is not None else "each has rows of its own, and a best model"
        near = did_you_mean(group, names) if group is not None else ""
        listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "") if names else "none"
        raise UserError(
            f"{board.experiment} has a model for each group of its data, and {said}. Say which group (--group in the "
            f"command): {listed}.{near} Or name a configuration, as in {board.experiment}/3."
        )
    return replace(board, rows=tuple(row for row in board.rows if row.settings.get("part") == group))


def make_rows(
    specification: Specification,
    configurations: Sequence[Configuration],
    histories: Mapping[int, History],
    outcomes: Mapping[int, Outcome],
    hops: Mapping[int, int],
    train_s: Mapping[int, float],
) -> list[Row]:
    """Join what the store holds about each configuration."""
    from modelhopper_scheduler.searches.labels import varying

    settings = varying(configurations)
    found = []
    for one in configurations:
        outcome = outcomes.get(one.number)
        row = Row(
            number=one.number,
            label=one.name,
            settings=settings[one.number],
            history=histories.get(one.number),
            iteration=specification.ring.iteration(_reached(outcome, hops.get(one.number, 0))),
            train_s=train_s.get(one.number, 0.0),
            state=outcome.state if outcome else "going on",
            failure=outcome.failure if outcome else None,
            reason=outcome.reason if outcome else None,
            program=one.program,
            began_with=_began_with(one),
        )
        found.append(row)
    return found


def _began_with(configuration: Configuration) -> str | None:
    origin = configuration.origin
    return None if origin is None or origin.experiment is None else f"{origin.experiment}/{origin.configuration}"


def _reached(outcome: Outcome | None, newest: int) -> int:
    return newest if outcome is None or outcome.state == "failed" else outcome.hops


def setting(key: str, value: Any) -> str:
    """Return one setting in few characters: "Adam", "0.01" after it, "batch 4"."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > _LONGEST_SETTING:
        text = text[: _LONGEST_SETTING - 1] + "…"
    if key in ("model", "optimizer", "loss", "learning_rate", "part"):
        return text
    return f"{'batch' if key == 'batch_size' else key} {text}"


def setting_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of what configurations are: a column for each setting that varies."""
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    cells = [[setting(key, row.settings[key]) if key in row.settings else "" for row in rows] for key in keys]
    # One configuration varies in nothing; its label says what it is.
    return [
        Column("", column, "configuration", is_number=False, importance=9)
        for column in cells or [[row.label for row in rows]]
    ]


def _metric_columns(rows: Sequence[Row], metric: Metric) -> list[Column]:
    columns = []
    for split in _SPLITS:
        for name in _names_of(rows, split, metric):
            cells = [number(values(row.history, split).get(name)) if row.history else "" for row in rows]
            importance = 9 if (split, name) == (metric.split, metric.name) else 5 if split == metric.split else 3
            columns.append(Column(name, cells, split, importance=importance))
    return columns


def _names_of(rows: Sequence[Row], split: Split, metric: Metric) -> list[str]:
    names = recorded(row.history for row in rows if row.history).get(split, [])
    return sorted(names, key=lambda name: name != metric.name)


def _metric_names(rows: Sequence[Row], metric: Metric) -> list[str]:
    return [f"{split} {name}" for split in _SPLITS for name in _names_of(rows, split, metric)]
