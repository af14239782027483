"""Write constraints.txt: one pinned version of everything that an image can hold.

Run it with the Python version of the images (3.11) on Linux, with a recent pip:

    python -m venv /tmp/pip && /tmp/pip/bin/pip install --upgrade pip
    /tmp/pip/bin/python images/constrain.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
TOOLS = [*PROJECT["build-system"]["requires"], "pip>=25"]  # what the build stages use
HEADER = "# Written by images/constrain.py; do not edit.\n"


def main() -> None:
    """Resolve the CPU and the GPU image, the second with the versions of the first, so that the two agree."""
    extras = PROJECT["project"]["optional-dependencies"]
    core = [*PROJECT["project"]["dependencies"], *extras["search"], *TOOLS]
    cpu = resolved([*core, *extras["cpu"]])
    same = [f"{name}=={version}" for name, version in cpu.items() if name != "tensorflow-cpu"]
    versions = cpu | resolved([*same, *extras["gpu"]])
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    (HERE / "constraints.txt").write_text(HEADER + "".join(lines), encoding="utf-8")


def resolved(requirements: list[str]) -> dict[str, str]:
    """Return what pip would install, by normalized name, without installing it."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    report = json.loads(subprocess.run([*command, *requirements], stdout=subprocess.PIPE, check=True).stdout)
    metadata = [package["metadata"] for package in report["install"]]
    return {package["name"].lower().replace("_", "-").replace(".", "-"): package["version"] for package in metadata}


if __name__ == "__main__":
    main()
