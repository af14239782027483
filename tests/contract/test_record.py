"""Records: one canonical JSON form, and nothing else is read."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration, History, HopRecord, Token

metrics = st.dictionaries(st.text(), st.floats())


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@given(metrics, st.none() | metrics)
def test_any_metrics_survive_in_json_that_strict_parsers_read(
    training: dict[str, float], validation: dict[str, float] | None
) -> None:
    made = History(configuration=1, iteration=2, training=training, validation=validation)
    data = made.to_json()
    json.loads(data, parse_constant=refuse)
    found = History.from_json(data)
    assert found.to_json() == data
    assert found.training.keys() == training.keys()
    for name, value in training.items():
        assert found.training[name] == value or math.isnan(value) == math.isnan(found.training[name])


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, -0.0, 5e-324, None])
def test_a_loss_of_any_kind_survives(loss: float | None) -> None:
    record = HopRecord(configuration=1, hop=0, shard=0, steps=1, loss=loss)
    assert str(HopRecord.from_json(record.to_json()).loss) == str(loss)


def test_the_order_of_keys_does_not_show() -> None:
    one = History(configuration=1, iteration=1, training={"a": 1.0, "b": 2.0}, validation=None)
    other = History(configuration=1, iteration=1, training={"b": 2.0, "a": 1.0}, validation=None)
    assert one.to_json() == other.to_json()


def test_an_unknown_field_is_corrupt_and_named() -> None:
    data = canonical_json({"action": "train", "configuration": 1, "hop": 0, "speed": 3})
    with pytest.raises(CorruptObject, match=r"iris/inbox/0/1 is not a valid Token: speed"):
        Token.from_json(data, "iris/inbox/0/1")


@given(st.binary(max_size=80))
def test_bytes_that_are_no_record_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptObject):
        Token.from_json(data, "token")


@given(st.data())
def test_a_truncated_record_is_corrupt(data: st.DataObject) -> None:
    whole = HopRecord(configuration=1, hop=0, shard=0, steps=1, loss=0.5).to_json()
    with pytest.raises(CorruptObject):
        HopRecord.from_json(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_a_configuration_survives_with_what_users_write() -> None:
    made = Configuration(
        number=1,
        name="ünïcode",
        model="small",
        parameters={"layers": [1, 2], "rate": 0.1, "none": None, "yes": True},
        compile={"optimizer": {"name": "Adam"}, "loss": "mse"},
        fit={"class_weight": {"a": 1.0}},
    )
    assert Configuration.from_json(made.to_json()) == made
