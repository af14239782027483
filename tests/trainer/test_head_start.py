"""What a pod reads while TensorFlow starts."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from modelhopper_contract.errors import ObjectNotFound, StoreUnavailable
from modelhopper_contract.names import Names
from modelhopper_contract.store import Entry
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.pod.head_start import HeadStart

NAMES = Names("small")
FIRST, SECOND = NAMES.checkpoint(3, 4), NAMES.checkpoint(1, 7)


class Observed(MemoryStore):
    """A store that remembers which objects were read, and says when."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self.has_read = threading.Event()

    def get(self, name: str) -> bytes:
        self.read.append(name)
        self.has_read.set()
        return super().get(name)


@pytest.fixture
def store() -> Observed:
    """Two tokens for training wait at station 2, that of configuration 3 longer; and one for an evaluation."""
    made = Observed()
    made.put(NAMES.evaluation_token(2, 5, 1), b"")
    made.put(NAMES.training_token(2, 3, 4), b"")
    made.put(NAMES.training_token(2, 1, 7), b"")
    made.put(FIRST, b"of 3")
    made.put(SECOND, b"of 1")
    return made


@pytest.mark.parametrize(("numbers", "expected"), [([], FIRST), ([1, 3], SECOND), ([2, 3], FIRST)])
def test_the_checkpoint_that_is_trained_first_is_read_before_it_is_asked_for_and_once(
    store: Observed, numbers: Sequence[int], expected: str
) -> None:
    with HeadStart(store) as start:
        start.checkpoint(NAMES, 2, numbers)
        assert store.has_read.wait(20)
        assert store.read == [expected]
        assert start.get(expected) == (b"of 3" if expected == FIRST else b"of 1")
        assert store.read == [expected]
        start.get(expected)
        assert store.read == [expected, expected]


@pytest.mark.parametrize("numbers", [[], [9]])
def test_nothing_is_read_where_nothing_waits(store: Observed, numbers: Sequence[int]) -> None:
    station = 2 if numbers else 0
    with HeadStart(store) as start:
        start.checkpoint(NAMES, station, numbers)
        assert start.get(FIRST) == b"of 3"
    assert store.read == [FIRST]


def test_what_went_wrong_early_is_tried_again(store: Observed) -> None:
    store.delete(FIRST)
    with HeadStart(store) as start:
        start.checkpoint(NAMES, 2)
        assert store.has_read.wait(20)
        with pytest.raises(ObjectNotFound):
            start.get(FIRST)


def test_a_store_that_gives_no_answer_early_is_asked_again() -> None:
    class Mute(Observed):
        def list(self, prefix: str) -> list[Entry]:
            raise StoreUnavailable("no answer")

    mute = Mute()
    mute.put(FIRST, b"of 3")
    with HeadStart(mute) as start:
        start.checkpoint(NAMES, 2)
        assert start.get(FIRST) == b"of 3"
