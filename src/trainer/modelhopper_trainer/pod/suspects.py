"""Finding out which configuration gets its pod killed, most likely because the memory does not suffice for it.

A killed process can say nothing, and Argo starts it again. So a pod that takes the place of a killed one writes down
what it is at before it begins; when it is killed as well, the next one knows at what. Only what two pods in a row were
killed at is to blame: a station lives for long, and what it happens to be at when its node has no memory left, or when
a leak has filled its own, is innocent. A first attempt writes nothing: hops that go well cost no request. What it was
killed at is taken to be what the next one begins with, for a token stays the oldest until it is served.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from modelhopper_contract.ending import give_up, write_retry
from modelhopper_contract.errors import ObjectNotFound
from modelhopper_contract.messages import Ended, Event, Idle, Started
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.record import Record
from modelhopper_contract.records import Failure
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store

RETRIES_VARIABLE = "MODELHOPPER_RETRIES"
MOST_RETRIES_VARIABLE = "MODELHOPPER_MOST_RETRIES"
LAST_EXIT_CODE_VARIABLE = "MODELHOPPER_LAST_EXIT_CODE"

_KILLED = 128 + signal.SIGKILL
_MOST_KILLS = 2  # of pods in a row at the same


class Suspect(Record):
    """What a pod is at."""

    action: Literal["train", "evaluate"]
    configuration: int
    hop: int
    pod: str
    kills: int = 0  # of pods right before this one, at the same


@dataclass(frozen=True)
class Retry:
    """Which attempt this is, and how the one before ended."""

    count: int = 0  # 0 is the first attempt
    last_exit_code: int | None = None  # None where Argo does not tell
    most: int | None = None  # attempts after the first; None where nobody says

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Retry:
        """Read what Argo says; expressions that it left as they are say nothing."""
        count = _number(environment.get(RETRIES_VARIABLE))
        last, most = _number(environment.get(LAST_EXIT_CODE_VARIABLE)), _number(environment.get(MOST_RETRIES_VARIABLE))
        return cls(count or 0, last, most)

    @property
    def is_last(self) -> bool:
        """Whether nobody takes this pod's place when it ends."""
        return self.most is not None and self.count >= self.most

    @property
    def follows_a_kill(self) -> bool:
        """Whether the attempt before this one may have been killed."""
        return self.count > 0 and self.last_exit_code in {None, _KILLED}


class Suspects:
    """The record of one place, where there is one pod at a time; see `Names.suspect`."""

    def __init__(self, store: Store, specification: Specification, place: str, pod: str, retry: Retry) -> None:
        self._store = store
        self._ring = specification.ring
        self._names = Names(specification.experiment.name)
        self._place = place
        self._name = self._names.suspect(place)
        self._pod = pod
        self._retry = retry
        self._is_there = False
        self._earlier: Suspect | None = None  # what the pod before was killed at, with that kill counted
        self._has_told = False  # what is done again
        self._first_kills = 0  # at what is begun first, where the pod before said nothing

    def look_back(self, station: int, report: Callable[[Event], None]) -> None:
        """End the configuration that the last two pods here were killed at, if there is one."""
        if self._retry.count == 0:
            return
        suspect = self._found()
        if self._retry.count == 1:  # the first attempt has written nothing: this is from an earlier run
            self._first_kills = int(self._retry.follows_a_kill)
        elif suspect is not None and self._retry.follows_a_kill and self._is_due(suspect):
            self._earlier = suspect.model_copy(update={"kills": suspect.kills + 1})
            if self._earlier.kills >= _MOST_KILLS:
                failure = _failure(suspect, station)
                report(Ended(outcome=give_up(self._store, self._names, suspect.configuration, failure)))
        if suspect is not None:
            self._store.delete(self._name)

    def hear(self, event: Event) -> None:
        """Write down what begins. To be told before it begins, in the thread that does it."""
        if isinstance(event, Idle):
            self.clear()
        if not isinstance(event, Started) or self._retry.count == 0:
            return
        self._store.put(self._name, self._suspect(event).to_json())
        self._is_there = True
        if self._retry.follows_a_kill and not self._has_told:
            self._tell(event)

    def clear(self) -> None:
        """Take back what was written down: it went well, or ended in good order."""
        if self._is_there:
            self._store.delete(self._name)
            self._is_there = False

    def _tell(self, event: Started) -> None:
        """Leave in the store what this pod begins with: most likely what the one before it was at."""
        code = self._retry.last_exit_code
        how = "" if code is None else f" with exit code {code}"
        reason = f"the pod before {self._pod} ended{how}"
        write_retry(self._store, self._names, event, f"{self._place}-{self._retry.count}", reason)
        self._has_told = True

    def _found(self) -> Suspect | None:
        try:
            return Suspect.from_json(self._store.get(self._name), self._name)
        except ObjectNotFound:
            return None

    def _suspect(self, event: Started) -> Suspect:
        at = (event.action, event.configuration, event.hop)
        kills, self._first_kills = self._first_kills, 0
        if (earlier := self._earlier) and at == (earlier.action, earlier.configuration, earlier.hop):
            kills = earlier.kills
        return Suspect(action=at[0], configuration=at[1], hop=at[2], pod=self._pod, kills=kills)

    def _is_due(self, suspect: Suspect) -> bool:
        """Say whether what was begun is still to be done: a record can be left from long ago."""
        number, hop = suspect.configuration, suspect.hop
        if self._store.list(self._names.outcome(number)):
            return False
        if suspect.action == "evaluate":
            return not self._store.list(self._names.history(number, self._ring.iteration(hop)))
        hops = [checkpoint_number(entry.name)[1] for entry in self._store.list(self._names.checkpoints(number))]
        if self._ring.merges:
            is_done = bool(self._store.list(self._names.replica(number, hop)))
            return max(hops, default=hop) == self._ring.start(hop) and not is_done
        return max(hops, default=hop) == hop  # one that a search lets start later on begins without any


def _failure(suspect: Suspect, station: int) -> Failure:
    what = "at this hop" if suspect.action == "train" else "while evaluating it"
    return Failure(
        reason=f"its pod was killed twice {what} (exit code {_KILLED}); most likely out of memory",
        hop=suspect.hop,
        shard=None,
        station=station,
        traceback=None,
        output=None,
    )


def _number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None
