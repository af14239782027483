"""Packing Parquet, against pyarrow reading the same files.

python benchmarks/packing.py [--gigabytes 5] [--repeats N] [--write]     needs 2.5 times as much room in $TMPDIR
"""

import argparse
import hashlib
import json
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import in_child
from page import Row, Section, main
from sampling import sampled

from modelhopper_trainer import packing

COLUMNS, SHARDS, GROUP_ROWS = 28, 16, 1 << 20  # as many rows in a group as pyarrow and pandas write by default
TARGET, TARGET_MB = 3.0, 1024
MEASURED = {"read": "read", "least": "read, digest, write once", "pack": "pack"}
FORMS = {"columns": 1.0, "one array column": 0.2}  # the share of the gigabytes that each gets


def section(repeats, gigabytes=5.0):
    """Pack Parquet in a process of its own, in turns with one that only reads it."""
    found = {form: compared(form, share * gigabytes, repeats) for form, share in FORMS.items()}
    details = [ABOUT, *table(found), *(line for form, one in found.items() for line in profile(form, one["profile"]))]
    return Section("packing", [row(form, one) for form, one in found.items()], details)


ABOUT = (
    f"Tables of {COLUMNS} columns of float32 noise (or one column of lists of {COLUMNS}) and an int64 label of two "
    f"classes, in files of 2 row groups with {GROUP_ROWS:,} rows each, as pandas writes them by default (snappy, "
    f"dictionaries where they fit). Packed to {SHARDS} shards: read, checked, dealt, put in random order, written "
    "twice and digested. Reading is `ParquetFile.iter_batches`, whose batches are thrown away: the faster of with "
    "and without threads. Each is a process of its own whose imports are not counted, in turns, the shortest of "
    "all turns. Files may be in the page cache for both, and packing does not wait until what it writes is on the "
    "disk; but the system holds back who writes much faster than the disk. What no packing can do without is reading "
    "in one thread, a digest, and writing once, one after another and in the order of the source. What was tried and "
    "gained: rows that wait in the shards' own files and are put in order there, an array for each field instead of "
    "records, sorts of numbers that carry their places, reading ahead in a thread, filling one memory while another "
    "is written, copies in blocks of the size of a cache, several shards put in order at a time. What was tried and "
    "gained nothing: larger buckets, more memory for rows that wait, larger blocks; threads in pyarrow take a fifth "
    "more processor time, and packing keeps two cores busy. What is left above the least is turning columns into "
    "rows, the draws and sorts, and moving every row twice more (a shuffle of more than fits into memory needs it, "
    "decision 0007)."
)


def compared(form, gigabytes, repeats):
    with tempfile.TemporaryDirectory(prefix="packing-") as folder:
        if shutil.disk_usage(folder).free < 2.5e9 * gigabytes:
            raise SystemExit(
                f"{folder} has too little room for {gigabytes:g} GB of Parquet: set TMPDIR, or --gigabytes."
            )
        source, out = Path(folder, "source"), Path(folder, "out")
        size = in_child("packing", "generate", source, form, gigabytes)
        found = {"bytes": size, "read": [], "least": [], "pack": []}
        for _ in range(repeats):
            found["read"] += [in_child("packing", "read", source, threads) for threads in (0, 1)]
            found["least"].append(in_child("packing", "least", source, Path(folder, "least")))
            found["pack"].append(in_child("packing", "pack", source, out))
            shutil.rmtree(out)
        looked_at = in_child("packing", "profile", source, out)
    shortest = {name: min(found[name], key=lambda one: one["seconds"]) for name in MEASURED}
    return {"bytes": size, "profile": looked_at, **shortest}


def row(form, found):
    read, pack = found["read"], found["pack"]
    ratio = pack["seconds"] / read["seconds"]
    return Row(
        f"packing {found['bytes'] / 1e9:.1f} GB of Parquet, {form}",
        f"{pack['seconds']:.1f} s, {pack['peak_mb']:.0f} MB",
        f"pyarrow reading it: {read['seconds']:.1f} s",
        f"{ratio:.2f}",
        f"at most {TARGET:g}, under 1 GB of memory",
        ratio <= TARGET and pack["peak_mb"] < TARGET_MB,
    )


def table(found):
    lines = ["", "| form | what | wall | processor | of it system | peak memory |", "|---|---|---|---|---|---|"]
    for form, one in found.items():
        for what, words in MEASURED.items():
            took = one[what]
            lines.append(
                f"| {form} | {words} | {took['seconds']:.2f} s | {took['cpu_s']:.2f} s | {took['system_s']:.2f} s "
                f"| {took['peak_mb']:.0f} MB |"
            )
    return lines


def profile(form, found):
    """Say where the time goes: the functions in which threads were found most often."""
    total = sum(found.values())
    most = sorted(found.items(), key=lambda one: -one[1])[:9]
    lines = [f"| {form}: threads were in | share |", "|---|---|"]
    return ["", *lines, *(f"| `{name}` | {100 * looks / total:.0f} % |" for name, looks in most)]


def generate(folder, form, gigabytes):
    """Write files of two row groups until there are so many gigabytes; return the bytes."""
    folder.mkdir()
    draws, size, number = np.random.default_rng(0), 0, 0
    rows = int(min(GROUP_ROWS, gigabytes * 1e9 / (4 * COLUMNS) / 2) + 1)
    while size < gigabytes * 1e9:
        path, writer = folder / f"part-{number:03d}.parquet", None
        for _ in range(2):
            values = draws.standard_normal((rows, COLUMNS), np.float32)
            if form == "columns":
                arrays = {f"x{column:02d}": np.ascontiguousarray(values[:, column]) for column in range(COLUMNS)}
            else:
                arrays = {
                    "x": pa.FixedSizeListArray.from_arrays(values.reshape(-1), COLUMNS).cast(pa.list_(pa.float32()))
                }
            group = pa.table({**arrays, "label": draws.integers(0, 2, rows)})
            writer = writer or pq.ParquetWriter(path, group.schema)
            writer.write_table(group)
        writer.close()
        size, number = size + path.stat().st_size, number + 1
    return size


def read(folder, threads):
    def run():
        for path in sorted(folder.glob("*.parquet")):
            with pq.ParquetFile(path) as file:
                for _ in file.iter_batches(use_threads=threads):
                    pass

    return measured(run)


def least(folder, out):
    """Read, digest and write the features' bytes once, in one thread: what no packing can do without."""

    def run():
        digest = hashlib.sha256()
        with out.open("wb") as file:
            for path in sorted(folder.glob("*.parquet")):
                with pq.ParquetFile(path, buffer_size=256 << 10) as source:
                    for batch in source.iter_batches(use_threads=False):
                        for column in batch.columns[:-1]:
                            values = column.flatten() if pa.types.is_list(column.type) else column
                            data = np.from_dlpack(values).view(np.uint8).data
                            digest.update(data)
                            file.write(data)

    found = measured(run)
    out.unlink()
    return found


def pack(folder, out):
    return measured(lambda: packing.pack(folder, out, shards=SHARDS, labels="label"))


def looked_at(folder, out):
    """Pack once more, watched."""
    with sampled("modelhopper_trainer.packing") as found:
        packing.pack(folder, out, shards=SHARDS, labels="label")
    shutil.rmtree(out)
    return dict(found)


def measured(run):
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    run()
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    user_s, system_s = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return {"seconds": seconds, "cpu_s": user_s + system_s, "system_s": system_s, "peak_mb": after.ru_maxrss / 1024}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["generate", folder, form, gigabytes]:
            print(generate(Path(folder), form, float(gigabytes)))
        case ["read", folder, threads]:
            print(json.dumps(read(Path(folder), threads == "1")))
        case ["least", folder, out]:
            print(json.dumps(least(Path(folder), Path(out))))
        case ["pack", folder, out]:
            print(json.dumps(pack(Path(folder), Path(out))))
        case ["profile", folder, out]:
            print(json.dumps(looked_at(Path(folder), Path(out))))
        case _:
            parser = argparse.ArgumentParser(add_help=False)
            parser.add_argument("--gigabytes", type=float, default=5.0)
            given, sys.argv[1:] = parser.parse_known_args()
            main(lambda repeats: section(repeats, given.gigabytes), repeats=3)
