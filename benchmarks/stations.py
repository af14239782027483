"""Whole runs through the local engine: how two stations scale, and what a hop costs beside training.

python benchmarks/stations.py [--repeats N] [--write]
"""

import json
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from measure import in_child
from page import Row, Section, main

import modelhopper as mh
from modelhopper.running import make_ready, run_job
from modelhopper_contract.messages import Started, Trained

HERE = Path(__file__).parent


ABOUT = [
    "Two stations against one: whole runs of the local engine; the time per hop from the second iteration on, when all",
    "stations have compiled. A disturbed run of either side misleads most, so at least five turns are taken.",
    "",
    "Hop overhead: one configuration alone hops between two stations, so nothing overlaps. All that is not training is",
    "counted: reading and writing state, digests, writing through to the disk, noticing the token, fetching and",
    "checking. In a real run most of it happens while the device trains something else.",
]


def section(repeats):
    """Time two stations against one, and the hop of a configuration that is alone."""
    return Section("stations", [scaled(max(repeats, 5)), overheard(repeats)], ABOUT)


def scaled(repeats):
    """One station against two, whole runs in turns."""
    found = {1: [], 2: []}
    for _ in range(repeats):
        for stations, times in found.items():
            times.append(in_child("stations", "scaling", str(stations))["seconds_per_hop"])
    one, two = (min(times) for times in found.values())
    work = "4 small CNNs over 4 shards, time per hop: two stations against one"
    shown = f"{two * 1e3:.0f} ms", f"one station: {one * 1e3:.0f} ms", f"{one / two:.2f}x"
    return Row(work, *shown, "at least 1.7x", reached=one / two >= 1.7)


def overheard(repeats):
    """The median hop of the quietest run."""
    best = min((in_child("stations", "overhead", "2") for _ in range(repeats)), key=lambda found: found["median_ms"])
    work = "hop overhead (all but training), 1 MB model, local disk, nothing overlapped"
    return Row(work, f"{best['median_ms']:.1f} ms", "", "", "under 10 ms", reached=best["median_ms"] < 10)


def child(what, stations):
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"scaling": scaling, "overhead": overhead}[what](Path(folder), int(stations))))


def scaling(folder, stations):
    """Four small CNNs, 4 shards of 500 images, 4 iterations: seconds from the first hop of the second iteration on.

    The first iteration warms up: every station traces its programs then.
    """
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (2_000, 32, 32, 3)).astype("uint8")
    mh.pack((x, generator.integers(0, 10, 2_000)), folder / "data", shards=4, normalize=255, seed=1)
    events = run(folder, stations, "image_cnn", [0.001, 0.002, 0.003, 0.004], 32, iterations=4)
    warm = [at for at, event in events if isinstance(event, Trained) and event.first_hop >= 4]
    begun = min(at for at, event in events if isinstance(event, Trained) and event.end_hop >= 4)
    hops = sum(e.end_hop - e.first_hop for at, e in events if isinstance(e, Trained) and at > begun)
    return {"seconds_per_hop": (max(warm) - begun) / hops}


def overhead(folder, stations):
    """One configuration with 1 MB of weights hops between two stations: milliseconds of a hop that are not training.

    Nothing overlaps, because nobody else trains: load, read, serialise, digest, write through to the disk, token,
    notice, fetch and check, all counted.
    """
    generator = np.random.default_rng(0)
    mh.pack((generator.normal(size=(64, 4)), np.arange(64) % 3), folder / "data", shards=2, seed=1)
    events = run(folder, stations, "megabyte_mlp", [0.01], 32, iterations=60, optimizer="SGD")
    trained = [(at, event) for at, event in events if isinstance(event, Trained)][20:]
    spans = [later[0] - earlier[0] for earlier, later in pairwise(trained)]
    costs = [span - event.busy_s for span, (_, event) in zip(spans, trained[1:], strict=True)]
    return {"median_ms": float(np.median(costs)) * 1e3}


def run(folder, stations, model, rates, batch_size, iterations, optimizer="Adam"):
    """Run an experiment; return its events with the seconds since its start."""
    experiment = mh.Experiment(
        name="bench",
        data=mh.Data(train=str(folder / "data")),
        models={"model": f"{HERE}/models.py:{model}"},
        compile={"loss": "categorical_crossentropy"},
        search=mh.Grid(optimizer=[{"name": optimizer, "learning_rate": rates}], batch_size=[batch_size]),
        iterations=iterations,
        devices={"stations": stations, "kind": "cpu"},
    )
    events, start = [], time.perf_counter()
    job = make_ready(experiment, folder, store=str(folder / f"runs-{stations}"))
    job.gpus[:] = [None] * stations  # one configuration alone would get one station only
    run_job(job, lambda event: events.append((time.perf_counter() - start, event)))
    assert any(isinstance(event, Started) for _, event in events)
    return events


if __name__ == "__main__":
    if sys.argv[1:2] in (["scaling"], ["overhead"]):
        child(*sys.argv[1:])
    else:
        main(section)
