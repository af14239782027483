"""The benchmarks for a GPU: they say why they do not run without one, and the same code runs on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.project import tree


def bench(*arguments: str, **environment: str) -> str:
    """Run the script as `make bench-gpu` does, and return what it prints."""
    command = [sys.executable, str(tree.ROOT / "benchmarks/gpu.py"), *arguments]
    environment = {**os.environ, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_without_a_gpu_it_says_why_and_ends() -> None:
    said = bench("--write", CUDA_VISIBLE_DEVICES="-1")
    assert said == "Nothing was measured: this machine shows no GPU (nvidia-smi -L; CUDA_VISIBLE_DEVICES).\n"


@pytest.mark.slow
@pytest.mark.xdist_group("tensorflow")
def test_a_little_of_it_runs_on_a_cpu() -> None:
    said = bench("--device", "cpu", "--quick")
    assert "6 of 6 ways equal" in said
    for part in ("warm pass, iris_mlp", "side by side, iris_mlp", "2 stations share it", "| mixed_float16, XLA |"):
        assert part in said
