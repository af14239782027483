"""A run in a terminal: a few lines that change in place."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from modelhopper.display.progress import Bench, Progress
from modelhopper.display.sentences import best, hops
from modelhopper.display.words import count, duration, percent

_LONGEST_BAR = 30
_LINES_BESIDE_STATIONS = 5


def view(progress: Progress, now_s: float, width: int, height: int, *, is_stopping: bool = False) -> RenderableType:
    """Return what a terminal of this many columns and lines shows of a run."""
    if progress.serving_s is None:
        return _preparation(progress, now_s, width, is_stopping=is_stopping)
    shown = min(progress.stations, max(1, height - _LINES_BESIDE_STATIONS))
    more = progress.stations - shown
    below = [Text(f"  and {count(more, 'more station')}", style="dim")] if more else []
    return Group(_stations(progress, now_s, shown, width), *below, *_bottom(progress, now_s, width, is_stopping))


def _preparation(progress: Progress, now_s: float, width: int, *, is_stopping: bool) -> RenderableType:
    total = len(progress.configurations)
    if is_stopping:
        said = "stopping"
    elif progress.built == 0 or any(progress.earlier.done.values()):
        said = f"starting {count(progress.stations, 'station')}, {duration(now_s - progress.began_s)}"
    else:
        said = f"built {progress.built} of {count(total, 'configuration')}"
    grid = Table.grid(padding=(0, 2))
    grid.add_row("", ProgressBar(total=total, completed=progress.built, width=_bar_width(width)), Text(said))
    return grid


def _stations(progress: Progress, now_s: float, shown: int, width: int) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for _ in range(5):
        grid.add_column(no_wrap=True)
    for station in range(shown):
        bench = progress.bench(station)
        busy = f"busy {percent(progress.busy_share(now_s, station))}"
        bar = ProgressBar(total=progress.ring.hops, completed=_reached(progress, bench), width=_bar_width(width))
        grid.add_row("", f"station {station}", bar, _doing(progress, bench), busy)
    return grid


def _reached(progress: Progress, bench: Bench) -> int:
    if bench.doing is None:
        return 0
    return max(bench.doing.hop, progress.done[bench.doing.configuration])


def _doing(progress: Progress, bench: Bench) -> Text:
    ring, event = progress.ring, bench.doing
    # As wide as the widest, so that nothing jumps.
    widest = len(f"configuration {len(progress.configurations)}, iteration {ring.iterations} of {ring.iterations}")
    if event is None:
        return Text("waiting".ljust(widest), style="dim")
    if event.action == "evaluate":
        said = f"configuration {event.configuration}, evaluation {ring.iteration(event.hop)}"
    else:
        said = f"configuration {event.configuration}, iteration {ring.iteration(event.hop) + 1} of {ring.iterations}"
    return Text(said.ljust(widest))


def _bottom(progress: Progress, now_s: float, width: int, is_stopping: bool) -> Iterator[RenderableType]:  # noqa: FBT001
    left = "  stopping; what is done is safe" if is_stopping else f"  {hops(progress, now_s)}"
    right = best(progress)
    if len(left) + 4 + len(right) <= width:
        yield Text(f"{left}    {right}".rstrip())
    else:
        yield from (Text(left), Text(f"  {right}"))


def _bar_width(width: int) -> int:
    return max(6, min(_LONGEST_BAR, width - 62))
