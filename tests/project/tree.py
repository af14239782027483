"""The project's own files, as its tests read them."""

from __future__ import annotations

import functools
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "modelhopper_contract": ROOT / "src/contract/modelhopper_contract",
    "modelhopper_scheduler": ROOT / "src/scheduler/modelhopper_scheduler",
    "modelhopper_trainer": ROOT / "src/trainer/modelhopper_trainer",
    "modelhopper": ROOT / "src/sdk/modelhopper",
}


@functools.cache
def files(suffix: str = "") -> tuple[Path, ...]:
    """Return the files that are, or would be, committed: all but what git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    paths = (ROOT / name for name in sorted(set(names)) if name)
    return tuple(path for path in paths if path.is_file() and path.name.endswith(suffix))


def sources() -> Iterator[Path]:
    """Yield the Python files of the four packages."""
    return (path for path in files(".py") if ROOT / "src" in path.parents)


def name(path: Path) -> str:
    """Return how a message calls a file."""
    return path.relative_to(ROOT).as_posix()


def markdown(path: Path) -> list[Token]:
    """Return a Markdown file's tokens."""
    return MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))


def project() -> dict[str, Any]:
    """Return the table `project` of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table
