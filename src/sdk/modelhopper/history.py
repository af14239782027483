"""The history: the metrics of configurations over iterations, and over time."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.text import Text

from modelhopper.display.words import duration
from modelhopper.tables import Column, Table, number
from modelhopper_contract.metrics import flat, recorded, values
from modelhopper_contract.records import History, Split, Stay

_SPLITS: tuple[Split, ...] = ("validation", "training")


@dataclass(frozen=True)
class Point:
    """One configuration at one evaluated iteration."""

    record: History
    train_s: float  # of training up to here
    wall_s: float | None  # from the run's first stay to the end of this iteration's; breaks of the run count

    @property
    def number(self) -> int:
        """The configuration's number."""
        return self.record.configuration

    @property
    def iteration(self) -> int:
        """The iteration after which it was evaluated."""
        return self.record.iteration

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics by full name, such as "validation accuracy"."""
        return flat(self.record)


@dataclass(frozen=True)
class RunHistory:
    """Configurations at every evaluated iteration, by number and iteration. Shows itself as a table."""

    rows: tuple[Point, ...]

    def text(self, width: int | None = None) -> str:
        """Return the table as text, no line longer than `width`."""
        return "\n".join(self._table().lines(width))

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame; raise UserError when pandas is not installed."""
        from modelhopper.export import to_pandas

        return to_pandas(self.records())

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as flat dictionaries with equal keys, for files and data frames."""
        known = recorded(row.record for row in self.rows)
        names = [f"{split} {name}" for split, found in known.items() for name in found]
        return [
            {"configuration": row.number, "iteration": row.iteration}
            | {name: row.metrics.get(name) for name in names}
            | {"train_s": row.train_s, "wall_s": row.wall_s}
            for row in self.rows
        ]

    def __repr__(self) -> str:
        return self.text()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        table = self._table()
        for at, line in enumerate(table.lines(options.max_width)):
            yield Text(line, style="bold" if at < table.heading_lines else "", no_wrap=True)

    def _repr_html_(self) -> str:
        return self._table().html()

    def _table(self) -> Table:
        columns = [
            Column("configuration", [str(row.number) for row in self.rows], importance=9),
            Column("iteration", [str(row.iteration) for row in self.rows], importance=9),
        ]
        known = recorded(row.record for row in self.rows)
        for split, name in [(one, name) for one in _SPLITS for name in known.get(one, [])]:
            cells = [number(values(row.record, split).get(name)) for row in self.rows]
            columns.append(Column(name, cells, split, importance=5 if split == "validation" else 3))
        columns.append(Column("training", [duration(row.train_s) for row in self.rows], "time", importance=1))
        walls = ["" if row.wall_s is None else duration(row.wall_s) for row in self.rows]
        return Table([*columns, Column("of the run", walls, "time")])


def make_history(histories: Sequence[History], stays: Sequence[Stay], shards: int, began_s: float | None) -> RunHistory:
    """Join metrics with the journal. `began_s`: the start of the run's first stay, in seconds since 1970."""
    clocks = {number: _Clock(own) for number, own in _by_configuration(stays).items()}
    rows = []
    for record in histories:
        clock = clocks.get(record.configuration, _Clock([]))
        train_s, ended_s = clock.at(record.iteration * shards)
        wall_s = None if ended_s is None or began_s is None else ended_s - began_s
        rows.append(Point(record, train_s, wall_s))
    return RunHistory(tuple(rows))


def train_seconds(stays: Sequence[Stay]) -> dict[int, float]:
    """Return how long each configuration was trained."""
    return {number: sum(stay.train_s for stay in own) for number, own in _by_configuration(stays).items()}


class _Clock:
    """How long one configuration was trained, and when it came where, by hop."""

    def __init__(self, stays: Sequence[Stay]) -> None:
        self._stays = sorted(stays, key=lambda stay: stay.end_hop)
        self._train_s = [0.0, *accumulate(stay.train_s for stay in self._stays)]

    def at(self, hop: int) -> tuple[float, float | None]:
        """Return the seconds of training up to a hop, and when its stay ended."""
        count = bisect_right(self._stays, hop, key=lambda stay: stay.end_hop)
        if count == 0:
            return 0.0, None
        last = self._stays[count - 1]
        return self._train_s[count], last.started_s + last.train_s + last.overhead_s


def _by_configuration(stays: Sequence[Stay]) -> dict[int, list[Stay]]:
    found: dict[int, list[Stay]] = defaultdict(list)
    for stay in stays:
        found[stay.configuration].append(stay)
    return found
