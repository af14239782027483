"""Transfer learning in runs: frozen layers keep their weights to the bit, and a run goes on as any other."""

from __future__ import annotations

import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from modelhopper.specify import specify
from modelhopper_contract.checkpoint import State, from_bytes
from modelhopper_contract.errors import ConflictError, SpecError, StoreUnavailable
from modelhopper_contract.messages import Built, Event
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.assembly import program_key
from modelhopper_trainer.device import configure
from modelhopper_trainer.prediction import restore, save
from modelhopper_trainer.preparation import _cost
from modelhopper_trainer.station import Station
from modelhopper_trainer.workshop import Workshop
from tests.trainer.small_run import Mortal, SmallRun, experiment_in

pytestmark = [
    pytest.mark.xdist_group("tensorflow"),
    # h5py asks Keras' variables for arrays in a way that NumPy 2 finds old.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras"),
]

NETS = """
import keras
from keras import layers


def stem():
    parts = [keras.Input((4,)), layers.Dense(8, "relu", name="wide"), layers.BatchNormalization(name="norm")]
    return keras.Sequential(parts, name="stem")


def net(depth=1, head="head"):
    hidden = [layers.Dense(6, "relu", name=f"hidden_{n}") for n in range(depth)]
    return keras.Sequential([keras.Input((4,)), stem(), *hidden, layers.Dense(3, "softmax", name=head)])
"""

GIVEN = {"build": "nets.py:net", "head": "new_head", "initial_weights": "base.keras", "frozen_layers": ["stem"]}
ADAM = {"name": "Adam", "learning_rate": 0.01}
SEARCH = [
    {"model": "given", "optimizer": ADAM, "batch_size": 4},
    {"model": "given", "optimizer": {**ADAM, "learning_rate": 0.03}, "batch_size": 8},
    {"model": "all", "optimizer": {"name": "SGD", "learning_rate": 0.1, "momentum": 0.9}, "batch_size": 8},
]
MODELS = {"given": GIVEN, "all": {**GIVEN, "frozen_layers": []}, "fresh": {"build": "nets.py:net"}}


def same(one: keras.layers.Layer, other: keras.layers.Layer) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


def with_base(folder: Path) -> Path:
    """Write nets.py and a base model that was trained somewhere else."""
    configure(threads=1, gpu=False, deterministic=True)
    (folder / "nets.py").write_text(NETS)
    names: dict[str, Any] = {}
    exec(NETS, names)
    keras.utils.set_random_seed(5)
    base = names["net"]()
    base.compile("adam", "sparse_categorical_crossentropy")
    generator = np.random.default_rng(3)
    base.fit(generator.normal(size=(32, 4)), generator.integers(0, 3, 32), verbose=0)
    base.save(folder / "base.keras")
    return folder


def prepared(folder: Path, **changes: Any) -> SmallRun:
    search = {"method": "list", "configurations": SEARCH}
    return SmallRun.prepare(with_base(folder), **{"models": MODELS, "search": search, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return prepared(tmp_path_factory.mktemp("transfer"))


@pytest.fixture(scope="module")
def finished(run: SmallRun) -> MemoryStore:
    """The store of an undisturbed run with one station."""
    store = MemoryStore()
    run.begin(store)
    run.finish(store, 1)
    return store


def state_of(run: SmallRun, store: MemoryStore, number: int, hop: int) -> State:
    name = run.names.checkpoint(number, hop)
    return from_bytes(store.get(name), name).state


def arrays(state: State, *ends: str) -> dict[str, Any]:
    return {name: state[name] for name in state if name.startswith("model/") and name.endswith(ends or "")}


def test_frozen_layers_and_their_statistics_stay_the_file_s_to_the_bit(run: SmallRun, finished: MemoryStore) -> None:
    base = keras.models.load_model(run.specification.path("base.keras"))
    stem = base.get_layer("stem").get_weights()
    for number in (1, 2):
        state = state_of(run, finished, number, run.specification.ring.hops)
        first = [state[name] for name in sorted(state) if name.startswith("model/")][: len(stem)]
        assert all(np.array_equal(*pair) for pair in zip(first, stem, strict=True))
    changed = arrays(state_of(run, finished, 3, run.specification.ring.hops), "kernel", "moving_mean")
    before = from_bytes(run.prepared[run.names.checkpoint(3, 0)], "").state
    assert all(not np.array_equal(changed[name], before[name]) for name in changed)


def test_the_optimizer_has_no_slots_for_frozen_layers(run: SmallRun) -> None:
    frozen, trained = (from_bytes(run.prepared[run.names.checkpoint(n, 0)], "").state for n in (1, 3))
    assert arrays(frozen).keys() == arrays(trained).keys()  # checkpoints are whole
    slots = [name for name in frozen if name.startswith("optimizer/")]
    assert any("new_head" in name for name in slots)
    assert not any("wide" in name or "norm" in name for name in slots)


def test_the_start_is_the_file_s_and_the_head_is_each_configuration_s_own(run: SmallRun) -> None:
    one, two = (from_bytes(run.prepared[run.names.checkpoint(n, 0)], "").state for n in (1, 2))
    differing = [name for name in one if not np.array_equal(one[name], two[name]) and name.startswith("model/")]
    assert [name.split("/")[-1] for name in differing] == ["kernel"]  # of the new head; its bias begins with zeros


def test_any_number_of_stations_in_any_order_makes_the_same_bytes(run: SmallRun, finished: MemoryStore) -> None:
    expected = run.results(finished)
    for count in (2, 3):
        store = MemoryStore()
        run.begin(store)
        run.finish(store, count, random.Random(count).randrange)
        assert run.results(store) == expected


@pytest.mark.parametrize("changes", [3, 17, 30])
def test_a_killed_run_makes_the_same_bytes(run: SmallRun, finished: MemoryStore, changes: int) -> None:
    store = MemoryStore()
    run.begin(store)
    with pytest.raises(StoreUnavailable):
        run.finish(Mortal(store, changes), 2)
    run.finish(store, 3)
    assert run.results(store) == run.results(finished)


def test_processes_that_are_started_anew_make_the_same_bytes(run: SmallRun, finished: MemoryStore) -> None:
    """They build the models without the given weights, because a checkpoint holds all of a state."""
    store = MemoryStore()
    run.begin(store)
    fresh = SmallRun(run.specification, run.planned, run.prepared, Workshop(run.specification))
    fresh.finish(store, 2)
    assert run.results(store) == run.results(finished)


def test_a_run_equals_one_process_that_never_hops(run: SmallRun, finished: MemoryStore) -> None:
    alone = run.alone()
    assert {name: finished.get(name) for name in alone} == alone


def test_configurations_of_one_model_share_a_program_and_others_do_not(run: SmallRun) -> None:
    models = run.specification.experiment.models
    one, two, three = (program_key(each, models[each.model]) for each in run.planned)
    assert one == two != three


def test_what_is_taken_is_told_with_the_building(run: SmallRun) -> None:
    heard: list[Event] = []
    Station(MemoryStore(), run.specification, 0, 1, heard.append, workshop=run.workshop).prepare(run.planned[:1])
    assert isinstance(heard[0], Built)
    assert heard[0].note == (
        "base.keras gives hidden_0, stem/norm, stem/wide their weights; new_head start fresh; not in the model: head"
    )


def test_a_frozen_layer_costs_less(run: SmallRun) -> None:
    manifest = run.workshop.manifest
    frozen, trained = (run.workshop.tools(run.planned[at]).program.assembly for at in (0, 2))
    same_fit = frozen.configuration.model_copy(update={"fit": trained.configuration.fit})
    assert _cost(replace(frozen, configuration=same_fit), manifest) < _cost(trained, manifest)


def test_a_result_needs_no_file_of_weights_and_its_export_has_the_frozen_layers(
    run: SmallRun, finished: MemoryStore, tmp_path: Path
) -> None:
    shutil.copy(run.specification.path("nets.py"), tmp_path)
    elsewhere = run.specification.model_copy(update={"folder": str(tmp_path)})
    state = state_of(run, finished, 1, run.specification.ring.hops)
    assembly = restore(elsewhere, run.planned[0], run.workshop.manifest, state)
    save(assembly, tmp_path / "best.keras")
    loaded = keras.models.load_model(tmp_path / "best.keras")
    base = keras.models.load_model(run.specification.path("base.keras"))
    assert same(loaded.get_layer("stem"), base.get_layer("stem"))
    assert loaded.get_layer("stem").trainable_variables == []


def test_weights_that_change_while_a_run_goes_on_are_refused(tmp_path: Path) -> None:
    specification, _ = experiment_in(
        with_base(tmp_path), models=MODELS, search={"method": "list", "configurations": SEARCH}
    )
    assert "base.keras" in specification.files
    with (tmp_path / "base.keras").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ConflictError, match=r"base\.keras has changed since small began"):
        Workshop(specification)
    assert "the contents of base.keras changed" in specification.differences(
        specify(specification.experiment, tmp_path)
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({**GIVEN, "initial_weights": "bas.keras"}, r"`bas\.keras` is not there.*Did you mean `base\.keras`"),
        ({"build": "nets.py:net", "initial_weigths": "base.keras"}, r"Did you mean `initial_weights`\?"),
        ({**GIVEN, "frozen_layers": ["stem", "new_heads"]}, r"`new_heads` in frozen_layers.*Did you mean `new_head`"),
    ],
)
def test_mistakes_are_told_before_anything_trains(tmp_path: Path, model: dict[str, Any], message: str) -> None:
    told: list[str] = []

    def hear(event: Event) -> None:
        assert isinstance(event, Built)
        told.append(str(event.problem))

    try:
        specification, chosen = experiment_in(
            with_base(tmp_path), models={"given": model}, search={"method": "list", "configurations": SEARCH[:1]}
        )
        Station(MemoryStore(), specification, 0, 1, hear).prepare(chosen)
    except SpecError as error:
        told.append(str(error))
    assert len(told) == 1
    pytest.importorskip("re")
    assert re.search(message, told[0]), told
