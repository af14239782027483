"""State on its way: nothing waits that need not, and what was taken does not change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modelhopper_contract.checkpoint import from_bytes, to_bytes
from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.messages import Event, Started
from modelhopper_contract.records import HopRecord
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.hop import HopTask, run_hop
from modelhopper_trainer.moves import Moves
from modelhopper_trainer.program import make_program
from modelhopper_trainer.station import Station
from tests.trainer.assembled import assembled, configuration, manifest
from tests.trainer.small_run import SEARCH, SmallRun

pytestmark = pytest.mark.xdist_group("tensorflow")

SOON_S = 60.0  # far longer than it takes


def test_writes_are_done_in_order_and_waited_for_one_by_one() -> None:
    done: list[int] = []
    go = threading.Event()

    def write(number: int) -> Callable[[], None]:
        def effect() -> None:
            go.wait(SOON_S)
            done.append(number)

        return effect

    with Moves() as moves:
        assert not moves.wait(SOON_S)
        moves.write(write(1))
        moves.write(write(2))
        assert moves.wait(0)
        assert done == []
        go.set()
        while moves.wait(SOON_S):
            pass
        assert done == [1, 2]


def test_who_waits_for_a_write_hears_of_its_error() -> None:
    def fail() -> None:
        raise StoreUnavailable("no room")

    def wait_for_all(moves: Moves) -> None:
        while moves.wait(SOON_S):
            pass

    with Moves() as moves:
        moves.write(fail)
        with pytest.raises(StoreUnavailable):
            wait_for_all(moves)


class SlowJournal(MemoryStore):
    """A store in which a line of the journal takes until somebody allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.allowed = threading.Event(), threading.Event()

    def put(self, name: str, data: bytes) -> None:
        if "/journal/" in name:
            self.asked.set()
            assert self.allowed.wait(SOON_S)
        super().put(name, data)


def test_a_station_serves_what_comes_while_it_still_writes(tmp_path: Path) -> None:
    two = {"method": "list", "configurations": SEARCH[:2]}
    run = SmallRun.prepare(
        tmp_path, search=two, compile={"loss": "categorical_crossentropy"}, iterations=1, evaluate_every=1
    )
    store, heard = SlowJournal(), threading.Event()
    run.begin(store)
    run.stations(store, 1)
    tokens = [entry.name for entry in store.list(run.names.inbox(0))]
    later = {name: store.get(name) for name in tokens[1:]}
    for name in later:
        store.delete(name)
    started: list[int] = []

    def hear(event: Event) -> None:
        if isinstance(event, Started):
            started.append(event.configuration)
            if len(set(started)) > 1:
                heard.set()

    station = Station(store, run.specification, 0, 1, hear, workshop=run.workshop)
    serving = threading.Thread(target=station.serve, args=(heard.is_set, lambda _: None))
    serving.start()
    try:
        assert store.asked.wait(SOON_S)
        for name, data in later.items():
            store.put(name, data)
        assert heard.wait(SOON_S)
    finally:
        store.allowed.set()
        heard.set()
        serving.join()


def test_neither_what_was_read_nor_what_was_loaded_changes_when_training_goes_on(tmp_path: Path) -> None:
    """Arrays share memory with TensorFlow's tensors, and with the bytes of checkpoints, where that saves a copy."""
    (tmp_path / "models.py").write_text(
        "import keras\n\n\ndef mlp():\n    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(64)])\n"
    )
    x, y = np.ones((32, 4), np.float32), np.ones((32, 64), np.float32)
    one = configuration(loss="mse", optimizer={"name": "Adam"}, batch_size=8)
    program = make_program(assembled("models.py:mlp", tmp_path, manifest({"x": x}, {"y": y}, {}), one))
    feed, task = Feed({"x": x, "y": y}, 32), HopTask(5, one, 0, 0)
    record = HopRecord(configuration=1, hop=0, shard=0, steps=0, loss=None)

    first = program.read()
    kept = {name: array.copy() for name, array in first.items()}
    run_hop(program, feed, task, 0)
    second = program.read()
    assert all(np.array_equal(first[name], array) for name, array in kept.items())
    assert any(not np.array_equal(first[name], array) for name, array in second.items())

    for padding in range(0, 64, 8):  # TensorFlow could take over memory that is aligned as its own is
        data = to_bytes(first | {"model/padding": np.zeros(padding, np.uint8)}, record)
        state = {name: array for name, array in from_bytes(data, "c").state.items() if name in first}
        before = bytes(bytearray(data))
        program.load(state)
        run_hop(program, feed, task, 0)
        assert data == before
        assert all(np.array_equal(array, second[name]) for name, array in program.read().items())
