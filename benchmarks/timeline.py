"""Where the time of a run goes: python benchmarks/timeline.py EXPERIMENT.yaml STORE. Prints Markdown."""

import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import psutil

import modelhopper as mh
from modelhopper.reading import Reader
from modelhopper.running import make_ready, run_job
from modelhopper_contract.messages import Built, Ended, Started

TABLE = "| part | all stations together |\n|---|---|"


def main(path, store):
    begun_s = psutil.Process().create_time()
    job = make_ready(mh.load_experiment(path), Path(path).parent, store=store)
    ready_s, events = time.time(), []
    run_job(job, lambda event: events.append((time.time(), event)))
    over_s = time.time()
    built = [at for at, event in events if isinstance(event, Built)]
    started = [at for at, event in events if isinstance(event, Started)]
    ended = [at for at, event in events if isinstance(event, Ended)]
    print(f"Where the time of one more run went, {over_s - begun_s:.1f} s with {job.stations} stations:\n")
    print("| part | time |\n|---|---|")
    rows = [
        ("Python starts, the experiment is read and checked", ready_s - begun_s),
        ("stations start, TensorFlow is imported", built[0] - ready_s),
        (f"{len(built)} configurations are built, their evaluation is traced", built[-1] - built[0]),
        ("until the first hop", started[0] - built[-1]),
        ("training and evaluating", ended[-1] - started[0]),
        ("the end", over_s - ended[-1]),
    ]
    for what, seconds in rows:
        print(f"| {what} | {seconds:.2f} s |")
    print()
    inside(job, events, Reader(job.store, job.specification.experiment.name), ended[-1] - started[0])


def inside(job, events, reader, whole_s):
    """Print what the stations did while there was something to train, in station-seconds."""
    stays, kinds = list(reader.stays()), {one.number: one for one in job.configurations}
    train_s, moved_s = sum(stay.train_s for stay in stays), sum(stay.overhead_s for stay in stays)
    evaluate_s, count = evaluating(events)
    first_s = tracing(stays, kinds)
    rest_s = job.stations * whole_s - train_s - moved_s - evaluate_s
    print(f"Of {job.stations} x {whole_s:.1f} s of training and evaluating:\n\n" + TABLE)
    print(f"| training, without tracing ({len(stays)} stays) | {train_s - first_s:.2f} s |")
    print(f"| tracing, by what each kind's first stay takes longer | {first_s:.2f} s |")
    print(f"| evaluating ({count} times a station's part) | {evaluate_s:.2f} s |")
    print(f"| putting state in and out | {moved_s:.2f} s |")
    print(f"| waiting and all else | {rest_s:.2f} s |")


def evaluating(events):
    """Return seconds from the beginning of each evaluation to the station's next doing, and how many there were."""
    total, count, since = 0.0, 0, {}
    for at, event in events:
        station = getattr(event, "station", None)
        if station in since and event.kind in ("started", "idle", "trained"):
            total += at - since.pop(station)
        if isinstance(event, Started) and event.action == "evaluate":
            since[station], count = at, count + 1
    return total, count


def tracing(stays, configurations):
    """Return how much longer the first stay of each model at each station takes than a later one of the same length."""
    groups = defaultdict(list)
    for stay in sorted(stays, key=lambda stay: stay.started_s):
        groups[configurations[stay.configuration].model, stay.station].append(stay)
    total = 0.0
    for first, *later in groups.values():
        like = [one for one in later if one.end_hop - one.first_hop == first.end_hop - first.first_hop]
        batch_size = configurations[first.configuration].fit["batch_size"]
        like = [one for one in like if configurations[one.configuration].fit["batch_size"] == batch_size]
        total += max(0.0, first.train_s - statistics.median(one.train_s for one in like)) if like else 0.0
    return total


if __name__ == "__main__":
    main(*sys.argv[1:])
