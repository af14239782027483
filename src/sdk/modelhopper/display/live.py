"""A run in a terminal: a few lines that change in place."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from modelhopper.display.bench import Bench
from modelhopper.display.progress import Progress
from modelhopper.display.sentences import best, hops
from modelhopper.display.words import count, duration, percent

_BAR = (6, 30)  # characters, at least and at most
_LINES_BESIDE_STATIONS = 5


def view(progress: Progress, now_s: float, width: int, height: int, *, is_stopping: bool = False) -> RenderableType:
    """Return what a terminal of this many columns and lines shows of a run."""
    if is_stopping:
        return Text("  stopping; what is done is safe")
    if progress.serving_s is None:
        return _preparation(progress, now_s)
    shown = min(progress.stations, max(1, height - _LINES_BESIDE_STATIONS))
    more = progress.stations - shown
    return Group(
        _stations(progress, now_s, shown, width),
        *([Text(f"  and {count(more, 'more station')}", style="dim")] if more else []),
        *_bottom(progress, now_s, width),
    )


def _preparation(progress: Progress, now_s: float) -> RenderableType:
    total = len(progress.configurations)
    said = f"starting {count(progress.stations, 'station')}"
    if 0 < progress.built < total:
        said = f"built {progress.built} of {count(total, 'configuration')}"
    return Text(f"  {said}, {duration(now_s - progress.began_s)}")


def _stations(progress: Progress, now_s: float, shown: int, width: int) -> RenderableType:
    rows = [
        (
            f"station {station}",
            progress.bench(station),
            f"busy {percent(progress.busy_share(now_s, station)):>5}",
        )
        for station in range(shown)
    ]
    widest = len(_training(progress, len(progress.configurations), progress.ring.iterations))
    beside = 2 + len(rows[-1][0]) + 2 + 2 + widest + 4 + len("busy 100 %")
    bar_width = min(max(width - beside, _BAR[0]), _BAR[1])
    grid = Table.grid(padding=0)
    for _ in range(5):
        grid.add_column(no_wrap=True)
    for name, bench, busy in rows:
        bar = ProgressBar(total=progress.ring.hops, completed=_reached(progress, bench), width=bar_width)
        doing = _doing(progress, bench)
        doing.pad_right(widest - len(doing))  # so that nothing jumps
        grid.add_row(f"  {name}  ", bar, "  ", doing, f"    {busy}")
    return grid


def _reached(progress: Progress, bench: Bench) -> int:
    return 0 if bench.doing is None else max(bench.doing.hop, progress.done[bench.doing.configuration])


def _doing(progress: Progress, bench: Bench) -> Text:
    event = bench.doing
    if event is None:
        return Text("waiting", style="dim")
    iteration = progress.ring.iteration(event.hop)
    if event.action == "evaluate":
        return Text(f"configuration {event.configuration}, evaluation {iteration}")
    return Text(_training(progress, event.configuration, iteration + 1))


def _training(progress: Progress, configuration: int, iteration: int) -> str:
    return f"configuration {configuration}, iteration {iteration} of {progress.ring.iterations}"


def _bottom(progress: Progress, now_s: float, width: int) -> Iterator[RenderableType]:
    left, right = hops(progress, now_s), best(progress)
    if 2 + len(left) + 4 + len(right) <= width:
        yield Text(f"  {left}    {right}".rstrip())
    else:
        yield from (Text(f"  {left}"), Text(f"  {right}"))
