"""Rows on their way to the device: pieces and whole shards train to the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhopper_trainer import feeding
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.hop import HopTask, run_hop
from modelhopper_trainer.program import Program, make_program
from modelhopper_trainer.room import SURE_BYTES, Room, gpu_bytes, station_room
from tests.trainer.assembled import Array, assembled, configuration, manifest

pytestmark = pytest.mark.xdist_group("tensorflow")

X = np.random.default_rng(1).normal(size=(45, 4)).astype(np.float32)
LABELS = (np.arange(45) % 3).astype(np.uint8)
FIELDS: dict[str, Array] = {"x": X, "y": LABELS}
ROW_BYTES = 17
MODELS = """
import keras
from keras import layers


def mlp():
    parts = [layers.Dense(6, "relu"), layers.BatchNormalization(), layers.Dropout(0.3), layers.Dense(3, "softmax")]
    return keras.Sequential([keras.Input((4,)), *parts])
"""


@pytest.fixture(scope="module", params=[None, [1.0, 2.0, 0.5]], ids=["alike", "weighted"])
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Program, dict[str, Array], Any]:
    """A program, its state at the start, and weights by class; rows with and without weights are of two kinds."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "models.py").write_text(MODELS)
    one = configuration(loss="categorical_crossentropy", optimizer={"name": "Adam"})
    program = make_program(assembled("models.py:mlp", folder, manifest({"x": X}, {"y": LABELS}, {"y": "abc"}), one))
    return program, program.read(), None if request.param is None else np.array(request.param, np.float32)


def trained(program: Program, start: dict[str, Array], feed: Feed, batch_size: int, weights: Any, epochs: int) -> Any:
    one = configuration(batch_size=batch_size, epochs=epochs)
    program.load(start)
    record = run_hop(program, feed, HopTask(5, one, 2, 0, weights), 0)
    return record, {name: array.tobytes() for name, array in program.read().items()}


@pytest.mark.parametrize(("batch_size", "epochs"), [(8, 1), (7, 2), (45, 1), (64, 1), (1, 1)])
def test_pieces_train_to_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, started: tuple[Program, dict[str, Array], Any], batch_size: int, epochs: int
) -> None:
    program, start, weights = started
    expected = trained(program, start, Feed(FIELDS, 45), batch_size, weights, epochs)
    for piece_rows in (1, 20):
        monkeypatch.setattr(feeding, "PIECE_BYTES", piece_rows * ROW_BYTES)
        assert trained(program, start, Feed(FIELDS, 45, Room(0)), batch_size, weights, epochs) == expected


@settings(max_examples=10)
@given(st.integers(1, 60), st.integers(1, 60))
def test_all_rows_come_in_stored_order_in_pieces_of_any_size(rows: int, piece_rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeding, "PIECE_BYTES", piece_rows * 4)
        patch.setattr(feeding, "EVALUATION_ROWS", 5)
        feed = Feed({"x": np.arange(rows, dtype=np.int32)}, rows, Room(0))
        pieces = [np.asarray(fields["x"]) for fields in feed.stored()]
    assert max(map(len, pieces)) <= max(piece_rows, 5)
    assert all(len(piece) % 5 == 0 for piece in pieces[:-1])
    np.testing.assert_array_equal(np.concatenate(pieces), np.arange(rows))


@settings(max_examples=20)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 3), st.integers(16, 400))
def test_pieces_hold_the_rows_of_any_orders_in_the_same_cuts_as_a_whole_shard(
    rows: int, batch_size: int, lanes: int, piece_bytes: int
) -> None:
    orders = np.stack([np.random.default_rng(lane).permutation(rows).astype(np.int32) for lane in range(lanes)])
    fields = {"x": np.arange(rows, dtype=np.int32)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeding, "PIECE_BYTES", piece_bytes)
        for order in (orders, orders[0]):
            pieces, whole = [
                [
                    np.asarray(found["x"])[within]
                    for found, within in Feed(fields, rows, room).ordered(order, batch_size, None)
                ]
                for room in (Room(0), Room(1 << 30))
            ]
            assert [piece.shape for piece in pieces] == [piece.shape for piece in whole]
            assert all(piece.shape[-1] % batch_size == 0 for piece in pieces[:-1])
            np.testing.assert_array_equal(np.concatenate(pieces, axis=-1), order)
            np.testing.assert_array_equal(np.concatenate(whole, axis=-1), order)


def test_shards_stay_on_the_device_while_there_is_room_for_them() -> None:
    room = Room(int(2.5 * 45 * ROW_BYTES))
    one, two, three = (Feed(FIELDS, 45, room) for _ in range(3))
    stays = [[next(iter(feed.stored()))["x"] for _ in range(2)] for feed in (one, two, three, one)]
    assert [first is second for first, second in stays] == [True, True, False, True]


def test_nobody_asks_how_much_memory_there_is_for_small_shards() -> None:
    asked = []

    def size_bytes() -> int:
        asked.append(1)
        return 1 << 30

    room = Room(size_bytes)
    assert room.take(SURE_BYTES)
    assert not asked
    assert room.take(100)
    assert not room.take(1 << 30)
    assert len(asked) == 1


def test_the_room_of_a_station_is_a_part_of_the_memory() -> None:
    assert not station_room(threads=1).take(1 << 50)
    assert station_room(threads=10_000).take(SURE_BYTES + 1)


def test_a_small_shard_stays_on_the_device() -> None:
    feed = Feed(FIELDS, 45)
    (one,), (other,) = list(feed.stored()), list(feed.stored())
    assert one["x"] is other["x"]


def test_an_evaluation_of_pieces_leaves_no_thread_behind_when_it_is_left_early() -> None:
    feed = Feed({"x": np.arange(100, dtype=np.int32)}, 100, Room(0))
    pieces = feed.stored()
    next(iter(pieces))
    pieces.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "size_bytes"), [("16384", 16 << 30), ("[N/A]", 8 << 30), ("", 8 << 30), (None, 8 << 30)]
)
def test_the_driver_tells_how_much_memory_a_gpu_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None, size_bytes: int
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    if answer is not None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f'#!/bin/sh\n[ "$1" = --id=3 ] && echo "{answer}"\n')
        tool.chmod(0o755)
    assert gpu_bytes() == size_bytes
