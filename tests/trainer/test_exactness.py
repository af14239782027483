"""The main claim: what a configuration becomes depends on the experiment only, not on how the run went."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhopper_contract.checkpoint import from_bytes
from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.records import Configuration
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer import seeds
from modelhopper_trainer.models import build_model
from modelhopper_trainer.shards import open_data
from tests.outages import Outage
from tests.trainer.small_run import Mortal, SmallRun

pytestmark = pytest.mark.xdist_group("tensorflow")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return SmallRun.prepare(tmp_path_factory.mktemp("small"))


class Results(dict[str, bytes]):
    """Objects by name, printed short, because Hypothesis prints a test's arguments."""

    def __repr__(self) -> str:
        return f"{len(self)} objects"


@pytest.fixture(scope="module")
def expected(run: SmallRun) -> Results:
    """The results of an undisturbed run with one station."""
    store = MemoryStore()
    run.begin(store)
    run.finish(store, 1)
    return Results(run.results(store))


def test_a_run_equals_one_process_that_never_saves_loads_or_hops(run: SmallRun, expected: dict[str, bytes]) -> None:
    alone = run.alone()
    assert len(alone) == 4
    assert {name: expected[name] for name in alone} == alone


def test_only_final_checkpoints_stay(run: SmallRun, expected: dict[str, bytes]) -> None:
    hops = run.specification.ring.hops
    left = sorted(name for name in expected if "/checkpoints/" in name)
    assert left == [run.names.checkpoint(one.number, hops) for one in run.planned]


@settings(max_examples=12)
@given(st.integers(1, 7), st.integers(0, 1000))
def test_any_number_of_stations_in_any_order_makes_the_same_bytes(
    run: SmallRun, expected: dict[str, bytes], count: int, seed: int
) -> None:
    store = MemoryStore()
    run.begin(store)
    run.finish(store, count, random.Random(seed).randrange)
    assert run.results(store) == expected


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 4)), max_size=5), st.integers(0, 1000))
def test_a_run_killed_anywhere_any_number_of_times_makes_the_same_bytes(
    run: SmallRun, expected: dict[str, bytes], lives: list[tuple[int, int]], seed: int
) -> None:
    store = MemoryStore()
    run.begin(store)
    for changes, count in lives:
        try:
            run.finish(Mortal(store, changes), count, random.Random(seed).randrange)
        except StoreUnavailable:
            continue
    run.finish(store, 2)
    assert run.results(store) == expected


def test_every_kill_point_of_a_stay_is_repaired(run: SmallRun, expected: dict[str, bytes]) -> None:
    """Between checkpoint, tokens, own token, journal and removal: each order of effects is cut once."""
    for changes in range(8, 26):
        store = MemoryStore()
        run.begin(store)
        with pytest.raises(StoreUnavailable):
            run.finish(Mortal(store, changes), 2)
        run.finish(store, 3)
        assert run.results(store) == expected, f"killed before change {changes}"


@pytest.mark.parametrize("seed", range(8))
def test_a_run_goes_on_to_the_same_bytes_after_power_failures(
    run: SmallRun, expected: dict[str, bytes], seed: int
) -> None:
    """Tokens and metric states, which are put softly, may be gone or torn, and what was deleted may be back."""
    chance, store = random.Random(seed), Outage(1_000_000)
    run.begin(store)
    for life in range(3):
        store.left = chance.randrange(10, 45)
        with contextlib.suppress(StoreUnavailable):
            run.finish(store, 1 + life, chance.randrange)
        store.restart(seed)
    run.finish(store, 2)
    kept = {name: data for name, data in run.results(store).items() if "/metrics/" not in name}
    assert kept == {name: data for name, data in expected.items() if "/metrics/" not in name}


def test_a_token_that_is_delivered_twice_changes_nothing(run: SmallRun, expected: dict[str, bytes]) -> None:
    store = MemoryStore()
    run.begin(store)
    stations = run.stations(store, 2)
    early = {entry.name: store.get(entry.name) for entry in store.list(run.names.inbox())}
    for _ in range(6):
        for station in stations:
            station.step()
            station.flush()
    for name, data in early.items():
        store.put(name, data)
    while any([station.step() for station in stations]):  # noqa: C419 -- every station steps
        for station in stations:
            station.flush()
    assert run.results(store) == expected


def test_the_directory_store_makes_the_same_bytes(run: SmallRun, expected: dict[str, bytes], tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "a run's store"))
    run.begin(store)
    run.finish(store, 2)
    assert run.results(store) == expected


def test_an_s3_store_makes_the_same_bytes(run: SmallRun, expected: dict[str, bytes], s3_url: str) -> None:
    store = open_store(s3_url)
    run.begin(store)
    run.finish(store, 2)
    assert run.results(store) == expected


@pytest.mark.parametrize("changes", [9, 23, 41])
def test_a_run_killed_over_s3_makes_the_same_bytes(
    run: SmallRun, expected: dict[str, bytes], s3_url: str, changes: int
) -> None:
    store = open_store(s3_url)
    run.begin(store)
    with pytest.raises(StoreUnavailable):
        run.finish(Mortal(store, changes), 3)
    run.finish(store, 2)
    assert run.results(store) == expected


def test_kept_iterations_do_not_change_the_others(tmp_path: Path, expected: dict[str, bytes]) -> None:
    run = SmallRun.prepare(tmp_path, keep_checkpoints="iterations")
    store = MemoryStore()
    run.begin(store)
    run.finish(store, 2)
    found = run.results(store)
    kept = {name for name in found if "/checkpoints/" in name}
    assert kept == {run.names.checkpoint(one.number, hop) for one in run.planned for hop in (3, 6, 9)}
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("at", range(4))
def test_a_run_agrees_with_a_plain_keras_loop(run: SmallRun, expected: dict[str, bytes], at: int) -> None:
    """An independent loop: train_on_batch in the same row order, the optimizer kept, nothing saved."""
    configuration = run.planned[at]
    model = _plain_keras(run, configuration)
    name = run.names.checkpoint(configuration.number, run.specification.ring.hops)
    state = from_bytes(expected[name], name).state
    saved = [state[key] for key in sorted(state) if key.startswith("model/") and "seed_generator" not in key]
    weights = [v.numpy() for v in model.variables if v.name != "seed_generator_state"]
    assert len(saved) == len(weights)
    for ours, theirs in zip(saved, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def _plain_keras(run: SmallRun, configuration: Configuration) -> keras.Model:
    specification, ring = run.specification, run.specification.ring
    experiment = specification.experiment
    seed = seeds.initial_weights(experiment.seed, configuration.number)
    folder = specification.path(".")
    model = build_model(experiment.models[configuration.model], configuration.parameters, folder, seed)
    settings_ = dict(configuration.compile["optimizer"])
    model.compile(getattr(keras.optimizers, settings_.pop("name"))(**settings_), "categorical_crossentropy")
    data = open_data(specification.path(experiment.data.train))
    for hop in range(ring.hops):
        _plain_hop(run, configuration, model, hop, data.shard(ring.shard(configuration.offset, hop)))
    return model


def _plain_hop(run: SmallRun, configuration: Configuration, model: keras.Model, hop: int, shard: object) -> None:
    seed, fit = run.specification.experiment.seed, configuration.fit
    x, y = np.array(shard.inputs["x"]), np.eye(3)[shard.outputs["y"]]  # type: ignore[attr-defined]
    own = [v for v in model.variables if v.name == "seed_generator_state"]
    for variable, value in zip(own, seeds.layer_states(seed, configuration.number, hop, len(own)), strict=True):
        variable.assign(value)
    for order in seeds.row_order(seed, configuration.number, hop, len(x), fit["epochs"], shuffle=True):
        for start in range(0, len(x), fit["batch_size"]):
            chosen = order[start : start + fit["batch_size"]]
            model.train_on_batch(x[chosen], y[chosen])
