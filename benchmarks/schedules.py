"""The schedules of MADlib and of Cerebro on a simulated clock, to compare with. Nothing of it is in the package."""

import heapq
import math
from random import Random
from typing import NamedTuple


class Found(NamedTuple):
    """What a schedule took, and what no schedule of the same hops can beat."""

    makespan: float
    bound: float

    @property
    def ratio(self):
        return self.makespan / self.bound


class Hops:
    """How long hops take: a configuration's cost, times a log-normal factor of mean 1 as in the simulated engine."""

    def __init__(self, costs, jitter, seed):
        self.costs = costs
        self.trained = [0.0] * len(costs)
        self._spread = math.sqrt(math.log1p(jitter**2))
        self._draws = [Random(f"{seed} {number}") for number in range(1, len(costs) + 1)]

    def take(self, number):
        """Return the time of a configuration's next hop."""
        factor = self._draws[number].lognormvariate(-(self._spread**2) / 2, self._spread) if self._spread else 1.0
        self.trained[number] += self.costs[number] * factor
        return self.costs[number] * factor

    def found(self, makespan, stations):
        return Found(makespan, max(sum(self.trained) / stations, *self.trained))


def lock_step(costs, stations, iterations, jitter=0.0, seed=0):
    """MADlib's `madlib_keras_fit_multiple_model`: configurations stand in a circle, shuffled once.

    The first `stations` places of the circle train; where there are more configurations the others wait, where there
    are fewer some places are empty. When all have trained, each moves on by one place. An iteration has as many rounds
    as the circle has places, and a round takes as long as its slowest.
    """
    hops, now = Hops(costs, jitter, seed), 0.0
    circle = [*range(len(costs)), *[None] * (stations - len(costs))]
    Random(seed).shuffle(circle)
    for _ in range(iterations):
        for turn in range(len(circle)):
            there = [circle[place - turn] for place in range(stations)]
            now += max((hops.take(number) for number in there if number is not None), default=0.0)
    return hops.found(now, stations)


def random_dispatch(costs, stations, iterations, jitter=0.0, seed=0):
    """Cerebro's randomized scheduler (VLDB 2020): a station that is free takes one of those it may take, at random.

    It may take a configuration that it has not trained in this epoch, and that no other station trains now. An epoch
    ends when each configuration was at each station; then the next begins. Dispatching takes no time here, though
    Cerebro polls.
    """
    hops, now, draws = Hops(costs, jitter, seed), 0.0, Random(seed)
    for _ in range(iterations):
        now = _epoch(hops, stations, now, draws)
    return hops.found(now, stations)


def _epoch(hops, stations, now, draws):
    missing = [set(range(len(hops.costs))) for _ in range(stations)]  # by station
    resting, free, ends = set(range(len(hops.costs))), set(range(stations)), []
    while True:
        for station in draws.sample(sorted(free), len(free)):
            may = sorted(missing[station] & resting)
            if may:
                number = draws.choice(may)
                missing[station].discard(number)
                resting.discard(number)
                free.discard(station)
                heapq.heappush(ends, (now + hops.take(number), station, number))
        if not ends:
            return now
        now = ends[0][0]
        while ends and ends[0][0] == now:  # who is free at the same time is dispatched to together
            _, station, number = heapq.heappop(ends)
            resting.add(number)
            free.add(station)
