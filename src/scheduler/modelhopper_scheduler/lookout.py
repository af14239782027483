"""Looking out for a run's cancellation, while its stations are at work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from modelhopper_contract.cancellation import is_cancelled
from modelhopper_contract.errors import ModelhopperError
from modelhopper_contract.store import Store

_PERIOD_S = 1.0
_GRACE_S = 2.0
_PARTING_S = 0.2  # a look may wait long for a store that gives no answer; nobody waits for it


class Lookout:
    """Looks for the marker in the store once a second, in a thread of its own. Used as a context manager.

    `on_late` is called once, in that thread, when the context was not left two seconds after `seen` became true, and
    never afterwards. A look that fails says nothing: the stations have to do with the same store, and say what is wrong
    with it.
    """

    def __init__(self, store: Store, experiment: str, on_late: Callable[[], None] | None = None) -> None:
        self._store = store
        self._experiment = experiment
        self._on_late = on_late
        self._seen = False
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lookout", daemon=True)

    @property
    def seen(self) -> bool:
        """Whether the run is cancelled. Costs nothing to ask."""
        return self._seen

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._over.set()
        self._thread.join(_PARTING_S)

    def _watch(self) -> None:
        while not self._over.wait(_PERIOD_S):
            if self._look():
                self._seen = True
                self._over.wait(_GRACE_S)
                self._urge()
                return

    def _look(self) -> bool:
        try:
            return is_cancelled(self._store, self._experiment)
        except ModelhopperError:
            return False

    def _urge(self) -> None:
        with self._lock:
            if not self._over.is_set() and self._on_late is not None:
                self._on_late()
