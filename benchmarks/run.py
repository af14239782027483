"""Runs the benchmarks one after another and shows their targets in one table: `make bench`.

    python benchmarks/run.py [--only iris,hop] [--repeats N] [--write]

Each runs in processes of its own. --write puts what it found into docs/benchmarks.md as soon as it is there; what does
not run keeps its figures there. Nothing else should run on the machine.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT
from page import ORDER, line, loaded, table

USUAL = tuple(name for name in ORDER if name != "settings")  # which takes long, and changes seldom


def main():
    given = parse()
    rows, failed = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.only:
            path = Path(folder, f"{name}.json")
            if run(name, path, given):
                rows += [line("", row) for row in loaded(path).rows]
            else:
                failed.append(name)
    print(table(rows))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=lambda text: text.split(","), default=USUAL, help=f"of {', '.join(ORDER)}")
    parser.add_argument("--repeats", type=int, help="turns of each measurement, instead of each benchmark's own number")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    given = parser.parse_args()
    if unknown := set(given.only) - set(ORDER):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(ORDER)}")
    return given


def run(name, path, given):
    """Run one benchmark; what it prints goes through. Return whether it succeeded."""
    print(f"## {name}\n", flush=True)
    start = time.perf_counter()
    command = [sys.executable, ROOT / f"benchmarks/{name}.py", "--json", path]
    command += ["--repeats", str(given.repeats)] if given.repeats else []
    command += ["--write"] if given.write else []
    done = subprocess.run(command, check=False)
    print(f"\n({name} took {time.perf_counter() - start:.0f} s)\n", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    main()
