"""A work done by modelhopper, by a sequential Keras program and by Ray Tune: whole cold processes in turns."""

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from measure import command
from page import Row, Section
from works import WORKS

HERE = Path(__file__).resolve().parent
MODELHOPPER = Path(sys.executable).parent / "modelhopper"
NAMES = {"ours": "modelhopper", "keras": "sequential Keras", "ray": "Ray Tune", "fused": "modelhopper with `fuse`"}


def compared(name, repeats, fuse=None):
    """Return what the comparison of a work found; with `fuse` also with fused configurations."""
    work = WORKS[name]
    with tempfile.TemporaryDirectory() as folder:
        place = Place(work, Path(folder))
        packing_s = place.pack()
        tasks = {"ours": place.ours, "keras": place.keras, "ray": place.ray}
        if fuse:
            tasks["fused"] = lambda: place.ours(fuse=fuse)
        times, accuracies = turns(repeats, tasks)
        profile = place.profile()
    check(work, accuracies)
    rows = [row(work, times, rival) for rival in ("keras", "ray")]
    if fuse:
        rows.append(Row(f"{work.title}, with `fuse: {fuse}`", *against(times, "fused", "keras"), "", reached=True))
    return Section(name, rows, details(work, times, accuracies, packing_s, profile))


class Place:
    """A folder with a work's data, where its processes run."""

    def __init__(self, work, folder):
        self.work, self.folder, self.runs = work, folder, 0
        self.data = folder / "data.npz"

    def pack(self):
        """Write the data, and pack it by the command; return the seconds of the packing alone."""
        arrays = self.work.arrays()
        np.savez(self.data, **arrays._asdict())
        for split, parts in {"train": arrays[:2], "validation": arrays[2:]}.items():
            for part, array in zip("xy", parts, strict=True):
                np.save(self.folder / f"{split}-{part}.npy", array)
        start = time.perf_counter()
        for split, shards in {"train": self.work.shards, "validation": 1}.items():
            files = [self.folder / f"{split}-{part}.npy" for part in "xy"]
            how = ["--shards", shards, "--kind", "classes", "--normalize", self.work.normalize]
            how = how if split == "train" else ["--shards", shards, "--against", self.folder / "train"]
            command(MODELHOPPER, "pack", *files, "--out", self.folder / split, *how)
        return time.perf_counter() - start

    def ours(self, **more):
        self.runs += 1
        store = self.folder / f"runs-{self.runs}"
        command(MODELHOPPER, "run", self.experiment(**more), "--store", store, "--quiet")
        return lambda: best(self.work.name, store)  # the command has said it already; to read it is not the work

    def keras(self, settings=None):
        return self.rival("rival_keras", settings)

    def ray(self, settings=None):
        return self.rival("rival_ray", settings, PYTHONPATH=str(HERE))  # for the actors

    def rival(self, script, settings, **environment):
        chosen = json.dumps(settings or {})
        said = command(sys.executable, HERE / f"{script}.py", self.work.name, self.data, chosen, **environment)
        return json.loads(said.splitlines()[-1])["accuracy"]

    def profile(self):
        said = command(sys.executable, HERE / "timeline.py", self.experiment(), self.folder / "profile")
        shutil.rmtree(self.folder / "profile")
        return said.splitlines()

    def experiment(self, **more):
        work, models = self.work, HERE / "models.py"
        value = {
            "name": work.name,
            "data": {"train": str(self.folder / "train"), "validation": str(self.folder / "validation")},
            "models": {name: kind | {"build": f"{models}:{kind['build']}"} for name, kind in work.models.items()},
            "compile": {"loss": work.loss, "metrics": ["accuracy"]},
            "search": {
                "method": "grid",
                "space": {
                    "model": list(work.models),
                    "optimizer": [{"name": "Adam", "learning_rate": list(work.rates)}],
                    "batch_size": list(work.batch_sizes),
                },
            },
            "iterations": work.iterations,
            "evaluate_every": work.evaluate_every,
            "seed": 1,
        }
        path = self.folder / "experiment.yaml"
        path.write_text(yaml.safe_dump(value | more))
        return path


def best(name, store):
    """Return the best validation accuracy of a run, of all configurations and all evaluations."""
    said = command(MODELHOPPER, "results", name, "--store", store, "--history", "--format", "json")
    return max(row["validation accuracy"] for row in json.loads(said))


def turns(repeats, tasks):
    """Run every task in turns; return the seconds and accuracies of each, of which some are asked for afterwards."""
    times, accuracies = {name: [] for name in tasks}, {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            found = task()
            times[name].append(time.perf_counter() - start)
            accuracy = found() if callable(found) else found
            accuracies[name].append(accuracy)
            print(f"{name} {times[name][-1]:.1f} s, accuracy {accuracy:.4f}", file=sys.stderr, flush=True)
    return times, accuracies


def check(work, accuracies):
    """Fail where one does not reach what another reaches: then it did not do the same work."""
    means = {name: statistics.fmean(found) for name, found in accuracies.items()}
    if max(means.values()) - min(means.values()) > work.tolerance:
        raise SystemExit(f"{work.name}: best validation accuracies differ by more than {work.tolerance}: {means}")


def row(work, times, rival):
    ours, theirs, ratio = against(times, "ours", rival)
    target = work.targets[rival]
    reached = min(times["ours"]) <= target * min(times[rival])
    return Row(work.title, ours, theirs, ratio, f"at most {target:.2f}", reached=reached)


def against(times, ours, rival):
    mine, theirs = min(times[ours]), min(times[rival])
    return f"{mine:.1f} s", f"{NAMES[rival]}: {theirs:.1f} s", f"{mine / theirs:.2f}"


def details(work, times, accuracies, packing_s, profile):
    keras = min(times["keras"])
    lines = [
        "| whole process | all turns | shortest | of Keras' time | best validation accuracy |",
        "|---|---|---|---|---|",
    ]
    for name, found in times.items():
        turn = ", ".join(f"{each:.1f}" for each in found)
        accuracy = ", ".join(sorted({f"{each:.4f}" for each in accuracies[name]}))
        lines.append(f"| {NAMES[name]} | {turn} s | {min(found):.1f} s | {min(found) / keras:.2f} | {accuracy} |")
    packed = min(times["ours"]) + packing_s
    lines += [
        "",
        f"Accuracies may differ by {work.tolerance}, else the benchmark fails. Packing takes {packing_s:.1f} s more,",
        f"two commands, once for all experiments on the data; with it the ratio to Keras is {packed / keras:.2f},",
        f"and to Ray Tune {packed / min(times['ray']):.2f}.",
        "",
        f"Settings of sequential Keras: {told(work.keras)}. Of Ray Tune: {told(work.ray)}.",
        "",
        *profile,
    ]
    return lines


def told(settings):
    return ", ".join(f"`{key}={value}`" for key, value in settings.items()) or "the defaults"
