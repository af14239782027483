"""Names in the store: distinct, sorted by number, and read back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.stores.memory import MemoryStore

numbers = st.integers(0, 99_999)
hops = st.integers(0, 99_999_999)
names = Names("iris")


@given(numbers, hops)
def test_a_checkpoint_s_name_tells_its_numbers(number: int, hop: int) -> None:
    assert checkpoint_number(names.checkpoint(number, hop)) == (number, hop)


@given(st.tuples(numbers, hops), st.tuples(numbers, hops))
def test_names_sort_as_their_numbers_do(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (names.checkpoint(*one) < names.checkpoint(*other)) == (one < other)
    assert (names.journal(*one) < names.journal(*other)) == (one < other)


def test_every_name_can_be_put_beside_every_other() -> None:
    store = MemoryStore()
    every = [
        names.specification(),
        names.configuration(1),
        names.checkpoint(1, 0),
        names.metric(1, 2, "training", 0),
        names.metric(1, 2, "validation", 0),
        names.history(1, 2),
        names.training_token(0, 1, 2),
        names.evaluation_token(0, 1, 2),
        names.outcome(1),
        names.journal(1, 3),
        names.log("station-0.log"),
    ]
    for name in every:
        store.put(name, b"")
    assert len(set(every)) == len(every)
    assert [entry.name for entry in store.list(names.root())] == sorted(every)


def test_a_listing_of_one_configuration_holds_no_other() -> None:
    assert not names.checkpoint(10, 0).startswith(names.checkpoints(1))
    assert not names.journal(10, 0).startswith(names.journals(1))
    assert not names.metric(1, 10, "training", 0).startswith(names.metrics(1, 1))
    assert not names.training_token(10, 1, 2).startswith(names.inbox(1))


def test_an_experiment_whose_name_begins_like_another_is_apart() -> None:
    assert not Names("iris-2").specification().startswith(names.root())


def test_another_name_is_not_read_as_a_checkpoint() -> None:
    with pytest.raises(ValueError, match=re.escape("iris/outcomes/00001.json is not the name of a checkpoint")):
        checkpoint_number(names.outcome(1))
