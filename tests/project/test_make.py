"""`make help` tells the truth."""

from __future__ import annotations

import os
import re
import subprocess

from tests.project import tree

MAKEFILE = (tree.ROOT / "Makefile").read_text(encoding="utf-8")


def test_help_lists_every_documented_target_and_is_the_default() -> None:
    documented = re.findall(r"^([a-z-]+):.*## (.+)$", MAKEFILE, re.MULTILINE)
    assert re.findall(r"^  make ([a-z-]+) +(.+)$", make(), re.MULTILINE) == documented
    assert make("help") == make()


def test_every_phony_target_is_documented() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))


def make(*targets: str) -> str:
    # Under `make test` the outer make's flags would reach this one.
    environment = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}
    command = ["make", "--no-print-directory", *targets]
    return subprocess.run(command, cwd=tree.ROOT, env=environment, capture_output=True, text=True, check=True).stdout
