"""Counts of an evaluation: the same however rows are split, and what scikit-learn says of the same rows."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import UserError
from modelhopper_contract.scoring import Counts
from modelhopper_trainer.scoring import curves
from modelhopper_trainer.scoring.counting import Tally, count, grid

Array = np.ndarray[Any, Any]


def drawn(rows: int, classes: int = 2, seed: int = 0) -> tuple[Array, Array]:
    """Return probabilities and actual classes that agree a little."""
    draw = np.random.default_rng(seed)
    actual = draw.integers(0, classes, rows)
    logits = draw.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[actual]
    return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32), actual


def counted(probabilities: Array, actual: Array) -> Counts:
    return count(probabilities, actual, probabilities.argmax(1), curves=range(probabilities.shape[1]))


def test_the_grid_ascends_and_is_exact_in_float32() -> None:
    thresholds = grid()
    assert thresholds.dtype == np.float32
    assert (np.diff(thresholds) > 0).all()
    assert thresholds[0] == 0
    assert thresholds[-1] < 1
    assert np.diff(thresholds).max() <= 0.002
    nearest = np.minimum(thresholds, 1 - thresholds)[1:-1]
    inside = nearest >= 2.0**-17
    assert (np.diff(thresholds)[1:][inside] <= 0.01 * nearest[inside]).all()


@given(cuts=st.lists(st.integers(0, 60), max_size=5), seed=st.integers(0, 3))
def test_parts_add_up_to_the_whole(cuts: list[int], seed: int) -> None:
    probabilities, actual = drawn(60, 3, seed)
    edges = [0, *sorted(cuts), 60]
    tally = Tally()
    for start, end in itertools.pairwise(edges):
        tally.add(counted(probabilities[start:end], actual[start:end]))
    whole = Tally()
    whole.add(counted(probabilities, actual))
    assert tally.total() == whole.total()


@given(rows=st.integers(1, 50), seed=st.integers(0, 9))
def test_counts_are_exact_at_every_threshold(rows: int, seed: int) -> None:
    probabilities, actual = drawn(rows, seed=seed)
    scores = np.where(np.arange(rows) % 3 == 0, grid()[np.arange(rows) * 37 % len(grid())], probabilities[:, 1])
    table = np.stack([1 - scores, scores], 1)
    found = curves.curve(count(table, actual, table.argmax(1), curves=[1]), 1)
    for at in range(0, len(grid()), 101):
        above = scores > found.thresholds[at]
        assert (found.own[at], found.others[at]) == (
            int((above & (actual == 1)).sum()),
            int((above & (actual == 0)).sum()),
        )
    assert found.own[-1] + found.others[-1] == rows


def test_areas_are_what_scikit_learn_computes() -> None:
    probabilities, actual = drawn(4000)
    found = curves.curve(counted(probabilities, actual), 1)
    assert found.area == pytest.approx(sklearn.metrics.roc_auc_score(actual, probabilities[:, 1]), abs=1e-3)
    expected = sklearn.metrics.average_precision_score(actual, probabilities[:, 1])
    assert found.average_precision == pytest.approx(expected, abs=2e-3)


def test_reports_of_classes_are_what_scikit_learn_computes() -> None:
    probabilities, actual = drawn(300, 3)
    table = curves.matrix(counted(probabilities, actual), 3)
    told = probabilities.argmax(1)
    assert (table == sklearn.metrics.confusion_matrix(actual, told)).all()
    expected = sklearn.metrics.precision_recall_fscore_support(actual, told)
    found = curves.class_reports(table)
    assert [(one.precision, one.recall, one.f1, one.rows) for one in found] == [
        pytest.approx(values) for values in zip(*expected, strict=True)
    ]


def test_a_class_that_nobody_has_and_nobody_was_told_has_no_numbers() -> None:
    table = np.array([[3, 0, 0], [1, 2, 0], [0, 0, 0]])
    assert curves.class_reports(table)[2] == curves.ClassReport(None, None, None, 0)


def test_without_rows_of_both_kinds_there_is_no_area() -> None:
    probabilities, _ = drawn(10)
    found = curves.curve(counted(probabilities, np.zeros(10, int)), 1)
    assert found.area is None
    assert found.average_precision is None


@pytest.mark.parametrize("rule", ["f1", "recall>=0.95", "precision >= 0.9"])
def test_a_rule_chooses_the_best_threshold_of_the_grid(rule: str) -> None:
    probabilities, actual = drawn(2000)
    scores = probabilities[:, 1]
    found = curves.choose(curves.curve(counted(probabilities, actual), 1), rule)
    told = scores > found["threshold"]
    assert found["precision"] == pytest.approx(sklearn.metrics.precision_score(actual, told))
    assert found["recall"] == pytest.approx(sklearn.metrics.recall_score(actual, told))
    assert found["f1"] == pytest.approx(sklearn.metrics.f1_score(actual, told))
    for other in grid()[::50]:
        reached = sklearn.metrics.precision_recall_fscore_support(
            actual, scores > other, average="binary", zero_division=0
        )
        if rule == "f1":
            assert reached[2] <= found["f1"] + 1e-12
        elif rule.startswith("recall") and reached[1] >= 0.95:
            assert reached[0] <= found["precision"] + 1e-12
        elif rule.startswith("precision") and reached[0] >= 0.9:
            assert reached[1] <= found["recall"] + 1e-12


def test_a_rule_that_nothing_reaches_says_what_is_reached() -> None:
    table = np.array([[0.4, 0.6], [0.4, 0.6]], np.float32)
    with pytest.raises(UserError, match=r"no threshold reaches precision>=0\.9: the most is precision 0\.5"):
        curves.choose(curves.curve(counted(table, np.array([0, 1])), 1), "precision>=0.9")


@pytest.mark.parametrize("rule", ["f2", "recall>=1.5", "recall>0.5", "precision>=x", "", "accuracy>=0.9"])
def test_what_is_no_rule_is_refused(rule: str) -> None:
    with pytest.raises(UserError, match=r"is not a rule for a threshold: use f1, recall>=0\.95 or precision>=0\.9"):
        curves.check_rule(rule)
