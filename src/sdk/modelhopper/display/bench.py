"""One station as events tell of it: what it does, and how long it has had work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from modelhopper_contract.messages import Started, Trained


@dataclass(frozen=True)
class Bench:
    """A station is busy from the start of something until it says that it is idle."""

    doing: Started | None = None
    since_s: float = 0.0  # when it began what it does
    closed_s: float = 0.0  # busy before that
    settled_s: float = 0.0  # of it, what did not include the start of a program
    first: Mapping[tuple[str, int], int] = field(default_factory=dict)  # the first hop by action and configuration

    def started(self, event: Started, now_s: float) -> Bench:
        """Return the station after it began something."""
        key = (event.action, event.configuration)
        first = self.first if key in self.first else {**self.first, key: event.hop}
        return replace(self._closed(now_s), doing=event, first=first)

    def trained(self, event: Trained, now_s: float) -> Bench:
        """Return the station after the hops of a stay became safe. By then it may do something else."""
        now = self.doing
        is_that = now is not None and (now.configuration, now.hop) == (event.configuration, event.first_hop)
        return self._closed(now_s) if is_that else self

    def idle(self, now_s: float) -> Bench:
        """Return the station after it found its inbox empty."""
        return replace(self._closed(now_s), doing=None)

    def busy_s(self, now_s: float) -> float:
        """Return how long it has been busy until now."""
        return self.closed_s + (now_s - self.since_s if self.doing else 0.0)

    def is_first(self, action: str, configuration: int, hop: int) -> bool:
        """Say whether a configuration came here for the first time with this hop, which may compile its program."""
        return self.first.get((action, configuration), hop) == hop

    def _closed(self, now_s: float) -> Bench:
        now = self.doing
        spent_s = now_s - self.since_s if now else 0.0
        is_settled = now is not None and not self.is_first(now.action, now.configuration, now.hop)
        settled_s = self.settled_s + (spent_s if is_settled else 0.0)
        return replace(self, since_s=now_s, closed_s=self.closed_s + spent_s, settled_s=settled_s)
