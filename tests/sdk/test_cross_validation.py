"""Cross-validation: settings by their folds, the final model, and the commands that show and make them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from modelhopper.command import main
from modelhopper.results import Run
from modelhopper_contract.errors import ConflictError, UserError
from modelhopper_contract.stores.directory import DirectoryStore
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.searches.configurations import configurations
from modelhopper_scheduler.searches.making import parted
from tests.sdk.synthetic import SyntheticRun

FOLDED: dict[str, Any] = {"folds": 2, "data": {"train": "train"}}
# Settings 1 to 4, each with two folds: configurations 1 and 2, 3 and 4, 5 and 6, 7 and 8.
VALUES = {1: 0.5, 2: 0.7, 3: 0.9, 4: 0.8, 5: 0.95, 6: 0.1}


def folded(**changes: Any) -> tuple[SyntheticRun, Run]:
    written = SyntheticRun(MemoryStore(), **FOLDED | changes)
    for number, value in VALUES.items():
        written.finished(number, accuracy=value, loss=1 - value)
    written.finished(7, accuracy=0.99, loss=0.01)
    written.failed(8, 1)
    return written, Run(written.store, "iris")


def test_settings_are_ranked_by_their_mean_and_those_with_a_failed_fold_come_last() -> None:
    found = folded()[1].cross_validation()
    assert [one.number for one in found.rows] == [2, 1, 3, 4]
    spread = found.rows[0].spread("validation accuracy")
    assert spread is not None
    assert spread.mean == pytest.approx(0.85)
    assert spread.deviation == pytest.approx(math.sqrt(0.005))  # of a sample of two: 0.05 to each side
    assert [one.failed for one in found.rows] == [0, 0, 0, 1]


def test_a_fold_without_a_finite_value_makes_no_deviation_and_a_worse_mean() -> None:
    written = SyntheticRun(MemoryStore(), **FOLDED, objective="validation loss")
    for number in range(1, 9):
        written.finished(number, accuracy=0.5, loss={1: math.inf, 4: math.nan}.get(number, number / 10))
    found = Run(written.store, "iris").cross_validation()
    assert [one.number for one in found.rows] == [3, 4, 1, 2]
    assert [str(one.spread("validation loss")) for one in found.rows[2:]] == ["inf ± NaN", "NaN ± NaN"]


def test_the_table_says_mean_and_deviation_and_which_configuration_is_the_best_fold() -> None:
    lines = folded()[1].cross_validation().text().splitlines()
    assert "0.850 ± 0.071" in lines[2]
    assert lines[2].split()[0] == "2"
    assert "fold" not in lines[2]
    assert "over 2 folds" in lines[-1]
    records = folded()[1].cross_validation().records()
    assert records[0]["configurations"] == "3 4"
    assert records[0]["validation accuracy deviation"] == pytest.approx(math.sqrt(0.005))
    assert records[-1]["failed"] == 1


def test_the_best_is_the_best_fold_of_the_best_setting() -> None:
    assert folded()[1].best().number == 3


def test_the_leaderboard_still_shows_every_configuration_with_its_fold() -> None:
    text = folded()[1].leaderboard().text()
    assert "fold 1" in text
    assert len(folded()[1].leaderboard().rows) == 8


def test_a_run_without_folds_says_so() -> None:
    written = SyntheticRun(MemoryStore())
    with pytest.raises(UserError, match=r"iris is not cross-validated"):
        Run(written.store, "iris").cross_validation()


def test_the_final_model_is_the_best_setting_on_all_shards() -> None:
    found = folded()[1].final()
    experiment = found.experiment
    assert (experiment.name, experiment.folds, experiment.iterations) == ("iris-final", None, 4)
    (chosen,) = experiment.configurations()
    assert (chosen.number, chosen.model, chosen.fit["batch_size"], chosen.part) == (1, "small", 8, None)
    assert found.text() == (
        "setting 2 (model small  batch_size 8) is the best of 4: validation accuracy 0.850 ± 0.071 over 2 folds. "
        "It is trained on all shards, 4 iterations."
    )


def test_where_folds_stopped_early_the_final_model_trains_as_long_as_they_did_in_the_mean() -> None:
    written = SyntheticRun(MemoryStore(), **FOLDED, early_stopping=1, evaluate_every=1)
    for number in range(1, 9):
        best = 2 if number % 2 else 4
        written.stopped(number, iteration=4, result=best, accuracy=0.5 + number / 100, loss=0.5)
    experiment = Run(written.store, "iris").final().experiment
    assert (experiment.iterations, experiment.early_stopping) == (3, None)


def test_a_run_that_is_not_complete_has_no_final_model() -> None:
    written = SyntheticRun(MemoryStore(), **FOLDED)
    written.finished(1, accuracy=0.5, loss=0.5)
    with pytest.raises(UserError, match=r"iris is not complete.*modelhopper resume iris"):
        Run(written.store, "iris").final()


def test_another_experiment_of_the_final_name_is_not_touched() -> None:
    written, run = folded()
    SyntheticRun(written.store, name="iris-final")
    with pytest.raises(ConflictError, match=r"trains another setting. Give this one another name with --name"):
        run.final()


def test_the_commands_show_means_or_each_fold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = SyntheticRun(DirectoryStore(tmp_path), **FOLDED)
    for number in range(1, 9):
        written.finished(number, accuracy=number / 10, loss=1 - number / 10)
    assert main(["results", "iris", "--store", str(tmp_path), "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert main(["results", "iris", "--store", str(tmp_path), "--each-fold", "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 8


def test_a_final_model_goes_on_after_its_folds_had_more_iterations(tmp_path: Path) -> None:
    written = SyntheticRun(DirectoryStore(tmp_path), **FOLDED)
    for number in range(1, 9):
        written.finished(number, accuracy=number / 10, loss=1 - number / 10)
    assert main(["final", "iris", "--store", str(tmp_path), "--extend", "--print"]) == 0


def test_explain_names_the_shard_that_a_fold_began_with() -> None:
    """Of two shards, fold 1 is shard 0, and its configurations train on shard 1."""
    _, run = folded()
    lines = {line.about: line.words for line in run.explain(3).lines}
    assert lines["started"] == "station 0, shard 1"


def test_each_group_has_a_best_of_its_own() -> None:
    written = SyntheticRun(MemoryStore(), groups=True)
    names = ("country DE", "country FR")
    specification = written.specification.model_copy(update={"group_names": names})
    written.store.put(written.names.specification(), specification.to_json())
    for one in parted(specification, configurations(specification.experiment)):
        written.store.put(written.names.configuration(one.number), one.to_json())
        written.finished(one.number, accuracy=one.number / 10, loss=0.1)
    run = Run(written.store, "iris")
    assert run.best(group="country DE").number == 7
    assert run.best(group="country FR").number == 8
    with pytest.raises(UserError, match=r"a model for each group.*--group.*country DE, country FR.*iris/3"):
        run.best()
    with pytest.raises(UserError, match=r"`country D` is not one of them.*Did you mean `country DE`"):
        run.best(group="country D")
