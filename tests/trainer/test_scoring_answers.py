"""What is told of rows: the best class, all with ranks, the first few, those above a threshold; of several models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from modelhopper_contract.scoring import Answer, Job
from modelhopper_trainer.scoring.answers import table
from tests.trainer.scoring_jobs import classes, job, numbers

GIVEN = np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]], np.float32)


def told(given: Job, *found: dict[str, Any], ids: Any = (10, 11)) -> list[dict[str, Any]]:
    rows = table(given, pa.array(list(ids)), list(found)).to_pylist()
    return [{key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()} for row in rows]


def test_a_response_is_the_best_class_of_each_row_with_its_probability() -> None:
    assert told(job(), {"species": GIVEN}) == [
        {"row": 10, "output": "species", "class_value": "versicolor", "probability": 0.5},
        {"row": 11, "output": "species", "class_value": "setosa", "probability": 0.7},
    ]


def test_prob_is_every_class_with_its_rank() -> None:
    rows = told(job(answer=Answer(type="prob"), id="flower"), {"species": GIVEN})
    assert [(row["flower"], row["class_value"], row["rank"]) for row in rows] == [
        (10, "versicolor", 1),
        (10, "virginica", 2),
        (10, "setosa", 3),
        (11, "setosa", 1),
        (11, "virginica", 2),
        (11, "versicolor", 3),
    ]


def test_top_is_the_first_ranks() -> None:
    rows = told(job(answer=Answer(type="prob", top=2)), {"species": GIVEN})
    assert [(row["class_value"], row["rank"]) for row in rows] == [
        ("versicolor", 1),
        ("virginica", 2),
        ("setosa", 1),
        ("virginica", 2),
    ]


def test_a_threshold_is_strict_and_may_leave_a_row_without_lines() -> None:
    rows = told(job(answer=Answer(type="prob", threshold=0.5)), {"species": GIVEN})
    assert [(row["row"], row["class_value"], row["rank"]) for row in rows] == [(11, "setosa", 1)]


def test_equal_probabilities_are_ranked_in_the_order_of_classes() -> None:
    rows = told(job(answer=Answer(type="prob")), {"species": np.full((1, 3), 1 / 3, np.float32)}, ids=[0])
    assert [row["class_value"] for row in rows] == ["setosa", "versicolor", "virginica"]


@pytest.mark.parametrize(("positive", "expected"), [(1, [0, 1, 0]), (0, [0, 1, 1])])
def test_a_threshold_decides_between_two_classes(positive: int, expected: list[int]) -> None:
    given = np.array([[0.7, 0.3], [0.69, 0.31], [0.5, 0.5]], np.float32)
    threshold = 0.3 if positive == 1 else 0.69
    values = {1: [0, 1, 1], 0: [0, 1, 1]}[positive]
    asked = job(classes("fraud", 0, 1), answer=Answer(threshold=threshold), positive={"fraud": positive})
    rows = told(asked, {"fraud": given}, ids=[0, 1, 2])
    assert [row["class_value"] for row in rows] == values
    assert [row["probability"] for row in rows] == [round(float(given[at, v]), 4) for at, v in enumerate(values)]


def test_the_class_values_keep_their_type() -> None:
    schema = table(job(classes("fraud", 0, 1)), pa.array([1]), [{"fraud": np.array([[0.1, 0.9]], np.float32)}]).schema
    assert schema.field("class_value").type == pa.int64()
    mixed = job(classes("fraud", None, True, "x"))
    rows = told(mixed, {"fraud": np.eye(3, dtype=np.float32)}, ids=[0, 1, 2])
    assert [row["class_value"] for row in rows] == [None, "true", "x"]


def test_several_models_stand_row_by_row() -> None:
    rows = told(job(models=("3", "5")), {"species": GIVEN}, {"species": GIVEN[::-1]})
    assert [(row["row"], row["configuration"], row["class_value"]) for row in rows] == [
        (10, 3, "versicolor"),
        (10, 5, "setosa"),
        (11, 3, "setosa"),
        (11, 5, "versicolor"),
    ]
    named = told(job(models=("a.keras", "b.keras")), {"species": GIVEN}, {"species": GIVEN})
    assert [row["configuration"] for row in named] == ["a.keras", "b.keras", "a.keras", "b.keras"]


def test_numbers_come_as_they_are_beside_classes() -> None:
    given = {"kind": np.array([[0.1, 0.9], [0.8, 0.2]], np.float32), "price": np.array([[3.5], [4.5]], np.float32)}
    rows = told(job(classes("kind", "new", "old"), numbers("price")), given)
    assert rows == [
        {"row": 10, "output": "kind", "class_value": "old", "probability": 0.9, "value": None},
        {"row": 10, "output": "price", "class_value": None, "probability": None, "value": 3.5},
        {"row": 11, "output": "kind", "class_value": "new", "probability": 0.8, "value": None},
        {"row": 11, "output": "price", "class_value": None, "probability": None, "value": 4.5},
    ]


def test_a_label_of_several_numbers_is_a_list() -> None:
    rows = told(job(numbers("box", 2), numbers("price")), {"box": GIVEN[:, :2], "price": GIVEN[:, :1]})
    assert [[round(one, 4) for one in row["value"]] for row in rows] == [[0.2, 0.5], [0.2], [0.7, 0.1], [0.7]]
    assert list(rows[0]) == ["row", "output", "value"]


def test_spare_units_of_a_widened_code_are_not_told() -> None:
    output = classes("species", "a", "b").model_copy(update={"num_classes": 3})
    assert [row["class_value"] for row in told(job(output), {"species": GIVEN})] == ["b", "a"]
