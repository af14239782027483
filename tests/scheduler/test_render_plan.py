from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import UserError
from modelhopper_scheduler.render.plan import MOST_PODS, Expected, Plan, Windows


def plan(shape: Any = "hop", **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "convoy": 3,
        "stations": 4,
        "configurations": 12,
        "shards": 4,
        "validation_shards": 1,
        "hops": 40,
    }
    return Plan(experiment="iris", shape=shape, **{**values, **changes})


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    return plan(
        draw(st.sampled_from(["hop", "convoy"])),
        convoy=draw(st.integers(1, 20)),
        configurations=draw(st.integers(1, 5000)),
        shards=draw(st.integers(1, 200)),
        hops=draw(st.integers(1, 3000)),
        most_pods=draw(st.integers(203, 2000)),
    )


@given(plans())
def test_no_workflow_has_more_pods_than_it_may(one: Plan) -> None:
    windows = one.windows()
    assert windows.most_chains * windows.most_hops + one.shards + 2 <= one.most_pods


@given(plans(), st.data())
def test_the_workflows_are_enough_however_the_configurations_are_spread(one: Plan, data: st.DataObject) -> None:
    starts = data.draw(st.integers(0, min(one.shards, one.configurations) - 1))
    # All configurations but a few start at one shard: the most uneven spread for the number of convoys.
    counts = [one.configurations - starts] + [1] * starts
    chains = sum(-(-count // one.together) for count in counts)
    windows = one.windows()
    rounds = -(-chains // windows.most_chains) * -(-one.hops // windows.most_hops)
    assert rounds <= windows.workflows


@given(plans())
def test_all_chains_go_at_once_where_they_fit(one: Plan) -> None:
    windows = one.windows()
    if one.configurations <= one.most_pods - one.shards - 2:
        assert windows.workflows == -(-one.hops // windows.most_hops)


def test_the_iris_example_is_one_workflow() -> None:
    assert plan().windows() == Windows(1, 24, 40)
    assert plan().pods() == 12 * 40 + 4 + 2


def test_a_convoy_takes_fewer_pods() -> None:
    assert plan("convoy").pods() == 4 * 40 + 4 + 2


def test_more_chains_than_fit_are_divided_evenly() -> None:
    assert plan(configurations=2000).windows() == Windows(3 * 40, 994, 1)


def test_stations_are_one_workflow_without_chains() -> None:
    assert plan("station").windows() == Windows(1, 0, 0)
    assert plan("station").pods() == 6


@pytest.mark.parametrize("changes", [{"shards": MOST_PODS - 2}, {"shape": "station", "stations": MOST_PODS - 1}])
def test_too_many_pods_at_once_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"need 1,00\d pods at once, and a Workflow has at most 1,000"):
        plan(**changes).windows()


def test_a_search_that_fits_is_one_workflow_and_a_chain_of_it_may_go_all_the_way() -> None:
    search = plan(expected=Expected(legs=22, hops=312, depth=3))
    assert search.windows() == Windows(1, 0, 40)
    assert search.pods() == 312 + 22 * (4 + 1) + 2
    assert plan("station", expected=Expected(22, 312, 3)).pods() == 4 + 3


@pytest.mark.parametrize(
    ("expected", "workflows"),
    [(Expected(legs=100, hops=498, depth=4), 1), (Expected(100, 499, 4), 3), (Expected(10, 10, 31), 3)],
)
def test_a_search_with_more_pods_or_rungs_than_fit_has_workflows_to_spare(expected: Expected, workflows: int) -> None:
    assert plan(expected=expected).windows().workflows == workflows
