"""A checkpoint: any state comes back, equal states are equal bytes, and no damage passes."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelhopper_contract.checkpoint import Array, from_bytes, to_bytes
from modelhopper_contract.errors import CorruptObject, HopError
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


@given(states)
def test_the_bytes_are_those_of_the_safetensors_library(state: dict[str, Array]) -> None:
    data = to_bytes(state, RECORD)
    written = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    contiguous = {name: np.require(array, requirements="C") for name, array in state.items()}
    assert data == safetensors.numpy.save(contiguous, metadata=written)


# Made by version 0.1.0 before it wrote the format itself.
EARLIER = base64.b64decode(
    "8AEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJtb2RlbGhvcHBlciI6IntcInJlY29yZFwiOntcImNvbmZpZ3VyYXRpb25cIjozLFwiaG9wXCI6"
    "NyxcImxvc3NcIjowLjI1LFwic2hhcmRcIjoxLFwic3RlcHNcIjo0MH0sXCJzaGEyNTZcIjpcIjgxNTA1MjY5ODQzN2Q5YWU0OWM5MzQwNGNh"
    "ZjFkYmRlY2IyN2NkYTA5YmYwZDg4NDE2M2JlZDEwMDUwMjk2MWVcIn0ifSwib3B0aW1pemVyLzAwMDAvaXRlcmF0aW9uIjp7ImR0eXBlIjoi"
    "STY0Iiwic2hhcGUiOltdLCJkYXRhX29mZnNldHMiOlswLDhdfSwibW9kZWwvMDAwMC9rZXJuZWwiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6"
    "WzIsM10sImRhdGFfb2Zmc2V0cyI6WzgsMzJdfSwib3B0aW1pemVyLzAwMDEvZW1wdHkiOnsiZHR5cGUiOiJGMTYiLCJzaGFwZSI6WzAsM10s"
    "ImRhdGFfb2Zmc2V0cyI6WzMyLDMyXX0sIm1vZGVsLzAwMDEvw6kiOnsiZHR5cGUiOiJCT09MIiwic2hhcGUiOlsyXSwiZGF0YV9vZmZzZXRz"
    "IjpbMzIsMzRdfX0gICAgICAgKAAAAAAAAAAAAAAAAACAPgAAAD8AAEA/AACAPwAAoD8BAA=="
)


def test_an_earlier_version_s_checkpoint_is_read_and_written_the_same() -> None:
    found = from_bytes(EARLIER, "c")
    assert found.record == RECORD
    np.testing.assert_array_equal(found.state["model/0000/kernel"], np.arange(6, dtype=np.float32).reshape(2, 3) / 4)
    assert found.state["optimizer/0000/iteration"] == 40
    assert to_bytes(found.state, found.record) == EARLIER


def test_what_is_read_shares_the_bytes_and_cannot_change_them() -> None:
    data = to_bytes({"a": np.arange(1000.0)}, RECORD)
    found = from_bytes(data, "c").state["a"]
    assert np.shares_memory(found, np.frombuffer(data, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


def test_a_dtype_that_cannot_be_saved_is_named() -> None:
    with pytest.raises(HopError, match="model/0000/kernel is of dtype complex128, which cannot be saved"):
        to_bytes({"model/0000/kernel": np.zeros(2, np.complex128)}, RECORD)


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
