"""Following a run that somebody else started, from what the store says of it.

A look costs a handful of listings and fetches only what is new, whatever the number of hops: the journal is not read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from modelhopper.display.progress import Earlier
from modelhopper.display.shown import Display, Form, display_of_followed
from modelhopper.display.words import duration
from modelhopper.reading import Reader
from modelhopper.steering import cancelled
from modelhopper_contract.decisions import Turn, limits
from modelhopper_contract.errors import Cancelled, UserError
from modelhopper_contract.messages import Decided, Ended, Evaluated, Event, Idle, Started, Trained
from modelhopper_contract.records import Configuration, History, Outcome
from modelhopper_contract.specification import Specification

INTERVAL_S = 2.0
_SILENCE_S = 60.0  # after which a follower is told that nothing happens; then after twice as long, and so on

Pause = Callable[[float], None]


@dataclass(frozen=True)
class Look:
    """What the store says of a run at one moment."""

    done: Mapping[int, int]  # hops, by configuration
    histories: Mapping[int, History]  # newest evaluations, by configuration
    outcomes: Mapping[int, Outcome]
    work: Mapping[int, Started] = field(default_factory=dict)  # what is due at each station
    is_cancelled: bool = False
    turns: Sequence[Turn] = ()  # of a search that decides while the experiment runs
    configurations: Sequence[Configuration] = ()

    @property
    def is_complete(self) -> bool:
        """Say whether every configuration has an outcome, and none will be added."""
        is_decided = not self.turns or self.turns[-1].is_last
        return is_decided and len(self.outcomes) >= len(self.configurations)

    @property
    def stations(self) -> int:
        """How many stations there are at least."""
        return max(self.work, default=0) + 1


class TimeIsUp(Exception):
    """Nobody wants to wait any longer."""


def pause_until(timeout_s: float | None) -> Pause:
    """Return what pauses, and raises TimeIsUp when so many seconds have passed from now."""
    if timeout_s is None:
        return time.sleep
    end_s = time.monotonic() + timeout_s

    def pause(seconds: float) -> None:
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise TimeIsUp
        time.sleep(min(seconds, left_s))

    return pause


def look(reader: Reader, specification: Specification) -> Look:
    """Look at a run that has begun."""
    # Outcomes first: whoever has one has all its metrics, too.
    outcomes = reader.outcomes()
    turns, configurations = reader.turns() if specification.is_judged else [], reader.configurations
    return Look(
        reader.hops(outcomes, specification),
        reader.last_histories(outcomes),
        outcomes,
        reader.work(specification.ring.shards),
        reader.is_cancelled(),
        turns,
        configurations,
    )


def events(before: Look, now: Look) -> Iterator[Event]:
    """Yield what happened between two looks, as stations would have told it."""
    yield from _decided(before, now)
    places = {one.configuration: station for station, one in before.work.items() if one.action == "train"}
    for number, hop in now.done.items():
        first = before.done.get(number, 0)
        if hop > first:
            at = places.get(number, 0)
            yield Trained(station=at, configuration=number, first_hop=first, end_hop=hop, loss=0.0, busy_s=0.0)
    changed = [history for number, history in now.histories.items() if before.histories.get(number) != history]
    # The result can be an earlier iteration than the newest that was seen; that tells nothing before the outcome.
    earlier = [history for history in changed if _is_earlier(history, before.histories.get(history.configuration))]
    yield from (Evaluated(history=history) for history in changed if history not in earlier)
    for number, outcome in now.outcomes.items():
        if number not in before.outcomes:
            yield Ended(outcome=outcome)
    yield from (Evaluated(history=history) for history in earlier)
    for station, work in now.work.items():
        if before.work.get(station) != work:
            yield work
    for station in before.work.keys() - now.work.keys():
        yield Idle(station=station)


def _is_earlier(history: History, seen: History | None) -> bool:
    return seen is not None and history.iteration < seen.iteration


def _decided(before: Look, now: Look) -> Iterator[Event]:
    known = {one.number: one for one in now.configurations}
    for turn in now.turns[len(before.turns) :]:
        begun = tuple(known[start.configuration] for start in turn.starts if start.configuration in known)
        yield Decided(turn=turn, configurations=begun)


def await_beginning(reader: Reader, say: Callable[[str], None], pause: Pause, interval_s: float = INTERVAL_S) -> None:
    """Wait until an experiment has begun, having said what it waits for.

    Raises UserError when there is no such experiment, and Cancelled.
    """
    said = ""
    while (stage := reader.stage()) != "begun":
        line = waiting_for(reader.names.experiment, stage)
        if reader.is_cancelled():
            raise Cancelled(cancelled(reader.store, reader.names.experiment))
        if line != said:
            say(line)
            said = line
        pause(interval_s)


def waiting_for(name: str, stage: str) -> str:
    """Return what an experiment that has not begun waits for; raise UserError when there is no such experiment."""
    if stage == "submitted":
        return f"{name}: submitted; waiting for its first pod"
    if stage == "preparing":
        return f"{name}: not begun; its configurations are being built"
    raise UserError(f"{name} is no longer in the store.")


def follow(
    reader: Reader, form: Form | None = None, pause: Pause = time.sleep, interval_s: float = INTERVAL_S
) -> Display:
    """Show a run, from before its beginning on, until every configuration has ended; return the display.

    Raises Cancelled when somebody cancels it. `form`: by default live in a terminal and plain lines elsewhere.
    """
    await_beginning(reader, (lambda _: None) if form == "quiet" else _say, pause, interval_s)
    specification = reader.specification()
    first = look(reader, specification)
    is_decided = first.turns[-1].is_last if first.turns else not specification.is_judged
    earlier = Earlier(first.done, first.histories, first.outcomes, limits(first.turns), is_decided)
    display = display_of_followed(specification, reader.configurations, earlier, form)
    changed = f"last change {duration(max(0.0, time.time() - reader.changed_s()))} ago"
    display.say(f"at hop {display.progress.hops_done:,} of {display.progress.hops:,}, {changed}")
    with display:
        Follower(reader, specification, display, first, pause, interval_s).follow()
    return display


class Follower:
    """Shows a run on a display until it is complete or cancelled."""

    def __init__(
        self,
        reader: Reader,
        specification: Specification,
        display: Display,
        first: Look,
        pause: Pause = time.sleep,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._reader = reader
        self._specification = specification
        self._display = display
        self._last = first
        self._pause = pause
        self._interval_s = interval_s
        self._silent_s = 0.0
        self._silence_s = _SILENCE_S

    def follow(self) -> None:
        """Look again and again until every configuration has an outcome; raise Cancelled when somebody stops it."""
        last = self._last
        self._show(Look(last.done, last.histories, last.outcomes, turns=last.turns), last)
        while not self._last.is_complete:
            if self._last.is_cancelled:
                raise Cancelled(cancelled(self._reader.store, self._reader.names.experiment))
            self._pause(self._interval_s)
            now = look(self._reader, self._specification)
            self._show(self._last, now)
            self._last = now

    def _show(self, before: Look, now: Look) -> None:
        self._display.joined(now.stations)
        happened = list(events(before, now))
        for event in happened:
            self._display.heard(event)
        self._silent_s = 0.0 if happened else self._silent_s + self._interval_s
        self._silence_s = _SILENCE_S if happened else self._silence_s
        if self._silent_s >= self._silence_s:
            self._display.say(f"nothing has changed for {duration(self._silent_s)}")
            self._silence_s *= 2


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
