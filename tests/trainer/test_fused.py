"""Configurations trained side by side become what they become alone, whoever is beside them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.errors import CorruptObject, HopError
from modelhopper_contract.records import HopRecord
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.fused import FusedProgram
from modelhopper_trainer.hop import run_hop
from modelhopper_trainer.program import Program
from modelhopper_trainer.room import Room
from tests.trainer.side_by_side import Lane, Rows, State, alone, distance, fused, lanes, rows, same

pytestmark = pytest.mark.xdist_group("tensorflow")

MODEL = """
import keras

def make(rate=0.2):
    return keras.Sequential([
        keras.Input((4,)), keras.layers.Dense(7, activation="tanh"), keras.layers.BatchNormalization(),
        keras.layers.Dropout(rate), keras.layers.Dense(3, activation="softmax"),
    ])
"""


def model(folder: Path, text: str = MODEL) -> Path:
    path = folder / "model.py"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def shard() -> Rows:
    return rows()


def each(count: int) -> list[dict[str, Any]]:
    return [
        {
            "parameters": {"rate": 0.1 + 0.05 * lane},
            "optimizer": {"name": "SGD", "learning_rate": 0.3 / (lane + 1), "momentum": 0.5 + 0.03 * lane},
            "epochs": 2,
        }
        for lane in range(count)
    ]


@pytest.fixture(scope="module")
def group(build: Path, shard: Rows) -> list[Lane]:
    return lanes(build, shard, each(5))


@pytest.fixture(scope="module")
def program(group: list[Lane]) -> FusedProgram:
    return FusedProgram(group[0].assembly, 5)


@pytest.fixture(scope="module")
def expected(program: FusedProgram, group: list[Lane], shard: Rows) -> list[tuple[HopRecord | HopError, State]]:
    return fused(program, group, shard.feed)


def test_side_by_side_is_as_alone(
    group: list[Lane], shard: Rows, expected: list[tuple[HopRecord | HopError, State]]
) -> None:
    for lane, (record, state) in list(zip(group, expected, strict=True))[::2]:  # each alone is traced anew
        single, own = alone(lane, shard.feed)
        assert isinstance(record, HopRecord)
        assert record.loss == pytest.approx(single.loss, rel=1e-5)
        assert record.model_copy(update={"loss": None}) == single.model_copy(update={"loss": None})
        assert distance(own, state) < 1e-5
        assert distance(lane.state, state) > 1e-2


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_neighbours_positions_and_missing_lanes_do_not_matter_to_the_bit(
    program: FusedProgram,
    group: list[Lane],
    shard: Rows,
    expected: list[tuple[HopRecord | HopError, State]],
    chosen: list[int],
) -> None:
    for number, (record, state) in zip(chosen, fused(program, [group[n] for n in chosen], shard.feed), strict=True):
        assert record == expected[number][0]
        assert same(state, expected[number][1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_lane_that_is_no_number_fails_alone(
    program: FusedProgram,
    group: list[Lane],
    shard: Rows,
    expected: list[tuple[HopRecord | HopError, State]],
    bad: float,
) -> None:
    broken = group[1]._replace(
        state={name: np.full_like(a, bad) if a.dtype == np.float32 else a for name, a in group[1].state.items()}
    )
    found = fused(program, [group[0], broken, *group[2:]], shard.feed)
    assert "loss is NaN" in str(found[1][0])
    assert isinstance(found[1][0], HopError)
    for number in (0, 2, 3, 4):
        assert found[number][0] == expected[number][0]
        assert same(found[number][1], expected[number][1])


def test_lanes_without_room_for_more_are_independent(tmp_path: Path, shard: Rows) -> None:
    small = (
        "import keras\ndef make(rate):\n    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, 'selu')])"
    )
    group = lanes(model(tmp_path, small), shard, each(8))
    program = FusedProgram(group[0].assembly, 8)
    forward = fused(program, group, shard.feed)
    backward = fused(program, group[::-1], shard.feed)[::-1]
    for (_, one), (_, other) in zip(forward, backward, strict=True):
        assert same(one, other)


def test_a_shard_that_comes_in_pieces_trains_the_same(
    program: FusedProgram,
    group: list[Lane],
    shard: Rows,
    expected: list[tuple[HopRecord | HopError, State]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modelhopper_trainer.feeding.PIECE_BYTES", 1)
    whole = shard.feed.resident()
    pieces = Feed({name: tensor.numpy() for name, tensor in whole.items()}, shard.feed.rows, Room(0))
    for (record, state), (_, wanted) in zip(fused(program, group, pieces), expected, strict=True):
        assert isinstance(record, HopRecord)
        assert same(state, wanted)


def test_class_weights_count(build: Path, shard: Rows) -> None:
    group = lanes(build, shard, [{**one, "class_weight": "given"} for one in each(2)])
    record, state = fused(FusedProgram(group[0].assembly, 2), group, shard.feed)[1]
    single, own = alone(group[1], shard.feed)
    assert isinstance(record, HopRecord)
    assert record.loss == pytest.approx(single.loss, rel=1e-5)
    assert distance(own, state) < 1e-5


@pytest.mark.slow
def test_another_process_makes_the_same_bytes(build: Path, expected: Sequence[tuple[Any, State]]) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.trainer import test_fused as t\n"
        "shard = t.rows(); group = t.lanes(Path(sys.argv[1]), shard, t.each(5))\n"
        "print(t.digest([state for _, state in t.fused(t.FusedProgram(group[0].assembly, 5), group, shard.feed)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(build)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == digest([state for _, state in expected])


def digest(states: Sequence[State]) -> str:
    return digest_bytes(b"".join(state[name].tobytes() for state in states for name in sorted(state)))


def test_another_models_state_is_refused(program: FusedProgram, group: list[Lane]) -> None:
    strange = {**group[0].state, "model/9999/kernel": np.zeros(3, np.float32)}
    with pytest.raises(CorruptObject, match="model/9999/kernel, which the model does not have"):
        program.load([strange], [group[0].numbers])
    missing = {name: array for name, array in group[0].state.items() if "0000" not in name}
    with pytest.raises(CorruptObject, match="holds no model/0000"):
        program.load([missing], [group[0].numbers])


def test_training_alone_goes_on_as_before(group: list[Lane], shard: Rows, program: FusedProgram) -> None:
    lane, single = group[0], Program(group[0].assembly)
    single.load(lane.state)
    first = run_hop(single, shard.feed, lane.task, 0)
    state = single.read()
    fused(program, group, shard.feed)
    single.load(lane.state)
    assert run_hop(single, shard.feed, lane.task, 0) == first
    assert same(single.read(), state)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x + tf.random.normal(tf.shape(x))", "draws random numbers with TensorFlow's own state"),
        ("x + tf.py_function(lambda y: y, [x], tf.float32)", "calls Python from its graph"),
        ("tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x)", "goes different ways in its graph"),
        ("hidden * x", "keeps state that is not among its variables"),
    ],
)
def test_what_lanes_cannot_do_is_said(tmp_path: Path, shard: Rows, text: str, why: str) -> None:
    layer = f"""
import keras
import tensorflow as tf
hidden = tf.Variable(0.0)
class Strange(keras.layers.Layer):
    def call(self, x):
        y = {text}
        return tf.ensure_shape(y, x.shape)
def make():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), Strange(), keras.layers.Dense(3)])
"""
    group = lanes(model(tmp_path, layer), shard, [{}, {}])
    with pytest.raises(HopError, match=why):
        fused(FusedProgram(group[0].assembly, 2), group, shard.feed)


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = """
import keras
def make():
    layers = keras.layers
    return keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)])
"""
    shard = rows((6, 6, 1))
    group = lanes(model(tmp_path, text), shard, [{}, {}])
    capfd.readouterr()
    fused(FusedProgram(group[0].assembly, 2), group, shard.feed)
    assert capfd.readouterr() == ("", "")
