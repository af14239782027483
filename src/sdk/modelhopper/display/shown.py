"""Displays: each listens to a run's events, keeps its progress, and shows it in its own way."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Literal, Self

from modelhopper_contract.messages import Built, Ended, Event
from rich.console import Console
from rich.live import Live

from modelhopper.display.live import view
from modelhopper.display.plain import Pace, built, failed, told
from modelhopper.display.progress import Progress

Form = Literal["live", "plain", "quiet"]
Clock = Callable[[], float]
Say = Callable[[str], None]

_FRAMES_PER_S = 8


class Display:
    """Keeps a run's progress and shows nothing. Used as a context manager around the run."""

    def __init__(self, progress: Progress, say: Say, clock: Clock = time.monotonic) -> None:
        self.progress = progress
        self._say = say
        self._clock = clock
        self._is_stopping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def say(self, line: str) -> None:
        """Say a line that stays."""

    def heard(self, event: Event) -> None:
        """Take an event in."""
        now_s = self._clock()
        before, self.progress = self.progress, self.progress.heard(event, now_s)
        self._show(before, event, now_s)

    def stopping(self) -> None:
        """Show from now on that the run is being stopped."""
        self._is_stopping = True

    def _show(self, before: Progress, event: Event, now_s: float) -> None:
        return None


class PlainDisplay(Display):
    """Says lines, few of them."""

    _pace = Pace()

    def say(self, line: str) -> None:
        """Say a line."""
        self._say(line)

    def _show(self, before: Progress, event: Event, now_s: float) -> None:
        lines, self._pace = told(before, self.progress, event, self._pace, now_s)
        for line in lines:
            self._say(line)


class LiveDisplay(Display):
    """Changes a few lines of a terminal in place, and takes them away in the end."""

    def __init__(self, progress: Progress, console: Console, clock: Clock = time.monotonic) -> None:
        super().__init__(progress, lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True), clock)
        self._console = console
        # Another thread draws; the progress is a frozen value, so it needs no lock.
        self._live = Live(
            get_renderable=self._view, console=console, refresh_per_second=_FRAMES_PER_S, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Say a line above those that change."""
        self._say(line)

    def _show(self, before: Progress, event: Event, now_s: float) -> None:
        if isinstance(event, Ended) and event.outcome.failure is not None:
            self._say(failed(event))
        if isinstance(event, Built) and before.built < self.progress.built == len(self.progress.configurations):
            self._say(built(self.progress, now_s))

    def _view(self) -> object:
        width, height = self._console.size
        return view(self.progress, self._clock(), width, height, is_stopping=self._is_stopping)


def make_display(progress: Progress, form: Form | None = None) -> Display:
    """Return a display of a form; by default live in a terminal and plain elsewhere."""
    if form is None:
        form = "live" if sys.stdout.isatty() and not Console().is_dumb_terminal else "plain"
    if form == "live":
        return LiveDisplay(progress, Console())
    return PlainDisplay(progress, _print) if form == "plain" else Display(progress, _print)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
