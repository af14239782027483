"""The identity of a run: what determines its results, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from modelhopper_contract.specification import Specification
from tests.scheduler.planned import specification


def test_a_specification_equals_itself_after_the_store() -> None:
    made = specification()
    assert Specification.from_json(made.to_json()) == made
    assert made.differences(made) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"store": "elsewhere"},
        {"keep_checkpoints": "iterations"},
        {"devices": {"stations": 4}},
        {"devices": {"kind": "cpu"}},
    ],
)
def test_where_a_run_is_done_is_not_its_identity(changes: dict[str, Any]) -> None:
    assert specification().differences(specification(**changes)) == []


def test_the_folder_is_not_the_identity() -> None:
    made = specification()
    assert made.differences(made.model_copy(update={"folder": "/elsewhere"})) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iterations": 20}, ["iterations was 3, is 20"]),
        ({"seed": 5}, ["seed was 0, is 5"]),
        ({"devices": {"threads": 2}}, ["devices.threads was 1, is 2"]),
        ({"compile": {"loss": "mae"}}, ["compile.loss was mse, is mae"]),
        ({"fit": {"batch_size": 8}}, ["fit.batch_size was 32, is 8"]),
        ({"data": {"train": "train"}}, ["data.validation was valid, is None"]),
    ],
)
def test_what_changes_results_is_told_in_words(changes: dict[str, Any], words: list[str]) -> None:
    assert specification().differences(specification(**changes)) == words


def test_changed_contents_are_told() -> None:
    made = specification()
    changed = made.model_copy(update={"digests": {**made.digests, "models.py": "another"}})
    assert made.differences(changed) == ["the contents of models.py changed"]


def test_a_digest_that_was_not_recorded_before_is_no_difference() -> None:
    made = specification()
    more = made.model_copy(update={"digests": {**made.digests, "layers.py": "a digest"}})
    assert made.differences(more) == []
    assert more.differences(made) == ["the contents of layers.py changed"]


def test_addresses_are_left_alone_and_paths_begin_at_the_folder() -> None:
    made = specification().model_copy(update={"folder": "/here"})
    assert made.address("s3://bucket/iris train") == "s3://bucket/iris train"
    assert made.address("data/train") == "/here/data/train"
    assert made.address("/data/train") == "/data/train"
