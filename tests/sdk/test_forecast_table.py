"""Claims about how a prediction reads."""

from __future__ import annotations

import pytest

from modelhopper.display.forecast_table import from_journal, headline, hop_line, table
from modelhopper.display.sentences import frame
from modelhopper_contract.cluster import Resources, Shape
from modelhopper_contract.ring import Ring
from modelhopper_scheduler.forecast import Forecast, Times, Workload, choose, forecasts

CIFAR = Ring(shards=16, iterations=10, evaluate_every=10)
GPUS = Resources()


def predicted(shape: Shape, pods: int, makespan_s: float, workflows: int = 1, convoy: int = 1) -> Forecast:
    return Forecast(shape, convoy, pods, workflows, Times(makespan_s, 0.48, 0.01, 8640.0))


FOUND = [
    predicted("hop", 15_360, 15_900.0, 16),
    predicted("convoy", 2_560, 10_320.0, 3, convoy=6),
    predicted("station", 16, 8_940.0),
]


def test_the_headline_says_what_is_to_be_done_and_on_what() -> None:
    assert headline(frame("cifar", 96, CIFAR.iterations, CIFAR.shards), 16, GPUS) == (
        "cifar: 96 configurations, 10 iterations, 16 shards: 15,360 hops on 16 GPUs (nvidia.com/gpu)"
    )


@pytest.mark.parametrize(
    ("resources", "where"),
    [
        (Resources(gpu=None), "4 pods without GPUs"),
        (Resources(gpus=2), "4 pods of 2 GPUs (nvidia.com/gpu)"),
        (Resources(gpu="amd.com/gpu"), "4 GPUs (amd.com/gpu)"),
    ],
)
def test_the_headline_names_the_devices(resources: Resources, where: str) -> None:
    assert headline(frame("iris", 1, 1, 4), 4, resources).endswith(f" 4 hops on {where}")


def test_a_hops_time_is_told_with_where_it_is_known_from() -> None:
    assert hop_line(9.4) == "a hop trains 9.4 s (stated)"
    assert hop_line(0.012, from_journal(1204)) == "a hop trains 12 ms (measured: 1,204 hops of this run)"


def test_what_to_do_about_an_unknown_time_is_told() -> None:
    assert hop_line(None) == "how long a hop trains is not known: give --hop-seconds, or --measure"


def test_the_table_has_a_row_per_shape_and_the_bound() -> None:
    assert table(FOUND, FOUND[2]).splitlines() == [
        "  shape       pods    makespan    overhead    idle",
        "  hop       15,360    4 h 25 m        48 %     1 %    16 workflows, one after another",
        "  convoy 6   2,560    2 h 52 m        48 %     1 %    3 workflows, one after another",
        "  station       16    2 h 29 m        48 %     1 %    ← chosen",
        "  bound               2 h 24 m",
    ]


def test_the_users_own_choice_is_marked_as_such() -> None:
    lines = table(FOUND, FOUND[1], is_asked=True).splitlines()
    assert [line.partition("←")[2] for line in lines if "←" in line] == [" as asked; 3 workflows, one after another"]


def test_without_times_the_table_tells_pods() -> None:
    found = forecasts(Workload(CIFAR, 96, 16, pod_s=8.0))
    assert table(found, choose(found)).splitlines() == [
        "  shape       pods",
        "  hop       15,360",
        "  convoy 6   2,560",
        "  station       16    ← chosen",
    ]
