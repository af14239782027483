"""Planning: everything between an experiment's file and its first hop that is neither training nor building.

python benchmarks/planning.py [--repeats N] [--write]

That is: read the file, expand the search, name and number its configurations, specify the run, deal the offsets, and
decide which token lies in which of 1,024 inboxes.
"""

import json
import resource
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from measure import in_child
from page import Row, Section, main

from modelhopper.documents import load_experiment
from modelhopper.running import make_ready
from modelhopper_contract.errors import ObjectNotFound
from modelhopper_contract.manifest import MANIFEST_NAME, File, Input, Manifest, Output, Shard
from modelhopper_contract.messages import Built
from modelhopper_contract.names import Names
from modelhopper_contract.store import Entry
from modelhopper_scheduler.conduct import begin, restore

SHARDS, ITERATIONS, COUNTS = 1024, 10, (2_500, 5_000, 10_000, 20_000)
TARGET_S, TARGET_MB = 2.0, 500
EXPERIMENT = """
name: big
data: {{train: data}}
models: {{deep: "model.py:deep", wide: "model.py:wide"}}
compile: {{loss: mse}}
search:
{search}
iterations: {iterations}
seed: 1
store: runs
"""
SEARCHES = {
    "random": """
  method: random
  configurations: {count}
  space:
    model: [deep, wide]
    optimizer:
      - {{name: Adam, learning_rate: {{log: [0.00001, 0.1]}}}}
      - {{name: SGD, learning_rate: {{log: [0.00001, 0.1]}}, momentum: {{linear: [0, 0.99]}}}}
    batch_size: [16, 32, 64]
""",
    "grid": """
  method: grid
  space:
    model: [deep, wide]
    optimizer: [{{name: Adam, learning_rate: {rates}}}]
    batch_size: [16, 32, 64, 128, 256]
""",
}
MODELS = "def deep(inputs, outputs): ...\n\n\ndef wide(inputs, outputs): ...\n"


def section(repeats):
    """Plan 2,500 to 20,000 configurations for 1,024 shards, each time in a process of its own."""
    found = {
        (method, count): best([in_child("planning", method, count) for _ in range(repeats)])
        for method in SEARCHES
        for count in COUNTS
    }
    rows = [row(method, {count: found[method, count] for count in COUNTS}) for method in SEARCHES]
    return Section("planning", rows, [ABOUT, *table(found)])


ABOUT = (
    f"Each is a process of its own, {SHARDS:,} shards and stations, {ITERATIONS} iterations. Seconds are the "
    "processor's, which others on the machine disturb less: planning is one thread, and waits for nothing. "
    "Python's start and imports are not counted, TensorFlow is not imported. Encoding one record per "
    "configuration and one token for each is counted; not counted, and in the last column, is what a store in "
    "memory takes for them. In a directory each is a file."
)


def row(method, found):
    at, twice = found[10_000], found[20_000]
    seconds, growth = sum(at["steps"].values()), sum(twice["steps"].values()) / sum(at["steps"].values())
    return Row(
        f"planning 10,000 configurations ({method}) x {SHARDS:,} shards x {ITERATIONS} iterations",
        f"{seconds:.2f} s, {at['peak_mb']:.0f} MB",
        f"20,000: {growth:.2f} times as long",
        "",
        f"under {TARGET_S:g} s and {TARGET_MB} MB, linear",
        seconds < TARGET_S and at["peak_mb"] < TARGET_MB and growth < 2.3,
    )


def table(found):
    steps = next(iter(found.values()))["steps"]
    lines = [
        "",
        f"| search | configurations | {' | '.join(steps)} | planning | peak memory | beside it: records and tokens |",
        "|---|---|" + "---|" * (len(steps) + 3),
    ]
    for (method, count), one in found.items():
        times = " | ".join(f"{seconds:.2f} s" for seconds in one["steps"].values())
        total = sum(one["steps"].values())
        lines.append(
            f"| {method} | {count:,} | {times} | {total:.2f} s | {one['peak_mb']:.0f} MB | {one['store_s']:.2f} s |"
        )
    return lines


def best(found):
    return min(found, key=lambda one: sum(one["steps"].values()))


def planned(method, count):
    """Plan an experiment of so many configurations in this process; return what it took."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder), method, count)
        store = Objects(clock)
        with clock.step("read the file"):
            experiment = load_experiment(Path(folder, "experiment.yaml"))
        with clock.step("make ready"):
            job = make_ready(experiment, Path(folder), store=store)
        engine = Builders(store, clock)
        with clock.step("begin"):
            chosen = begin(job.specification, job.configurations, store, engine, print)
        with clock.step("tokens"):
            restore(job.specification, chosen, store, engine.stations)
    assert len(chosen) == count
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"steps": clock.steps, "store_s": clock.apart_s, "peak_mb": peak_mb}


class Clock:
    """Times steps; what is done `apart` is not part of them."""

    def __init__(self):
        self.steps, self.apart_s = {}, 0.0

    @contextmanager
    def step(self, name):
        began, apart_s = time.process_time(), self.apart_s
        yield
        self.steps[name] = time.process_time() - began - (self.apart_s - apart_s)

    @contextmanager
    def apart(self):
        began = time.process_time()
        yield
        self.apart_s += time.process_time() - began


class Objects:
    """A store in memory that looks nothing up which it does not have to."""

    url = "memory:planning"

    def __init__(self, clock):
        self._clock, self._objects = clock, {}

    def get(self, name):
        if name not in self._objects:
            raise ObjectNotFound(name)
        return self._objects[name]

    def put(self, name, data):
        with self._clock.apart():
            self._objects[name] = bytes(data)

    def list(self, prefix):
        with self._clock.apart():
            names = sorted(name for name in self._objects if name.startswith(prefix))
            return [Entry(name, len(self._objects[name]), 0.0) for name in names]

    def delete(self, name):
        self._objects.pop(name, None)


class Builders:
    """An engine whose stations have built everything at once, each at another cost."""

    stations = SHARDS

    def __init__(self, store, clock):
        self._store, self._clock = store, clock

    def prepare(self, specification, configurations, _):
        names = Names(specification.experiment.name)
        for one in configurations:
            self._store.put(names.checkpoint(one.number, 0), b"")
        with self._clock.apart():
            return [Built(configuration=one.number, cost=1 + one.number % 97 / 7) for one in configurations]


def written(folder, method, count):
    """Write an experiment, its models and the manifest of its data, whose shards nobody reads before the first hop."""
    rates = [round(0.0001 * (at + 1), 4) for at in range(count // 10)]
    search = SEARCHES[method].format(count=count, rates=rates)
    (folder / "experiment.yaml").write_text(EXPERIMENT.format(search=search, iterations=ITERATIONS))
    (folder / "model.py").write_text(MODELS)
    files = {field: File(size_bytes=1, sha256="0" * 64) for field in ("x", "y")}
    manifest = Manifest(
        inputs=(Input(name="x", shape=(28,), dtype="float32"),),
        outputs=(Output(name="y", kind="number", shape=(), dtype="float32"),),
        seed=0,
        rows=SHARDS,
        shards=(Shard(rows=1, files=files),) * SHARDS,
    )
    (folder / "data").mkdir()
    (folder / "data" / MANIFEST_NAME).write_bytes(manifest.to_json())


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in SEARCHES:
        print(json.dumps(planned(sys.argv[1], int(sys.argv[2]))))
    else:
        main(section)
