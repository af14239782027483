"""Displays: each listens to a run's events, keeps its progress, and shows it in its own way."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, Self

from rich.console import Console, RenderableType
from rich.live import Live

from modelhopper.display.live import view
from modelhopper.display.plain import Pace, lasting, told
from modelhopper.display.progress import Earlier, Progress
from modelhopper.display.sentences import beginning, framed, headline
from modelhopper.reading import Reader
from modelhopper.running import Job
from modelhopper_contract.decisions import limits
from modelhopper_contract.messages import Event
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification

Form = Literal["live", "plain", "quiet"]
Clock = Callable[[], float]

_FRAMES_PER_S = 8


class Display:
    """Keeps a run's progress and shows nothing. Used as a context manager around the run."""

    def __init__(self, progress: Progress, clock: Clock = time.monotonic) -> None:
        self.progress = progress
        self._clock = clock
        self._is_stopping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def heard(self, event: Event) -> None:
        """Take an event in."""
        self.progress = self.progress.heard(event, self._clock())

    def joined(self, stations: int) -> None:
        """Take in that there are at least so many stations."""
        self.progress = self.progress.joined(stations)

    def say(self, line: str) -> None:
        """Say a line that stays."""

    def stopping(self) -> None:
        """Show from now on that the run is being stopped."""
        self._is_stopping = True


class PlainDisplay(Display):
    """Says lines, few of them, without control characters."""

    _pace = Pace()

    def heard(self, event: Event) -> None:
        """Take an event in, and say what it is worth."""
        before = self.progress
        super().heard(event)
        lines, self._pace = told(before, self.progress, event, self._pace)
        for line in lines:
            self.say(line)

    def say(self, line: str) -> None:
        """Say a line."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class LiveDisplay(Display):
    """Changes a few lines of a terminal in place, and takes them away in the end."""

    def __init__(self, progress: Progress, console: Console, clock: Clock = time.monotonic) -> None:
        super().__init__(progress, clock)
        self._console = console
        # Another thread draws; the progress is a frozen value, so it needs no lock.
        self._live = Live(get_renderable=self._view, console=console, refresh_per_second=_FRAMES_PER_S, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def heard(self, event: Event) -> None:
        """Take an event in, and say what shall stay."""
        before = self.progress
        super().heard(event)
        for line in lasting(before, self.progress, event):
            self.say(line)

    def say(self, line: str) -> None:
        """Say a line above those that change."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _view(self) -> RenderableType:
        width, height = self._console.size
        return view(self.progress, self._clock(), width, height, is_stopping=self._is_stopping)


def display_of(job: Job, form: Form | None = None, clock: Clock = time.monotonic) -> Display:
    """Return a display of a job, having said what the job is and where it goes on.

    `form`: by default live in a terminal and plain elsewhere.
    """
    experiment = job.specification.experiment
    earlier = _earlier(job) if job.has_begun else Earlier(is_decided=not job.specification.is_judged)
    progress = Progress.of(
        job.configurations, job.specification.ring, job.stations, clock(), experiment.objective, earlier
    )
    display = _make(progress, form or fitting_form(), clock)
    for line in (headline(job), job.note, beginning(progress)):
        if line:
            display.say(line)
    return display


def display_of_followed(
    specification: Specification,
    configurations: Sequence[Configuration],
    earlier: Earlier,
    form: Form | None = None,
    clock: Clock = time.monotonic,
) -> Display:
    """Return a display of a run that others work on, having said what it is and how far.

    What is not known before the first look at its stations, such as how many there are, is told to it later.
    """
    progress = Progress.of(configurations, specification.ring, 1, clock(), specification.experiment.objective, earlier)
    display = _make(replace(progress, is_followed=True), form or fitting_form(), clock)
    display.say(framed(specification, len(configurations)))
    return display


def fitting_form() -> Form:
    """Return the form that fits standard output."""
    return "live" if sys.stdout.isatty() and not Console().is_dumb_terminal else "plain"


def _earlier(job: Job) -> Earlier:
    reader = Reader(job.store, job.specification.experiment.name)
    turns, outcomes = reader.turns(), reader.outcomes()
    if job.extend:  # what had finished goes on
        hops = job.specification.ring.hops
        outcomes = {n: one for n, one in outcomes.items() if one.state != "finished" or one.hops_trained >= hops}
    is_decided = turns[-1].is_last if turns else not job.specification.is_judged
    done = reader.hops(outcomes, job.specification)
    return Earlier(done, reader.last_histories(outcomes), outcomes, limits(turns), is_decided)


def _make(progress: Progress, form: Form, clock: Clock) -> Display:
    if form == "live":
        return LiveDisplay(progress, Console(), clock)
    return PlainDisplay(progress, clock) if form == "plain" else Display(progress, clock)
