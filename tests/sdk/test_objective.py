from __future__ import annotations

import pytest

from modelhopper_contract.errors import SpecError
from modelhopper_contract.metrics import check_objective
from modelhopper_contract.records import Configuration


def compiled(metrics: object) -> list[Configuration]:
    return [Configuration(number=1, name="", model="m", parameters={}, compile={"metrics": metrics}, fit={})]


@pytest.mark.parametrize("objective", ["validation accuracy", "accuracy", "training loss", "F1Score_0", None])
def test_an_objective_that_will_be_recorded_is_accepted(objective: str | None) -> None:
    check_objective(objective, compiled(["accuracy", "F1Score"]), ["y"], validated=True)


def test_an_objective_that_nobody_records_is_told_before_anything_is_trained() -> None:
    with pytest.raises(SpecError, match="Did you mean `validation accuracy`") as caught:
        check_objective("validation acuracy", compiled(["accuracy"]), ["y"], validated=True)
    assert caught.value.path == ("objective",)


def test_an_objective_on_validation_data_needs_validation_data() -> None:
    with pytest.raises(SpecError, match="There is no validation data"):
        check_objective("validation accuracy", compiled(["accuracy"]), ["y"], validated=False)


@pytest.mark.parametrize("objective", ["a_accuracy", "validation b_loss", "loss"])
@pytest.mark.parametrize("metrics", [["accuracy"], {"a": ["accuracy"], "b": []}])
def test_several_outputs_have_metrics_of_their_own(objective: str, metrics: object) -> None:
    check_objective(objective, compiled(metrics), ["a", "b"], validated=True)


def test_with_several_outputs_a_bare_metric_is_ambiguous() -> None:
    with pytest.raises(SpecError, match="a_accuracy"):
        check_objective("accuracy", compiled(["accuracy"]), ["a", "b"], validated=True)
