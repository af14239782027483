"""The rule of early stopping: a function of a configuration's evaluations in the order of iterations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.early_stopping import (
    EarlyStopping,
    Standing,
    check_early_stopping,
    ending,
    standing,
    superfluous,
)
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.records import Configuration, Failure, History, Outcome
from modelhopper_contract.ring import Ring

EXPERIMENT: dict[str, Any] = {
    "name": "early",
    "data": {"train": "train", "validation": "valid"},
    "models": "models.py:mlp",
    "compile": {"loss": "mse", "metrics": ["accuracy"]},
    "search": {"method": "list", "configurations": [{}]},
    "iterations": 10,
}
RING = Ring(shards=2, iterations=10, evaluate_every=1)

values = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, math.nan, math.inf]), min_size=1, max_size=10)
rules = st.builds(
    EarlyStopping,
    metric=st.sampled_from(["validation loss", "accuracy"]),
    patience=st.integers(1, 4),
    min_change=st.sampled_from([0.0, 0.1]),
    restore_best=st.booleans(),
)


def rule(patience: int = 3, **rest: Any) -> EarlyStopping:
    return EarlyStopping(patience=patience, **rest)


def histories(found: Sequence[float], first: int = 1) -> dict[int, History]:
    """Return evaluations whose every metric has these values."""
    return {
        at: History(
            configuration=1, iteration=at, training={"loss": 1.0}, validation={"loss": value, "accuracy": value}
        )
        for at, value in enumerate(found, start=first)
    }


def stands(given_rule: EarlyStopping, found: Mapping[int, History]) -> Standing | None:
    return standing(given_rule, None, RING.evaluated_iterations(), found)


def end(given_rule: EarlyStopping, losses: Sequence[float], failure: Failure | None = None) -> Outcome | None:
    found = histories(losses)
    return ending(1, stands(given_rule, found), RING, found, failure)


def failure(hop: int, shard: int | None = 0) -> Failure:
    return Failure(reason="loss is NaN", hop=hop, shard=shard, station=0, traceback=None, output=None)


def test_patience_counts_evaluations_since_the_last_improvement() -> None:
    assert end(rule(3), [0.5, 0.4, 0.3, 0.212, 0.4, 0.3]) is None
    outcome = end(rule(3), [0.5, 0.4, 0.3, 0.212, 0.4, 0.3, 0.22])
    assert outcome == Outcome(
        configuration=1,
        state="stopped",
        hops=8,
        trained=14,
        reason="validation loss has not improved for 3 evaluations: best 0.212 at iteration 4",
    )


def test_what_comes_after_the_iteration_that_stopped_it_does_not_matter() -> None:
    assert end(rule(2), [0.3, 0.4, 0.5]) == end(rule(2), [0.3, 0.4, 0.5, 0.1, 0.1])


def test_a_gap_is_waited_for() -> None:
    found = histories([0.3, 0.4, 0.5])
    assert stands(rule(2), {at: one for at, one in found.items() if at != 2}) == stands(rule(2), {1: found[1]})
    assert stands(rule(2), {at: one for at, one in found.items() if at != 1}) is None


def test_an_improvement_must_be_more_than_the_least_change() -> None:
    losses = [0.5, 0.45, 0.4]
    found = stands(rule(2, min_change=0.1), histories(losses))
    assert found is not None
    assert (found.best, found.is_stopped) == (1, True)
    assert found.reason.startswith("validation loss has not improved by more than 0.1 for 2 evaluations")
    assert stands(rule(2, min_change=0.04), histories(losses)) == Standing(
        rule(2, min_change=0.04), found.metric, 3, 3, 0.4
    )


def test_a_metric_that_is_better_when_higher_is_taken_so() -> None:
    found = stands(rule(2, metric="accuracy"), histories([0.5, 0.6, 0.4, 0.3]))
    assert found is not None
    assert (found.best, found.at, str(found.metric)) == (2, 4, "validation accuracy")


def test_nan_is_no_improvement() -> None:
    found = stands(rule(2), histories([math.nan, 0.5, math.nan, math.nan]))
    assert found is not None
    assert (found.best, found.at, found.is_stopped) == (2, 4, True)


def test_where_there_was_never_a_number_the_last_weights_count() -> None:
    outcome = end(rule(2), [math.nan, math.nan])
    assert outcome is not None
    assert (outcome.hops, outcome.trained) == (4, None)
    assert outcome.reason == "validation loss was not a number at 2 evaluations"


def test_without_restoring_the_weights_of_the_stop_count() -> None:
    outcome = end(rule(2, restore_best=False), [0.3, 0.4, 0.5])
    assert outcome is not None
    assert (outcome.hops, outcome.hops_trained) == (6, 6)


def test_at_the_end_of_the_run_the_best_is_restored_and_nothing_was_stopped() -> None:
    outcome = end(rule(2), [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.3, 0.3])
    assert outcome is not None
    assert (outcome.state, outcome.hops, outcome.trained) == ("finished", 16, 20)
    assert outcome.reason == "validation loss was best at iteration 8: 0.2"
    whole = end(rule(2), [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05])
    assert whole == Outcome(configuration=1, state="finished", hops=20)


def test_a_result_whose_loss_is_not_finite_is_a_failure() -> None:
    found = {
        at: one.model_copy(update={"training": {"loss": math.nan}}) for at, one in histories([0.3, 0.4, 0.5]).items()
    }
    outcome = ending(1, stands(rule(2), found), RING, found)
    assert outcome is not None
    assert (outcome.state, outcome.failure.reason if outcome.failure else "") == (
        "failed",
        "loss is NaN after iteration 1",
    )


def test_a_failure_waits_for_the_evaluations_before_it() -> None:
    assert end(rule(2), [0.3, 0.4], failure(hop=6)) is None
    stopped = end(rule(2), [0.3, 0.4, 0.5], failure(hop=6))
    assert stopped is not None
    assert stopped.state == "stopped"
    failed = end(rule(2), [0.3, 0.4, 0.2], failure(hop=6))
    assert failed is not None
    assert (failed.state, failed.hops) == ("failed", 6)


def test_a_failure_before_the_first_evaluation_waits_for_nothing() -> None:
    outcome = ending(1, None, RING, {}, failure(hop=1))
    assert outcome is not None
    assert outcome.state == "failed"


def test_a_failed_evaluation_does_not_wait_for_itself() -> None:
    assert end(rule(2), [0.3], failure(hop=6, shard=None)) is None
    outcome = end(rule(2), [0.3, 0.4], failure(hop=6, shard=None))
    assert outcome is not None
    assert outcome.state == "failed"


@given(rules, values)
def test_what_is_not_needed_is_never_the_result_whatever_comes(given_rule: EarlyStopping, found: list[float]) -> None:
    complete = histories(found)
    final = stands(given_rule, complete)
    assert final is not None
    for seen in range(1, len(found) + 1):
        early = stands(given_rule, {at: complete[at] for at in range(1, seen + 1)})
        assert early is not None
        assert early.needs(final.result)
        assert sum(early.needs(at) for at in range(1, seen + 1)) == 1 + max(0, seen - early.at)


@given(rules, values, st.randoms())
def test_the_order_in_which_evaluations_arrive_does_not_matter(
    given_rule: EarlyStopping, found: list[float], random: Any
) -> None:
    complete = histories(found)
    arrived = dict(random.sample(sorted(complete.items()), len(complete)))
    assert stands(given_rule, arrived) == stands(given_rule, complete)


def test_of_an_ended_configuration_only_the_result_stays() -> None:
    outcome = Outcome(configuration=1, state="stopped", hops=4, trained=8)
    assert superfluous(outcome, RING, [4, 6, 8, 9]) == [6, 8, 9]
    finished = Outcome(configuration=1, state="finished", hops=4, trained=20)
    assert superfluous(finished, RING, [4, 18, 20]) == [18, 20]
    assert superfluous(Outcome(configuration=1, state="failed", hops=9), RING, [4, 9]) == [4]


def test_iterations_that_are_kept_stay_up_to_the_end() -> None:
    kept = Ring(shards=2, iterations=10, evaluate_every=1, keep_iterations=True)
    outcome = Outcome(configuration=1, state="stopped", hops=4, trained=8)
    assert superfluous(outcome, kept, [2, 4, 6, 8, 9, 10, 20]) == [9, 10, 20]


def test_a_number_alone_is_the_patience_and_every_iteration_is_evaluated() -> None:
    experiment = validated(Experiment, EXPERIMENT | {"early_stopping": 3})
    assert experiment.early_stopping == rule(3)
    assert experiment.evaluation_period == 1
    assert validated(Experiment, EXPERIMENT | {"early_stopping": 3, "evaluate_every": 2}).evaluation_period == 2
    assert validated(Experiment, EXPERIMENT).evaluation_period == 10


@pytest.mark.parametrize(
    ("given_value", "message"),
    [
        (True, "`True` does not say for how many evaluations"),
        ("soon", "`soon` does not say for how many evaluations"),
        (0, "greater than 0, but 0 was given"),
        ({"metric": "loss"}, "`early_stopping.patience` is missing"),
        ({"patience": 2, "min_change": -0.1}, "min_change: input should be greater than or equal to 0"),
        ({"patience": 2, "restore_bst": True}, "Did you mean `restore_best`"),
    ],
)
def test_a_mistake_in_it_is_told(given_value: object, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        validated(Experiment, EXPERIMENT | {"early_stopping": given_value})
    assert caught.value.path[:1] == ("early_stopping",)


@pytest.mark.parametrize("method", ["hyperband", "halving", "asha", "median", "pbt"])
def test_searches_that_stop_configurations_themselves_refuse_it(method: str) -> None:
    search: dict[str, Any] = {"method": method, "space": {"batch_size": [4, 8]}}
    search |= {} if method == "hyperband" else {"configurations": 2}
    with pytest.raises(SpecError, match=f"the search method {method}, which stops configurations itself") as caught:
        validated(Experiment, EXPERIMENT | {"early_stopping": 3, "search": search})
    assert caught.value.path == ("early_stopping",)


@pytest.mark.parametrize("method", ["grid", "random", "tpe", "mine.py:Search"])
def test_other_searches_take_it(method: str) -> None:
    search: dict[str, Any] = {"method": method, "space": {"batch_size": [4, 8]}}
    search |= {} if method == "grid" else {"configurations": 2}
    assert validated(Experiment, EXPERIMENT | {"early_stopping": 3, "search": search}).early_stopping is not None


def compiled(*metrics: str) -> list[Configuration]:
    return [
        Configuration(number=n, name="", model="m", parameters={}, compile={"metrics": [metric]}, fit={})
        for n, metric in enumerate(metrics, start=1)
    ]


def test_every_configuration_must_record_the_metric() -> None:
    stopping = rule(metric="validation accuracy")
    check_early_stopping(stopping, None, compiled("accuracy", "accuracy"), ["y"], validated=True)
    with pytest.raises(SpecError, match="`validation accuracy` is not a metric") as caught:
        check_early_stopping(stopping, None, compiled("accuracy", "mae"), ["y"], validated=True)
    assert caught.value.path == ("early_stopping", "metric")


def test_the_metric_is_the_objective_or_else_the_loss() -> None:
    check_early_stopping(rule(), None, compiled("mae"), ["y"], validated=False)
    with pytest.raises(SpecError, match="accuracy") as caught:
        check_early_stopping(rule(), "accuracy", compiled("accuracy", "mae"), ["y"], validated=True)
    assert caught.value.path == ("objective",)
    only_training = {1: History(configuration=1, iteration=1, training={"loss": 0.5}, validation=None)}
    found = standing(rule(), None, [1], only_training)
    assert found is not None
    assert str(found.metric) == "training loss"


def test_a_metric_that_turns_out_not_to_be_recorded_is_told() -> None:
    with pytest.raises(UserError, match="`auc` is not a recorded metric"):
        stands(rule(metric="auc"), histories([0.1]))
