"""Which devices stations run on."""

from __future__ import annotations

import importlib.metadata

import pytest

from modelhopper_contract.experiment import Devices
from modelhopper_scheduler.engines.devices import station_gpus

IS_CPU_BUILD = any(one.name.replace("_", "-") == "tensorflow-cpu" for one in importlib.metadata.distributions())


@pytest.fixture(autouse=True)
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")


def test_each_station_has_a_gpu_of_its_own_until_there_are_more_stations() -> None:
    assert station_gpus(Devices(kind="gpu"), 9) == ["3", "5"]
    assert station_gpus(Devices(kind="gpu", stations=3), 9) == ["3", "5", "3"]


def test_never_more_stations_than_configurations() -> None:
    assert station_gpus(Devices(kind="gpu"), 1) == ["3"]
    assert station_gpus(Devices(kind="cpu", stations=4), 2) == [None, None]


@pytest.mark.skipif(not IS_CPU_BUILD, reason="TensorFlow is installed with its GPU parts")
def test_gpus_are_left_alone_when_tensorflow_is_the_build_for_cpus() -> None:
    assert station_gpus(Devices(stations=2), 9) == [None, None]
