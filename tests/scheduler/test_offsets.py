"""Offsets: equal loads, far apart, and a function of costs and shards only."""

from __future__ import annotations

import inspect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_scheduler.offsets import offsets

costs = st.dictionaries(st.integers(1, 50), st.floats(0.01, 100), min_size=1, max_size=40)
shards = st.integers(1, 12)


def loads(costs: dict[int, float], found: dict[int, int], shards: int) -> list[float]:
    return [sum(cost for number, cost in costs.items() if found[number] == shard) for shard in range(shards)]


@given(costs, shards)
def test_the_largest_load_is_within_graham_s_bound(costs: dict[int, float], shards: int) -> None:
    found = loads(costs, offsets(costs, shards), shards)
    # Longest processing time first is at most 4/3 of the optimum; these are what the optimum is at least.
    ordered = sorted(costs.values(), reverse=True)
    pair = ordered[shards - 1] + ordered[shards] if len(ordered) > shards else 0.0
    optimum = max(sum(ordered) / shards, ordered[0], pair)
    last = min(costs.values())
    assert max(found) <= sum(ordered) / shards + (1 - 1 / shards) * ordered[0] + 1e-9
    assert max(found) - min(found) <= max(ordered) + 1e-9
    if len(ordered) <= 2 * shards:
        assert max(found) <= 4 / 3 * optimum + last + 1e-9


@given(st.integers(1, 60), shards)
def test_equal_costs_give_equal_numbers(count: int, shards: int) -> None:
    found = loads(
        dict.fromkeys(range(1, count + 1), 1.0), offsets(dict.fromkeys(range(1, count + 1), 1.0), shards), shards
    )
    assert max(found) - min(found) <= 1


@given(costs, shards, st.randoms(use_true_random=False))
def test_the_order_in_which_costs_are_told_does_not_matter(
    costs: dict[int, float], shards: int, random: object
) -> None:
    told = list(costs.items())
    random.shuffle(told)  # type: ignore[attr-defined]
    assert offsets(dict(told), shards) == offsets(costs, shards)


@given(costs, shards)
def test_every_configuration_has_an_offset_on_the_ring(costs: dict[int, float], shards: int) -> None:
    found = offsets(costs, shards)
    assert found.keys() == costs.keys()
    assert set(found.values()) <= set(range(shards))


def test_offsets_know_nothing_of_stations() -> None:
    assert list(inspect.signature(offsets).parameters) == ["costs", "shards", "loads"]


@given(st.integers(1, 12), shards)
def test_few_configurations_are_far_apart(count: int, shards: int) -> None:
    found = sorted(offsets(dict.fromkeys(range(count), 1.0), shards).values())
    if count > shards:
        return
    gaps = [(after - before) % shards or shards for before, after in zip(found, [*found[1:], found[0]], strict=True)]
    # Halving an arc again and again leaves none shorter than half of the fair share.
    assert min(gaps) >= max(1, math.floor(shards / count / 2))


@pytest.mark.parametrize("shards", [2, 4, 8])
def test_two_configurations_start_on_opposite_sides(shards: int) -> None:
    assert sorted(offsets({1: 1.0, 2: 1.0}, shards).values()) == [0, shards // 2]
