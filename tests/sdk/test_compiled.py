"""What a run says of how its configurations are compiled."""

from __future__ import annotations

from modelhopper.display.compiled import chosen, summary, words
from modelhopper_contract.messages import Chosen
from modelhopper_contract.records import Measurement, Program
from tests.scheduler.measured import kind, measurement, variant

XLA = Program(jit_compile=True)


def told(known: Measurement, programs: dict[int, Program], *, is_timed: bool = True) -> list[str]:
    return chosen(Chosen(measurement=known, programs=programs), is_timed=is_timed)


def all_of(numbers: range, program: Program) -> dict[int, Program]:
    return dict.fromkeys(numbers, program)


def test_a_fused_run_is_told_in_one_line_with_what_it_gains() -> None:
    known = measurement(
        kind(range(1, 7), variant(1.0), variant(0.4, lanes=3)), kind(range(7, 13), variant(2.0), variant(0.75, lanes=3))
    )
    programs = all_of(range(1, 13), Program(lanes=3))
    assert told(known, programs) == ["12 configurations train 3 at a time (fused): measured 2.6 times as fast"]
    assert told(known, programs, is_timed=False) == ["12 configurations train 3 at a time (fused)"]


def test_empty_lanes_count() -> None:
    known = measurement(kind(range(1, 6), variant(1.0), variant(0.5, lanes=4)))
    assert told(known, all_of(range(1, 6), Program(lanes=4))) == [
        "5 configurations train 4 at a time (fused): measured 1.2 times as fast"
    ]


def test_who_trains_alone_is_told_why_once() -> None:
    known = measurement(
        kind([1, 2], variant(1.0), variant(None, lanes=2)),
        kind([3, 4, 5], variant(1.0), variant(None, lanes=3)),
        kind([6], variant(1.0)),
        kind([7, 8], variant(1.0), variant(0.5, lanes=2)),
    )
    programs = {**all_of(range(1, 7), Program()), **all_of(range(7, 9), Program(lanes=2))}
    assert told(known, programs) == [
        "2 configurations train 2 at a time (fused): measured 2.0 times as fast",
        "5 configurations train alone: the model has its own train_step",
    ]
    slower = measurement(kind([1, 2], variant(1.0), variant(0.9, lanes=2)))
    assert told(slower, all_of(range(1, 3), Program())) == [
        "2 configurations train alone: that was measured to end sooner"
    ]


def test_precision_and_xla_are_told() -> None:
    known = measurement(
        kind([1, 2], variant(1.0), variant(0.5, jit_compile=True)),
        kind([3], variant(1.0), variant(0.8, precision="mixed_bfloat16")),
    )
    half = Program(precision="mixed_bfloat16")
    assert told(known, {1: XLA, 2: XLA, 3: half}) == [
        "2 configurations train alone, with XLA: measured 2.0 times as fast",
        "1 configuration trains alone, in mixed_bfloat16: measured 1.2 times as fast",
    ]
    assert told(known, all_of(range(1, 4), Program())) == []


def test_only_those_that_are_new_are_told() -> None:
    known = measurement(
        kind([1, 2], variant(1.0), variant(0.5, lanes=2)), kind([3, 4], variant(1.0), variant(0.4, lanes=2))
    )
    assert told(known, all_of(range(3, 5), Program(lanes=2))) == [
        "2 configurations train 2 at a time (fused): measured 2.5 times as fast"
    ]


def test_the_results_of_a_run_say_how_it_was_compiled() -> None:
    fused = Program(lanes=4, jit_compile=True, precision="mixed_float16")
    assert words(fused) == "train 4 at a time (fused), in mixed_float16, with XLA"
    assert summary([Program(), Program()]) == ""
    assert summary([XLA, fused, fused, Program()]).split("; ") == [
        "2 configurations trained 4 at a time (fused), in mixed_float16, with XLA",
        "1 configuration trained alone, with XLA",
    ]
