"""Schedules: the published tables, exact integers, and mistakes that show before anything runs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract import searches as parts
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.experiment import validated
from modelhopper_contract.part import Part
from modelhopper_scheduler.searches.schedule import Schedule, check, growing, hyperband_schedule

PAPER = {  # Li et al., JMLR 2018, table 1: (n_i, r_i) of each bracket s
    4: [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    3: [(34, 3), (11, 9), (3, 27), (1, 81)],
    2: [(15, 9), (5, 27), (1, 81)],
    1: [(8, 27), (2, 81)],
    0: [(5, 81)],
}
MADLIB = {
    4: [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    3: [(27, 3), (9, 9), (3, 27), (1, 81)],
    2: [(9, 9), (3, 27), (1, 81)],
    1: [(6, 27), (2, 81)],
    0: [(5, 81)],
}


def brackets(schedule: Schedule) -> dict[int, list[tuple[int, int]]]:
    return {s: [(row.n_i, row.r_i) for row in schedule if row.s == s] for s in dict.fromkeys(row.s for row in schedule)}


def test_the_paper_s_table_holds() -> None:
    assert brackets(hyperband_schedule(81)) == PAPER


def test_madlib_s_table_holds() -> None:
    assert brackets(hyperband_schedule(81, 3, rounding="down")) == MADLIB


def test_the_largest_bracket_comes_first() -> None:
    assert [(row.s, row.i) for row in hyperband_schedule(9)] == [(2, 0), (2, 1), (2, 2), (1, 0), (1, 1), (0, 0)]


def test_243_has_five_brackets_and_the_one_of_full_budget() -> None:
    assert list(brackets(hyperband_schedule(243))) == [5, 4, 3, 2, 1, 0]


@given(st.integers(2, 12), st.integers(1, 12))
def test_an_exact_power_has_all_its_brackets(eta: int, power: int) -> None:
    exact = hyperband_schedule(eta**power, eta)
    assert (exact[0].s, exact[0].n_i, exact[0].r_i) == (power, eta**power, 1)
    assert hyperband_schedule(eta**power + 1, eta)[0].s == power
    if power > 1:
        assert hyperband_schedule(eta**power - 1, eta)[0].s == power - 1


@given(st.integers(2, 6), st.data(), st.sampled_from(["up", "down"]))
def test_brackets_narrow_and_last_longer(eta: int, data: st.DataObject, rounding: Any) -> None:
    longest = data.draw(st.integers(eta, 2000))
    for rungs in brackets(hyperband_schedule(longest, eta, rounding=rounding)).values():
        assert rungs[-1][1] == longest
        assert all(few >= 1 for few, _ in rungs)
        assert all(before[1] < after[1] and before[0] > after[0] for before, after in pairwise(rungs))


def test_budgets_that_do_not_divide_are_rounded_to_the_nearest() -> None:
    assert brackets(hyperband_schedule(10))[2] == [(9, 1), (3, 3), (1, 10)]  # 10/9 and 10/3
    assert brackets(hyperband_schedule(5, 2))[1] == [(3, 3), (1, 5)]  # 5/2: half upwards


def test_skipped_rungs_are_the_last_and_empty_brackets_are_left_out() -> None:
    assert brackets(hyperband_schedule(81, skip_last=1)) == {s: rungs[:-1] for s, rungs in PAPER.items() if s >= 1}
    assert brackets(hyperband_schedule(81, skip_last=4)) == {4: [(81, 1)]}


def test_a_schedule_shows_itself_as_a_table() -> None:
    assert repr(hyperband_schedule(3)).splitlines() == [
        "s  i  n_i  r_i",
        "1  0    3    1",
        "1  1    1    3",
        "0  0    2    3",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"R": 2}, "R is 2 and eta 3: Hyperband needs at least 3 iterations"),
        ({"R": 0}, "R is 0 and eta 3"),
        ({"R": 9, "eta": 1}, "eta is 1: .* at least 2"),
        ({"R": 9, "skip_last": 3}, "skip_last is 3: .* 3 rungs: use 0 to 2"),
        ({"R": 9, "skip_last": -1}, "skip_last is -1: .* use 0 to 2"),
        ({"R": 9.5}, "R is 9.5: give a whole number"),
        ({"R": 9, "eta": "3"}, "eta is '3': give a whole number"),
        ({"R": 9, "rounding": "half"}, "rounding is 'half': use up, .* or down"),
    ],
)
def test_numbers_that_give_no_schedule_are_told(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        hyperband_schedule(**given)


def test_rungs_grow_by_a_factor_up_to_the_last_iteration() -> None:
    assert growing(1, 3, 27) == [1, 3, 9, 27]
    assert growing(2, 2, 9) == [2, 4, 8, 9]
    assert growing(5, 3, 5) == [5]


def part(kind: type[Part], **given: Any) -> Part:
    made: Part = validated(kind, {"space": {"batch_size": {"linear": [1, 100]}}, **given})
    return made


@pytest.mark.parametrize(
    ("search", "iterations", "path", "message"),
    [
        (part(parts.Hyperband), 2, ("iterations",), "iterations is 2 and eta 3"),
        (part(parts.Hyperband, skip_last=2), 3, ("search", "skip_last"), "use 0 to 1"),
        (part(parts.Halving, configurations=4, first=3), 3, ("search", "first"), "first is 3, .* for 3 iterations"),
        (part(parts.Asha, configurations=4, first=5), 3, ("search", "first"), "first is 5, .* a smaller `first`"),
        (part(parts.Median, configurations=4, grace=3), 3, ("search", "grace"), "grace is 3"),
        (part(parts.Pbt, configurations=4, every=4), 3, ("search", "every"), "every is 4"),
    ],
)
def test_a_search_that_would_never_decide_is_a_mistake(
    search: Part, iterations: int, path: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SpecError, match=message) as found:
        check(search, iterations)
    assert found.value.path == path


@pytest.mark.parametrize("kind", [parts.Halving, parts.Asha, parts.Median, parts.Pbt])
def test_a_search_that_decides_once_is_none(kind: type[Part]) -> None:
    check(part(kind, configurations=4), 2)
    check(part(parts.Hyperband), 3)
    check(part(parts.Random, configurations=2), 1)
