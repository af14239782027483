"""Where first states come from: made when a search lets a configuration start, copied, or an earlier run's results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelhopper.warm_start import begun_with
from modelhopper_contract import checkpoint
from modelhopper_contract.checkpoint import Checkpoint
from modelhopper_contract.errors import CorruptObject, StoreUnavailable
from modelhopper_contract.messages import Built, Event
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.records import Configuration, HopRecord, Origin, Outcome
from modelhopper_contract.searches import Asha
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.hop import HopTask, run_hop
from modelhopper_trainer.origin import first_checkpoint
from modelhopper_trainer.preparation import build, prepare
from modelhopper_trainer.program import make_program
from modelhopper_trainer.station import Station
from tests.trainer.small_run import SEARCH, Mortal, SmallRun

pytestmark = pytest.mark.xdist_group("tensorflow")

FIRST, SECOND, _, NORM = 1, 2, 3, 4
ADAM = {"name": "Adam", "learning_rate": 0.01}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return SmallRun.prepare(tmp_path_factory.mktemp("origin"))


@pytest.fixture(scope="module")
def finished(run: SmallRun) -> MemoryStore:
    store = MemoryStore()
    run.begin(store)
    run.finish(store, 1)
    return store


@pytest.fixture(scope="module")
def judged(run: SmallRun) -> SmallRun:
    """The same configurations, begun by a search that decides while it runs: none of them has a checkpoint yet."""
    search = Asha(space={"batch_size": [4, 5, 6, 7]}, configurations=4)
    specification = run.specification.model_copy(
        update={"experiment": run.specification.experiment.model_copy(update={"search": search})}
    )
    prepared = {name: data for name, data in run.prepared.items() if "/checkpoints/" not in name}
    prepared[run.names.specification()] = specification.to_json()
    return replace(run, specification=specification, prepared=prepared)


def copy(store: Store) -> MemoryStore:
    made = MemoryStore()
    for entry in store.list(""):
        made.put(entry.name, store.get(entry.name))
    return made


def read(store: Store, names: Names, number: int, hop: int) -> Checkpoint:
    return checkpoint.from_bytes(store.get(names.checkpoint(number, hop)), "")


def outcome(store: Store, names: Names, number: int) -> Outcome:
    return Outcome.from_json(store.get(names.outcome(number)))


def killed(run: SmallRun, begun: MemoryStore, after: Iterable[int]) -> Iterator[MemoryStore]:
    """Yield what is left by a process that is killed after so many changes."""
    for left in after:
        store = copy(begun)
        with pytest.raises(StoreUnavailable):
            run.finish(Mortal(store, left), 2)
        yield store


# Starts that come later


@pytest.mark.parametrize("stations", [1, 3])
def test_a_configuration_that_starts_later_comes_to_the_same_bytes(
    judged: SmallRun, finished: MemoryStore, stations: int
) -> None:
    store = MemoryStore()
    judged.begin(store)
    judged.finish(store, stations)
    assert judged.results(store) == judged.results(finished)


def test_a_start_that_is_killed_anywhere_is_made_again(judged: SmallRun, finished: MemoryStore) -> None:
    one = replace(judged, planned=judged.planned[:1])
    begun = MemoryStore()
    one.begin(begun)
    expected = {name: data for name, data in judged.results(finished).items() if name.split("/")[2][:5] == "00001"}
    for store in killed(one, begun, range(8)):  # the token, the stay, its tokens, and whatever follows it
        one.finish(store, 1)
        assert one.results(store) == expected


@pytest.mark.parametrize("trace", ["journal", "history"])
def test_a_checkpoint_that_was_lost_is_never_taken_for_one_that_was_not_made(judged: SmallRun, trace: str) -> None:
    store = MemoryStore()
    judged.begin(store)
    store.put({"journal": judged.names.journal(1, 1), "history": judged.names.history(1, 2)}[trace], b"{}")
    with pytest.raises(CorruptObject, match=r"00001/00000000.safetensors is missing, and configuration 1 cannot go on"):
        judged.finish(store, 1)


def test_where_no_search_judges_a_missing_checkpoint_stays_missing(run: SmallRun) -> None:
    store = MemoryStore()
    run.begin(store)
    station = run.stations(store, 1)[0]
    store.delete(run.names.checkpoint(1, 0))
    with pytest.raises(CorruptObject, match="is missing"):
        serve_all(station)


def test_a_later_start_that_cannot_be_built_fails_alone(judged: SmallRun) -> None:
    wrong = judged.planned[1].model_copy(update={"parameters": {"units": 3}})
    store = MemoryStore()
    judged.begin(store)
    store.put(judged.names.configuration(2), wrong.to_json())
    replace(judged, planned=[judged.planned[0], wrong]).finish(store, 1)
    assert outcome(store, judged.names, 1).state == "finished"
    failure = outcome(store, judged.names, 2).failure
    assert failure is not None
    assert failure.reason.startswith("`units` is not a parameter of `models.py:mlp`")
    assert (failure.hop, failure.traceback) == (0, None)


def serve_all(station: Station) -> None:
    while station.step():
        station.flush()
    station.flush()


# Copies within a run


def child(run: SmallRun, of: Configuration, hop: int, **changes: Any) -> Configuration:
    """Return a fifth configuration that goes on from a copy."""
    origin = Origin(configuration=of.number, hop=hop)
    return of.model_copy(update={"number": 5, "first_hop": hop, "origin": origin, **changes})


def optimizer(one: Configuration, **changes: Any) -> dict[str, Any]:
    return {"compile": {**one.compile, "optimizer": {**one.compile["optimizer"], **changes}}}


@pytest.fixture(scope="module")
def parents(judged: SmallRun) -> tuple[SmallRun, MemoryStore]:
    """The judged run after one iteration, with every checkpoint of it."""
    search = judged.specification.experiment.model_copy(update={"keep_checkpoints": "iterations"})
    kept = replace(judged, specification=judged.specification.model_copy(update={"experiment": search}))
    store = MemoryStore()
    kept.begin(store)
    kept.finish(store, 1)
    return kept, store


def test_a_copy_takes_over_all_but_the_learning_rate(parents: tuple[SmallRun, MemoryStore]) -> None:
    run, store = parents
    one = child(run, run.planned[NORM - 1], 3, **optimizer(run.planned[NORM - 1], learning_rate=0.5))
    parent = read(store, run.names, NORM, 3)
    own = build(run.specification, one, run.workshop).variables.read()
    made = first_checkpoint(run.specification, one, own, store)
    assert made.record == HopRecord(configuration=5, hop=2, shard=None, steps=parent.record.steps, loss=None)
    assert made.state.keys() == parent.state.keys()
    differing = [name for name in made.state if not np.array_equal(made.state[name], parent.state[name])]
    assert differing == [name for name in made.state if name.endswith("/learning_rate")]
    assert made.state[differing[0]] == np.float32(0.5)


def test_a_copy_trains_on_with_its_own_numbers(parents: tuple[SmallRun, MemoryStore]) -> None:
    run, begun = parents
    store, dropout = copy(begun), run.planned[2]
    one = child(run, dropout, 3, **optimizer(dropout, learning_rate=0.02, momentum=0.5))
    store.put(run.names.configuration(5), one.to_json())
    replace(run, planned=[*run.planned, one]).finish(store, 2)
    expected = alone(run, one, first_checkpoint(run.specification, one, own_state(run, one), store), range(3, 9))
    assert store.get(run.names.checkpoint(5, 9)) == expected
    assert outcome(store, run.names, 5).state == "finished"
    assert [checkpoint_number(e.name)[1] for e in store.list(run.names.checkpoints(5))] == [6, 9]


def own_state(run: SmallRun, one: Configuration) -> dict[str, Any]:
    return build(run.specification, one, run.workshop).variables.read()


def alone(run: SmallRun, one: Configuration, begin: Checkpoint, hops: Iterable[int]) -> bytes:
    """Train in one go, in a program of its own."""
    from modelhopper_trainer.assembly import assemble_for

    program = make_program(assemble_for(run.specification, one, run.workshop.manifest))
    program.load(begin.state)
    record = begin.record
    for hop in hops:
        shard = run.specification.ring.shard(one.offset, hop)
        task = HopTask(run.specification.experiment.seed, one, hop, shard)
        record = run_hop(program, run.workshop.feed("training", shard), task, record.steps)
    return checkpoint.to_bytes(program.read(), record)


def test_a_copy_whose_weights_do_not_fit_fails_alone(parents: tuple[SmallRun, MemoryStore]) -> None:
    run, begun = parents
    store = copy(begun)
    one = child(run, run.planned[0], 3).model_copy(update={"origin": Origin(configuration=NORM, hop=3)})
    store.put(run.names.configuration(5), one.to_json())
    replace(run, planned=[*run.planned, one]).finish(store, 1)
    failure = outcome(store, run.names, 5).failure
    assert failure is not None
    assert failure.reason == (
        "the weights of configuration 4 do not fit this model: its variable 2 is `kernel` of shape (8, 3), and `gamma` "
        "of shape (8,) there."
    )


def test_a_copy_of_a_checkpoint_that_is_gone_ends_the_run(parents: tuple[SmallRun, MemoryStore]) -> None:
    run, begun = parents
    store, one = copy(begun), child(run, run.planned[0], 3)
    store.delete(run.names.checkpoint(1, 3))
    store.put(run.names.configuration(5), one.to_json())
    with pytest.raises(CorruptObject, match=r"00003.safetensors is missing, and configuration 5 begins with it"):
        replace(run, planned=[*run.planned, one]).finish(store, 1)


@pytest.mark.parametrize(
    "changed",
    [{"name": "AdamW", "learning_rate": 0.01}, {"name": "SGD", "learning_rate": 0.01}, {**ADAM, "amsgrad": True}],
)
def test_another_optimizer_begins_fresh_with_the_same_weights(
    parents: tuple[SmallRun, MemoryStore], changed: dict[str, Any]
) -> None:
    run, store = parents
    one = child(run, run.planned[0], 3, compile={**run.planned[0].compile, "optimizer": changed})
    own, parent = own_state(run, one), read(store, run.names, FIRST, 3).state
    made = first_checkpoint(run.specification, one, own, store).state
    for name, array in made.items():
        expected = parent if name.startswith("model/") else own
        np.testing.assert_array_equal(array, expected[name])


def test_a_schedule_in_place_of_a_number_keeps_the_moments(parents: tuple[SmallRun, MemoryStore]) -> None:
    run, store = parents
    schedule = {"name": "ExponentialDecay", "initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.9}
    one = child(run, run.planned[0], 3, **optimizer(run.planned[0], learning_rate=schedule))
    made = first_checkpoint(run.specification, one, own_state(run, one), store).state
    parent = read(store, run.names, FIRST, 3).state
    moments = [array for name, array in parent.items() if "optimizer/" in name and "learning_rate" not in name]
    found = [made[name] for name in sorted(made) if name.startswith("optimizer/")]
    assert len(found) == len(moments) > 4
    for array, expected in zip(found, (parent[name] for name in sorted(parent) if is_moment(name)), strict=True):
        np.testing.assert_array_equal(array, expected)


def is_moment(name: str) -> bool:
    return name.startswith("optimizer/") and not name.endswith("learning_rate")


# Warm starts from an earlier run


def again(
    run: SmallRun, store: Store, warm_start: object = "small", **changes: Any
) -> tuple[Specification, list[Configuration]]:
    """Return another experiment of the same configurations that begins with the results of the first."""
    from tests.trainer.small_run import experiment_in

    folder = Path(run.specification.folder)
    specification, chosen = experiment_in(folder, name="again", warm_start=warm_start, **changes)
    return begun_with(specification, chosen, store)[:2]


def prepared(run: SmallRun, store: Store, specification: Specification, chosen: list[Configuration]) -> SmallRun:
    """Prepare in a store that holds the earlier experiment; what is kept is the whole store."""
    heard: list[Event] = []
    Station(store, specification, 0, 1, heard.append, workshop=run.workshop).prepare(chosen)
    assert [event.problem for event in heard if isinstance(event, Built)] == [None] * len(chosen)
    names = Names("again")
    for one in chosen:
        store.put(names.configuration(one.number), one.to_json())
    store.put(names.specification(), specification.to_json())
    return SmallRun(specification, chosen, {e.name: store.get(e.name) for e in store.list("")}, run.workshop)


def test_a_warm_start_begins_with_the_weights_and_the_optimizer_of_the_result(
    run: SmallRun, finished: MemoryStore
) -> None:
    store = copy(finished)
    prepared(run, store, *again(run, store))
    for number in (1, 2, 3, 4):
        result, begun = read(store, run.names, number, 9), read(store, Names("again"), number, 0)
        assert begun.record == HopRecord(configuration=number, hop=-1, shard=None, steps=0, loss=None)
        assert begun.state.keys() == result.state.keys()
        for name in begun.state:
            if not name.endswith("seed_generator_state"):  # every hop sets it anew
                np.testing.assert_array_equal(begun.state[name], result.state[name], strict=True)


def test_a_warm_started_run_gives_the_same_bytes_with_any_stations_and_after_any_kill(
    run: SmallRun, finished: MemoryStore
) -> None:
    store = copy(finished)
    search = {"method": "list", "configurations": SEARCH[:1]}
    warm = prepared(run, store, *again(run, store, search=search, iterations=1, evaluate_every=1))
    begun = copy(store)
    warm.finish(store, 1)
    expected = warm.results(store)
    three = copy(begun)
    warm.finish(three, 3)
    assert warm.results(three) == expected
    for left in killed(warm, begun, range(0, 20, 3)):
        warm.finish(left, 1)
        assert warm.results(left) == expected


def test_numbers_can_be_mapped_and_what_is_new_begins_fresh(run: SmallRun, finished: MemoryStore) -> None:
    store = copy(finished)
    specification, chosen = again(run, store, {"experiment": "small", "configurations": {1: 2}})
    prepared(run, store, specification, chosen)
    assert [one.origin for one in chosen[:2]] == [Origin(experiment="small", configuration=2, hop=9), None]
    result, begun = read(store, run.names, 2, 9).state, read(store, Names("again"), 1, 0).state
    np.testing.assert_array_equal(begun["model/0000/kernel"], result["model/0000/kernel"])
    fresh = run.prepared[run.names.checkpoint(2, 0)]
    assert read(store, Names("again"), 2, 0).state.keys() == checkpoint.from_bytes(fresh, "").state.keys()
    assert store.get(Names("again").checkpoint(2, 0)) == fresh


def test_weights_that_do_not_fit_are_one_clear_mistake_at_the_start(run: SmallRun, finished: MemoryStore) -> None:
    store = copy(finished)
    specification, chosen = again(run, store, {"experiment": "small", "configurations": {1: 4}})
    built = prepare(specification, chosen[0], run.workshop, store)
    assert built.problem is not None
    assert "the weights of configuration 4 of small do not fit this model: its variable 2 is" in built.problem
    assert built.path == ("warm_start",)


def test_a_result_that_changes_before_the_run_begins_is_refused(run: SmallRun, finished: MemoryStore) -> None:
    store = copy(finished)
    specification, chosen = again(run, store)
    store.put(run.names.checkpoint(1, 9), store.get(run.names.checkpoint(2, 9)))
    problem = prepare(specification, chosen[0], run.workshop, store).problem
    assert problem is not None
    assert problem.startswith("small/checkpoints/00001/00000009.safetensors has changed since")
    store.delete(run.names.checkpoint(1, 9))
    problem = prepare(specification, chosen[0], run.workshop, store).problem
    assert problem is not None
    assert "is missing, and configuration 1 begins with it: small has changed since" in problem


def test_an_earlier_result_is_part_of_what_a_run_is(run: SmallRun, finished: MemoryStore) -> None:
    store = copy(finished)
    before, _ = again(run, store)
    store.put(run.names.checkpoint(1, 9), store.get(run.names.checkpoint(2, 9)))
    after, _ = again(run, store)
    assert before.differences(after) == ["what configuration 1 begins with changed"]
    assert before.differences(before) == []


def test_a_damaged_result_is_never_read_as_a_beginning(run: SmallRun, finished: MemoryStore) -> None:
    store = copy(finished)
    name = run.names.checkpoint(1, 9)
    data = bytearray(store.get(name))
    data[-3] ^= 1
    store.put(name, bytes(data))
    specification, chosen = again(run, store)
    with pytest.raises(CorruptObject, match="is damaged"):
        prepare(specification, chosen[0], run.workshop, store)
