"""Chains to rungs: in any order nobody sets out twice, no Workflow has too many pods, and every search ends."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper.pods.beginning import Task, begin_pod
from modelhopper.pods.judging import Rung, judge_pod
from modelhopper.pods.rungs import Budget, RungChain, pods, within
from modelhopper_contract.decisions import limits, read_turns
from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.names import Names, checkpoint_number, token_name
from modelhopper_contract.records import Configuration, Failure, History, Outcome
from modelhopper_contract.ring import Ring
from modelhopper_contract.specification import Specification
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_contract.submission import Bundle, Submission
from modelhopper_scheduler.conduct import begin
from modelhopper_scheduler.searches.making import planned
from tests.scheduler.fake_stations import FakeStations
from tests.scheduler.test_judging import SEARCHES, SYNCHRONOUS, curve, run, specification
from tests.trainer.small_run import Mortal

NAMES = Names("planned")
MOST_RUNGS = 5


@dataclass
class Workflows:
    """Workflows that follow each other, their chains in any order; what trains is made up."""

    spec: Specification
    folder: Path
    chance: random.Random
    most_pods: int = 1000
    convoy: int = 1
    store: MemoryStore = field(default_factory=MemoryStore)
    pods: list[int] = field(default_factory=list)  # of each Workflow

    def __post_init__(self) -> None:
        chosen = planned(self.spec)
        made = Submission(specification=self.spec, configurations=tuple(chosen), manifests={}, files={})
        self.bundle = Bundle(made, {}).encode()
        begin(self.spec, chosen, self.store, FakeStations(self.store, curve, 3, 0), lambda _: None)

    def run(self) -> None:
        """Send Workflows until nothing is due."""
        while self.workflow():
            assert len(self.pods) < 60

    def workflow(self) -> bool:
        """Run one Workflow; say whether it had anything to do."""
        task = Task("planned", convoy=self.convoy, most_pods=self.most_pods)
        begin_pod(self.store, task, self.bundle, self.folder, lambda _: None)
        budget = Budget(int(self.said("since")), int(self.said("room")))
        under_way = [(chain, 1) for chain in self.chains("rungs")]
        begun, count = bool(under_way), 2
        while under_way:
            chain, depth = under_way.pop(self.chance.randrange(len(under_way)))
            self.travel(chain)
            count += pods(int(chain.hops), self.spec.ring)
            under_way += [(one, depth + 1) for one in self.judged(chain, depth, budget)]
            going = [number for one, _ in under_way for number in numbers(one)]
            assert len(going) == len(set(going))
        self.pods.append(count)
        return begun

    def travel(self, chain: RungChain) -> None:
        """Do the hops of a chain, and evaluate."""
        ring = self.spec.ring
        for number in numbers(chain):
            if self.store.list(NAMES.outcome(number)):
                continue
            configuration = Configuration.from_json(self.store.get(NAMES.configuration(number)))
            found = [checkpoint_number(entry.name)[1] for entry in self.store.list(NAMES.checkpoints(number))]
            hop = max(found, default=configuration.first_hop)
            assert ring.shard(configuration.offset, hop) == int(chain.shard)
            end = min(hop + int(chain.hops), int(chain.until) * ring.shards)
            self.store.put(NAMES.checkpoint(number, end), b"state")
            for entry in self.store.list(NAMES.inbox()):
                if token_name(entry.name).configuration == number:
                    self.store.delete(entry.name)
            self.evaluate(number, end)

    def evaluate(self, number: int, end: int) -> None:
        ring = self.spec.ring
        for iteration in ring.evaluated_iterations():
            value = curve(number, iteration)
            if iteration * ring.shards > end:
                break
            if value is None:
                failure = Failure(reason="", hop=end, shard=None, station=None, traceback=None, output=None)
                outcome = Outcome(configuration=number, state="failed", hops=end, failure=failure)
                self.store.put(NAMES.outcome(number), outcome.to_json())
                return
            metrics = {"loss": 0.5, "accuracy": value}
            history = History(configuration=number, iteration=iteration, training=metrics, validation=metrics)
            self.store.put(NAMES.history(number, iteration), history.to_json())
        if end == ring.hops:
            outcome = Outcome(configuration=number, state="finished", hops=end)
            self.store.put(NAMES.outcome(number), outcome.to_json())

    def judged(self, chain: RungChain, depth: int, budget: Budget) -> list[RungChain]:
        """Let the judge be killed somewhere, and tried again; return what it says, twice."""
        rung = Rung("planned", numbers(chain), int(chain.until), depth, MOST_RUNGS, budget, self.convoy)
        with suppress(StoreUnavailable):
            judge_pod(Mortal(self.store, self.chance.randrange(4)), rung, self.folder, lambda _: None)
        judge_pod(self.store, rung, self.folder, lambda _: None)
        found = self.chains("chains")
        judge_pod(self.store, rung, self.folder, lambda _: None)
        assert self.chains("chains") == found
        return found

    def chains(self, output: str) -> list[RungChain]:
        return [RungChain.model_validate(one) for one in json.loads(self.said(output))]

    def said(self, output: str) -> str:
        return (self.folder / output).read_text()


def numbers(chain: RungChain) -> list[int]:
    return [int(number) for number in chain.configurations.split(",")]


def decided(store: MemoryStore) -> dict[int, list[str]]:
    told: dict[int, list[str]] = {}
    for turn in read_turns(store, NAMES):
        for one in turn.decisions:
            told.setdefault(one.configuration, []).append(one.reason)
    return told


@pytest.mark.parametrize("kind", SEARCHES)
@pytest.mark.parametrize(("most_pods", "convoy"), [(1000, 1), (1000, 3), (60, 1), (25, 2)])
def test_every_search_ends_whatever_one_workflow_has_room_for(
    kind: str, most_pods: int, convoy: int, tmp_path: Path
) -> None:
    workflows = Workflows(specification(kind), tmp_path, random.Random(f"{kind} {most_pods}"), most_pods, convoy)
    workflows.run()
    turns = read_turns(workflows.store, NAMES)
    assert turns[-1].is_last
    assert {entry.name for entry in workflows.store.list(NAMES.outcomes())} == set(map(NAMES.outcome, limits(turns)))
    assert max(workflows.pods) <= most_pods
    assert workflows.pods[-1] == 2  # nothing was left to do, and it says so


@pytest.mark.parametrize("kind", SYNCHRONOUS)
def test_chains_in_any_order_decide_as_stations_do(kind: str, tmp_path: Path) -> None:
    expected = MemoryStore()
    run(specification(kind), expected)
    workflows = Workflows(specification(kind), tmp_path, random.Random(kind), 100)
    workflows.run()
    assert decided(workflows.store) == decided(expected)


@given(
    st.lists(st.integers(0, 40) | st.just(0), max_size=30) | st.just([0] * 30),
    st.integers(1, 9),
    st.integers(12, 200),
    st.integers(1, 50),
)
def test_what_a_workflow_begins_with_fits_and_is_something(
    hops: list[int], shards: int, room: int, longest: int
) -> None:
    ring = Ring(shards, 9, 9)
    chains = [RungChain(configurations=str(n), shard="0", hops=str(h), until="9") for n, h in enumerate(hops, 1)]
    taken = within(chains, ring, room, longest)
    assert sum(pods(int(chain.hops), ring) for chain in taken) <= room
    assert bool(taken) == bool(chains)
    assert all(int(chain.hops) <= longest for chain in taken)
