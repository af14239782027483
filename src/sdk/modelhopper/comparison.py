"""A comparison of ways to train one configuration on the same shards: accuracy, time, and bytes moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from modelhopper.display.words import count, duration, size
from modelhopper.tables import Column, Table, number
from modelhopper_contract.metrics import Metric
from modelhopper_contract.records import Stay

Way = Literal["hop", "average", "easgd", "ensemble", "alone"]
WAYS: tuple[Way, ...] = get_args(Way)

_WORDS: dict[Way, str] = {
    "hop": "one model hops from shard to shard",
    "average": "a replica on every shard, averaged after each iteration",
    "easgd": "the same, elastic",
    "ensemble": "a model of its own on every shard, their probabilities averaged",
    "alone": "all rows brought to one place",
}


@dataclass(frozen=True)
class Compared:
    """What one way came to."""

    way: Way
    experiment: str  # its name
    metrics: Mapping[str, float]  # by full name, such as "validation accuracy"
    elapsed_s: float  # in which any station of this run was at work
    train_s: float  # of all stations together
    moved_bytes: int  # between stations, if every shard has its own


@dataclass(frozen=True)
class Comparison:
    """All ways that were tried, in their order. Shows itself as a table."""

    name: str
    metric: Metric
    passes: int  # over the data, the same for all
    shards: int
    stations: int
    rows: tuple[Compared, ...]

    def text(self, width: int | None = None) -> str:
        """Return the table as text, no line longer than `width`."""
        metrics = self._metrics()
        columns = [Column("", [row.way for row in self.rows], "method", is_number=False, importance=9)]
        for name in metrics:
            split, _, plain = name.partition(" ")
            cells = [number(row.metrics.get(name)) for row in self.rows]
            columns.append(Column(plain, cells, split, importance=9 if name == str(self.metric) else 5))
        columns += [
            Column("time", [duration(row.elapsed_s) for row in self.rows], importance=7),
            Column("training", [duration(row.train_s) for row in self.rows], importance=3),
            Column("moved", [size(row.moved_bytes) for row in self.rows], importance=8),
            Column("", [_WORDS[row.way] for row in self.rows], is_number=False, importance=1),
        ]
        return "\n".join([*Table(columns).lines(width), self._note()])

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as flat dictionaries with equal keys, for files and data frames."""
        return [
            {"method": row.way, "experiment": row.experiment}
            | {name: row.metrics.get(name) for name in self._metrics()}
            | {"elapsed_s": row.elapsed_s, "train_s": row.train_s, "moved_bytes": row.moved_bytes}
            for row in self.rows
        ]

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame; raise UserError when pandas is not installed."""
        from modelhopper.export import to_pandas

        return to_pandas(self.records())

    def __repr__(self) -> str:
        return self.text()

    def _metrics(self) -> list[str]:
        names = dict.fromkeys(name for row in self.rows for name in row.metrics if name.startswith(self.metric.split))
        return sorted(names, key=lambda name: name != str(self.metric))

    def _note(self) -> str:
        return (
            f"{self.passes:,} {'pass' if self.passes == 1 else 'passes'} over the data each, "
            f"{count(self.shards, 'shard')}, on {count(self.stations, 'station')} here. `time`: "
            "in which any of them was at work. `moved`: what stations send each other if each has one shard."
        )


def busy_s(stays: Iterable[Stay]) -> float:
    """Return for how long at least one station was at work, without the time in which the run was stopped."""
    total_s, until_s = 0.0, 0.0
    for stay in sorted(stays, key=lambda stay: stay.started_s):
        end_s = stay.started_s + stay.train_s + stay.overhead_s
        total_s += max(0.0, end_s - max(until_s, stay.started_s))
        until_s = max(until_s, end_s)
    return total_s


def moved_bytes(way: Way, *, state_bytes: int, weights_bytes: int, data_bytes: int, shards: int, passes: int) -> int:
    """Return how many bytes stations send each other, if every shard has a station of its own. Pure.

    `hop`: the whole state, with the optimizer's, once for every hop but the first. `average`, `easgd`: each iteration
    every station sends its replica to where they are merged and gets the common state back; one of them is that place.
    `ensemble`: every station but one sends its weights, once. `alone`: every station but one sends its rows, once.
    """
    others = shards - 1
    if way == "hop":
        return state_bytes * max(0, shards * passes - 1) if others else 0
    if way in ("average", "easgd"):
        return 2 * state_bytes * others * passes
    return weights_bytes * others if way == "ensemble" else data_bytes * others // shards
