"""The slides' comparison: two networks by each method, accuracy against bytes moved, and eight settings of EASGD.

    python examples/averaging/prepare.py
    python examples/averaging/run.py

`--full` trains the networks in their published width for 20 passes over the data, which is for GPUs; prepare the data
with `--full`, too.
"""

import argparse
from pathlib import Path

import modelhopper as mh

HERE = Path(__file__).parent
STORE = str(HERE / "runs")
METRIC = "validation accuracy"
# Alpha and beta, as in the slides. The first is plain averaging.
ELASTIC = [(0, 1), (0.001, 0.9), (0.001, 0.8), (0.001, 0.7), (0.001, 0.6), (0.001, 0.5), (0.01, 0.9), (0.01, 0.6)]


def main():
    full = arguments().full
    one, six = (experiment(file, full) for file in ("one-layer.yaml", "six-layers.yaml"))
    for network in (one, six):
        found = network.compare(alpha=0.001, beta=0.9, store=STORE)
        print(f"\n--- {network.name}\n{found}\n")
        print(against_bytes(found))

    print(f"\n--- EASGD, {one.name}\nalpha  beta  {METRIC}")
    for number, (alpha, beta) in enumerate(ELASTIC, start=1):
        named = one.model_copy(update={"name": f"{one.name}-{number}"})  # each is an experiment of its own
        (row,) = named.compare(["easgd"], alpha=alpha, beta=beta, store=STORE, progress=False).rows
        print(f"{alpha:<5}  {beta:<4}  {row.metrics[METRIC]:.3f}")


def experiment(file, full):
    """Return the experiment of a file, at the slides' size if that is wanted."""
    found = mh.load_experiment(HERE / file)
    if not full:
        return found
    (name, model), *_ = found.models.items()
    wide = model.model_copy(update={"parameters": {"width": 32}})
    return found.model_copy(update={"name": f"{found.name}-full", "models": {name: wide}, "iterations": 20})


def against_bytes(comparison):
    """Return a table of what each method has come to after each pass, and after how many bytes."""
    ways = [row for row in comparison.rows if row.way in ("hop", "average", "easgd")]
    histories = [mh.open_run(row.experiment, STORE).history(1).rows for row in ways]
    lines = [f"passes  {'  '.join(f'{row.way:<18}' for row in ways)}"]
    for number, points in enumerate(zip(*histories, strict=True), start=1):
        cells = [
            f"{point.metrics[METRIC]:.3f} {moved(row, number, comparison.passes):>9.1f} MB"
            for row, point in zip(ways, points, strict=True)
        ]
        lines.append(f"{number:>6}  {'  '.join(f'{cell:<18}' for cell in cells)}")
    return "\n".join(line.rstrip() for line in lines)


def moved(row, number, passes):
    return row.moved_bytes * number / passes / 1e6


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the slides' size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
