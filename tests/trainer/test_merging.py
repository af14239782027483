"""The merge alone: sums in the order of shards, by rows, and the two numbers of EASGD."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.checkpoint import Checkpoint, to_bytes
from modelhopper_contract.records import HopRecord
from modelhopper_trainer.merging import mean, moved, pulled

Array = npt.NDArray[Any]

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


def replica(value: Any, dtype: Any = np.float32, steps: int = 5, loss: float = 1.0, hop: int = 0) -> Checkpoint:
    record = HopRecord(configuration=1, hop=hop, shard=hop, steps=steps, loss=loss)
    return Checkpoint({"model/0000/kernel": np.asarray(value, dtype)}, record)


def kernel(found: Checkpoint) -> Array:
    return found.state["model/0000/kernel"]


def test_replicas_count_by_their_rows() -> None:
    found = mean([(replica([0.0, 1.0]), 30), (replica([4.0, 1.0]), 10)])
    np.testing.assert_array_equal(kernel(found), np.array([1.0, 1.0], np.float32))


def test_the_record_is_of_all_shards() -> None:
    found = mean([(replica(0, steps=8, loss=1.0, hop=6), 30), (replica(0, steps=3, loss=3.0, hop=7), 10)])
    assert found.record == HopRecord(configuration=1, hop=7, shard=None, steps=8, loss=1.5)


@given(st.lists(FLOATS, min_size=1, max_size=4), st.lists(st.integers(1, 10**6), min_size=1, max_size=6))
def test_equal_replicas_merge_to_themselves(values: list[float], rows: list[int]) -> None:
    one = replica(values)
    assert kernel(mean([(one, count) for count in rows])).tobytes() == kernel(one).tobytes()


@given(st.lists(st.tuples(FLOATS, st.integers(1, 10**6)), min_size=1, max_size=6))
def test_the_mean_is_numpys_average(given_: list[tuple[float, int]]) -> None:
    values, rows = zip(*given_, strict=True)
    expected = np.average(np.array(values, np.float64), weights=rows)
    scale = max(map(abs, values))
    found = float(kernel(mean([(replica(value), count) for value, count in given_])))
    assert abs(found - expected) <= 1e-6 * scale


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16, np.complex64])
def test_every_kind_of_float_is_averaged_and_keeps_its_dtype(dtype: Any) -> None:
    found = kernel(mean([(replica([1, 2], dtype), 1), (replica([3, 6], dtype), 1)]))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.astype(np.complex128), [2, 4])


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, np.bool_])
def test_of_whole_numbers_the_largest_is_taken(dtype: Any) -> None:
    found = mean([(replica([1, 0], dtype), 1), (replica([0, 1], dtype), 100)])
    np.testing.assert_array_equal(kernel(found), np.asarray([1, 1], dtype))
    center, own = replica([7, 7], dtype), replica([9, 9], dtype)
    assert kernel(moved(center.state, own, 0.5)) is kernel(own)
    assert kernel(pulled(center, own.state, 0.5)) is kernel(center)


@pytest.mark.parametrize("value", [2.0, [2.0, 4.0], [[]]])
def test_what_comes_out_can_be_stored(value: Any) -> None:
    """Scalars stay arrays."""
    found = mean([(replica(value), 1), (replica(value), 2)])
    for one in (found, moved(found.state, found, 0.5), pulled(found, found.state, 0.5)):
        assert isinstance(kernel(one), np.ndarray)
        assert to_bytes(*one)


def test_the_two_numbers_of_easgd() -> None:
    center, target, own = replica([1.0]), replica([2.0]), replica([5.0])
    np.testing.assert_allclose(kernel(moved(center.state, target, 0.75)), [1.75])
    np.testing.assert_allclose(kernel(pulled(center, own.state, 0.25)), [2.0])


def test_all_the_way_and_nothing_of_ones_own_are_exact() -> None:
    """Not only nearly: minus zero stays minus zero, and nothing is computed from what is not used."""
    center, target = replica([np.inf, 1.0]), replica([-0.0, 0.1])
    assert moved(center.state, target, 1.0) is target
    assert pulled(target, center.state, 0.0) is target


def test_weights_that_are_no_numbers_stay_so() -> None:
    found = kernel(mean([(replica([np.nan, np.inf, np.inf]), 1), (replica([1.0, 1.0, -np.inf]), 1)]))
    assert np.isnan(found[[0, 2]]).all()
    assert np.isinf(found[1])
