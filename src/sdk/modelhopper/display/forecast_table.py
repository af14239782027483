"""The prediction before a cluster run, in words: what is to be done, how long a hop takes, and a table of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelhopper.display.sentences import judged_frame
from modelhopper.display.words import count, duration, percent
from modelhopper.tables import Column, Table

if TYPE_CHECKING:
    from modelhopper_contract.cluster import Resources
    from modelhopper_scheduler.forecast import Forecast
    from modelhopper_scheduler.searches.rehearsal import Rehearsal

STATED = "stated"  # where a hop's time comes from: --hop-seconds, or the cluster's file


def headline(frame: str, pods: int, resources: Resources) -> str:
    """Return what is to be done: "cifar: 96 configurations, ...: 15,360 hops on 16 GPUs (nvidia.com/gpu)".

    `frame`: of the run; `pods`: how many train at once.
    """
    return f"{frame} on {_devices(pods, resources)}"


def judged_headline(name: str, rehearsed: Rehearsal, shards: int, pods: int, resources: Resources) -> str:
    """Return what is to be done under a search that judges, in one line."""
    return f"{judged_frame(name, rehearsed, shards)} on {_devices(pods, resources)}"


def judged_line(iterations: int) -> str:
    """Return what the prediction of a search that judges leaves out."""
    return (
        f"the search decides as it goes: predicted as if each configuration trained {count(iterations, 'iteration')} "
        "and nobody waited at a rung"
    )


def hop_line(hop_s: float | None, origin: str = STATED) -> str:
    """Return how long a hop trains, and where that is known from: "a hop trains 9.4 s (stated)"."""
    if hop_s is None:
        return "how long a hop trains is not known: give --hop-seconds, or --measure"
    return f"a hop trains {_seconds(hop_s)} ({origin})"


def from_journal(hops: int) -> str:
    """Return where a hop's time comes from: earlier hops of the same run."""
    return f"measured: {count(hops, 'hop')} of this run"


def table(forecasts: Sequence[Forecast], chosen: Forecast, *, is_asked: bool = False) -> str:
    """Return the shapes as lines, the chosen one marked, and below them what no schedule can beat.

    `is_asked`: the user chose. Without times it has pods only.
    """
    mark = "← as asked" if is_asked else "← chosen"
    notes = [_note(one, mark if one == chosen else "") for one in forecasts]
    columns = [
        Column("shape", [*map(_label, forecasts), "bound"], is_number=False),
        Column("pods", [*(f"{one.pods:,}" for one in forecasts), ""]),
        *_times(forecasts),
        Column("", [*notes, ""], is_number=False),
    ]
    lines = Table(columns).lines()
    shown = lines if chosen.times else lines[:-1]
    return "\n".join(f"  {line}" for line in shown)


def _devices(pods: int, resources: Resources) -> str:
    if resources.gpu is None:
        return f"{count(pods, 'pod')} without GPUs"
    if resources.gpus == 1:
        return f"{count(pods, 'GPU')} ({resources.gpu})"
    return f"{count(pods, 'pod')} of {resources.gpus} GPUs ({resources.gpu})"


def _seconds(hop_s: float) -> str:
    # A hop of a small model takes milliseconds, and "0.0 s" would say that it takes nothing.
    return f"{1000 * hop_s:.2g} ms" if hop_s < 0.095 else duration(hop_s)


def _times(forecasts: Sequence[Forecast]) -> list[Column]:
    times = [one.times for one in forecasts if one.times]
    if not times:
        return []
    return [
        Column("  makespan", [*(duration(one.makespan_s) for one in times), duration(times[0].bound_s)]),
        Column("  overhead", [*(percent(one.overhead) for one in times), ""]),
        Column("  idle", [*(percent(one.idle) for one in times), ""]),
    ]


def _label(forecast: Forecast) -> str:
    return f"convoy {forecast.convoy}" if forecast.shape == "convoy" else forecast.shape


def _note(forecast: Forecast, mark: str) -> str:
    split = f"{forecast.workflows:,} workflows, one after another" if forecast.workflows > 1 else ""
    parts = [part for part in (mark, split) if part]
    return f"  {'; '.join(parts)}" if parts else ""
