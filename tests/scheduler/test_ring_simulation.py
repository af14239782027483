"""The ring as a queueing network, with a clock and no TensorFlow: stations are busy until the work runs out."""

from __future__ import annotations

import heapq
from collections import deque

import pytest

from modelhopper_contract.ring import Ring, Stations, stay_end
from modelhopper_scheduler.offsets import offsets


def makespan(ring: Ring, count: int, costs: dict[int, float]) -> float:
    """Return when the last of all hops ends; a station serves its inbox first come, first served."""
    holders, starts = Stations(count, ring.shards), offsets(costs, ring.shards)
    inboxes: list[deque[tuple[int, int]]] = [deque() for _ in range(count)]
    running: list[tuple[float, int, int, int]] = []  # when it ends, station, configuration, next hop
    idle = set(range(count))
    for number in sorted(costs):
        inboxes[holders.holder(starts[number], number)].append((number, 0))
    now = 0.0
    while True:
        for station in sorted(idle):
            if inboxes[station]:
                number, hop = inboxes[station].popleft()
                end = stay_end(ring, holders, number, starts[number], hop)
                heapq.heappush(running, (now + costs[number] * (end - hop), station, number, end))
                idle.remove(station)
        if not running:
            return now
        now, station, number, hop = heapq.heappop(running)
        idle.add(station)
        if hop < ring.hops:
            inboxes[holders.holder(ring.shard(starts[number], hop), number)].append((number, hop))


def lower_bound(ring: Ring, count: int, costs: dict[int, float]) -> float:
    work = {number: cost * ring.hops for number, cost in costs.items()}
    return max(sum(work.values()) / count, *work.values())


@pytest.mark.parametrize("stations", [4, 8])
@pytest.mark.parametrize("per_station", [1.5, 1.75, 2, 2.5, 3, 5])
@pytest.mark.parametrize("iterations", [1, 5, 20])
def test_equal_configurations_take_no_longer_than_they_must(stations: int, per_station: float, iterations: int) -> None:
    ring = Ring(stations, iterations, iterations)
    costs = dict.fromkeys(range(1, int(stations * per_station) + 1), 1.0)
    assert makespan(ring, stations, costs) <= 1.05 * lower_bound(ring, stations, costs)


@pytest.mark.parametrize("stations", [4, 8])
def test_one_configuration_per_station_moves_in_step(stations: int) -> None:
    ring = Ring(stations, 10, 10)
    assert makespan(ring, stations, dict.fromkeys(range(1, stations + 1), 1.0)) == ring.hops


@pytest.mark.parametrize("count", [1, 2, 4])
def test_fewer_stations_than_shards_stay_busy(count: int) -> None:
    ring, costs = Ring(8, 10, 10), dict.fromkeys(range(1, 17), 1.0)
    assert makespan(ring, count, costs) <= 1.05 * lower_bound(ring, count, costs)
