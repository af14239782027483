"""A small experiment that really trains: the iris data, two shards, two configurations, two iterations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from modelhopper_trainer.packing import pack

MODELS = """
import keras


def mlp(units=8):
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(3, "softmax")]
    )


def broken():
    raise KeyError("nothing here")
"""


@pytest.fixture(scope="session")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The iris data, packed: `train` in two shards and `valid` in one."""
    from sklearn.datasets import load_iris

    found = load_iris()
    order = np.random.default_rng(0).permutation(150)
    x, y = found.data[order], found.target_names[found.target[order]]
    folder = tmp_path_factory.mktemp("iris")
    pack((x[:120], y[:120]), folder / "train", shards=2, seed=1)
    pack((x[120:], y[120:]), folder / "valid", shards=1, against=folder / "train")
    return folder


class Work:
    """A user's working directory."""

    def __init__(self, folder: Path, iris: Path) -> None:
        self.folder = folder
        self._iris = iris
        (folder / "models.py").write_text(MODELS)

    def value(self, **changes: Any) -> dict[str, Any]:
        """Return an experiment, some of its keys changed."""
        return {
            "name": "iris",
            "data": {"train": str(self._iris / "train"), "validation": str(self._iris / "valid")},
            "models": {"small": "models.py:mlp"},
            "compile": {"loss": "categorical_crossentropy", "metrics": ["accuracy"]},
            "search": {"method": "grid", "space": {"batch_size": [8, 32]}},
            "iterations": 2,
            "devices": {"kind": "cpu", "stations": 2},
            **changes,
        }

    def experiment(self, **changes: Any) -> str:
        """Write an experiment's file and return its name."""
        (self.folder / "experiment.yaml").write_text(yaml.safe_dump(self.value(**changes), sort_keys=False))
        return "experiment.yaml"


@pytest.fixture
def work(tmp_path: Path, iris: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """The working directory of the test, with models.py in it."""
    monkeypatch.chdir(tmp_path)
    return Work(tmp_path, iris)
