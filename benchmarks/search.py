"""What each search reaches for what it spends: random, Hyperband, ASHA and TPE on the digits' CNN. Nothing else should
run on the machine, though only times would suffer: what is reached and spent is the same.

    python benchmarks/search.py [--iterations 27] [--configurations 81] [--methods random,hyperband] [--write]

`--write` puts the table into docs/search.md.
"""

import argparse
import sys
import tempfile
from itertools import accumulate

from measure import ROOT, command, machine

import modelhopper as mh

MARKER = "<!-- figures: written by `python benchmarks/search.py --write`, from here to the end -->"
EXAMPLE = ROOT / "examples/digits"
SPACE = {
    "model": [{"name": "cnn", "filters": [4, 8, 16], "dropout": {"linear": [0.0, 0.5]}}],
    "optimizer": [
        {"name": "Adam", "learning_rate": mh.log(1e-5, 1e-1)},
        {"name": "SGD", "learning_rate": mh.log(1e-4, 1.0), "momentum": mh.log_near_one(0.5, 0.99)},
    ],
    "batch_size": [16, 32, 64],
}
METHODS = ("random", "hyperband", "asha", "tpe")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=27)
    parser.add_argument("--configurations", type=int, default=81)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    command(sys.executable, EXAMPLE / "prepare.py")
    marks = [mark for mark in (100, 300, 1000, 3000) if mark < given.iterations * given.configurations]
    head = [
        "search",
        "configurations",
        "model-iterations",
        *[f"after {mark:,}" for mark in marks],
        "in the end",
        "time",
    ]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for method in given.methods.split(","):
        with tempfile.TemporaryDirectory() as store:
            row = measured(method, given.configurations, given.iterations, store, marks)
        lines.append(f"| {' | '.join([method, *row])} |")
        print(lines[-1], flush=True)
    facts = [f"| {what} | {value} |" for what, value in machine()]
    text = "\n".join([*lines, "", "| machine | |", "|---|---|", *facts])
    print(text)
    if given.write:
        path = ROOT / "docs/search.md"
        path.write_text(f"{path.read_text().partition(MARKER)[0]}{MARKER}\n\n{text}\n")


def measured(method, configurations, iterations, store, marks):
    """Return what a search has tried, spent and reached."""
    search = {"method": method, "space": SPACE}
    if method != "hyperband":
        search["configurations"] = configurations
    every = {"evaluate_every": max(1, iterations // 9)} if method in ("random", "tpe") else {}
    run = mh.Experiment(
        name=method,
        data={"train": str(EXAMPLE / "data/train"), "validation": str(EXAMPLE / "data/validation")},
        models={"cnn": f"{EXAMPLE / 'models.py'}:cnn"},
        compile={"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]},
        search=search,
        iterations=iterations,
        seed=1,
        **every,
    ).run(store=store, progress=False)
    shards = run.reader.specification().shards
    stays = sorted(run.reader.stays(), key=lambda stay: stay.started_s)
    spent = list(accumulate((stay.end_hop - stay.first_hop) / shards for stay in stays))
    reached = [best_until(run, stays, spent, mark) if mark <= spent[-1] else None for mark in [*marks, spent[-1]]]
    began_s, ended_s = stays[0].started_s, max(stay.started_s + stay.train_s + stay.overhead_s for stay in stays)
    count = len(run.reader.configurations)
    return [
        str(count),
        f"{spent[-1]:,.0f}",
        *["" if value is None else f"{value:.3f}" for value in reached],
        f"{ended_s - began_s:.0f} s",
    ]


def best_until(run, stays, spent, mark):
    """Return the best validation accuracy of what was trained when so many model-iterations had been spent."""
    shards = run.reader.specification().shards
    done = {}
    for stay, total in zip(stays, spent, strict=True):
        if total <= mark:
            done[stay.configuration] = max(stay.end_hop // shards, done.get(stay.configuration, 0))
    found = [
        history.validation["accuracy"]
        for history in run.reader.histories()
        if history.iteration <= done.get(history.configuration, -1)
    ]
    return max(found, default=None)  # nothing was evaluated yet


if __name__ == "__main__":
    main()
