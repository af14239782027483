"""Draws from spaces: within bounds, uniform on their scale, independent of each other, the same for ever."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.space_rules import normal_space
from modelhopper_contract.spaces import Range, Scale, points, range_of
from modelhopper_scheduler.searches.space import Path, draw, filled, fresh, product, uniform

OPTIMIZERS = [
    {"name": "Adam", "learning_rate": {"log": [1e-4, 1e-1]}, "beta_1": {"log_near_one": [0.5, 0.999]}},
    {"name": "SGD", "learning_rate": {"log": [1e-3, 1.0]}, "momentum": [0.0, 0.9], "nesterov": True},
    "Lion",
]


def space(**given: Any) -> dict[str, Any]:
    return normal_space(given, ranges=True)


@st.composite
def ranges(made: st.DrawFn) -> Range:
    scale: Scale = made(st.sampled_from(["linear", "log", "log_near_one"]))
    if scale != "log_near_one" and made(st.booleans()):
        whole = made(st.integers(1 if scale == "log" else -1000, 1000))
        return Range(scale, whole, whole + made(st.integers(1, 100_000)), is_integer=True)
    least, most = {"linear": (-1e6, 1e6), "log": (1e-12, 1e6), "log_near_one": (0.0, 0.999_999)}[scale]
    low, high = sorted(made(st.lists(st.floats(least, most), min_size=2, max_size=2, unique=True)))
    return Range(scale, low, high)


@given(ranges(), st.floats(0, 1))
def test_values_keep_their_bounds_and_are_whole_where_they_must(of: Range, fraction: float) -> None:
    for value in (of.at(fraction), of.nearest(fraction), of.nearest(fraction * of.high)):
        assert of.low <= value <= of.high
        assert isinstance(value, int) == of.is_integer
        assert json.loads(json.dumps(value)) == value
        assert of.nearest(value) == value


@given(ranges(), st.floats(0, 1), st.floats(0, 1))
def test_values_grow_with_the_fraction(of: Range, one: float, other: float) -> None:
    assert of.at(min(one, other)) <= of.at(max(one, other))
    assert of.at(0) == pytest.approx(of.low, rel=1e-5, abs=1e-5 * (of.high - of.low))
    assert of.at(1) == pytest.approx(of.high, rel=1e-5)


@pytest.mark.parametrize(
    ("of", "fraction", "value"),
    [
        (Range("linear", 0, 1), 1 / 3, 0.333333),
        (Range("log", 1e-4, 1e-1), 1 / 3, 0.001),
        (Range("log", 0.001, 0.1), 0.5, 0.01),
        (Range("log_near_one", 0.9, 0.999), 0.5, 0.99),
        (Range("linear", 1, 4, is_integer=True), 0.2499, 1),
        (Range("linear", 1, 4, is_integer=True), 0.7501, 4),
        (Range("log", 1, 1000, is_integer=True), 0.5, 22),
    ],
)
def test_a_value_is_where_the_scale_says_in_few_digits(of: Range, fraction: float, value: float) -> None:
    assert of.at(fraction) == value


def test_what_is_near_one_keeps_the_digits_of_its_distance() -> None:
    assert Range("log_near_one", 0.9, 0.999_999_9).at(0.9) == 0.999999601893
    assert Range("linear", 1_000_000, 1_000_001).at(0.123_456_78) == 1_000_000.12346


def fractions(of: Range, draws: Sequence[float]) -> list[float]:
    """Return where draws lie on their scale, from 0 to 1."""
    positions: dict[str, Callable[[float], float]] = {
        "linear": float,
        "log": math.log,
        "log_near_one": lambda value: -math.log(1 - value),
    }
    position = positions[of.scale]
    low, high = position(of.low), position(of.high)
    return [(position(value) - low) / (high - low) for value in draws]


@pytest.mark.parametrize("of", [Range("linear", -3, 5), Range("log", 1e-5, 1), Range("log_near_one", 0.5, 0.9999)])
def test_draws_are_uniform_on_the_scale(of: Range) -> None:
    values = space(optimizer=[{"name": "SGD", "x": {of.scale: [of.low, of.high]}}])
    found = sorted(fractions(of, [draw(values, 0, number)["optimizer"]["x"] for number in range(1, 1001)]))
    # Kolmogorov and Smirnov's distance; 0.0515 is exceeded by chance once in a hundred times, and the draws are fixed.
    assert max(abs(value - at / 1000) for at, value in enumerate(found)) < 0.0515


def test_whole_numbers_are_drawn_equally_often_bounds_included() -> None:
    values = space(batch_size={"linear": [1, 5]})
    drawn = [draw(values, 3, number)["batch_size"] for number in range(1, 2001)]
    assert all(330 < drawn.count(size) < 470 for size in (1, 2, 3, 4, 5))
    assert set(drawn) == {1, 2, 3, 4, 5}


def test_two_parameters_draws_are_not_correlated() -> None:
    model = {"name": "deep", "a": {"linear": [0.0, 1.0]}, "b": {"linear": [0.0, 1.0]}, "c": {"linear": [0.0, 1.0]}}
    optimizer = {"name": "SGD", "a": {"linear": [0.0, 1.0]}, "b": {"linear": [0.0, 1.0]}}
    found = [draw(space(model=[model], optimizer=[optimizer]), 0, number) for number in range(1, 501)]
    columns = [
        [one[key][name] for one in found] for key, names in (("model", "abc"), ("optimizer", "ab")) for name in names
    ]
    for one, other in itertools.combinations(columns, 2):
        assert abs(statistics.correlation(one, other)) < 0.12  # by chance once in a hundred times
    for one in columns:
        assert abs(statistics.correlation(one[1:], one[:-1])) < 0.12  # nor with the next configuration's


def test_a_list_s_values_and_a_range_are_not_correlated() -> None:
    values = space(batch_size=[0, 1], epochs={"linear": [1, 1000]})
    found = [draw(values, 0, number) for number in range(1, 501)]
    assert abs(statistics.correlation([one["batch_size"] for one in found], [one["epochs"] for one in found])) < 0.12


def test_a_dictionary_is_drawn_first_and_uniformly_and_has_its_own_parameters_only() -> None:
    found = [draw(space(optimizer=OPTIMIZERS), 1, number)["optimizer"] for number in range(1, 901)]
    by_name = {
        name: [one for one in found if name == one or (one != "Lion" and one["name"] == name)]
        for name in ("Adam", "SGD", "Lion")
    }
    assert all(250 < len(each) < 350 for each in by_name.values())
    assert {tuple(one) for one in by_name["Adam"]} == {("name", "learning_rate", "beta_1")}
    assert {tuple(one) for one in by_name["SGD"]} == {("name", "learning_rate", "momentum", "nesterov")}
    assert set(by_name["Lion"]) == {"Lion"}
    assert all(1e-3 <= one["learning_rate"] <= 1 and one["nesterov"] is True for one in by_name["SGD"])


@given(st.permutations(["model", "optimizer", "batch_size", "epochs"]), st.integers(0, 2**63 - 1), st.integers(1, 999))
def test_a_value_is_the_same_whatever_stands_beside_it(keys: list[str], seed: int, number: int) -> None:
    whole = space(
        model=["a", {"name": "b", "layers": {"linear": [1, 9]}, "rate": {"linear": [0, 0.5]}}],
        optimizer=OPTIMIZERS,
        batch_size={"log": [1, 512]},
        epochs=[1, 2, 3],
    )
    assert draw({key: whole[key] for key in keys}, seed, number) == draw(whole, seed, number)
    assert draw({keys[0]: whole[keys[0]]}, seed, number)[keys[0]] == draw(whole, seed, number)[keys[0]]
    through_json = json.loads(json.dumps(whole, sort_keys=True))
    assert draw(through_json, seed, number) == draw(whole, seed, number)


def test_draws_are_the_same_for_ever() -> None:
    values = space(optimizer=OPTIMIZERS, batch_size={"log": [4, 512]}, epochs=[1, 2])
    assert [draw(values, 0, number) for number in (1, 2, 3)] == [
        {
            "optimizer": {"name": "Adam", "learning_rate": 0.00108049, "beta_1": 0.536166},
            "batch_size": 430,
            "epochs": 2,
        },
        {"optimizer": {"name": "Adam", "learning_rate": 0.00379544, "beta_1": 0.848992}, "batch_size": 95, "epochs": 2},
        {"optimizer": "Lion", "batch_size": 36, "epochs": 1},
    ]
    assert uniform(0, 1, 0, "batch_size") == 0.9649159370219025


def test_zero_is_a_seed_like_any_other() -> None:
    values = space(epochs={"linear": [1, 10**9]})
    assert draw(values, 0, 1) == draw(values, 0, 1)
    assert len({draw(values, seed, 1)["epochs"] for seed in range(50)}) == 50
    assert len({draw(values, 0, number)["epochs"] for number in range(50)}) == 50
    assert len({draw(values, 0, 1, attempt)["epochs"] for attempt in range(50)}) == 50


def test_any_pick_walks_the_space_and_is_asked_only_for_what_varies() -> None:
    asked: list[tuple[Path, Any]] = []

    def last(path: Path, options: Sequence[Any] | Range) -> Any:
        asked.append((path, options))
        return options.high if isinstance(options, Range) else options[-1]

    twice = [{"name": "SGD", "momentum": 0.9}, {"name": "SGD", "momentum": [0.1, 0.2]}]
    found = filled(space(loss="mse", optimizer=twice, batch_size={"linear": [1, 4]}), last)
    assert found == {"loss": "mse", "optimizer": {"name": "SGD", "momentum": 0.2}, "batch_size": 4}
    assert asked == [
        (("optimizer",), twice),
        (("optimizer", "SGD#2", "momentum"), [0.1, 0.2]),
        (("batch_size",), Range("linear", 1, 4, is_integer=True)),
    ]


@given(st.integers(0, 100), st.integers(1, 100))
def test_every_draw_of_lists_is_a_point_of_the_grid(seed: int, number: int) -> None:
    values = space(
        model=["a", {"name": ["b", "c"], "layers": [1, 2]}],
        optimizer=["SGD", {"name": "Adam", "learning_rate": [0.1, 0.2], "schedule": {"name": "x", "y": [1, 2]}}],
        metrics=["accuracy", "AUC"],
        batch_size=[1, 2],
    )
    grid = list(product(values))
    assert len(grid) == points(values) == (1 + 4) * (1 + 2) * 2
    assert draw(values, seed, number) in grid


def test_points_are_counted_and_endless_where_a_range_has_fractions() -> None:
    assert points(space(batch_size={"linear": [1, 8]}, epochs={"log": [2, 4]})) == 24
    assert points(space(optimizer=OPTIMIZERS)) == math.inf
    assert points({}) == 1


def test_a_draw_that_is_not_new_is_drawn_again_and_at_last_given_up() -> None:
    values = space(batch_size=[1, 2, 3])
    taken: list[int] = []
    for number in (1, 2, 3):
        found = fresh(values, 0, number, lambda choice: choice["batch_size"] not in taken)
        assert found is not None
        taken.append(found["batch_size"])
    assert sorted(taken) == [1, 2, 3]
    assert fresh(values, 0, 4, lambda choice: choice["batch_size"] not in taken) is None


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"integer": True},
        {"linear": [1, 2, 3]},
        {"linear": ["mse", "mae"]},
        {"log": [1, 2], "x": 1},
        {"a": [1, 2]},
        [1, 2],
    ],
)
def test_what_is_no_range_is_a_value(given: Any) -> None:
    assert range_of(given) is None
