"""A checkpoint: any state comes back, equal states are equal bytes, and no damage passes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelhopper_contract.checkpoint import Array, from_bytes, to_bytes
from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.records import HopRecord

RECORD = HopRecord(configuration=3, hop=7, shard=1, steps=40, loss=0.25)

dtypes = st.sampled_from(["float32", "float64", "float16", "int64", "int32", "uint8", "int8", "uint32", "bool"])
arrays = dtypes.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)))
states = st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), arrays, max_size=4)


def same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


@given(states)
def test_any_state_comes_back(state: dict[str, Array]) -> None:
    found = from_bytes(to_bytes(state, RECORD), "c")
    assert found.record == RECORD
    assert found.state.keys() == state.keys()
    assert all(same(found.state[name], array) for name, array in state.items())


@given(states, st.randoms(use_true_random=False))
def test_equal_states_are_equal_bytes(state: dict[str, Array], random: Any) -> None:
    shuffled = list(state.items())
    random.shuffle(shuffled)
    assert to_bytes(dict(shuffled), RECORD) == to_bytes(state, RECORD)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12)[::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.broadcast_to(np.float32(2), (3, 2)),
        np.array([math.nan, math.inf, -0.0]),
    ],
)
def test_an_array_of_any_layout_comes_back(array: Array) -> None:
    found = from_bytes(to_bytes({"a": array}, RECORD), "c").state["a"]
    assert same(found, np.ascontiguousarray(array))


def test_big_endian_values_come_back() -> None:
    array = np.array([1.0, 2.5], ">f4")
    found = from_bytes(to_bytes({"a": array}, RECORD), "c").state["a"]
    np.testing.assert_array_equal(found, array)


def test_any_safetensors_tool_reads_it() -> None:
    state = {"model/0000/kernel": np.eye(2, dtype=np.float32)}
    found = safetensors.numpy.load(to_bytes(state, RECORD))
    np.testing.assert_array_equal(found["model/0000/kernel"], np.eye(2))


@pytest.mark.parametrize("loss", [math.nan, math.inf, None])
def test_a_loss_that_is_no_number_survives(loss: float | None) -> None:
    record = RECORD.model_copy(update={"loss": loss})
    assert str(from_bytes(to_bytes({}, record), "c").record.loss) == str(loss)


STATE = {"b": np.arange(5, dtype=np.float32), "a": np.array(True), "empty": np.zeros((0, 3), np.int64)}
WHOLE = to_bytes(STATE, RECORD)


@settings(max_examples=300)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_found(at: int, bit: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[at] ^= 1 << bit
    try:
        found = from_bytes(bytes(damaged), "c")
    except CorruptObject:
        return
    # Only what JSON does not distinguish, such as one kind of white space from another, may pass, and means the same.
    assert found.record == RECORD
    assert found.state.keys() == STATE.keys()
    assert all(same(found.state[name], array) for name, array in STATE.items())


@settings(max_examples=100)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_truncated_checkpoint_is_corrupt(size: int) -> None:
    with pytest.raises(CorruptObject):
        from_bytes(WHOLE[:size], "c")


@given(st.binary(max_size=200))
def test_bytes_that_are_no_checkpoint_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptObject):
        from_bytes(data, "c")


@pytest.mark.parametrize(
    "header",
    [b"[]", b"null", b"3", b'{"__metadata__": null}', b'{"__metadata__": {"modelhopper": "[]"}}', b"[" * 100_000],
)
def test_a_header_of_another_shape_is_corrupt(header: bytes) -> None:
    with pytest.raises(CorruptObject):
        from_bytes(len(header).to_bytes(8, "little") + header, "c")


def test_another_tool_s_safetensors_file_is_corrupt() -> None:
    with pytest.raises(CorruptObject):
        from_bytes(safetensors.numpy.save({"a": np.zeros(3)}), "c")
