"""Scoring Parquet with one and two workers, against model.predict of the same file in one process.

python benchmarks/scoring.py [--rows N] [--repeats N] [--write]     needs a gigabyte in $TMPDIR
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import in_child
from page import Row, Section, main

ROWS, COLUMNS, GROUP_ROWS, BATCH_ROWS = 3_000_000, 28, 1 << 17, 1024
LAYERS = (256, 128, 64, 32)  # with one unit at the end 50,689 parameters
TARGET_TWO, TARGET_PLAIN = 1.6, 1.0


def section(repeats, rows=ROWS):
    """Score the same rows in turns, each time in a process of its own that starts TensorFlow."""
    with tempfile.TemporaryDirectory(prefix="scoring-") as folder:
        in_child("scoring", "generate", folder, rows)
        found = {"plain": [], "1": [], "2": []}
        for _ in range(repeats):
            found["plain"].append(in_child("scoring", "plain", folder))
            for workers in ("1", "2"):
                found[workers].append(in_child("scoring", "score", folder, workers))
        differs = in_child("scoring", "compare", folder)
    best = {name: min(each, key=lambda one: one["seconds"]) for name, each in found.items()}
    return Section("scoring", [two_row(rows, best), plain_row(rows, best, differs)], details(rows, best, differs))


def two_row(rows, best):
    one, two = best["1"]["speed"], best["2"]["speed"]
    work = f"scoring {rows / 1e6:g} million rows, 2 workers at work"
    target = f"at least {TARGET_TWO:g}"
    return Row(
        work, f"{two:,.0f} rows/s", f"1 worker: {one:,.0f} rows/s", f"{two / one:.2f}", target, two >= TARGET_TWO * one
    )


def plain_row(rows, best, differs):
    ours, theirs = rows / best["2"]["seconds"], rows / best["plain"]["seconds"]
    return Row(
        "the same from start to end",
        f"{best['2']['seconds']:.1f} s, {ours:,.0f} rows/s",
        f"model.predict: {best['plain']['seconds']:.1f} s, {theirs:,.0f} rows/s",
        f"{ours / theirs:.2f}",
        f"at least {TARGET_PLAIN:g}, equal to 1e-6",
        ours >= TARGET_PLAIN * theirs and differs <= 1e-6,
    )


ABOUT = (
    f"The fraud model of the scoring blog, {'-'.join(map(str, (COLUMNS, *LAYERS, 1)))}, over Parquet with row groups "
    f"of {GROUP_ROWS:,} rows; batches of {BATCH_ROWS:,}. From start to end are the start of Python and TensorFlow, "
    "reading, scoring, and writing Parquet; at work is from the first part that is done to the last. `model.predict` "
    "has the whole file in memory and uses all cores, and at work is it alone, without reading; a worker uses one "
    "core, and reads and writes meanwhile. Each is a process of its own, in turns, the shortest of all turns."
)


def details(rows, best, differs):
    names = {"plain": "model.predict", "1": "1 worker", "2": "2 workers"}
    lines = [ABOUT, "", "| who | start to end | at work | peak memory of a process |", "|---|---|---|---|"]
    for name, title in names.items():
        one = best[name]
        whole = f"{one['seconds']:.1f} s, {rows / one['seconds']:,.0f} rows/s"
        lines.append(f"| {title} | {whole} | {one['speed']:,.0f} rows/s | {one['peak_mb']:,.0f} MB |")
    return [*lines, "", f"The largest difference between two probabilities of the same row is {differs:.1e}."]


def generate(folder, rows):
    """Write rows, and an untrained model with its card."""
    keras = started()
    from modelhopper_contract.manifest import Input, Output  # noqa: PLC0415 -- this child alone
    from modelhopper_contract.model_card import ModelCard, write_card  # noqa: PLC0415

    draws = np.random.default_rng(0)
    columns = tuple(f"v{column}" for column in range(COLUMNS))
    schema = pa.schema([*((name, pa.float32()) for name in columns), ("id", pa.int64())])
    with pq.ParquetWriter(folder / "rows.parquet", schema) as file:
        for start in range(0, rows, GROUP_ROWS):
            count = min(GROUP_ROWS, rows - start)
            values = draws.standard_normal((COLUMNS, count), np.float32)
            file.write_table(pa.table([*values, np.arange(start, start + count)], schema=schema))
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(units, "sigmoid") for units in LAYERS]
    keras.Sequential([keras.Input((COLUMNS,)), *layers, keras.layers.Dense(1, "sigmoid")]).save(folder / "fraud.keras")
    fraud = Output(name="fraud", kind="classes", shape=(), dtype="uint8", classes=(0, 1), num_classes=2)
    x = Input(name="x", shape=(COLUMNS,), dtype="float32", columns=columns)
    write_card(ModelCard(inputs=(x,), outputs=(fraud,), gives={"fraud": "probabilities"}), folder / "fraud.keras")


def plain(folder):
    began = time.perf_counter()
    model = started().models.load_model(folder / "fraud.keras", compile=False)
    table = pq.read_table(folder / "rows.parquet")
    rows = np.stack([table[f"v{column}"].to_numpy() for column in range(COLUMNS)], 1)
    at_work = time.perf_counter()
    found = model.predict(rows, batch_size=BATCH_ROWS, verbose=0)[:, 0]
    speed = len(rows) / (time.perf_counter() - at_work)
    pq.write_table(pa.table({"id": table["id"], "probability": found}), folder / "plain.parquet")
    return {"seconds": time.perf_counter() - began, "speed": speed, "peak_mb": peak_mb()}


def score(folder, workers):
    began = time.perf_counter()
    from modelhopper.scoring import predict  # noqa: PLC0415 -- its start is counted

    seen = []

    def look(progress):
        if progress.step == "scoring" and progress.rows:
            seen.append((progress.rows, time.perf_counter()))

    options = {"id": "id", "batch_size": BATCH_ROWS, "overwrite": True, "store": str(folder), "on_progress": look}
    out = folder / f"workers-{workers}.parquet"
    predict(folder / "fraud.keras", folder / "rows.parquet", out, workers=workers, **options)
    (first, first_s), (last, last_s) = seen[workers - 1], seen[-1]  # when each worker has done one
    speed = (last - first) / (last_s - first_s)
    return {"seconds": time.perf_counter() - began, "speed": speed, "peak_mb": peak_mb()}


def compare(folder):
    """Return the largest difference between probabilities of the second class."""
    expected = pq.read_table(folder / "plain.parquet")
    largest = 0.0
    for workers in (1, 2):
        found = pq.read_table(folder / f"workers-{workers}.parquet")
        told, values = np.array(found["probability"]), np.array(found["class_value"])
        assert found["id"].equals(expected["id"])
        second = np.where(values == 1, told, 1 - told)
        largest = max(largest, float(np.abs(second - np.array(expected["probability"])).max()))
    return largest


def peak_mb():
    """Return the most memory that this process, or one that it started, had."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(one).ru_maxrss for one in who) / 1024


def started():
    """Start TensorFlow, and return Keras."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras  # noqa: PLC0415 -- only children start it

    return keras


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["generate", folder, rows]:
            print(json.dumps(generate(Path(folder), int(rows))))
        case ["plain", folder]:
            print(json.dumps(plain(Path(folder))))
        case ["score", folder, workers]:
            print(json.dumps(score(Path(folder), int(workers))))
        case ["compare", folder]:
            print(json.dumps(compare(Path(folder))))
        case _:
            parser = argparse.ArgumentParser(add_help=False)
            parser.add_argument("--rows", type=int, default=ROWS)
            given, sys.argv[1:] = parser.parse_known_args()
            main(lambda repeats: section(repeats, given.rows), repeats=1)
