"""Comparing methods: what may be compared, what each moves, and one comparison from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelhopper.comparing import Elastic, checked, derived
from modelhopper.comparison import WAYS, Compared, Comparison, busy_s, moved_bytes
from modelhopper.experiment import Experiment
from modelhopper_contract.errors import ModelhopperError, SpecError, UserError
from modelhopper_contract.metrics import Metric
from modelhopper_contract.records import Stay
from modelhopper_trainer.packing import pack
from modelhopper_trainer.packing.gathering import gather
from modelhopper_trainer.shards import open_data
from tests.trainer.small_run import MODELS, rows

VALUE: dict[str, Any] = {
    "name": "small",
    "data": {"train": "train", "validation": "valid"},
    "models": {"plain": "models.py:mlp"},
    "compile": {"loss": "categorical_crossentropy", "metrics": ["accuracy"]},
    "search": {"method": "grid", "space": {"batch_size": [8]}},
    "iterations": 2,
}


def experiment(folder: Path, **changes: Any) -> Experiment:
    return Experiment.in_folder({**VALUE, **changes}, folder)


def moved(way: Any, shards: int) -> int:
    return moved_bytes(way, state_bytes=300, weights_bytes=100, data_bytes=4000, shards=shards, passes=10)


def test_what_moves_is_counted_as_if_every_shard_had_a_station() -> None:
    assert moved("hop", 4) == 300 * 39  # 40 hops, of which the first begins where it is
    assert moved("average", 4) == moved("easgd", 4) == 2 * 300 * 3 * 10
    assert moved("ensemble", 4) == 300
    assert moved("alone", 4) == 3000
    assert [moved(way, 1) for way in WAYS] == [0] * 5


def test_each_method_is_an_experiment_of_its_own_that_differs_in_nothing_else(tmp_path: Path) -> None:
    ways = checked(experiment(tmp_path), ["ensemble", "hop", "easgd", "average", "hop"])
    assert ways == ("hop", "average", "easgd", "ensemble")
    found = derived(experiment(tmp_path), ways, Elastic(0.1, 0.5))
    assert [one.name for one in found] == ["small-hop", "small-average", "small-easgd-0-1-0-5", "small-ensemble"]
    assert [one.method.name for one in found] == ["hop", "average", "easgd", "hop"]
    assert (found[2].method.alpha, found[2].method.beta) == (0.1, 0.5)
    assert [one.groups for one in found] == [False, False, False, "shards"]
    same = {"name", "method", "groups"}
    assert len({one.model_dump_json(exclude=same) for one in found}) == 1


@pytest.mark.parametrize(
    ("changes", "methods", "said"),
    [
        ({}, [], "no method to compare was given: use hop, average"),
        ({}, ["hopp"], "`hopp` is no method to compare.*Did you mean `hop`"),
        ({"search": {"method": "grid", "space": {"batch_size": [4, 8]}}}, WAYS, "the search gives 2"),
        ({"data": {"train": "train"}}, WAYS, "give validation data"),
        ({"early_stopping": 2}, WAYS, "remove early_stopping"),
        ({"groups": "shards"}, WAYS, "remove `folds` and `groups`"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, changes: Any, methods: Any, said: str) -> None:
    with pytest.raises((SpecError, UserError), match=said) as caught:
        checked(experiment(tmp_path, **changes), methods)
    assert isinstance(caught.value, ModelhopperError)


def test_the_time_that_a_run_lay_still_does_not_count() -> None:
    def stay(started_s: float, train_s: float) -> Stay:
        numbers = {"configuration": 1, "first_hop": 0, "end_hop": 1, "station": 0}
        return Stay(**numbers, started_s=started_s, train_s=train_s, overhead_s=0.0)

    assert busy_s([stay(1000.0, 2.0), stay(1001.0, 2.0), stay(9000.0, 1.0), stay(9000.2, 0.1)]) == pytest.approx(4.0)
    assert busy_s([]) == 0


def test_the_table_says_what_each_came_to() -> None:
    row = Compared("hop", "small-hop", {"validation accuracy": 0.9, "training loss": 0.1}, 61.0, 50.0, 2_500_000)
    found = Comparison("small", Metric("validation", "accuracy", lower_is_better=False), 2, 3, 2, (row,))
    lines = found.text().splitlines()
    assert lines[2].split()[:3] == ["hop", "0.900", "61"]
    assert "2.5 MB" in lines[2]
    assert lines[-1].startswith("2 passes over the data each, 3 shards, on 2 stations here.")
    assert found.records()[0]["moved_bytes"] == 2_500_000


def test_gathered_shards_hold_the_same_rows_in_one(tmp_path: Path) -> None:
    pack(rows(47), tmp_path / "train", shards=3, seed=3)
    data = open_data(tmp_path / "train")
    manifest = gather(data, tmp_path / "one")
    assert gather(data, tmp_path / "one").digest() == manifest.digest()
    whole = open_data(tmp_path / "one").shard(0)
    each = [data.shard(number) for number in range(3)]
    assert whole.rows == 47
    assert np.array_equal(whole.inputs["x"], np.concatenate([one.inputs["x"] for one in each]))
    assert np.array_equal(whole.outputs["y"], np.concatenate([one.outputs["y"] for one in each]))


@pytest.mark.slow
def test_one_configuration_is_trained_by_every_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELHOPPER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text(MODELS)
    pack(rows(47), tmp_path / "train", shards=3, seed=3)
    pack(rows(20, seed=1), tmp_path / "valid", shards=2, against=tmp_path / "train")
    found = experiment(tmp_path).compare(engine="inline", progress=False)
    assert [row.way for row in found.rows] == list(WAYS)
    assert all(0 < row.metrics["validation accuracy"] <= 1 for row in found.rows)
    assert len({row.metrics["validation loss"] for row in found.rows}) == 5
    again = experiment(tmp_path).compare(engine="inline", progress=False)
    assert [row.metrics for row in again.rows] == [row.metrics for row in found.rows]
