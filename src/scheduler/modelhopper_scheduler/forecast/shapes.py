"""A forecast per shape: what hop pods, convoy pods and station pods take for the same work."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelhopper_contract.cluster import SHAPES, Shape
from modelhopper_contract.ring import Stations, stay_end
from modelhopper_scheduler.forecast.clock import Stop, end_s
from modelhopper_scheduler.forecast.workload import Workload

if TYPE_CHECKING:
    from modelhopper_scheduler.render.plan import Windows

# What a hop costs in a process that has started: listing the inbox, and moving a few megabytes to and from the store.
STATION_HOP_S = 0.05

# Stops that are simulated for one forecast, in a fraction of a second; about ten are made. Of a larger run only the
# beginning is simulated, and the rest is taken to go on like that: what its start and its end cost is little then.
MOST_STOPS = 100_000

NEAR_TIE = 1.05  # a forecast is no better than this, so a simpler shape wins when it takes no longer
_CONVOYS = (2, 4, 8, 16)  # tried beside the largest, when the user does not say

# How a run is divided among Workflows, by how many configurations travel together.
Division = Callable[[int], "Windows"]


@dataclass(frozen=True)
class Times:
    """How long a run takes, and what its GPUs do meanwhile: overhead, idle and training add up to one."""

    makespan_s: float
    overhead: float  # share of the GPUs' time that pods cost beside training
    idle: float  # share of the GPUs' time in which none of them has a pod
    bound_s: float  # what no schedule can beat


@dataclass(frozen=True)
class Forecast:
    """What one shape needs for a run."""

    shape: Shape
    convoy: int  # configurations that travel together at most
    pods: int  # that train
    workflows: int
    times: Times | None  # None when it is not known how long a hop trains


def forecasts(workload: Workload, convoy: int | None = None, divide: Division | None = None) -> list[Forecast]:
    """Return a forecast for each shape, the most canonical first.

    `convoy`: how many configurations travel together; by default the best of a few, and no convoy at all where no two
    configurations start at the same shard. `divide`: how a run is divided among Workflows that follow each other, by
    the size of convoys (`Plan.windows`); by default one Workflow has all. What evaluating takes is not known before,
    and not part of it.
    """
    largest = max(len(members) for members in workload.convoys(workload.configurations))
    sizes = [convoy] if convoy else sorted({size for size in (*_CONVOYS, largest) if 1 < size <= largest})
    convoys = [_of_chains(workload, "convoy", size, divide) for size in sizes]
    best = [choose(convoys)] if convoys else []
    return [_of_chains(workload, "hop", 1, divide), *best, _of_stations(workload)]


def choose(found: Sequence[Forecast], shape: Shape | None = None) -> Forecast:
    """Return the forecast with the shortest makespan; among those nearly as short, the most canonical one.

    With unknown times, station pods: they never take much longer than another shape, and can take far less. `shape`:
    the user's own choice.
    """
    of_shape = [one for one in found if one.shape == shape] or list(found)
    if any(one.times is None for one in of_shape):
        return max(of_shape, key=_canonical)
    shortest_s = min(_makespan_s(one) for one in of_shape)
    return min((one for one in of_shape if _makespan_s(one) <= NEAR_TIE * shortest_s), key=_canonical)


def _makespan_s(forecast: Forecast) -> float:
    return forecast.times.makespan_s if forecast.times else 0.0


def _canonical(forecast: Forecast) -> tuple[int, int]:
    return SHAPES.index(forecast.shape), forecast.convoy


def _of_chains(workload: Workload, shape: Shape, convoy: int, divide: Division | None) -> Forecast:
    chains, hops = workload.convoys(convoy), workload.ring.hops
    windows = divide(convoy) if divide else None
    workflows = windows.workflows if windows else 1
    times = None
    if workload.hop_s is not None:
        most_chains, most_hops = (windows.most_chains, windows.most_hops) if windows else (len(chains), hops)
        makespan_s = _chains_s(workload, chains, most_chains, most_hops) + workflows * _around_s(workload)
        times = _times(workload, makespan_s, len(chains) * hops * workload.pod_s)
    return Forecast(shape, convoy, len(chains) * hops, workflows, times)


def _chains_s(workload: Workload, chains: list[list[int]], most_chains: int, most_hops: int) -> float:
    """Return how long all chains take, at most so many at once, each with at most so many hops between barriers."""
    # In the order of their configurations' numbers, as a Workflow starts them.
    chains = sorted(chains)
    parts = [chains[at : at + most_chains] for at in range(0, len(chains), most_chains)]
    # All shards are alike, and all chains move on together: windows of equal length take equally long.
    full, rest = divmod(workload.ring.hops, most_hops)
    return sum(full * _window_s(workload, part, most_hops) + _window_s(workload, part, rest) for part in parts)


def _window_s(workload: Workload, chains: Sequence[Sequence[int]], hops: int) -> float:
    """Return how long all chains take for so many hops each. A convoy's members train one after the other."""
    few = _few(hops, len(chains))

    def itinerary(chain: int) -> Iterator[Stop]:
        members = chains[chain]
        seconds = workload.pod_s + sum(workload.costs[number - 1] for number in members)
        start, shards = workload.starts[members[0]], workload.ring.shards
        for hop in range(few):
            # Where shards are shared nobody waits for one: each chain has a place of its own.
            yield (chain if workload.is_shared else (start + hop) % shards), seconds

    simulated_s = end_s((itinerary(chain) for chain in range(len(chains))), workload.gpus)
    return simulated_s * hops / few if few else 0.0


def _few(hops: int, travellers: float) -> int:
    """Return of how many hops the forecast is simulated: of all, where these are not too many."""
    return min(hops, max(1, int(MOST_STOPS / max(travellers, 1))))


def _around_s(workload: Workload) -> float:
    """Return what a Workflow takes beside its chains: a pod that begins, one per shard that evaluates, a report."""
    waves = -(-workload.ring.shards // workload.gpus)
    return (2 + waves) * workload.pod_s


def _of_stations(workload: Workload) -> Forecast:
    pods = workload.gpus if workload.is_shared else min(workload.gpus, workload.data_shards or workload.ring.shards)
    times = None
    if workload.hop_s is not None:
        # Beside the stations' own start: a pod that begins, and a report.
        makespan_s = 3 * workload.pod_s + _stations_s(workload, Stations(pods, workload.ring.shards))
        hops = workload.configurations * workload.ring.hops
        times = _times(workload, makespan_s, pods * workload.pod_s + hops * STATION_HOP_S)
    return Forecast("station", 1, pods, 1, times)


def _merged_s(workload: Workload, stations: Stations) -> float:
    """Return how long stations take where an iteration's hops are merged: as long as the busiest of them."""
    busy_s = [0.0] * stations.stations
    for number, cost_s in enumerate(workload.costs, start=1):
        for shard in range(stations.shards):
            busy_s[stations.holder(shard, number)] += cost_s + STATION_HOP_S
    return workload.ring.iterations * max(busy_s)


def _stations_s(workload: Workload, stations: Stations) -> float:
    ring = workload.ring
    if ring.merges:
        return _merged_s(workload, stations)
    known: dict[int, list[int]] = {}
    few = _few(ring.hops, workload.configurations * min(1, stations.stations / ring.shards))

    def ends(number: int) -> list[int]:
        offset = workload.starts[number]
        if stations.stations >= stations.shards:
            return list(range(1, few + 1))  # a station has one shard, so each stay is a hop
        if offset not in known:
            known[offset] = list(_stay_ends(workload, stations, number, few))
        return known[offset]

    def itinerary(number: int) -> Iterator[Stop]:
        offset, seconds = workload.starts[number], workload.costs[number - 1] + STATION_HOP_S
        for hop, end in itertools.pairwise([0, *ends(number)]):
            yield stations.holder(ring.shard(offset, hop), number), (end - hop) * seconds

    simulated_s = end_s((itinerary(number) for number in sorted(workload.starts)), stations.stations)
    return simulated_s * ring.hops / few


def _stay_ends(workload: Workload, stations: Stations, number: int, hops: int) -> Iterator[int]:
    hop = 0
    while hop < hops:
        hop = min(hops, stay_end(workload.ring, stations, number, workload.starts[number], hop))
        yield hop


def _times(workload: Workload, makespan_s: float, pods_s: float) -> Times:
    all_s = workload.gpus * makespan_s
    overhead = pods_s / all_s
    return Times(makespan_s, overhead, max(0.0, 1 - overhead - workload.train_s / all_s), workload.bound_s)
