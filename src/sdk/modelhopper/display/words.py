"""Numbers and a run's frame in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelhopper.display.progress import Progress
from modelhopper.tables import duration, number

if TYPE_CHECKING:
    from modelhopper.running import Job


def count(items: int, noun: str) -> str:
    """Return a number with its noun: "1 hop", "12 hops"."""
    return f"{items:,} {noun}{'' if items == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share of one: "96 %"."""
    return f"{100 * min(1.0, max(0.0, share)):.0f} %"


def frame(name: str, configurations: int, iterations: int, shards: int) -> str:
    """Return the frame of a run, ending with its number of hops."""
    parts = [count(configurations, "configuration"), count(iterations, "iteration"), count(shards, "shard")]
    return f"{name}: {', '.join(parts)}: {count(configurations * iterations * shards, 'hop')}"


def headline(job: Job) -> str:
    """Return a job's frame in one line: "iris: 12 configurations, ...: 480 hops on 2 stations"."""
    experiment = job.specification.experiment
    framed = frame(experiment.name, len(job.configurations), experiment.iterations, job.specification.shards)
    return f"{framed} on {devices(job.gpus[: job.stations])}"


def devices(gpus: Sequence[str | None]) -> str:
    """Return where a run trains: "2 stations", "4 GPUs", "4 stations that share 2 GPUs"."""
    different = len({gpu for gpu in gpus if gpu is not None})
    if different == 0:
        return count(len(gpus), "station")
    if different == len(gpus):
        return count(different, "GPU")
    return f"{count(len(gpus), 'station')} that share {count(different, 'GPU')}"


def hops(progress: Progress, now_s: float) -> str:
    """Return how far a run is: "hops 291 of 480, 1 failed, 2 s left"."""
    parts = [f"hops {progress.hops_done:,} of {progress.hops:,}"]
    parts += [f"{len(progress.failed)} failed"] if progress.failed else []
    left_s = progress.left_s(now_s)
    parts += [f"{duration(left_s)} left"] if left_s is not None and progress.hops_done < progress.hops else []
    return ", ".join(parts)


def best(progress: Progress) -> str:
    """Return the best configuration so far: "best: configuration 5, validation accuracy 0.967"; "" before any."""
    if progress.best is None:
        return ""
    configuration, value = progress.best
    return f"best: configuration {configuration}, {progress.metric} {number(value)}"


def summary(progress: Progress, where: str) -> str:
    """Return how a run ended, how long it took since the first hop, and where its results are."""
    total = len(progress.configurations)
    before = sum(progress.earlier.done.values())
    said = f"{progress.finished} of {total} finished"
    if progress.serving_s is None:
        return f"{said}. Results in {where}"
    took = duration(progress.elapsed_s(progress.last_s))
    how_long = f", the last {count(progress.hops_done - before, 'hop')} in {took}" if before else f" in {took}"
    busy = percent(progress.busy_share(progress.last_s))
    return f"{said}{how_long}; stations were busy {busy} of it. Results in {where}"


def place(url: str) -> str:
    """Return a store's URL as a user of this working directory would write it."""
    path = Path(url)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return url
