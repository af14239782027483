"""Runs all benchmarks and prints a table in Markdown: `make bench`. Nothing else should run on the machine.

python benchmarks/run.py [--repeats N] [--write]     --write puts the table into docs/benchmarks.md
"""

import argparse
import sys
import tempfile
from pathlib import Path

from measure import ROOT, command, in_child, interleaved, machine

MARKER = "<!-- figures: written by `make bench`, from here to the end -->"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows = [
        iris(given.repeats),
        *[subepoch(*each) for each in SUBEPOCHS],
        scaling(max(given.repeats, 5)),
        overhead(given.repeats),
    ]
    table = [
        "| work | modelhopper | plain Keras or the other side | ratio | target |",
        "|---|---|---|---|---|",
        *[f"| {' | '.join(row)} |" for row in rows],
    ]
    text = "\n".join(
        [*table, "", "| machine | |", "|---|---|", *[f"| {what} | {value} |" for what, value in machine()]]
    )
    print(text)
    if given.write:
        path = ROOT / "docs/benchmarks.md"
        head = path.read_text().partition(MARKER)[0]
        path.write_text(f"{head}{MARKER}\n\n{text}\n")


def iris(repeats):
    """Cold, whole processes: start, import, build, train, evaluate, write."""
    example = ROOT / "examples/iris"
    command(sys.executable, example / "prepare.py")
    with tempfile.TemporaryDirectory() as folder:
        runs = iter(range(1000))

        def ours():
            store = Path(folder, str(next(runs)))
            command(Path(sys.executable).parent / "modelhopper", "run", example / "experiment.yaml", "--store", store)

        def keras():
            command(sys.executable, ROOT / "benchmarks/iris_sequential.py")

        best = interleaved(repeats, ours=ours, keras=keras)
    work = "iris, 12 configurations x 10 iterations, cold, whole process"
    return (
        work,
        f"{best['ours']:.2f} s",
        f"{best['keras']:.2f} s",
        f"{best['ours'] / best['keras']:.2f}",
        "at most 0.35",
    )


SUBEPOCHS = [
    ("iris_mlp", "warm pass over 30 rows, iris MLP, batch 4", "at least 20x"),
    ("table_mlp", "warm pass over 12,500 rows x 28, MLP of 50,689 parameters, batch 32", "at least 1.5x"),
    ("image_cnn", "warm pass over 2,500 images 32x32x3, small CNN, batch 32", "at least 1.5x"),
]


def subepoch(name, work, target):
    """One thread each, shortest of several in turns."""
    best = in_child("subepoch", name)
    ratio = best["keras"] / best["ours"]
    return work, f"{best['ours'] * 1e3:.1f} ms", f"{best['keras'] * 1e3:.1f} ms", f"{ratio:.1f}x", target


def scaling(repeats):
    """One station against two, whole runs in turns; at least five, because a disturbed run of either misleads most."""
    found = {1: [], 2: []}
    for _ in range(repeats):
        for stations, times in found.items():
            times.append(in_child("stations", "scaling", str(stations))["seconds_per_hop"])
    one, two = (min(times) for times in found.values())
    work = "4 small CNNs over 4 shards, time per hop: two stations against one"
    return work, f"{two * 1e3:.0f} ms", f"{one * 1e3:.0f} ms", f"{one / two:.2f}x", "at least 1.7x"


def overhead(repeats):
    """The median hop of the quietest run."""
    best = min((in_child("stations", "overhead", "2") for _ in range(repeats)), key=lambda found: found["median_ms"])
    work = "hop overhead (all but training), 1 MB model, local disk, nothing overlapped"
    return work, f"{best['median_ms']:.1f} ms", "", "", "under 10 ms"


if __name__ == "__main__":
    main()
