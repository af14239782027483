"""Timing: the minimum of several interleaved runs, because this is what the work costs when nobody disturbs."""

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def interleaved(repeats, block=1, **tasks):
    """Run every task in turns, `block` times a turn; return the shortest single time of each, in seconds.

    A block above 1 is for what is warm when it follows itself, as passes over shards do.
    """
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(repeats):
        for name, task in tasks.items():
            for _ in range(block):
                start = time.perf_counter()
                task()
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def command(*arguments, **environment):
    """Run a command quietly; raise with its output when it fails."""
    done = subprocess.run(
        [str(part) for part in arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )
    if done.returncode:
        raise RuntimeError(f"{arguments} failed with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def in_child(module, *arguments):
    """Run a benchmark's module in a process of its own, so that TensorFlow starts anew; return its JSON."""
    return json.loads(command(sys.executable, ROOT / "benchmarks" / f"{module}.py", *arguments).splitlines()[-1])


def machine():
    """Return what the figures depend on, as rows of (what, value)."""
    model = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), "unknown")
    packages = ", ".join(f"{name} {version(name)}" for name in (tensorflow(), "keras", "numpy", "modelhopper"))
    return [
        ("processor", f"{model}, {len(os.sched_getaffinity(0))} cores"),
        ("system", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"),
        ("packages", packages),
    ]


def tensorflow():
    """Return the name of the package that TensorFlow is installed from."""
    try:
        version("tensorflow-cpu")
    except PackageNotFoundError:
        return "tensorflow"
    return "tensorflow-cpu"


def _cpuinfo():
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
