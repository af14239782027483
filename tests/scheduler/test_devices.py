"""Which devices stations run on."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest

from modelhopper_contract.experiment import Devices
from modelhopper_scheduler.engines.devices import station_gpus
from modelhopper_scheduler.engines.outfit import outfits

IS_CPU_BUILD = any(one.name.replace("_", "-") == "tensorflow-cpu" for one in importlib.metadata.distributions())


@pytest.fixture(autouse=True)
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")


def test_each_station_has_a_gpu_of_its_own_until_there_are_more_stations() -> None:
    assert station_gpus(Devices(kind="gpu"), 9) == ["3", "5"]
    assert station_gpus(Devices(kind="gpu", stations=3), 9) == ["3", "5", "3"]


def test_several_stations_share_a_gpu_when_each_has_its_first() -> None:
    assert station_gpus(Devices(kind="gpu", per_gpu=2), 9) == ["3", "5", "3", "5"]
    assert station_gpus(Devices(kind="gpu", per_gpu=2), 3) == ["3", "5", "3"]
    assert station_gpus(Devices(kind="gpu", per_gpu=2, stations=1), 9) == ["3"]


def test_where_no_gpu_is_used_it_does_not_matter_how_many_would_share_one() -> None:
    assert station_gpus(Devices(kind="cpu", per_gpu=5), 99) == station_gpus(Devices(kind="cpu"), 99)


def test_gpus_are_counted_by_what_the_driver_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\necho 'GPU 1: NVIDIA H200 (UUID: GPU-2)'\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert station_gpus(Devices(kind="gpu", per_gpu=2), 9) == ["0", "1", "0", "1"]


def test_a_process_sees_its_own_gpu_only() -> None:
    wanted = outfits(Devices(kind="gpu", per_gpu=2, threads=3), ["5", None])
    assert [one.environment["CUDA_VISIBLE_DEVICES"] for one in wanted] == ["5", "-1"]
    assert [one.arguments for one in wanted] == [
        ["--threads", "3", "--gpu", "--deterministic"],
        ["--threads", "3", "--deterministic"],
    ]


def test_never_more_stations_than_configurations() -> None:
    assert station_gpus(Devices(kind="gpu"), 1) == ["3"]
    assert station_gpus(Devices(kind="cpu", stations=4), 2) == [None, None]


@pytest.mark.skipif(not IS_CPU_BUILD, reason="TensorFlow is installed with its GPU parts")
def test_gpus_are_left_alone_when_tensorflow_is_the_build_for_cpus() -> None:
    assert station_gpus(Devices(stations=2), 9) == [None, None]
