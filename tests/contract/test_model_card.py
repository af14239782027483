"""Cards of models: what a run's compile parameters say of outputs, and the file beside the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhopper_contract.errors import UserError
from modelhopper_contract.manifest import Input, Manifest, Output
from modelhopper_contract.model_card import card_of, card_path, gives_of, read_card, write_card

KIND = Output(name="kind", kind="classes", shape=(), dtype="uint8", classes=("a", "b"), num_classes=2)
PRICE = Output(name="price", kind="number", shape=(), dtype="float32")
CODE = Output(name="code", kind="encoded", shape=(3,), dtype="float32")
MANIFEST = Manifest(
    inputs=(Input(name="x", shape=(4,), dtype="float32"),),
    outputs=(KIND, PRICE),
    normalize=255.0,
    seed=0,
    rows=0,
    shards=(),
)


@pytest.mark.parametrize(
    ("output", "loss", "gives"),
    [
        (KIND, "categorical_crossentropy", "probabilities"),
        (KIND, {"name": "CategoricalCrossentropy", "from_logits": True}, "logits"),
        (KIND, "own.py:loss", "probabilities"),
        (CODE, "categorical_crossentropy", "probabilities"),
        (CODE, {"name": "BinaryCrossentropy", "from_logits": True}, "logits"),
        (CODE, "mse", "numbers"),
        (PRICE, {"name": "mse"}, "numbers"),
        (KIND, None, "probabilities"),
    ],
)
def test_the_loss_says_what_an_output_gives(output: Output, loss: Any, gives: str) -> None:
    assert gives_of(output, loss) == gives


def test_compile_parameters_are_told_by_output() -> None:
    card = card_of(
        MANIFEST, {"loss": {"kind": "bce", "price": "mse"}, "metrics": {"price": ["mae"]}, "loss_weights": [1, 2]}
    )
    assert card.losses == {"kind": "bce", "price": "mse"}
    assert card.metrics == {"price": ("mae",)}
    assert card.loss_weights == {"kind": 1.0, "price": 2.0}
    assert card.manifest().normalize == 255.0


def test_one_loss_and_one_list_of_metrics_are_for_all_outputs() -> None:
    card = card_of(MANIFEST, {"loss": {"name": "mse"}, "metrics": ["mae", "mse"]})
    assert card.losses == {"kind": {"name": "mse"}, "price": {"name": "mse"}}
    assert card.metrics["kind"] == ("mae", "mse")


def test_a_card_stands_beside_its_model(tmp_path: Path) -> None:
    card = card_of(MANIFEST, {"loss": "mse"}, "models")
    assert write_card(card, tmp_path / "best.keras") == tmp_path / "best.card.json"
    found = read_card(tmp_path / "best.keras")
    assert found is not None
    assert found.folder == str(tmp_path / "models")
    assert found.model_copy(update={"folder": "models"}) == card


def test_a_model_without_a_card_has_none(tmp_path: Path) -> None:
    assert read_card(tmp_path / "best.keras") is None


def test_a_damaged_card_is_named(tmp_path: Path) -> None:
    card_path(tmp_path / "best.keras").write_text("{}")
    with pytest.raises(UserError, match=r"best\.card\.json is not a valid ModelCard.*Export the model again"):
        read_card(tmp_path / "best.keras")
