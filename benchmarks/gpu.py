"""What a GPU makes of the same work: `make bench-gpu EXTRAS=gpu`, on a machine that has one.

    python benchmarks/gpu.py [--repeats N] [--write] [--device cpu] [--quick]

Without a GPU it says why and ends. --device cpu measures the same on a CPU and --quick a little of it, to see that it
works; neither is written into docs/benchmarks.md.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import in_child, tensorflow
from page import Row, Section, shown, write

import modelhopper as mh
from modelhopper.running import make_ready, run_job
from modelhopper_contract.messages import Trained
from modelhopper_scheduler.engines.devices import visible_gpus

WORKS = ("iris_mlp", "table_mlp", "image_cnn")  # of subepoch.py
WAYS = [
    {"precision": precision, "jit_compile": xla}
    for precision in ("float32", "mixed_bfloat16", "mixed_float16")
    for xla in (False, True)
]
LANES = (2, 4, 8, 16, 32, 64)
STATIONS = (1, 2, 4)  # for each GPU
CONFIGURATIONS = 8  # in the runs with several stations


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="turns of each measurement (default 5)")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--quick", action="store_true", help="the smallest work only, once")
    given = parser.parse_args()
    why = missing() if given.device == "gpu" else None
    if why:
        print(f"Nothing was measured: {why}.")
        return
    found = section(given.repeats, given.device, is_quick=given.quick)
    print(shown(found))
    if given.write and given.device == "gpu" and not given.quick:
        write([found])


def missing():
    """Return why nothing can be measured on a GPU here, or None."""
    if not visible_gpus():
        return "this machine shows no GPU (nvidia-smi -L; CUDA_VISIBLE_DEVICES)"
    if tensorflow() == "tensorflow-cpu":
        return "TensorFlow is the build for CPUs: make bench-gpu EXTRAS=gpu"
    return None


def section(repeats, device="gpu", *, is_quick=False):
    """On a GPU: passes against Keras, determinism, XLA and precision, side by side, stations that share it."""
    works = WORKS[:1] if is_quick else WORKS
    repeats, lanes, stations = (1, LANES[:1], STATIONS[:2]) if is_quick else (repeats, LANES, STATIONS)
    rows, details = [], [f"On {child('name', device)}; one thread for everything that is not on the device.", ""]
    for part in (
        warm(works, device, repeats),
        compiled(works, device, repeats),
        fused(works, device, repeats, lanes),
        shared(device, stations, is_quick=is_quick),
    ):
        rows += part[0]
        details += [*part[1], ""]
    return Section("gpu", rows, details)


def warm(works, device, repeats):
    """A pass over a shard against `fit`, with operations whose result never varies, and without."""
    rows, details = (
        [],
        ["| pass over a shard | deterministic | modelhopper | Keras' fit | ratio |", "|---|---|---|---|---|"],
    )
    for work in works:
        for deterministic in (True, False):
            best = child("passes", device, work, deterministic, repeats)
            ratio = f"{best['keras'] / best['ours']:.1f}x"
            times = [ms(best["ours"]), ms(best["keras"])]
            details.append(f"| {work} | {'yes' if deterministic else 'no'} | {' | '.join(times)} | {ratio} |")
            if not deterministic:
                rows.append(Row(f"{device}: warm pass, {work}", *times, ratio, "", reached=True))
    return rows, details


def compiled(works, device, repeats):
    """Each way to compile, and whether a hop done twice gives the same bytes."""
    head = [f"{way['precision']}{', XLA' if way['jit_compile'] else ''}" for way in WAYS]
    rows, details = [], [f"| pass over a shard | {' | '.join(head)} |", "|---" * (len(WAYS) + 1) + "|"]
    for work in works:
        found = child("ways", device, work, WAYS, repeats)
        details.append(f"| {work} | {' | '.join(told(one) for one in found)} |")
        usable = [one for one in found if one["error"] is None]
        same = sum(one["is_same"] for one in usable)
        rows.append(
            Row(
                f"{device}: a hop done twice, {work}",
                f"{same} of {len(usable)} ways equal",
                "",
                "",
                "all",
                0 < len(usable) == same,
            )
        )
    return rows, details


def fused(works, device, repeats, lanes):
    """Growing numbers of configurations side by side: the time of one of them."""
    rows, details = (
        [],
        [f"| a configuration's pass | alone | {' | '.join(map(str, lanes))} |", "|---" * (len(lanes) + 2) + "|"],
    )
    for work in works:
        alone, *others = child("sizes", device, work, list(lanes), repeats)
        details.append(f"| {work} | {told(alone)} | {' | '.join(told(one) for one in others)} |")
        best = min((one["seconds"] for one in others if one["error"] is None), default=None)
        if best is not None:
            ratio = f"{alone['seconds'] / best:.1f}x"
            rows.append(Row(f"{device}: side by side, {work}", ms(best), ms(alone["seconds"]), ratio, "", reached=True))
    return rows, details


def shared(device, stations, *, is_quick):
    """Whole runs with several stations for each GPU: the time of a hop, all stations together."""
    rows, details, first = [], ["| stations of one device | time per hop |", "|---|---|"], None
    for count in stations:
        found = run(device, count, is_quick=is_quick)
        first = first or found
        details.append(f"| {count} | {ms(found)} |")
        if count > 1:
            work = f"{device}: {count} stations share it, {CONFIGURATIONS} table MLPs"
            rows.append(Row(work, ms(found), ms(first), f"{first / found:.2f}x", "", reached=True))
    return rows, details


def child(what, *arguments):
    """Let a process of its own measure, because TensorFlow is set up once in each."""
    return in_child("gpu_work", what, json.dumps(arguments))


def run(device, stations, *, is_quick):
    """Return the seconds of a hop, by all that were done from the second iteration on; the first compiles."""
    shards, rows, iterations = 4, (400 if is_quick else 40_000), (2 if is_quick else 6)
    with tempfile.TemporaryDirectory() as folder:
        generator = np.random.default_rng(0)
        mh.pack(
            (generator.normal(size=(rows, 28)).astype("float32"), np.arange(rows) % 2), f"{folder}/data", shards=shards
        )
        experiment = mh.Experiment(
            name="bench",
            data=mh.Data(train=f"{folder}/data"),
            models={"model": f"{Path(__file__).parent}/models.py:table_mlp"},
            compile={"loss": "binary_crossentropy"},
            search=mh.Grid(
                optimizer=[{"name": "Adam", "learning_rate": [0.001 * at for at in range(1, CONFIGURATIONS + 1)]}],
                batch_size=[32],
            ),
            iterations=iterations,
            devices={"kind": "cpu", "stations": stations} if device == "cpu" else {"kind": "gpu", "per_gpu": stations},
        )
        events, begun = [], time.perf_counter()
        job = make_ready(experiment, Path(folder), store=f"{folder}/runs")
        run_job(job, lambda event: events.append((time.perf_counter() - begun, event)))
    trained = [(at, event) for at, event in events if isinstance(event, Trained)]
    first = max(at for at, event in trained if event.first_hop < shards)
    hops = sum(event.end_hop - event.first_hop for at, event in trained if at > first)
    return (max(at for at, _ in trained) - first) / hops


def ms(seconds):
    return f"{seconds * 1e3:.2f} ms"


def told(one):
    if one["error"] is not None:
        return one["error"].replace("|", "/")
    return ms(one["seconds"]) + ("" if one["is_same"] else " (other bytes when done again)")


if __name__ == "__main__":
    main()
