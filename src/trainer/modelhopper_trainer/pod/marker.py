"""Looking between two tokens whether the run is cancelled."""

from __future__ import annotations

import time

from modelhopper_contract.cancellation import is_cancelled
from modelhopper_contract.store import Store

_PERIOD_S = 1.0


class Marker:
    """The marker that cancels a run, looked for at most once a second: short hops shall not each pay a request."""

    def __init__(self, store: Store, experiment: str, period_s: float = _PERIOD_S) -> None:
        self._store = store
        self._experiment = experiment
        self._period_s = period_s
        self._looked_s: float | None = None
        self._seen = False

    @property
    def is_seen(self) -> bool:
        """Whether a look has found it. Costs nothing."""
        return self._seen

    def is_there(self) -> bool:
        """Say whether the run is cancelled."""
        now_s = time.monotonic()
        if not self._seen and (self._looked_s is None or now_s - self._looked_s >= self._period_s):
            self._looked_s = now_s
            self._seen = is_cancelled(self._store, self._experiment)
        return self._seen
