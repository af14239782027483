"""Averaging: the merge is a pure function of the replicas, whoever makes it, when, and however often."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhopper_contract.checkpoint import from_bytes, to_bytes
from modelhopper_contract.errors import CorruptObject, StoreUnavailable
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.messages import Ended, Event, Trained
from modelhopper_contract.names import replica_number, token_name
from modelhopper_contract.records import Configuration, Outcome, Token
from modelhopper_contract.store import Entry
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer import seeds
from modelhopper_trainer.averaging import Averaging
from modelhopper_trainer.models import build_model
from modelhopper_trainer.pod import vigil
from modelhopper_trainer.pod.process import Surroundings, main
from modelhopper_trainer.pod.suspects import Retry, Suspect, Suspects
from modelhopper_trainer.pod.vigil import Bell
from modelhopper_trainer.publishing import Publisher
from modelhopper_trainer.shards import DataSet, open_data
from tests.outages import Outage
from tests.trainer.small_run import SEARCH, Mortal, SmallRun
from tests.trainer.test_killing import kill_a_station, kill_everything, read_until, results, start

pytestmark = pytest.mark.xdist_group("tensorflow")

ELASTIC = {"name": "easgd", "alpha": 0.25, "beta": 0.75}
METHODS: dict[str, Any] = {"average": "average", "easgd": ELASTIC}
FEW = {"search": {"method": "list", "configurations": SEARCH[:1]}, "iterations": 2, "evaluate_every": 1}


def prepared(folder: Path, **changes: Any) -> SmallRun:
    """Prepare a run whose hops are merged; each is on all its shards at once, so offsets are 0."""
    run = SmallRun.prepare(folder, method="average", **changes)
    run.move({one.number: 0 for one in run.planned})
    return run


def varied(run: SmallRun, **changes: Any) -> SmallRun:
    """Return the same run but for these keys of the experiment, none of which changes what is compiled."""
    told = {key: value for key, value in run.specification.experiment.model_dump().items() if key not in changes}
    experiment = validated(Experiment, {**told, **changes})
    specification = run.specification.model_copy(update={"experiment": experiment})
    stored = {**run.prepared, run.names.specification(): specification.to_json()}
    return replace(run, specification=specification, prepared=stored)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """Four configurations with moments, dropout and batch norm, on three shards of unequal size."""
    return prepared(tmp_path_factory.mktemp("several"))


@pytest.fixture(scope="module", params=METHODS)
def run(request: pytest.FixtureRequest, several: SmallRun) -> SmallRun:
    return varied(several, method=METHODS[request.param])


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """One configuration, two iterations, both evaluated."""
    return prepared(tmp_path_factory.mktemp("single"), **FEW)


@pytest.fixture(scope="module", params=METHODS)
def few(request: pytest.FixtureRequest, single: SmallRun) -> SmallRun:
    return varied(single, method=METHODS[request.param])


class Results(dict[str, bytes]):
    """Objects by name, printed short, because Hypothesis prints a test's arguments."""

    def __repr__(self) -> str:
        return f"{len(self)} objects"


def finished(run: SmallRun, count: int = 1) -> Results:
    """Return the results of an undisturbed run."""
    store = MemoryStore()
    run.begin(store)
    run.finish(store, count)
    return Results(run.results(store))


@pytest.fixture(scope="module")
def expected(run: SmallRun) -> Results:
    return finished(run)


@pytest.fixture(scope="module")
def expected_few(few: SmallRun) -> Results:
    return finished(few)


def left_of(run: SmallRun, store: MemoryStore, part: str) -> list[str]:
    return sorted(e.name for e in store.list(run.names.root()) if e.name.split("/")[1] == part)


def test_a_run_merges_every_iteration_and_keeps_the_last(run: SmallRun, expected: Results) -> None:
    hops = run.specification.ring.hops
    left = sorted(name for name in expected if "/checkpoints/" in name)
    assert left == [run.names.checkpoint(one.number, hops) for one in run.planned]
    record = from_bytes(expected[left[0]], left[0]).record
    assert (record.hop, record.shard) == (hops - 1, None)
    outcomes = [Outcome.from_json(expected[run.names.outcome(one.number)]) for one in run.planned]
    assert [(one.state, one.hops) for one in outcomes] == [("finished", hops)] * 4


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_any_number_of_stations_in_any_order_makes_the_same_bytes(
    few: SmallRun, expected_few: Results, count: int
) -> None:
    for seed in range(4):
        store = MemoryStore()
        few.begin(store)
        few.finish(store, count, random.Random(seed).randrange)
        assert few.results(store) == expected_few


def test_moments_dropout_and_batch_norm_are_the_same_in_any_order(run: SmallRun, expected: Results) -> None:
    store = MemoryStore()
    run.begin(store)
    run.finish(store, 4, random.Random(5).randrange)
    assert run.results(store) == expected


@settings(max_examples=8)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4)), max_size=4), st.integers(0, 1000))
def test_a_run_killed_anywhere_any_number_of_times_makes_the_same_bytes(
    few: SmallRun, expected_few: Results, lives: list[tuple[int, int]], seed: int
) -> None:
    store = MemoryStore()
    few.begin(store)
    for changes, count in lives:
        try:
            few.finish(Mortal(store, changes), count, random.Random(seed).randrange)
        except StoreUnavailable:
            continue
    few.finish(store, 2)
    assert few.results(store) == expected_few


@pytest.mark.parametrize("first", [pytest.param(0, marks=pytest.mark.slow), 16])
def test_every_kill_point_is_repaired(few: SmallRun, expected_few: Results, first: int) -> None:
    """Replica, merged checkpoint, each token, own token, journal, and each removal: every order is cut once."""
    changes, was_killed = first, True
    while was_killed and (first == 0 or changes < first + 14):
        store = MemoryStore()
        few.begin(store)
        try:
            few.finish(Mortal(store, changes), 2)
            was_killed = False
        except StoreUnavailable:
            few.finish(store, 3)
        assert few.results(store) == expected_few, f"killed before change {changes}"
        assert left_of(few, store, "replicas") == kept_replicas(few)
        changes += 1
    assert changes > 40 or first


def kept_replicas(run: SmallRun) -> list[str]:
    """Return the replicas that stay: where they keep something of their own ends, those of the last iteration."""
    ring, kept = run.specification.ring, run.specification.experiment.method.kept
    hops = range(ring.hops - ring.shards, ring.hops) if kept else range(0)
    return [run.names.replica(one.number, hop) for one in run.planned for hop in hops]


@pytest.mark.parametrize("seed", range(3))
def test_a_run_goes_on_to_the_same_bytes_after_power_failures(few: SmallRun, expected_few: Results, seed: int) -> None:
    """Tokens and metric states may be gone or torn, and what was deleted, such as replicas, may be back."""
    chance, store = random.Random(seed), Outage(1_000_000)
    few.begin(store)
    for life in range(3):
        store.left = chance.randrange(10, 45)
        try:
            few.finish(store, 1 + life, chance.randrange)
        except StoreUnavailable:
            store.restart(seed)
            continue
        store.restart(seed)
    few.finish(store, 2)
    kept = {name: data for name, data in few.results(store).items() if "/metrics/" not in name}
    assert kept == {name: data for name, data in expected_few.items() if "/metrics/" not in name}


def test_tokens_that_are_delivered_twice_change_nothing(few: SmallRun, expected_few: Results) -> None:
    store = MemoryStore()
    few.begin(store)
    stations = few.stations(store, 2)
    early = {entry.name: store.get(entry.name) for entry in store.list(few.names.inbox())}
    for again in range(3):
        for station in stations:
            station.step()
            station.flush()
        if again == 1:
            for name, data in early.items():
                store.put(name, data)
    while any([station.step() for station in stations]):  # noqa: C419 -- every station steps
        for station in stations:
            station.flush()
    assert few.results(store) == expected_few


class Hurried(MemoryStore):
    """A store in which, the first time that a certain replica is read, or listed, somebody else has just merged it."""

    def __init__(self) -> None:
        super().__init__()
        self.read = ""
        self.listed = ""
        self.merge: Any = None

    def get(self, name: str) -> bytes:
        self._hurry(name == self.read)
        return super().get(name)

    def list(self, prefix: str) -> list[Entry]:
        self._hurry(prefix == self.listed)
        return super().list(prefix)

    def _hurry(self, is_now: bool) -> None:
        if is_now and self.merge is not None:
            merge, self.merge = self.merge, None
            merge()


def test_two_who_merge_at_once_do_not_meet(few: SmallRun, expected_few: Results) -> None:
    """The slower one finds a replica gone, and the merged state there."""
    store = Hurried()
    few.begin(store)
    (station,) = few.stations(store, 1)
    last = token_of(few, store, hop=2)
    (one,), hops = few.planned, range(3)

    def merge() -> None:
        way(few, store).forward(one, Token(action="train", configuration=1, hop=2), last)

    store.read, store.merge = few.names.replica(1, 1), merge
    for _ in hops:
        station.step()
        station.flush()
    assert store.merge is None
    few.finish(store, 2)
    assert few.results(store) == expected_few


def test_a_token_whose_replica_is_merged_just_now_goes_away(few: SmallRun, expected_few: Results) -> None:
    store = Hurried()
    few.begin(store)
    (station,) = few.stations(store, 1)
    early = {hop: token_of(few, store, hop) for hop in (0, 1, 2)}
    kept = store.get(early[1])
    for _ in range(2):
        station.step()
        station.flush()
    store.put(early[1], kept)  # its station was killed after it put the replica
    (one,) = few.planned

    def merge() -> None:
        station.serve_only([early[2]], lambda: False)

    store.listed, store.merge = few.names.replica(1, 1), merge
    way(few, store).forward(one, Token(action="train", configuration=1, hop=1), early[1])
    assert store.merge is None
    assert not store.list(early[1])
    few.finish(store, 2)
    assert few.results(store) == expected_few


def way(run: SmallRun, store: MemoryStore) -> Averaging:
    """Return what somebody else does to the store."""
    publisher = Publisher(store, run.specification, 1, run.report)
    return Averaging(store, run.specification, publisher, lambda: run.workshop.manifest)


def token_of(run: SmallRun, store: MemoryStore, hop: int) -> str:
    names = [entry.name for entry in store.list(run.names.inbox())]
    return next(name for name in names if token_name(name).number == hop)


def test_a_replica_that_was_lost_is_said_to_be_missing(single: SmallRun) -> None:
    run = varied(single, method=ELASTIC)
    store = MemoryStore()
    run.begin(store)
    (station,) = run.stations(store, 1)
    for _ in range(3):
        station.step()
        station.flush()
    store.delete(run.names.replica(1, 1))
    with pytest.raises(CorruptObject, match=r"replicas/00001/00000001\.safetensors is missing, and configuration 1"):
        run.finish(store, 1)


def test_easgd_with_alpha_0_and_beta_1_is_averaging_to_the_byte(single: SmallRun) -> None:
    elastic = varied(single, method={"name": "easgd", "alpha": 0, "beta": 1})
    assert finished(elastic) == finished(single)


def test_averaging_on_one_shard_is_hopping(tmp_path: Path) -> None:
    name, run = "small/checkpoints/00001/00000002.safetensors", prepared(tmp_path, shards=1, **FEW)
    averaged = from_bytes(finished(run)[name], name)
    hopped = from_bytes(finished(varied(run, method="hop"))[name], name)
    assert averaged.record == hopped.record.model_copy(update={"shard": None})
    assert {key: array.tobytes() for key, array in averaged.state.items()} == {
        key: array.tobytes() for key, array in hopped.state.items()
    }


@pytest.mark.parametrize("at", range(4))
def test_a_run_agrees_with_plain_keras_and_numpy(run: SmallRun, expected: Results, at: int) -> None:
    """An independent loop: train_on_batch in the same row order, np.average by rows, and the two numbers of EASGD."""
    configuration = run.planned[at]
    name = run.names.checkpoint(configuration.number, run.specification.ring.hops)
    state = from_bytes(expected[name], name).state
    saved = [state[key] for key in sorted(state) if "seed_generator" not in key]
    ours = [array for array in saved if array.dtype.kind == "f"]
    for mine, plain in zip(ours, Plain(run, configuration).trained(), strict=True):
        np.testing.assert_allclose(mine, plain, rtol=2e-5, atol=2e-5)


class Plain:
    """One configuration, trained by Keras' own loop, its replicas merged by NumPy."""

    def __init__(self, run: SmallRun, configuration: Configuration) -> None:
        experiment, folder = run.specification.experiment, run.specification.path(".")
        self._run, self._one = run, configuration
        self._alpha = experiment.method.alpha or 0.0
        self._beta = 1.0 if experiment.method.beta is None else experiment.method.beta
        seed = seeds.initial_weights(experiment.seed, configuration.number)
        self._model = build_model(experiment.models[configuration.model], configuration.parameters, folder, seed)
        given = dict(configuration.compile["optimizer"])
        optimizer = getattr(keras.optimizers, given.pop("name"))(**given)
        self._model.compile(optimizer, "categorical_crossentropy")
        optimizer.build(self._model.trainable_variables)
        self._data: DataSet = open_data(run.specification.path(experiment.data.train))

    def trained(self) -> list[np.ndarray[Any, Any]]:
        """Return the float variables of model and optimizer after all iterations."""
        ring = self._run.specification.ring
        rows = [self._data.manifest.shards[shard].rows for shard in range(ring.shards)]
        assert len(set(rows)) > 1
        center, own = self._read(), [self._read()] * ring.shards
        for iteration in range(ring.iterations):
            for shard in range(ring.shards):
                alpha = self._alpha if iteration else 0.0
                self._write([(1 - alpha) * c + alpha * x for c, x in zip(center, own[shard], strict=True)], iteration)
                self._train(iteration * ring.shards + shard, shard)
                own[shard] = self._read()
            mean = [np.average(np.stack(each), axis=0, weights=rows) for each in zip(*own, strict=True)]
            center = [(1 - self._beta) * c + self._beta * m for c, m in zip(center, mean, strict=True)]
        return center

    def _variables(self) -> list[Any]:
        everything = [*self._model.variables, *self._model.optimizer.variables]
        return [v for v in everything if v.dtype == "float32"]

    def _read(self) -> list[np.ndarray[Any, Any]]:
        return [np.array(variable.numpy(), np.float64) for variable in self._variables()]

    def _write(self, values: list[np.ndarray[Any, Any]], iteration: int) -> None:
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value.astype(np.float32))
        # The most steps that any replica has done so far: those of the largest shard.
        fit, rows = self._one.fit, max(shard.rows for shard in self._data.manifest.shards)
        self._model.optimizer.iterations.assign(iteration * fit["epochs"] * -(-rows // fit["batch_size"]))

    def _train(self, hop: int, shard: int) -> None:
        seed, fit, number = self._run.specification.experiment.seed, self._one.fit, self._one.number
        arrays = self._data.shard(shard)
        x, y = np.array(arrays.inputs["x"]), np.eye(3)[arrays.outputs["y"]]
        own = [v for v in self._model.variables if v.name == "seed_generator_state"]
        for variable, value in zip(own, seeds.layer_states(seed, number, hop, len(own)), strict=True):
            variable.assign(value)
        for order in seeds.row_order(seed, number, hop, len(x), fit["epochs"], shuffle=True):
            for at in range(0, len(x), fit["batch_size"]):
                chosen = order[at : at + fit["batch_size"]]
                self._model.train_on_batch(x[chosen], y[chosen])


def test_a_replica_whose_loss_is_nan_fails_its_configuration_alone(tmp_path: Path) -> None:
    wild = {"model": "plain", "optimizer": {"name": "SGD", "learning_rate": 1e38}, "batch_size": 4}
    search = {"method": "list", "configurations": [SEARCH[0], wild]}
    run = prepared(tmp_path, **(FEW | {"search": search}))
    store = MemoryStore()
    run.begin(store)
    run.finish(store, 3, random.Random(2).randrange)
    ends = [Outcome.from_json(store.get(run.names.outcome(number))) for number in (1, 2)]
    assert [one.state for one in ends] == ["finished", "failed"]
    assert ends[1].failure is not None
    assert ends[1].failure.reason == "loss is NaN"
    assert ends[1].failure.hop < 3
    assert ends[1].failure.shard == ends[1].failure.hop
    assert left_of(run, store, "inbox") == []
    assert left_of(run, store, "replicas") == []


def test_kept_iterations_do_not_change_the_others(single: SmallRun) -> None:
    last = finished(varied(single, method=ELASTIC))
    found = finished(varied(single, method=ELASTIC, keep_checkpoints="iterations"))
    kept = {name for name in found if "/checkpoints/" in name}
    assert kept == {f"small/checkpoints/00001/{hop:08d}.safetensors" for hop in (3, 6)}
    assert {name: found[name] for name in last} == last


def test_early_stopping_ends_a_run_the_same_in_any_order(single: SmallRun) -> None:
    rule = {"patience": 1, "metric": "validation loss", "min_change": 10}
    run = varied(single, early_stopping=rule, iterations=6)
    ends: set[tuple[bytes, ...]] = set()
    for count, seed in ((1, 0), (3, 1), (4, 2)):
        store = MemoryStore()
        run.begin(store)
        run.finish(store, count, random.Random(seed).randrange)
        outcome = Outcome.from_json(store.get(run.names.outcome(1)))
        assert (outcome.state, outcome.hops, outcome.trained) == ("stopped", 3, 6)
        assert left_of(run, store, "replicas") == left_of(run, store, "inbox") == []
        (result,) = left_of(run, store, "checkpoints")
        ends.add((store.get(result), store.get(run.names.outcome(1))))
    assert len(ends) == 1


def test_a_run_that_is_extended_is_the_longer_one_to_the_byte(single: SmallRun) -> None:
    shorter, longer = varied(single, method=ELASTIC), varied(single, method=ELASTIC, iterations=3)
    expected = finished(longer)
    store = MemoryStore()
    shorter.begin(store)
    shorter.finish(store, 2)
    store.delete(shorter.names.outcome(1))  # as `--extend` does
    longer.finish(store, 3)
    assert longer.results(store) == expected


def test_folds_are_averaged_over_the_shards_that_they_train_on(tmp_path: Path) -> None:
    run = prepared(tmp_path, shards=4, folds=2, data={"train": "train"}, **FEW)
    seen: list[Event] = []
    run.report = seen.append
    store = MemoryStore()
    run.begin(store)
    run.finish(store, 3)
    trained = {(e.configuration, e.first_hop) for e in seen if isinstance(e, Trained)}
    assert trained == {(number, hop) for number in (1, 2) for hop in range(4)}
    ended = [e.outcome for e in seen if isinstance(e, Ended)]
    assert sorted((one.configuration, one.state, one.hops) for one in ended) == [(1, "finished", 4), (2, "finished", 4)]
    assert finished(run) == run.results(store)


def test_resuming_puts_tokens_for_the_replicas_that_are_missing(single: SmallRun) -> None:
    run = single
    store = MemoryStore()
    run.begin(store)
    (station,) = run.stations(store, 1)
    station.step()
    station.flush()
    run.stations(store, 2)
    due = [token_name(entry.name) for entry in store.list(run.names.inbox())]
    done = {replica_number(name)[1] for name in left_of(run, store, "replicas")}
    assert {token.number for token in due} == {0, 1, 2} - done
    assert len(done) == 1


def test_resuming_lets_one_station_merge_what_is_complete(single: SmallRun) -> None:
    run = single
    store = MemoryStore()
    run.begin(store)
    state = from_bytes(store.get(run.names.checkpoint(1, 0)), "")
    for hop in range(3):
        record = state.record.model_copy(update={"hop": hop, "shard": hop, "loss": 1.0})
        store.put(run.names.replica(1, hop), to_bytes(state.state, record))
    run.stations(store, 3)
    assert [token_name(entry.name).number for entry in store.list(run.names.inbox())] == [0]


@pytest.mark.parametrize("stations", [1, 2, 5])
def test_station_pods_make_the_same_bytes(
    few: SmallRun, expected_few: Results, stations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time, each until it would have to wait for the others' replicas; Argo starts it again."""

    def no_patience(bell: Bell, looks: int) -> None:
        raise StoreUnavailable("nobody has time")

    monkeypatch.setattr(vigil, "_FIRST_CHECK_S", 0.0)
    monkeypatch.setattr(Bell, "wait", no_patience)
    store = MemoryStore()
    few.begin(store)
    few.stations(store, stations)
    waiting = list(range(stations))
    for _ in range(50):
        if not waiting:
            break
        station = waiting.pop(0)
        arguments = ["station", "--experiment", "small", "--station", str(station), "--stations", str(stations)]
        code = main(arguments, Surroundings({}, store=store, workshop=few.workshop))
        assert code in {0, 75}
        waiting += [station] if code else []
    assert not waiting
    assert few.results(store) == expected_few


def test_a_pod_that_was_killed_while_it_trained_a_replica_is_blamed_once_it_is_not_there(single: SmallRun) -> None:
    store, told = MemoryStore(), list[Event]()
    single.begin(store)
    name = single.names.suspect("station-00000")
    for hop, has_replica, is_blamed in ((1, True, False), (1, False, True)):
        suspect = Suspect(action="train", configuration=1, hop=hop, pod="p", kills=1)
        store.put(name, suspect.to_json())
        if has_replica:
            store.put(single.names.replica(1, hop), b"")
        retry = Retry(count=2, last_exit_code=137)
        Suspects(store, single.specification, "station-00000", "p", retry).look_back(0, told.append)
        assert bool(store.list(single.names.outcome(1))) == is_blamed
        store.delete(single.names.replica(1, hop))


@pytest.mark.slow
@pytest.mark.parametrize("kill", [kill_a_station, kill_everything])
def test_killed_processes_go_on_to_the_same_bytes(
    tmp_path: Path, kill: Callable[[subprocess.Popen[str]], None]
) -> None:
    changes = {"iterations": 6, "evaluate_every": 2, "method": ELASTIC}
    run = prepared(tmp_path, **{key: value for key, value in changes.items() if key != "method"})
    expected = finished(varied(run, method=ELASTIC))
    store = str(tmp_path / "runs")
    with start(tmp_path, store, changes) as first:
        read_until(first, "trained", 10)
        kill(first)
        is_alive = first.poll() is None  # the engine starts a dead station again by itself
        assert not is_alive or first.communicate()[0].endswith("finished\n")
    if not is_alive:
        with start(tmp_path, store, changes) as again:
            assert again.communicate()[0].endswith("finished\n")
    assert results(tmp_path, store) == {name: data for name, data in expected.items() if "/metrics/" not in name}
