"""Stations without a run: those that wait for another one of the same Python program, and those started ahead of one.

TensorFlow takes seconds to start, more than many a run takes to train.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
from collections.abc import Iterable, Sequence
from typing import Self

from modelhopper_scheduler.engines.outfit import Outfit
from modelhopper_scheduler.engines.station_process import StationProcess

_PARTING_S = 2.0  # an idle station ends at once


class Standby:
    """Keeps idle stations. May be used by several threads; as a context manager, ends them when it is left.

    They also end when this program ends, however that happens, and by themselves when nobody has wanted them for long.
    """

    def __init__(self) -> None:
        self._idle: list[StationProcess] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()

    def start(self, outfits: Iterable[Outfit]) -> None:
        """Start stations ahead of a run. The files that they will import need not be known yet."""
        for outfit in outfits:
            self.keep(StationProcess(outfit))

    def take(self, outfits: Sequence[Outfit]) -> dict[int, StationProcess]:
        """Return the stations that can be had for these outfits, by position; they are the caller's from now on.

        One may have ended meanwhile; who asks it something finds out. Stations of other outfits are ended: they hold
        memory that may be needed now.
        """
        taken: dict[int, StationProcess] = {}
        with self._lock:
            for position, outfit in enumerate(outfits):
                fitting = [one for one in self._idle if one.fits(outfit)]
                if fitting:
                    # One that had this number before has this number's shards in memory.
                    found = taken[position] = min(fitting, key=lambda one: one.station != position)
                    self._idle.remove(found)
                    found.outfit = outfit
        self.dismiss(outfits)
        return taken

    def keep(self, process: StationProcess) -> None:
        """Keep a station that has no run."""
        with self._lock:
            self._idle.append(process)

    def dismiss(self, but: Sequence[Outfit] = ()) -> None:
        """End the idle stations, but for those that have done their part in a run and have one of these outfits."""
        with self._lock:
            leaving = [one for one in self._idle if one.is_new or one.outfit not in but]
            self._idle = [one for one in self._idle if one not in leaving]
        for process in leaving:
            process.close()
        for process in leaving:
            process.stop(0 if process.is_new else _PARTING_S)

    def abandon(self) -> None:
        """Forget the stations in a process that was forked: they are its parent's, and end with that one only."""
        self._lock = threading.Lock()
        for process in self._idle:
            process.abandon()
        self._idle = []


@functools.cache
def standby() -> Standby:
    """Return the one of this program, which keeps the stations of `Experiment.run` until the program ends."""
    made = Standby()
    atexit.register(made.dismiss)
    os.register_at_fork(after_in_child=made.abandon)
    return made


def stop_stations() -> None:
    """End the stations that wait for another run of this Python program, and free the memory that they hold.

    `Experiment.run` keeps its stations for the next run, which then does not wait for TensorFlow to start. They end
    with the program, and by themselves after five minutes without a run.
    """
    standby().dismiss()
