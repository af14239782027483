"""A run in sentences: its frame, how far it is, and how it ended."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelhopper.defaults import DEFAULT_STORE
from modelhopper.display.progress import Progress
from modelhopper.display.words import count, duration, metric, percent, total
from modelhopper_contract.addresses import STORE_VARIABLE
from modelhopper_contract.searches import Asha, Halving, Hyperband, Median, Optuna
from modelhopper_contract.stores import open_store

if TYPE_CHECKING:
    from modelhopper.running import Job
    from modelhopper_contract.specification import Specification
    from modelhopper_scheduler.searches.rehearsal import Rehearsal


def frame(name: str, configurations: int, iterations: int, shards: int, method: str = "hop") -> str:
    """Return the frame of a run, ending with its number of hops. `method`: how shards train, named unless it is hop."""
    parts = [count(configurations, "configuration"), count(iterations, "iteration"), count(shards, "shard")]
    parts += [] if method == "hop" else [method]
    return f"{name}: {', '.join(parts)}: {count(configurations * iterations * shards, 'hop')}"


def judged_frame(name: str, rehearsed: Rehearsal, shards: int) -> str:
    """Return the frame of a run that a search judges: "iris: 17 configurations, up to 9 iterations, ...".

    As the search does it with made-up values: "about", where it may turn out otherwise.
    """
    about, iterations = "" if rehearsed.is_exact else "about ", rehearsed.model_iterations
    parts = [
        f"{'' if rehearsed.is_counted else 'about '}{count(rehearsed.configurations, 'configuration')}",
        f"up to {count(rehearsed.longest, 'iteration')}",
        count(shards, "shard"),
    ]
    cost = f"{about}{count(iterations * shards, 'hop')} ({count(iterations, 'model-iteration')})"
    return f"{name}: {', '.join(parts)}: {cost}"


def framed(specification: Specification, configurations: int) -> str:
    """Return the frame of a run. Where a search decides by who comes first, nobody knows the hops before."""
    experiment, ring = specification.experiment, specification.ring
    search = experiment.search
    if specification.parts > 1:
        return _parted_frame(specification, configurations)
    if not specification.is_judged:
        return frame(experiment.name, configurations, ring.iterations, ring.shards, str(experiment.method))
    if isinstance(search, Hyperband | Halving):
        return judged_frame(experiment.name, _rehearsed(specification), ring.shards)
    parts = [count(search.configurations, "configuration")] if isinstance(search, Asha | Median | Optuna) else []
    parts += [f"up to {count(ring.iterations, 'iteration')}", count(ring.shards, "shard")]
    return f"{experiment.name}: search {search.method}, {', '.join(parts)}"


def _parted_frame(specification: Specification, configurations: int) -> str:
    experiment, ring, parts = specification.experiment, specification.ring, specification.parts
    settings = count(configurations // parts, "setting")
    parting = count(parts, "fold" if experiment.folds is not None else "group")
    shards = f"{ring.shards} of {count(specification.shards, 'shard')} each"
    hops = count(configurations * ring.hops, "hop")
    return f"{experiment.name}: {settings} x {parting}, {count(ring.iterations, 'iteration')}, {shards}: {hops}"


def headline(job: Job) -> str:
    """Return a job's frame in one line: "iris: 12 configurations, ...: 480 hops on 2 stations"."""
    return f"{framed(job.specification, len(job.configurations))} on {devices(job.gpus[: job.stations])}"


def devices(gpus: Sequence[str | None]) -> str:
    """Return where a run trains: "2 stations", "4 GPUs", "4 stations that share 2 GPUs"."""
    different = len({gpu for gpu in gpus if gpu is not None})
    if different == 0:
        return count(len(gpus), "station")
    if different == len(gpus):
        return count(different, "GPU")
    return f"{count(len(gpus), 'station')} that share {count(different, 'GPU')}"


def hops(progress: Progress, now_s: float) -> str:
    """Return how far a run is: "hops 291 of 480, 3 stopped, 1 failed, 2 s left"."""
    parts = [f"hops {progress.hops_done:,} of {total(progress.hops, is_decided=progress.is_decided)}"]
    parts += [f"{progress.stopped} stopped"] if progress.stopped else []
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
    if progress.earlier.is_decided and len(progress.earlier.outcomes) == len(progress.configurations):
        return "every configuration had ended before; nothing is left to do"
    return f"going on from hop {progress.hops_done:,} of {total(progress.hops, is_decided=progress.is_decided)}"


def summary(progress: Progress) -> str:
    """Return how many configurations finished, how long it took since the first hop, and how busy stations were."""
    said = f"{progress.finished} of {len(progress.configurations)} finished"
    said += f", {progress.stopped} stopped" if progress.stopped else ""
    if progress.serving_s is None:
        return said
    if progress.is_followed:  # how busy stations were in between looks, nobody knows
        return said
    before = progress.hops_before
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


def _rehearsed(specification: Specification) -> Rehearsal:
    from modelhopper_scheduler.searches.rehearsal import rehearsed

    found = rehearsed(specification)
    assert found is not None  # noqa: S101 -- for the type; it is no static search
    return found
