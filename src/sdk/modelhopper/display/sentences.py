"""A run in sentences: its frame, how far it is, and how it ended."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelhopper.defaults import DEFAULT_STORE, STORE_VARIABLE
from modelhopper.display.progress import Progress
from modelhopper.display.words import count, duration, metric, percent
from modelhopper_contract.stores import open_store

if TYPE_CHECKING:
    from modelhopper.running import Job


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
    return f"best: configuration {configuration}, {progress.metric} {metric(value)}"


def beginning(progress: Progress) -> str:
    """Return where a run goes on: "going on from hop 291 of 480"; "" for one that begins."""
    if not any(progress.earlier.done.values()) and not progress.earlier.outcomes:
        return ""
    if len(progress.earlier.outcomes) == len(progress.configurations):
        return "every configuration had ended before; nothing is left to do"
    return f"going on from hop {progress.hops_done:,} of {progress.hops:,}"


def summary(progress: Progress) -> str:
    """Return how many configurations finished, how long it took since the first hop, and how busy stations were."""
    said = f"{progress.finished} of {len(progress.configurations)} finished"
    if progress.serving_s is None:
        return said
    if progress.is_followed:  # how busy stations were in between looks, nobody knows
        return said
    before = sum(progress.earlier.done.values())
    which = f", the last {count(progress.hops_done - before, 'hop')}" if before else ""
    took, busy = progress.elapsed_s(progress.last_s), progress.busy_share(progress.last_s)
    return f"{said}{which} in {duration(took)}; stations were busy {percent(busy)} of it"


def home(store: str, name: str) -> str:
    """Return where an experiment's results are, as a user of this working directory would write it: "runs/iris"."""
    url = f"{store}{'' if store.endswith((':', '/')) else '/'}{name}"
    path, here = Path(url), Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else url


def target(store: str, name: str) -> str:
    """Return an experiment as the next command wants it: its name where the store is the default, else its place."""
    default = os.environ.get(STORE_VARIABLE) or DEFAULT_STORE
    is_default = open_store(default).url == store if ":" not in default else default.rstrip("/") == store.rstrip("/")
    return shlex.quote(name if is_default else home(store, name))
