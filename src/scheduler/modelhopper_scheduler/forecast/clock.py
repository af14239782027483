"""The simulated engine: a clock, an event heap, and lines of those who wait. Nothing is trained and nothing varies."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

Stop = tuple[int, float]  # a place, and the seconds spent there


class Claim(NamedTuple):
    """A traveller has a place to itself, or waits for it. Claims compare by their ticket: first come, first served."""

    ticket: int
    place: int
    seconds: float
    traveller: int


def end_s(itineraries: Iterable[Iterator[Stop]], slots: int) -> float:
    """Return when the last of all travellers has made its last stop; all of them set out at 0.

    A place holds one traveller at a time, and at most `slots` travellers are held at once. A slot is never left free
    while somebody waits at a free place. Exact, in O(stops x log travellers): a million stops take two seconds.
    """
    travellers, places = list(itineraries), _Places()
    for traveller in range(len(travellers)):
        _go_on(travellers, traveller, places)
    held: list[tuple[float, Claim]] = []  # by when the stop ends
    now_s, free = 0.0, slots
    while True:
        while free and places.called:
            claim = heapq.heappop(places.called)
            heapq.heappush(held, (now_s + claim.seconds, claim))
            free -= 1
        if not held:
            return now_s
        now_s, claim = heapq.heappop(held)
        free += 1
        places.leave(claim.place)
        _go_on(travellers, claim.traveller, places)


def _go_on(travellers: list[Iterator[Stop]], traveller: int, places: _Places) -> None:
    stop = next(travellers[traveller], None)
    if stop is not None:
        places.arrive(stop, traveller)


class _Places:
    """Who waits where, and who is called: first at a place that is free."""

    def __init__(self) -> None:
        self.called: list[Claim] = []  # a heap
        self._lines: defaultdict[int, deque[Claim]] = defaultdict(deque)
        self._taken: set[int] = set()
        self._tickets = 0

    def arrive(self, stop: Stop, traveller: int) -> None:
        place, seconds = stop
        self._tickets += 1
        claim = Claim(self._tickets, place, seconds, traveller)
        if place in self._taken:
            self._lines[place].append(claim)
        else:
            self._taken.add(place)
            heapq.heappush(self.called, claim)

    def leave(self, place: int) -> None:
        line = self._lines[place]
        if line:
            heapq.heappush(self.called, line.popleft())
        else:
            self._taken.discard(place)
