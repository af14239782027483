"""Claims about measuring a hop on this machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from modelhopper.copying import copy_data
from modelhopper.documents import load_experiment
from modelhopper.measuring import Measured, measure, spread
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.records import Configuration
from tests.sdk.conftest import Work

pytestmark = pytest.mark.xdist_group("tensorflow")


def configurations(models: str) -> list[Configuration]:
    return [
        Configuration(number=at, name="", model=model, parameters={}, compile={}, fit={})
        for at, model in enumerate(models, start=1)
    ]


@pytest.mark.parametrize(
    ("models", "numbers"),
    [("a", [1]), ("ab", [1, 2]), ("aaaaaaaaa", [2, 5, 8]), ("aaab", [1, 3, 4]), ("aabbccdd", [2, 6, 8])],
)
def test_few_configurations_are_spread_over_the_models(models: str, numbers: list[int]) -> None:
    assert [one.number for one in spread(configurations(models), 3)] == numbers


def test_where_it_was_measured_is_told() -> None:
    measured = Measured({1: 9.0, 5: 9.0, 9: 12.0}, "CPU")
    assert measured.hop_s == 10.0
    assert measured.origin() == "measured on this machine's CPU: 3 configurations, one hop each"
    assert measured.origin(for_gpu=True).endswith("one hop each; a GPU takes another time")
    assert Measured({1: 9.0}, "GPU").origin(for_gpu=True) == "measured on this machine's GPU: 1 configuration, one hop"


def test_a_hop_is_measured_and_nothing_is_left_behind(work: Work) -> None:
    experiment = load_experiment(work.experiment())
    before = sorted(Path.cwd().iterdir())
    measured = measure(experiment, Path.cwd())
    assert measured.device == "CPU"
    assert measured.configurations == 2
    # Sixty rows: tracing alone would take longer than this.
    assert 0 < measured.hop_s < 0.2
    assert [path for path in sorted(Path.cwd().iterdir()) if path.name != "__pycache__"] == before


def test_a_mistake_in_a_configuration_is_told(work: Work) -> None:
    experiment = load_experiment(work.experiment(compile={"loss": "categorical_crossentropi"}))
    with pytest.raises(SpecError, match=r"categorical_crossentropi.*configuration 1"):
        measure(experiment, Path.cwd())


def test_configurations_of_which_none_can_train_are_told(work: Work) -> None:
    experiment = load_experiment(work.experiment(models={"small": "models.py:broken"}))
    with pytest.raises(UserError, match=r"2 configurations could train a hop: .*nothing here.*--hop-seconds"):
        measure(experiment, Path.cwd())


def test_what_to_do_without_tensorflow_is_told(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load_experiment(work.experiment())
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"TensorFlow .* is not installed: .*--hop-seconds"):
        measure(experiment, Path.cwd())


def test_of_data_in_s3_one_shard_is_fetched(
    work: Work, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELHOPPER_CACHE", str(tmp_path / "cache"))
    manifest = copy_data(work.value()["data"]["train"], f"{s3_url}/train")
    experiment = load_experiment(work.experiment(data={"train": f"{s3_url}/train"}))
    assert measure(experiment, Path.cwd()).hop_s > 0
    assert len(list((tmp_path / "cache").iterdir())) == len(manifest.shards[0].files)
