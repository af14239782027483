from __future__ import annotations

import io
import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from modelhopper.display.live import view
from modelhopper.display.plain import Pace, told
from modelhopper.display.progress import Earlier, Progress
from modelhopper.display.sentences import beginning, best, devices, frame, framed, hops, summary
from modelhopper.display.words import duration, metric, percent
from modelhopper_contract.messages import Built, Ended, Evaluated, Event, Idle, Started, Trained
from modelhopper_contract.records import Configuration, Failure, History, Outcome
from modelhopper_contract.ring import Ring
from modelhopper_contract.stores.memory import MemoryStore
from tests.sdk.synthetic import SyntheticRun

RING = Ring(shards=4, iterations=10, evaluate_every=5)


def configuration(number: int, cost: float = 1.0) -> Configuration:
    compiled = {"optimizer": {"name": "Adam"}, "loss": "mse", "metrics": ["accuracy"]}
    return Configuration(number=number, name="small", model="small", parameters={}, compile=compiled, fit={}, cost=cost)


def begun(configurations: int = 3, stations: int = 2, **rest: Any) -> Progress:
    return Progress.of([configuration(n + 1) for n in range(configurations)], RING, stations, 100.0, **rest)


def started(station: int, number: int, hop: int, action: Any = "train") -> Started:
    return Started(action=action, station=station, configuration=number, hop=hop)


def trained(station: int, number: int, first_hop: int, end_hop: int) -> Trained:
    return Trained(station=station, configuration=number, first_hop=first_hop, end_hop=end_hop, loss=1.0, busy_s=1.0)


def evaluated(number: int, iteration: int, accuracy: float) -> Evaluated:
    values = {"accuracy": accuracy, "loss": 1.0}
    return Evaluated(history=History(configuration=number, iteration=iteration, training=values, validation=values))


def failed(number: int, hop: int) -> Ended:
    failure = Failure(reason="loss is NaN", hop=hop, shard=0, station=0, traceback=None, output=None)
    return Ended(outcome=Outcome(configuration=number, state="failed", hops=hop, failure=failure))


def finished(number: int) -> Ended:
    return Ended(outcome=Outcome(configuration=number, state="finished", hops=40))


def after(progress: Progress, events: Iterable[tuple[float, Event]]) -> Progress:
    for at_s, event in events:
        progress = progress.heard(event, at_s)
    return progress


def picture(progress: Progress, now_s: float, width: int = 80, height: int = 24, **rest: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(view(progress, now_s, width, height, **rest))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_hops_of_a_stay_are_counted_together() -> None:
    progress = after(begun(), [(101, started(0, 1, 0)), (102, trained(0, 1, 0, 3))])
    assert (progress.hops_done, progress.hops) == (3, 120)


def test_work_that_is_done_twice_counts_once() -> None:
    progress = after(begun(), [(102, trained(0, 1, 0, 3)), (103, trained(1, 1, 1, 2)), (104, trained(0, 1, 0, 3))])
    assert progress.hops_done == 3


def test_a_run_that_goes_on_counts_what_was_done_before() -> None:
    progress = begun(earlier=Earlier(done={1: 40, 2: 7}, outcomes={1: finished(1).outcome}))
    assert (progress.hops_done, progress.finished) == (47, 1)
    assert beginning(progress) == "going on from hop 47 of 120"
    assert beginning(begun()) == ""


def test_the_hops_that_a_failed_configuration_will_not_do_are_not_waited_for() -> None:
    progress = after(begun(), [(101, trained(0, 1, 0, 3)), (102, failed(1, 3))])
    assert (progress.hops_done, progress.hops) == (3, 83)
    assert hops(progress, 102) == "hops 3 of 83, 1 failed"


def test_a_station_is_busy_from_a_start_until_it_is_idle() -> None:
    events: list[tuple[float, Event]] = [
        (110, started(0, 1, 0)),
        (110, started(1, 2, 0)),
        (114, trained(1, 2, 0, 1)),
        (115, Idle(station=1)),
    ]
    progress = after(begun(), events)
    assert progress.busy_share(120, 0) == pytest.approx(1.0)
    assert progress.busy_share(120, 1) == pytest.approx(0.5)
    assert progress.busy_share(120) == pytest.approx(0.75)


def test_time_before_the_first_hop_is_neither_busy_nor_idle() -> None:
    progress = after(begun(), [(150, started(0, 1, 0))])
    assert progress.elapsed_s(152) == pytest.approx(2.0)
    assert begun().busy_share(150) == 0


def test_the_time_left_follows_from_the_work_done() -> None:
    progress = after(begun(4), steady(4, rounds=2))
    assert progress.left_s(progress.last_s) == pytest.approx((160 - 8) / 2)
    assert progress.left_s(progress.last_s + 10) == pytest.approx((160 - 8) / 2 - 10)


def test_the_time_left_weighs_hops_by_cost() -> None:
    costs = Built(configuration=1, cost=3.0), Built(configuration=2, cost=1.0)
    progress = after(begun(2, stations=1), [(100, built) for built in costs])
    events: list[tuple[float, Event]] = []
    at_s = 100.0
    for hop in range(4):
        for number, cost_s in ((1, 3.0), (2, 1.0)):
            events += [(at_s, started(0, number, hop)), (at_s + cost_s, trained(0, number, hop, hop + 1))]
            at_s += cost_s
    progress = after(progress, events)
    assert progress.left_s(at_s) == pytest.approx(36 * 3 + 36 * 1)


def test_a_run_lasts_as_long_as_its_longest_configuration() -> None:
    earlier = Earlier(done={1: 0, 2: 40, 3: 40}, outcomes={2: finished(2).outcome, 3: finished(3).outcome})
    progress = begun(3, stations=2, earlier=earlier)
    events: list[tuple[float, Event]] = []
    for hop in range(13):
        events += [(100.0 + hop, started(hop % 2, 1, hop)), (101.0 + hop, trained(hop % 2, 1, hop, hop + 1))]
        events += [(101.0 + hop, Idle(station=hop % 2))]
    progress = after(progress, events)
    assert progress.left_s(113.0) == pytest.approx(27.0)


def test_the_time_that_programs_take_to_start_does_not_count_for_the_rest() -> None:
    slow = after(begun(4), steady(4, rounds=3, first_s=50.0))
    assert slow.left_s(slow.last_s) == pytest.approx((160 - 12) / 2)


def test_nothing_is_said_about_the_time_left_too_early() -> None:
    assert after(begun(), [(101, started(0, 1, 0)), (102, trained(0, 1, 0, 1))]).left_s(102) is None


def steady(configurations: int, rounds: int, first_s: float = 1.0) -> list[tuple[float, Event]]:
    """Two stations, each with half of the configurations; a hop takes a second, the first of each `first_s`."""
    events: list[tuple[float, Event]] = []
    for station in range(2):
        at_s = 100.0
        for hop in range(rounds):
            for number in range(1 + station, configurations + 1, 2):
                events.append((at_s, started(station, number, hop)))
                at_s += first_s if hop == 0 else 1.0
                events.append((at_s, trained(station, number, hop, hop + 1)))
    return sorted(events, key=lambda event: event[0])


def test_the_best_is_by_the_newest_evaluation() -> None:
    progress = after(begun(), [(101, evaluated(1, 5, 0.9)), (102, evaluated(2, 5, 0.8)), (103, evaluated(1, 10, 0.7))])
    assert best(progress) == "best: configuration 2, validation accuracy 0.800"


def test_the_objective_may_be_better_when_lower() -> None:
    progress = begun(objective="training loss")
    history = History(configuration=3, iteration=5, training={"loss": 0.5}, validation=None)
    progress = after(progress, [(101, evaluated(1, 5, 0.9)), (102, Evaluated(history=history))])
    assert best(progress) == "best: configuration 3, training loss 0.500"


def test_a_value_that_is_no_number_is_never_the_best() -> None:
    progress = after(begun(), [(101, evaluated(1, 5, float("nan")))])
    assert best(progress) == ""


def test_an_objective_that_is_not_recorded_does_not_end_the_run() -> None:
    progress = after(begun(objective="validation acuracy"), [(101, evaluated(1, 5, 0.9))])
    assert best(progress) == "best: configuration 1, validation accuracy 0.900"


def test_the_summary_tells_time_since_the_first_hop() -> None:
    events: list[tuple[float, Event]] = [
        (110, started(0, 1, 0)),
        (113, trained(0, 1, 0, 40)),
        (116, finished(1)),
        (120, failed(2, 0)),
    ]
    progress = after(begun(2, stations=1), events)
    assert summary(progress) == "1 of 2 finished in 10 s; stations were busy 100 % of it"


def test_the_summary_of_a_run_that_went_on_tells_only_its_own_part() -> None:
    progress = begun(1, stations=1, earlier=Earlier(done={1: 30}))
    progress = after(progress, [(110, started(0, 1, 30)), (115, trained(0, 1, 30, 40)), (115, finished(1))])
    assert summary(progress) == "1 of 1 finished, the last 10 hops in 5.0 s; stations were busy 100 % of it"


def test_the_frame_says_one_and_many() -> None:
    assert frame("iris", 12, 10, 4) == "iris: 12 configurations, 10 iterations, 4 shards: 480 hops"
    assert frame("one", 1, 1, 1) == "one: 1 configuration, 1 iteration, 1 shard: 1 hop"
    assert devices([None, None]) == "2 stations"
    assert devices(["0"]) == "1 GPU"
    assert devices(["0", "1", "0", "1"]) == "4 stations that share 2 GPUs"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0.0 s"), (0.84, "0.8 s"), (42.4, "42 s"), (192, "3 m 12 s"), (15900, "4 h 25 m"), (183600, "2 d 3 h")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_numbers_are_short() -> None:
    assert [metric(value) for value in (0.0, 0.96666, 12.5, 0.000012, 1234567.0)] == [
        *("0.000", "0.967", "12.500", "1.2e-05", "1.23e+06"),
    ]
    assert [percent(share) for share in (0.0, 0.957, 1.2)] == ["0 %", "96 %", "100 %"]


def said(progress: Progress, events: Iterable[tuple[float, Event]]) -> list[str]:
    pace, lines = Pace(), []
    for at_s, event in events:
        before, progress = progress, progress.heard(event, at_s)
        new, pace = told(before, progress, event, pace)
        lines += new
    return lines


def test_plain_lines_tell_the_preparation_once() -> None:
    events: list[tuple[float, Event]] = [(100.5 + n, Built(configuration=n + 1)) for n in range(3)]
    assert said(begun(), events) == ["built 3 configurations in 2.5 s"]


def test_plain_lines_tell_evaluations_at_most_twice_a_second() -> None:
    events: list[tuple[float, Event]] = [(100 + n / 10, evaluated(1 + n % 3, 5, n / 10)) for n in range(10)]
    assert said(begun(), events) == [
        "configuration 1: iteration 5 of 10, validation accuracy 0.000, in the lead",
        "configuration 3: iteration 5 of 10, validation accuracy 0.500, in the lead",
    ]


def test_plain_lines_always_tell_failures() -> None:
    events: list[tuple[float, Event]] = [(100 + n / 100, failed(n + 1, 3)) for n in range(3)]
    assert said(begun(), events) == [f"configuration {n} failed at hop 3: loss is NaN" for n in (1, 2, 3)]


@given(st.lists(st.floats(0.001, 5.0), min_size=1, max_size=200))
def test_plain_lines_tell_how_far_at_most_every_two_seconds(gaps_s: list[float]) -> None:
    at_s, told_s, pace = 100.0, [100.0], Pace()
    progress = begun(1).heard(started(0, 1, 0), at_s)
    for gap_s in gaps_s:
        at_s += gap_s
        before, progress = progress, progress.heard(trained(0, 1, 0, 1), at_s)
        lines, pace = told(before, progress, trained(0, 1, 0, 1), pace)
        told_s += [at_s] * len(lines)
    assert all(after_s - before_s >= 2 for before_s, after_s in itertools.pairwise(told_s))


def test_a_log_of_a_long_run_is_short() -> None:
    events: list[tuple[float, Event]] = [(100.0 + second, started(0, 1, 0)) for second in range(36000)]
    assert len(said(begun(), events)) < 700


def test_a_terminal_shows_each_station_and_the_best() -> None:
    events: list[tuple[float, Event]] = [
        (110, started(0, 1, 22)),
        (110, started(1, 2, 20, "evaluate")),
        (111, evaluated(2, 5, 0.967)),
        (112, Idle(station=1)),
        (112, started(0, 1, 23)),
    ]
    lines = picture(after(begun(), events), 114)
    assert lines[0].startswith("  station 0  ━")
    assert "configuration 1, iteration 6 of 10" in lines[0]
    assert lines[0].rstrip().endswith("busy 100 %")
    assert "waiting" in lines[1]
    assert lines[1].rstrip().endswith("busy  50 %")
    assert lines[2].rstrip() == "  hops 0 of 120    best: configuration 2, validation accuracy 0.967"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    progress = begun(12, stations=2, earlier=Earlier(done={12: 33}))
    progress = after(progress, [(110, started(0, 12, 33)), (110, started(1, 11, 0)), (112, evaluated(11, 10, 0.123))])
    lines = picture(progress, 3000, width)
    assert max(len(line.rstrip()) for line in lines) <= width
    assert len(lines) <= 4


def test_a_low_terminal_shows_some_stations_and_how_many_more() -> None:
    progress = after(begun(3, stations=16), [(110, started(0, 1, 0))])
    lines = picture(progress, 111, height=10)
    assert len(lines) <= 9
    assert "  and 11 more stations" in [line.rstrip() for line in lines]


def test_a_terminal_shows_the_preparation() -> None:
    assert picture(begun(), 103)[0].rstrip() == "  starting 2 stations, 3.0 s"
    progress = after(begun(), [(104, Built(configuration=1))])
    assert picture(progress, 105)[0].rstrip() == "  built 1 of 3 configurations, 5.0 s"
    assert picture(progress, 105, is_stopping=True)[0].rstrip() == "  stopping; what is done is safe"


def stopped(number: int, hops: int, trained: int) -> Ended:
    outcome = Outcome(configuration=number, state="stopped", hops=hops, trained=trained, reason="no better")
    return Ended(outcome=outcome)


def test_the_hops_that_a_stopped_configuration_will_not_do_are_not_waited_for() -> None:
    progress = after(begun(), [(101, trained(0, 1, 0, 12)), (102, stopped(1, 4, 12))])
    assert (progress.hops_done, progress.hops, progress.stopped) == (12, 92, 1)
    assert hops(progress, 102) == "hops 12 of 92, 1 stopped"
    assert summary(progress).startswith("0 of 3 finished, 1 stopped")


def test_a_stopped_configuration_counts_with_its_result() -> None:
    events: list[tuple[float, Event]] = [
        (101, evaluated(2, 1, 0.6)),
        (102, evaluated(1, 1, 0.9)),
        (103, evaluated(1, 2, 0.5)),
    ]
    progress = after(begun(), events)
    assert progress.best == (2, 0.6)
    progress = after(progress, [(104, stopped(1, 4, 8))])
    assert progress.best == (1, 0.9)
    assert after(progress, [(105, evaluated(1, 3, 0.1))]).best == (1, 0.9)


def test_an_end_that_is_told_twice_is_said_once() -> None:
    progress, pace = begun(), Pace()
    said = []
    for at_s, event in enumerate([stopped(1, 4, 12), stopped(1, 4, 12), failed(2, 3), failed(2, 3)], start=110):
        now = progress.heard(event, at_s)
        lines, pace = told(progress, now, event, pace)
        said += [line for line in lines if line.startswith("configuration")]
        progress = now
    assert said == ["configuration 1 stopped: no better", "configuration 2 failed at hop 3: loss is NaN"]


def test_while_a_search_decides_nobody_says_how_much_time_is_left() -> None:
    decided: Any = Earlier(is_decided=False)
    progress = after(begun(earlier=decided), [(200, finished(n)) for n in (1, 2, 3)])
    assert not progress.is_complete
    assert progress.left_s(200) is None


def test_hops_that_a_search_may_add_to_are_said_to_be_at_least_so_many() -> None:
    progress = begun(earlier=Earlier(done={1: 4}, limits={1: 1, 2: 1, 3: 1}, is_decided=False))
    assert hops(progress, 102).startswith("hops 4 of at least ")
    assert beginning(progress).startswith("going on from hop 4 of at least ")


def test_hops_that_were_copied_are_not_counted_as_done() -> None:
    copies = [one.model_copy(update={"first_hop": 4}) for one in begun().configurations]
    progress = replace(begun(earlier=Earlier(done={1: 10, 2: 4, 3: 4})), configurations=tuple(copies))
    assert (progress.hops_before, progress.hops_done) == (6, 6)


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (
            {"method": "halving", "configurations": 4, "eta": 2},
            "4 configurations, up to 4 iterations, 2 shards: 16 hops",
        ),
        ({"method": "asha", "configurations": 4}, "search asha, 4 configurations, up to 4 iterations, 2 shards"),
        ({"method": "pbt", "configurations": 4}, "search pbt, up to 4 iterations, 2 shards"),
    ],
)
def test_the_frame_of_a_judged_run_says_what_is_known(search: dict[str, Any], said: str) -> None:
    written = SyntheticRun(MemoryStore()).specification
    space = {"batch_size": {"linear": [1, 100]}}
    experiment = written.experiment.model_dump() | {"search": search | {"space": space}, "iterations": 4}
    specification = written.model_copy(
        update={"experiment": type(written.experiment).model_validate(experiment), "shards": 2, "rungs": (1, 2)}
    )
    assert framed(specification, 4).split(": ", 1)[1].startswith(said)
