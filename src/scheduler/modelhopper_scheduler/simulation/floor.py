"""Stations with inboxes, and a clock that jumps to whatever ends next."""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from typing import Literal, NamedTuple


class Job(NamedTuple):
    """What a token asks a station for: a stay of a configuration, or its share of an evaluation."""

    action: Literal["train", "evaluate"]
    station: int
    number: int  # of the configuration
    hop: int  # the first one of a stay; of an evaluation the checkpoint
    end: int  # the hop before which the stay ends; of an evaluation the checkpoint
    seconds: float


class Floor:
    """All stations of a run. Each serves its inbox first come, first served, one job at a time."""

    def __init__(self, stations: int) -> None:
        self.now_s = 0.0
        # When a station began each job, and when it ended: bare numbers, for simulations of millions of jobs.
        self.starts_s, self.ends_s = array("d"), array("d")
        self._inboxes: list[deque[Job]] = [deque() for _ in range(stations)]
        self._is_busy = [False] * stations
        self._ends: list[tuple[float, int, Job]] = []  # a heap; equal times in the order in which jobs began

    def put(self, job: Job) -> None:
        """Put a job into its station's inbox, now."""
        if self._is_busy[job.station]:
            self._inboxes[job.station].append(job)
        else:
            self._begin(job)

    def next_done(self) -> Job | None:
        """Let the clock go on until a job is done, and return that; None when nobody works any more."""
        if not self._ends:
            return None
        self.now_s, _, job = heapq.heappop(self._ends)
        self._is_busy[job.station] = False
        if self._inboxes[job.station]:
            self._begin(self._inboxes[job.station].popleft())
        return job

    def _begin(self, job: Job) -> None:
        self._is_busy[job.station] = True
        end_s = self.now_s + job.seconds
        heapq.heappush(self._ends, (end_s, len(self.ends_s), job))
        self.starts_s.append(self.now_s)
        self.ends_s.append(end_s)

    @property
    def worked_s(self) -> float:
        """All stations' time at work."""
        return sum(end_s - start_s for start_s, end_s in zip(self.starts_s, self.ends_s, strict=True))

    def busy_shares(self, parts: int) -> tuple[float, ...]:
        """Return how busy all stations were in each of so many equal parts of the time from 0 to now."""
        if self.now_s <= 0:
            return (0.0,) * parts
        width_s, worked_s = self.now_s / parts, [0.0] * parts
        for start_s, stop_s in zip(self.starts_s, self.ends_s, strict=True):
            first, last = int(start_s / width_s), min(parts - 1, int(stop_s / width_s))
            if first >= last:
                worked_s[last] += stop_s - start_s
                continue
            for part in range(first, last + 1):
                worked_s[part] += max(0.0, min(stop_s, (part + 1) * width_s) - max(start_s, part * width_s))
        return tuple(each / (len(self._inboxes) * width_s) for each in worked_s)
