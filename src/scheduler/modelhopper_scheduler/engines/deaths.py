"""Stations that die: which hop to give up, and when to give up altogether."""

from __future__ import annotations

from collections import Counter

from modelhopper_contract.messages import Started

MOST_AT_A_HOP = 3
_MOST_WITHOUT_PROGRESS = 6  # of each station


class Deaths:
    """Counts the deaths of a run's stations."""

    def __init__(self, stations: int) -> None:
        self._most_without_progress = _MOST_WITHOUT_PROGRESS * stations
        self._at_a_hop: Counter[tuple[int, str, int, int]] = Counter()
        self.without_progress = 0
        self.count = 0

    def add(self, station: int, work: Started | None) -> bool:
        """Count a death; return whether what the station was at has killed it so often that it is to blame."""
        self.without_progress += 1
        self.count += 1
        if work is None:
            return False
        # By station: several evaluate a configuration at the same time, and who kills them all at once kills each once.
        at = (station, work.action, work.configuration, work.hop)
        self._at_a_hop[at] += 1
        return self._at_a_hop[at] >= MOST_AT_A_HOP

    def progress(self) -> None:
        """Take note that something was completed."""
        self.without_progress = 0

    @property
    def are_too_many(self) -> bool:
        """Whether stations die without getting anything done."""
        return self.without_progress > self._most_without_progress
