from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract import exact

floats = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(floats, max_size=30))
def test_a_sum_is_the_true_sum(values: list[float]) -> None:
    true = float(sum((Fraction(v) for v in values), Fraction(0))) if _fits(values) else None
    found = exact.value(exact.exact_sum(np.array(values)))
    assert found == true if true is not None else math.isinf(found)


@given(st.lists(floats, max_size=30), st.integers(0, 30), st.randoms(use_true_random=False))
def test_any_order_and_grouping_gives_the_same_text(values: list[float], cut: int, random: object) -> None:
    whole = exact.exact_sum(np.array(values))
    random.shuffle(values)  # type: ignore[attr-defined]
    parts = [exact.exact_sum(np.array(values[:cut])), exact.exact_sum(np.array(values[cut:]))]
    assert exact.merge(parts) == whole


@given(st.lists(st.lists(st.integers(-1000, 1000), min_size=3, max_size=3), min_size=1, max_size=10))
def test_whole_numbers_and_others_take_the_same_form(rows: list[list[int]]) -> None:
    table = np.array(rows, np.float64)
    assert exact.column_sums(table) == [exact.exact_sum(column) for column in table.T]
    halves = exact.column_sums(np.concatenate([table / 2, table / 2]))
    assert halves == exact.column_sums(table)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_makes_the_sum_not_a_number(bad: float) -> None:
    text = exact.merge([exact.exact_sum(np.array([1.0, bad])), exact.exact_sum(np.array([2.0]))])
    assert math.isnan(exact.value(text))


def test_a_mean_is_rounded_once() -> None:
    thirds = np.full(3, 0.1, np.float32)
    assert exact.value(exact.exact_sum(thirds), 3) == float(np.float32(0.1))


def test_the_smallest_and_the_largest_numbers_meet_exactly() -> None:
    tiny, huge = 5e-324, 1.7976931348623157e308
    assert exact.value(exact.exact_sum(np.array([huge, tiny, -huge]))) == tiny


def _fits(values: list[float]) -> bool:
    try:
        float(sum((Fraction(v) for v in values), Fraction(0)))
    except OverflowError:
        return False
    return True
