"""The status: how far a run is, in a few numbers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from modelhopper.display.words import count, duration, total
from modelhopper.leaderboard import Leaderboard, Row
from modelhopper.tables import number
from modelhopper_contract.decisions import Turn, limits
from modelhopper_contract.records import Configuration, Outcome
from modelhopper_contract.ring import Ring
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
    hops: int  # without those that failed and stopped configurations will not do
    iteration: int  # complete for every configuration that has neither failed nor stopped
    iterations: int
    best: Row | None  # None before anything is evaluated
    metric: str  # by which it is the best
    best_value: float | None
    changed: datetime  # when something last happened, by the store's clock
    stations: tuple[int, ...]  # that have trained
    has_begun: bool = True  # False: it was submitted to a cluster, and none of its pods has begun
    is_cancelled: bool = False  # it was asked to stop before it was complete
    stopped: int = 0  # ended before all iterations, with a result
    is_decided: bool = True  # no search will let more configurations train, or these for longer

    @property
    def is_complete(self) -> bool:
        """Say whether every configuration has ended, and no search will add one."""
        return self.going_on == 0 and self.is_decided

    def line(self, now_s: float | None = None) -> str:
        """Return the status in one line. `now_s`: seconds since 1970, the clock's when it is not given."""
        hops = total(self.hops, is_decided=self.is_decided)
        said = f"{self.hops_done:,} of {hops} hop{'' if self.hops == 1 else 's'}"
        parts = [count(self.configurations, "configuration"), said]
        parts += [f"{self.stopped} stopped"] if self.stopped else []
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
        stopped = [f"{self.stopped:,} stopped"] if self.stopped else []
        ends = [f"{self.finished:,} finished", *stopped, f"{self.failed:,} failed", f"{self.going_on:,} going on"]
        lines = [f"{self.experiment}: {count(self.configurations, 'configuration')}: {', '.join(ends)}"]
        lines.append(
            f"  hops {self.hops_done:,} of {total(self.hops, is_decided=self.is_decided)}; "
            f"iteration {self.iteration} of {self.iterations} is complete"
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


@dataclass(frozen=True)
class Records:
    """What the store holds of a run, besides its metrics."""

    configurations: Sequence[Configuration]
    outcomes: Mapping[int, Outcome]
    hops: Mapping[int, int]  # done, by configuration
    stations: Sequence[int]  # that have trained
    changed_s: float  # when something last happened
    turns: Sequence[Turn] = ()  # of a search that decides while the run goes on
    is_cancelled: bool = False

    @property
    def is_decided(self) -> bool:
        """Say whether no search will decide anything any more."""
        return not self.turns or self.turns[-1].is_last

    def states(self) -> dict[str, set[int]]:
        """Return which configurations ended how."""
        found: dict[str, set[int]] = {"finished": set(), "stopped": set(), "failed": set()}
        for one in self.outcomes.values():
            found[one.state].add(one.configuration)
        return found

    def all_hops(self, ring: Ring) -> int:
        """Return the hops of the whole run, as far as is known: a search may let configurations train on."""
        allowed, ended = limits(self.turns), {n for n, one in self.outcomes.items() if one.state != "finished"}
        until = {n: min(ring.hops, allowed.get(n, ring.iterations) * ring.shards) for n in self.hops}
        return sum(self.hops[n] if n in ended else until[n] for n in self.hops) - self.copied

    @property
    def copied(self) -> int:
        """Hops that configurations did not do, because they went on from a copy of another."""
        return sum(one.first_hop for one in self.configurations)


def make_status(specification: Specification, board: Leaderboard, records: Records) -> Status:
    """Sum up what the store holds of a run."""
    ring, states = specification.ring, records.states()
    sound = [row for row in board.rows if row.number not in states["failed"]]
    going = [row for row in sound if row.number not in states["stopped"]]
    best = next((row for row in sound if board.metric.of(row.history) is not None), None)
    is_complete = records.is_decided and len(records.outcomes) >= len(board.rows)
    return Status(
        experiment=board.experiment,
        configurations=len(board.rows),
        finished=len(states["finished"]),
        failed=len(states["failed"]),
        going_on=len(board.rows) - len(records.outcomes),
        hops_done=sum(records.hops.values()) - records.copied,
        hops=records.all_hops(ring),
        iteration=min((row.iteration for row in going or sound), default=0),
        iterations=ring.iterations,
        best=best,
        metric=str(board.metric),
        best_value=board.metric.of(best.history) if best else None,
        changed=datetime.fromtimestamp(records.changed_s, UTC),
        stations=tuple(records.stations),
        is_cancelled=records.is_cancelled and not is_complete,
        stopped=len(states["stopped"]),
        is_decided=records.is_decided,
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
