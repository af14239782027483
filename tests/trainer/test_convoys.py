"""Who trains together, by what is in an inbox."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, Outcome, Program
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.convoys import Convoys
from tests.scheduler.planned import specification

NAMES = Names("planned")


@dataclass
class FakeWorkshop:
    """Configurations of a model are of a kind."""

    def fuse_key(self, configuration: Configuration) -> bytes:
        return configuration.model.encode()


@dataclass
class Inbox:
    """A station's inbox, and configurations that begin at shard 0 with three lanes unless said otherwise."""

    stations: int = 3
    store: MemoryStore = field(default_factory=MemoryStore)
    known: dict[int, Configuration] = field(default_factory=dict)
    fuse: Any = 3

    def add(self, number: int, model: str = "small", lanes: int = 3, offset: int = 0) -> str:
        one = Configuration(number=number, name="", model=model, parameters={}, compile={}, fit={}, offset=offset)
        self.known[number] = one.model_copy(update={"program": Program(lanes=lanes)})
        self.store.put(NAMES.configuration(number), self.known[number].to_json())
        return token(number)

    @property
    def convoys(self) -> Convoys:
        made = specification(fuse=self.fuse, evaluate_every=1)
        return Convoys(self.store, made, self.stations, cast("Any", FakeWorkshop()), self.known.__getitem__)


def token(number: int, hop: int = 0) -> str:
    return NAMES.training_token(0, number, hop)


def test_those_of_a_kind_train_together_up_to_as_many_as_there_are_lanes() -> None:
    inbox = Inbox()
    tokens = [inbox.add(1), inbox.add(2, "deep"), inbox.add(3), inbox.add(4), inbox.add(5)]
    assert inbox.convoys.first(tokens) == [token(1), token(3), token(4)]
    assert inbox.convoys.first(tokens[1:]) == [token(2)]
    assert inbox.convoys.first([]) == []


@pytest.mark.parametrize("other", [{"lanes": 2}, {"lanes": 1}, {"offset": 1}, {"model": "deep"}])
def test_another_program_shard_or_kind_does_not_come_along(other: dict[str, Any]) -> None:
    inbox = Inbox()
    assert inbox.convoys.first([inbox.add(1), inbox.add(2, **other)]) == [token(1)]


def test_evaluations_and_what_trains_alone_are_served_singly() -> None:
    inbox = Inbox()
    evaluation = NAMES.evaluation_token(0, 1, 1)
    inbox.add(1)
    assert inbox.convoys.first([evaluation, token(1), inbox.add(2)]) == [evaluation]
    assert inbox.convoys.first([token(2), evaluation, token(1)]) == [token(2), token(1)]
    alone = [inbox.add(3, lanes=1), inbox.add(4, lanes=1)]
    assert inbox.convoys.first(alone) == alone[:1]


def test_a_stay_that_ends_elsewhere_is_another() -> None:
    """One station holds all shards, and configuration 2 comes to an evaluation before configuration 1."""
    inbox = Inbox(stations=1)
    inbox.add(1)
    inbox.add(2, offset=1)
    assert inbox.convoys.first([token(1, 0), token(2, 2)]) == [token(1, 0)]


def test_a_convoy_at_another_hop_comes_along_as_a_whole_or_not_at_all() -> None:
    inbox = Inbox()
    for number in (1, 2, 3, 4):
        inbox.add(number)
    first, later = [token(1, 3)], [token(2), token(3)]
    assert inbox.convoys.first([*first, *later]) == [*first, *later]
    assert inbox.convoys.first([*first, token(4, 3), *later]) == [*first, token(4, 3)]


def test_nobody_is_gathered_where_the_experiment_fuses_nothing() -> None:
    inbox = Inbox(fuse=False)
    assert inbox.convoys.first([inbox.add(1), inbox.add(2)]) == [token(1)]


def test_who_has_a_checkpoint_but_no_token_yet_is_awaited() -> None:
    inbox = Inbox()
    for number in (1, 2):
        inbox.add(number)
        inbox.store.put(NAMES.checkpoint(number, 3), b"state")
    convoys, served = inbox.convoys, token(2, 3)
    assert convoys.is_awaited([token(1, 3)], set())
    assert not convoys.is_awaited([token(1, 3), token(2, 3)], set())
    assert not convoys.is_awaited([token(1, 3)], {served})
    assert convoys.is_awaited([token(1, 3)], {token(1, 2), token(2, 2)})  # this station puts one token after another
    assert not convoys.is_awaited([], set())


def test_nobody_waits_for_who_is_elsewhere_or_has_ended() -> None:
    inbox = Inbox()
    for number in (1, 2, 3):
        inbox.add(number)
    inbox.store.put(NAMES.checkpoint(2, 2), b"behind")
    inbox.store.put(NAMES.checkpoint(3, 3), b"ended")
    inbox.store.put(NAMES.outcome(3), Outcome(configuration=3, state="stopped", hops=3).to_json())
    assert not inbox.convoys.is_awaited([token(1, 3)], set())


def test_nobody_waits_for_who_comes_to_another_station() -> None:
    """With twice as many stations as shards, each shard is at two, which share the configurations by their numbers."""
    inbox = Inbox(stations=6)
    for number in (1, 2, 4):
        inbox.add(number)
        inbox.store.put(NAMES.checkpoint(number, 3), b"state")
    assert not inbox.convoys.is_awaited([token(2, 3), token(4, 3)], set())
    assert inbox.convoys.is_awaited([token(2, 3)], set())


def test_who_trains_alone_is_never_asked_whether_it_can_train_with_others() -> None:
    class Strict(FakeWorkshop):
        def fuse_key(self, configuration: Configuration) -> bytes:
            assert configuration.program.lanes > 1, "such a model may raise an error"
            return super().fuse_key(configuration)

    inbox = Inbox()
    inbox.add(1)
    inbox.add(2, "own train_step", lanes=1)
    inbox.store.put(NAMES.checkpoint(2, 3), b"state")
    made = specification(fuse=3, evaluate_every=1)
    convoys = Convoys(inbox.store, made, 3, cast("Any", Strict()), inbox.known.__getitem__)
    assert not convoys.is_awaited([token(1, 3)], set())


def test_of_many_only_those_at_the_hop_are_looked_at() -> None:
    inbox = Inbox()
    for number in range(1, 9):
        inbox.add(number)
        inbox.store.put(NAMES.checkpoint(number, 2), b"behind")
    assert not inbox.convoys.is_awaited([token(1, 3)], set())
    inbox.store.put(NAMES.checkpoint(8, 3), b"there")
    assert inbox.convoys.is_awaited([token(1, 3)], set())
