"""Rows on their way to the device: pieces and whole shards train to the same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhopper_trainer import feeding
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.hop import HopTask, run_hop
from modelhopper_trainer.program import Program, make_program
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
        assert trained(program, start, Feed(FIELDS, 45, resident_bytes=0), batch_size, weights, epochs) == expected


@settings(max_examples=10)
@given(st.integers(1, 60), st.integers(1, 60))
def test_all_rows_come_in_stored_order_in_pieces_of_any_size(rows: int, piece_rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeding, "PIECE_BYTES", piece_rows * 4)
        feed = Feed({"x": np.arange(rows, dtype=np.int32)}, rows, resident_bytes=0)
        pieces = [np.asarray(fields["x"]) for fields in feed.stored()]
    assert max(map(len, pieces)) <= piece_rows
    np.testing.assert_array_equal(np.concatenate(pieces), np.arange(rows))


def test_a_small_shard_stays_on_the_device() -> None:
    feed = Feed(FIELDS, 45)
    (one,), (other,) = list(feed.stored()), list(feed.stored())
    assert one["x"] is other["x"]


def test_an_evaluation_of_pieces_leaves_no_thread_behind_when_it_is_left_early() -> None:
    feed = Feed({"x": np.arange(100, dtype=np.int32)}, 100, resident_bytes=0)
    pieces = feed.stored()
    next(iter(pieces))
    pieces.close()  # type: ignore[attr-defined]
