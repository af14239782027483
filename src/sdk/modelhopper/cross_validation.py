"""Cross-validation: each setting's metrics over its folds, mean and deviation, the best setting first."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.console import Console, ConsoleOptions
from rich.text import Text

from modelhopper.display.words import duration
from modelhopper.leaderboard import Leaderboard, Row, setting_columns
from modelhopper.tables import Column, Table, number
from modelhopper_contract.metrics import Metric
from modelhopper_contract.specification import Specification


class Spread(NamedTuple):
    """A metric over the folds that recorded it."""

    mean: float
    deviation: float | None  # of a sample (divided by the folds less one); None of a single fold

    def __str__(self) -> str:
        return number(self.mean) if self.deviation is None else f"{number(self.mean)} ± {number(self.deviation)}"


@dataclass(frozen=True)
class Validated:
    """One setting of the search, with its configurations, one for each fold."""

    number: int  # of the setting, from 1 in the order of the search
    rows: tuple[Row, ...]  # by fold

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that vary, by name."""
        return {key: value for key, value in self.rows[0].settings.items() if key != "part"}

    @property
    def failed(self) -> int:
        """How many folds failed."""
        return sum(row.failure is not None for row in self.rows)

    def spread(self, metric: str) -> Spread | None:
        """Return a metric, by its full name, over the folds that are evaluated and did not fail; None without any."""
        found = [row.metrics.get(metric) for row in self.rows if row.failure is None]
        values = [value for value in found if value is not None]
        if not values:
            return None
        if not all(map(math.isfinite, values)):  # of which `statistics` cannot tell a deviation
            return Spread(sum(values) / len(values), math.nan if len(values) > 1 else None)
        return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def best_fold(self, metric: Metric) -> Row:
        """Return the configuration of the fold with the best value."""
        return min(
            self.rows, key=lambda row: (row.failure is not None, metric.rank(metric.of(row.history)), row.number)
        )


@dataclass(frozen=True)
class CrossValidation:
    """The settings of a search by their mean over the folds, the best first. Shows itself as a table."""

    experiment: str
    metric: Metric
    folds: int
    rows: tuple[Validated, ...]

    def text(self, width: int | None = None, limit: int | None = None) -> str:
        """Return the table as text, no line longer than `width`, with at most `limit` rows."""
        hidden = 0 if limit is None else max(0, len(self.rows) - limit)
        lines = self._table(limit).lines(width)
        return "\n".join([*lines, *([f"and {hidden} more"] if hidden else []), self._note()])

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as flat dictionaries with equal keys, for files and data frames."""
        keys = list(dict.fromkeys(key for one in self.rows for key in one.settings))
        names = self._metrics()
        return [
            {"setting": one.number, "configurations": " ".join(str(row.number) for row in one.rows)}
            | {key: one.settings.get(key) for key in keys}
            | {key: value for name in names for key, value in _both(name, one.spread(name)).items()}
            | {"folds": len(one.rows) - one.failed, "failed": one.failed}
            for one in self.rows
        ]

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame; raise UserError when pandas is not installed."""
        from modelhopper.export import to_pandas

        return to_pandas(self.records())

    def __repr__(self) -> str:
        return self.text()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        table = self._table(None)
        for at, line in enumerate(table.lines(options.max_width)):
            yield Text(line, style="bold" if at < table.heading_lines else "", no_wrap=True)
        yield Text(self._note(), style="dim")

    def _repr_html_(self) -> str:
        return self._table(None).html() + f"<p>{html.escape(self._note())}</p>"

    def _table(self, limit: int | None) -> Table:
        rows = self.rows[:limit]
        columns = [
            Column("", [str(one.number) for one in rows], "setting", importance=9),
            *_without_parts(setting_columns([one.rows[0] for one in rows]), rows),
        ]
        for name in self._metrics():
            split, _, plain = name.partition(" ")
            cells = [str(found) if (found := one.spread(name)) else "" for one in rows]
            columns.append(Column(plain, cells, split, importance=9 if name == str(self.metric) else 5))
        best = [str(one.best_fold(self.metric).number) if one.spread(str(self.metric)) else "" for one in rows]
        columns.append(Column("best is", best, importance=4))
        if any(one.failed for one in rows):
            columns.append(Column("failed", [str(one.failed or "") for one in rows], importance=8))
        times = [duration(sum(row.train_s for row in one.rows)) for one in rows]
        return Table([*columns, Column("time", times, importance=1)])

    def _metrics(self) -> list[str]:
        names = dict.fromkeys(name for one in self.rows for row in one.rows for name in row.metrics)
        return sorted(names, key=lambda name: (name != str(self.metric), not name.startswith(self.metric.split)))

    def _note(self) -> str:
        return f"Mean and standard deviation over {self.folds} folds; `best is` the configuration of the best one."


def cross_validation(specification: Specification, board: Leaderboard) -> CrossValidation:
    """Join the rows of a leaderboard by setting; those with a fold that failed, or is not evaluated, come last."""
    folds = specification.parts
    by_setting: dict[int, list[Row]] = {}
    for row in sorted(board.rows, key=lambda row: row.number):
        by_setting.setdefault((row.number - 1) // folds + 1, []).append(row)
    found = [Validated(at, tuple(rows)) for at, rows in by_setting.items()]

    def rank(one: Validated) -> tuple[Any, ...]:
        values = [board.metric.of(row.history) for row in one.rows if row.failure is None]
        spread = one.spread(str(board.metric))
        is_whole = len(values) == len(one.rows) and None not in values
        return not is_whole, board.metric.rank(spread.mean if spread else None), one.number

    return CrossValidation(board.experiment, board.metric, folds, tuple(sorted(found, key=rank)))


def _without_parts(columns: Sequence[Column], rows: Sequence[Validated]) -> list[Column]:
    """Return the columns of settings without the one that says which fold the first row is."""
    parts = [str(one.rows[0].settings.get("part", "")) for one in rows]
    return [column for column in columns if list(column.cells) != parts]


def _both(name: str, spread: Spread | None) -> dict[str, float | None]:
    return {name: spread.mean if spread else None, f"{name} deviation": spread.deviation if spread else None}
