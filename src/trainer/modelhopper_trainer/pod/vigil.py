"""Waiting for tokens, from the store and from other stations, until no more can come."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

from modelhopper_contract.decisions import Turn, limits, read_turns
from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.names import Names
from modelhopper_contract.progress import read_progress
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores import listen
from modelhopper_trainer.pod.expectation import can_come, open_evaluations
from modelhopper_trainer.pod.marker import Marker

_SHORTEST_WAIT_S = 0.02
_GROWTH = 1.3
_LONGEST_WAIT_S = 1.0
_LONGEST_WAIT_FOR_BELL_S = 2.0
_FIRST_CHECK_S = 0.3
_LONGEST_CHECK_S = 5.0


class Bell:
    """Rings when something is put below a prefix, where the store's server tells; otherwise one waits for nothing.

    Used as a context manager.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._rung = threading.Event()
        self._notifications = listen(store.url, prefix, self._rung.set)
        self._stack = ExitStack()

    def __enter__(self) -> Bell:
        if self._notifications is not None:
            self._stack.enter_context(self._notifications)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wait(self, looks: int) -> None:
        """Wait before the next look, the longer the more looks found nothing."""
        is_told = self._notifications is not None and self._notifications.are_live
        longest_s = _LONGEST_WAIT_FOR_BELL_S if is_told else _LONGEST_WAIT_S
        self._rung.wait(min(longest_s, _SHORTEST_WAIT_S * _GROWTH ** min(looks, 30)))
        self._rung.clear()


class Vigil:
    """Decides for a station when to look again, and when its work is over."""

    def __init__(
        self, store: Store, specification: Specification, station: tuple[int, int], bell: Bell, marker: Marker
    ) -> None:
        """`station` is its number, and how many there are."""
        self._store = store
        self._specification = specification
        self._names = Names(specification.experiment.name)
        self._station = station
        self._bell = bell
        self._marker = marker
        self._configurations: dict[str, Configuration] = {}
        self._check_s = _FIRST_CHECK_S
        self._checked_s = 0.0
        self._is_over = False
        self._has_missed = False  # a checkpoint, in the look before

    def is_over(self) -> bool:
        """Say whether nothing can come any more, or the run is cancelled."""
        return self._is_over or self._marker.is_there()

    def wait(self, looks: int) -> None:
        """Wait, or find that it is over. `looks` is how many looks found nothing before."""
        now_s = time.monotonic()
        if looks == 0:
            self._check_s, self._checked_s = _FIRST_CHECK_S, now_s
        if now_s - self._checked_s >= self._check_s:
            self._is_over = not self._can_come()
            self._checked_s, self._check_s = time.monotonic(), min(2 * self._check_s, _LONGEST_CHECK_S)
        if not self._is_over:
            self._bell.wait(looks)

    def _can_come(self) -> bool:
        allowed = None
        if self._specification.is_judged:
            if not self._search_is_over():
                return True  # whoever goes on may come here, and new configurations may
            allowed = limits(read_turns(self._store, self._names))
        progress = read_progress(self._names, self._store)
        unfinished = self._unfinished(progress.outcomes)
        metrics = {
            entry.name
            for number, iteration in open_evaluations(self._specification, unfinished, progress)
            for entry in self._store.list(self._names.metrics(number, iteration))
        }
        try:
            found = can_come(self._specification, unfinished, progress, metrics, self._station, allowed)
        except CorruptObject:
            # A listing need not be of one moment, and can miss a checkpoint that is replaced by the next just then.
            if self._has_missed:
                raise
            self._has_missed = True
            return True
        self._has_missed = False
        return found

    def _search_is_over(self) -> bool:
        names = [entry.name for entry in self._store.list(self._names.turns())]
        return bool(names) and Turn.from_json(self._store.get(max(names)), max(names)).is_last

    def _unfinished(self, outcomes: frozenset[str]) -> list[Configuration]:
        """Return the configurations without outcome; each is read once, for none is added when it is asked for."""
        if not self._configurations:
            found = [entry.name for entry in self._store.list(self._names.configurations())]
            self._configurations = {name: Configuration.from_json(self._store.get(name), name) for name in found}
        return [one for one in self._configurations.values() if self._names.outcome(one.number) not in outcomes]
