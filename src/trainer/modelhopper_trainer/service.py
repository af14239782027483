"""What a station's process does, command after command: it takes part in a run, and later perhaps in another."""

from __future__ import annotations

import gc
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modelhopper_contract.messages import (
    Begin,
    Begun,
    Command,
    Event,
    Measure,
    Prepare,
    Release,
    Released,
    Serve,
    Stop,
)
from modelhopper_contract.names import Names
from modelhopper_contract.specification import Specification
from modelhopper_contract.stores import open_store
from modelhopper_trainer.ear import Ear
from modelhopper_trainer.foresight import Data
from modelhopper_trainer.station import Station
from modelhopper_trainer.workshop import Workshop

MOST_IDLE_S = 300.0  # then a station that nobody has given another run ends

_MOST_DESCRIPTORS = 4
_MOST_PROGRAMS = 64  # of earlier runs, whose memory a new process would not use
_GENERATED = "__autograph_generated_file"  # what TensorFlow makes of functions, and imports
# Everything that a workshop's programs and shards depend on, but for each configuration's own part.
_BASIS: Any = {"folder": True, "digests": True, "experiment": {"data", "models", "seed", "devices"}}


class Service:
    """A process that is a station when it is told to.

    `descriptors` is the Unix socket on which locks come, `foreseen` gives data sets that were opened ahead,
    `started_s` is when the process began to import, in seconds since 1970.
    """

    def __init__(
        self,
        ear: Ear,
        report: Callable[[Event], None],
        descriptors: int | None,
        foreseen: Callable[[Specification], Data | None],
        started_s: float,
        most_idle_s: float = MOST_IDLE_S,
    ) -> None:
        self.station = 0  # the number in the run that this takes part in, or took part in last
        self._ear = ear
        self._report = report
        self._descriptors = descriptors
        self._foreseen = foreseen
        self._most_idle_s = most_idle_s
        self._started_s = started_s
        self._has_served = False
        self._begin: Begin | None = None
        self._held: list[int] = []
        self._station: Station | None = None
        self._workshop: tuple[Specification, Workshop] | None = None

    def run(self) -> None:
        """Do what is commanded, until told to stop or until nobody has wanted anything for `most_idle_s`."""
        while True:
            command = self._ear.next(None if self._begin else self._most_idle_s)
            if command is None or isinstance(command, Stop) or not self._do(command):
                return

    def _do(self, command: Command) -> bool:
        """Do what is commanded; return False when another process must do it."""
        if isinstance(command, Begin):
            return self._take_part(command)
        if isinstance(command, Measure):
            self._station_for(command.specification).measure(command.configurations)
        elif isinstance(command, Prepare):
            self._station_for(command.specification).prepare(command.configurations)
        elif isinstance(command, Serve):
            self._station_for(None).serve(self._ear.is_told_to_end, self._ear.wait)
        elif isinstance(command, Release):
            self._let_go()
        return True

    def _take_part(self, begin: Begin) -> bool:
        self._held = _received(self._descriptors)
        if self._has_served and _has_changed_since(self._started_s):
            return False
        self._has_served = True
        _print_into(Path(begin.log))
        self._begin, self.station = begin, begin.station
        self._report(Begun())
        return True

    def _let_go(self) -> None:
        self._station = self._begin = None
        _print_into(Path(os.devnull))
        self._ear.begin_anew()
        while self._held:
            os.close(self._held.pop())
        self._report(Released())

    def _station_for(self, specification: Specification | None) -> Station:
        if self._station is None:
            begin = self._begin
            assert begin is not None  # noqa: S101 -- for the type; whoever commands says first for which run
            store = open_store(begin.store)
            if specification is None:
                name = Names(begin.experiment).specification()
                specification = Specification.from_json(store.get(name), name)
            part, log = (begin.station, begin.stations), Path(begin.log)
            self._station = Station(store, specification, *part, self._report, log, self._workshop_for(specification))
        return self._station

    def _workshop_for(self, specification: Specification) -> Workshop:
        """Return what the last run left, where this one builds the same things from the same data."""
        if self._workshop is not None and _basis(self._workshop[0]) == _basis(specification):
            made = self._workshop[1]
            if made.size <= _MOST_PROGRAMS:
                return made
            self._workshop = specification, made.apart()
            gc.collect()
            return self._workshop[1]
        if self._workshop is not None:
            self._workshop = None
            gc.collect()  # a model and its compiled programs hold each other
        self._workshop = specification, Workshop(specification, self._foreseen(specification))
        return self._workshop[1]


def _basis(specification: Specification) -> dict[str, Any]:
    return specification.model_dump(include=_BASIS)


def _has_changed_since(started_s: float) -> bool:
    """Say whether a file that this process has imported was changed or removed meanwhile: an edited package."""
    for path in _imported():
        try:
            # Unlike the time of modification, nobody can set this one back.
            if path.stat().st_ctime > started_s:
                return True
        except OSError:
            return True
    return False


def _imported() -> Iterator[Path]:
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and Path(file).is_absolute() and not Path(file).name.startswith(_GENERATED):
            yield Path(file)


def _received(channel: int | None) -> list[int]:
    """Return the descriptors that came with the command; this process holds their locks, too, until it closes them."""
    if channel is None:
        return []
    with socket.socket(fileno=os.dup(channel)) as given:
        return socket.recv_fds(given, 1, _MOST_DESCRIPTORS)[1]


def _printed_before() -> bytes:
    """Return what is in the nameless file that this process was started with; nothing where it prints elsewhere."""
    status = os.fstat(1)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 0:
        return b""
    return os.pread(1, status.st_size, 0)


def _print_into(log: Path) -> None:
    """Let what this process and TensorFlow's C++ parts print go to the end of a file.

    What was printed before there was a log goes there, too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    if printed := _printed_before():
        os.write(file, printed)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
