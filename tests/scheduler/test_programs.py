"""How configurations are compiled: chosen by a measurement, purely, and the same for whoever computes it again."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.experiment import Experiment
from modelhopper_contract.records import Configuration, Measurement, Program
from modelhopper_scheduler.programs import alone, by_model, chosen, convoys, merged, must_measure
from tests.scheduler.measured import compiled, kind, measurement, variant
from tests.scheduler.planned import specification


def experiment(fuse: Any = False, iterations: int = 10) -> Experiment:
    return specification(fuse=fuse, iterations=iterations).experiment


def lanes(found: dict[int, Program]) -> list[int]:
    return [found[number].lanes for number in sorted(found)]


SIX = [compiled(number) for number in range(1, 7)]


def test_nothing_is_measured_where_nothing_is_open() -> None:
    asked = [compiled(1, jit_compile=True, precision="mixed_float16")]
    assert not must_measure(experiment(), [*SIX, *asked])
    assert chosen(experiment(), [*SIX, *asked], None, 2, 4) == {
        **{one.number: Program() for one in SIX},
        1: Program(jit_compile=True, precision="mixed_float16"),
    }


@pytest.mark.parametrize("asked", [{"jit_compile": "auto"}, {"precision": "auto"}])
def test_what_is_open_is_measured(asked: dict[str, Any]) -> None:
    assert must_measure(experiment(), [*SIX, compiled(7, **asked)])
    assert must_measure(experiment(fuse=2), SIX)
    assert must_measure(experiment(fuse="auto"), SIX)
    assert not must_measure(experiment(fuse=2), SIX[:1])


def test_a_number_is_taken_whether_it_is_faster_or_not() -> None:
    known = measurement(kind(range(1, 7), variant(1.0), variant(1.5, lanes=4)))
    assert lanes(chosen(experiment(fuse=4), SIX, known, 2, 4)) == [4] * 6


def test_what_was_found_wrong_is_not_taken() -> None:
    known = measurement(kind([1, 2, 3], variant(1.0), variant(None, lanes=3)), kind([4, 5, 6], variant(1.0)))
    for fuse in (3, "auto"):
        assert lanes(chosen(experiment(fuse), SIX, known, 1, 4)) == [1] * 6


def test_auto_takes_what_lets_the_run_end_first() -> None:
    """Twelve lanes take half as long for each, but then eleven of twelve stations have nothing to do."""
    twelve = [compiled(number) for number in range(1, 13)]
    known = measurement(
        kind(range(1, 13), variant(1.0), variant(0.3, lanes=12), variant(0.4, lanes=6), variant(0.5, lanes=3))
    )

    def taken(stations: int) -> int:
        return lanes(chosen(experiment("auto"), twelve, known, stations, 12))[0]

    assert [taken(stations) for stations in (1, 2, 4, 12)] == [12, 6, 3, 1]


def test_auto_trains_alone_where_that_is_as_fast() -> None:
    known = measurement(kind(range(1, 7), variant(1.0), variant(1.0, lanes=6)))
    assert lanes(chosen(experiment("auto"), SIX, known, 1, 4)) == [1] * 6


def test_auto_counts_lanes_that_stay_empty() -> None:
    """Six in lanes of four make two convoys, of which the second takes as long as the first."""
    known = measurement(kind(range(1, 7), variant(1.0), variant(0.8, lanes=4)))
    assert lanes(chosen(experiment("auto"), SIX, known, 1, 4)) == [1] * 6


def test_auto_counts_what_a_program_takes_to_compile() -> None:
    known = measurement(kind(range(1, 7), variant(0.001), variant(0.0005, lanes=6, compile_s=10.0)))
    assert lanes(chosen(experiment("auto", iterations=1), SIX, known, 1, 4)) == [1] * 6
    assert lanes(chosen(experiment("auto", iterations=10_000), SIX, known, 1, 4)) == [6] * 6


def test_kinds_are_weighed_together() -> None:
    """A long configuration keeps one station busy anyway, so the short ones may share the other one."""
    known = measurement(
        kind([1], variant(12.0)), kind(range(2, 7), variant(1.0), variant(0.4, lanes=5), variant(0.3, lanes=3))
    )
    assert lanes(chosen(experiment("auto"), SIX, known, 2, 4))[1:] == [3] * 5


def test_what_auto_comes_to_is_the_same_for_a_model() -> None:
    """XLA gains with one optimizer and loses more with the other; a third model is for itself."""
    asked = [compiled(number, "deep" if number == 3 else "small", jit_compile="auto") for number in (1, 2, 3)]
    known = measurement(
        kind([1], variant(1.0), variant(0.8, jit_compile=True)),
        kind([2], variant(1.0), variant(2.0, jit_compile=True)),
        kind([3], variant(1.0), variant(0.5, jit_compile=True)),
    )
    found = chosen(experiment(), asked, known, 1, 4)
    assert [found[number].jit_compile for number in (1, 2, 3)] == [False, False, True]


def test_what_the_user_wrote_holds_also_where_it_could_not_be_measured() -> None:
    asked = [compiled(number, jit_compile=True, precision="auto") for number in (1, 2)]
    known = measurement(kind([1, 2], variant(1.0), variant(None, jit_compile=True)))
    assert chosen(experiment(), asked, known, 1, 4) == dict.fromkeys((1, 2), Program(jit_compile=True))
    assert chosen(experiment(2), asked, known, 1, 4) == dict.fromkeys((1, 2), Program(jit_compile=True))


def test_lanes_and_precision_are_chosen_together() -> None:
    asked = [compiled(number, precision="auto") for number in (1, 2)]
    known = measurement(
        kind(
            [1, 2],
            variant(1.0),
            variant(0.9, precision="mixed_bfloat16"),
            variant(0.5, lanes=2),
            variant(0.2, lanes=2, precision="mixed_bfloat16"),
        )
    )
    best = Program(lanes=2, precision="mixed_bfloat16")
    assert set(chosen(experiment("auto"), asked, known, 1, 4).values()) == {best}
    assert set(chosen(experiment(2), asked, known, 1, 4).values()) == {best}


def test_who_starts_later_trains_alone_as_the_first_of_its_model_is_compiled() -> None:
    program = Program(lanes=4, jit_compile=True, precision="mixed_bfloat16")
    first = [one.model_copy(update={"program": program}) for one in SIX]
    like = by_model(reversed(first))["small"]
    later = compiled(9, jit_compile="auto", precision="float32")
    assert alone(later, like) == Program(jit_compile=True)
    assert alone(later) == Program()


def with_lanes(one: Configuration, lanes: int) -> Configuration:
    return one.model_copy(update={"program": Program(lanes=lanes)})


def test_convoys_are_full_but_for_the_last_of_a_kind() -> None:
    known = measurement(kind([1, 2, 4, 5, 6], variant(1.0)), kind([3], variant(1.0)))
    found = convoys([with_lanes(one, 1 if one.number == 3 else 2) for one in SIX], known)
    assert found == [[1, 2], [4, 5], [6], [3]]
    assert convoys(SIX, None) == [[number] for number in range(1, 7)]


@st.composite
def measured(draw: st.DrawFn) -> tuple[list[Configuration], Measurement]:
    numbers = list(range(1, draw(st.integers(1, 12)) + 1))
    kinds, rest = [], numbers
    while rest:
        size = draw(st.integers(1, len(rest)))
        seconds = st.none() | st.floats(0.01, 10)
        tried = [variant(draw(seconds), lanes) for lanes in (8, 4, 2) if lanes <= size]
        kinds.append(kind(rest[:size], variant(draw(st.floats(0.01, 10))), *tried))
        rest = rest[size:]
    models = draw(st.lists(st.sampled_from(["small", "deep"]), min_size=len(numbers), max_size=len(numbers)))
    return [compiled(number, model) for number, model in zip(numbers, models, strict=True)], measurement(*kinds)


@given(measured(), st.integers(1, 8), st.sampled_from([False, 2, 8, "auto"]), st.randoms(use_true_random=False))
def test_the_same_measurement_gives_the_same_choice(
    given_: tuple[list[Configuration], Measurement], stations: int, fuse: Any, shuffled: random.Random
) -> None:
    configurations, known = given_
    found = chosen(experiment(fuse), configurations, known, stations, 4)
    assert found.keys() == {one.number for one in configurations}
    told = list(configurations)
    shuffled.shuffle(told)
    assert chosen(experiment(fuse), told, known, stations, 4) == found
    for one in known.kinds:
        programs = {found[number] for number in one.configurations}
        assert len(programs) == 1  # of a kind
        assert programs <= {v.program for v in one.variants if v.seconds is not None}


@given(measured(), st.integers(1, 8))
def test_auto_never_takes_longer_than_training_alone(
    given_: tuple[list[Configuration], Measurement], stations: int
) -> None:
    configurations, known = given_
    found = chosen(experiment("auto"), configurations, known, stations, 4)

    def length(programs: dict[int, Program]) -> float:
        costs = []
        for one in known.kinds:
            program = programs[one.configurations[0]]
            seconds = next(v.seconds for v in one.variants if v.program == program)
            assert seconds is not None
            costs += [program.lanes * seconds] * -(-len(one.configurations) // program.lanes)
        return max(sum(costs) / stations, *costs)

    assert length(found) <= length(chosen(experiment(), configurations, known, stations, 4)) * (1 + 1e-9)


def test_configurations_that_come_later_are_kinds_of_their_own() -> None:
    before = measurement(kind([1, 2], variant(1.0), variant(0.5, lanes=2)))
    after = measurement(kind([3, 4], variant(1.0), variant(0.5, lanes=2)))
    both = merged(before, after)
    assert [one.configurations for one in both.kinds] == [(1, 2), (3, 4)]
    assert convoys([with_lanes(one, 2) for one in SIX[:4]], both) == [[1, 2], [3, 4]]
