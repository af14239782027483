"""The status: how far a run is, in a few numbers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from modelhopper.display.words import count, duration
from modelhopper.leaderboard import Leaderboard, Row
from modelhopper.tables import number
from modelhopper_contract.records import Outcome
from modelhopper_contract.specification import Specification


@dataclass(frozen=True)
class Status:
    """How far a run is, as the store has it. Whether a process works on it right now, only `changed` hints at."""

    experiment: str
    configurations: int
    finished: int
    failed: int
    going_on: int
    hops_done: int
    hops: int  # without those that failed configurations will not do
    iteration: int  # complete for every configuration that has not failed
    iterations: int
    best: Row | None  # None before anything is evaluated
    metric: str  # by which it is the best
    best_value: float | None
    changed: datetime  # when something last happened, by the store's clock
    stations: tuple[int, ...]  # that have trained
    has_begun: bool = True  # False: it was submitted to a cluster, and none of its pods has begun
    is_cancelled: bool = False  # it was asked to stop before it was complete

    @property
    def is_complete(self) -> bool:
        """Say whether every configuration has ended."""
        return self.going_on == 0

    def line(self, now_s: float | None = None) -> str:
        """Return the status in one line. `now_s`: seconds since 1970, the clock's when it is not given."""
        parts = [count(self.configurations, "configuration"), f"{self.hops_done:,} of {count(self.hops, 'hop')}"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += self._best()
        waits = [] if self.has_begun else ["waiting for its first pod"]
        ends = [self._when(now_s), *(["cancelled"] if self.is_cancelled else waits)]
        return f"{self.experiment}: {', '.join(parts)}; {', '.join(ends)}"

    def text(self, now_s: float | None = None) -> str:
        """Return the status in a few lines. `now_s`: seconds since 1970, the clock's when it is not given."""
        if not self.has_begun:
            waits = "cancelled" if self.is_cancelled else "waiting for its first pod"
            return f"{self.experiment}: {count(self.configurations, 'configuration')}; {self._when(now_s)}; {waits}"
        ends = [f"{self.finished:,} finished", f"{self.failed:,} failed", f"{self.going_on:,} going on"]
        lines = [f"{self.experiment}: {count(self.configurations, 'configuration')}: {', '.join(ends)}"]
        lines.append(
            f"  hops {self.hops_done:,} of {self.hops:,}; iteration {self.iteration} of {self.iterations} is complete"
        )
        lines += [f"  {best} ({self.best.label})" for best in self._best() if self.best]
        where = f" on {count(len(self.stations), 'station')}" if self.stations else ""
        goes_on = [f"  cancelled; modelhopper resume {self.experiment} goes on"] if self.is_cancelled else []
        return "\n".join([*lines, f"  {self._when(now_s)}{where}", *goes_on])

    def __repr__(self) -> str:
        return self.text()

    def _best(self) -> list[str]:
        best = self.best
        return [f"best: configuration {best.number}, {self.metric} {number(self.best_value)}"] if best else []

    def _when(self, now_s: float | None) -> str:
        age_s = (time.time() if now_s is None else now_s) - self.changed.timestamp()
        if not self.has_begun:
            return f"submitted {duration(age_s)} ago"
        return f"complete since {duration(age_s)}" if self.is_complete else f"last change {duration(age_s)} ago"


def make_status(
    specification: Specification,
    board: Leaderboard,
    outcomes: Mapping[int, Outcome],
    hops: Mapping[int, int],
    stations: Sequence[int],
    changed_s: float,
    *,
    is_cancelled: bool = False,
) -> Status:
    """Sum up what the store holds of a run."""
    ring = specification.ring
    failed = {number for number, outcome in outcomes.items() if outcome.state == "failed"}
    going = [row for row in board.rows if row.number not in failed]
    best = next((row for row in going if board.metric.of(row.history) is not None), None)
    return Status(
        experiment=board.experiment,
        configurations=len(board.rows),
        finished=len(outcomes) - len(failed),
        failed=len(failed),
        going_on=len(board.rows) - len(outcomes),
        hops_done=sum(hops.values()),
        hops=sum(hop if number in failed else ring.hops for number, hop in hops.items()),
        iteration=min((row.iteration for row in going), default=0),
        iterations=ring.iterations,
        best=best,
        metric=str(board.metric),
        best_value=board.metric.of(best.history) if best else None,
        changed=datetime.fromtimestamp(changed_s, UTC),
        stations=tuple(stations),
        is_cancelled=is_cancelled and len(outcomes) < len(board.rows),
    )


def make_status_of_submission(
    specification: Specification, configurations: int, submitted_s: float, *, is_cancelled: bool
) -> Status:
    """Sum up an experiment that was submitted and has not begun."""
    ring = specification.ring
    return Status(
        experiment=specification.experiment.name,
        configurations=configurations,
        finished=0,
        failed=0,
        going_on=configurations,
        hops_done=0,
        hops=configurations * ring.hops,
        iteration=0,
        iterations=ring.iterations,
        best=None,
        metric="",
        best_value=None,
        changed=datetime.fromtimestamp(submitted_s, UTC),
        stations=(),
        has_begun=False,
        is_cancelled=is_cancelled,
    )
