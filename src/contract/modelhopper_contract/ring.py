"""The ring: which shard a hop trains on, and which station holds it. Pure arithmetic, the same everywhere.

The schedule that affects results is one line: hop n of a configuration trains on shard (offset + n) mod shards. How
many stations there are decides only who does it (Cerebro, VLDB 2020, calls the property sequential equivalence).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ring:
    """`shards` shards in a circle, trained on for `iterations` rounds, evaluated every `evaluate_every` rounds.

    Also evaluated are `rungs`, the iterations after which a search decides who goes on. Those who train on a part of
    the data meet the shards of their `itinerary`.
    """

    shards: int
    iterations: int
    evaluate_every: int
    keep_iterations: bool = False  # whether the last checkpoint of every iteration stays in the store
    rungs: tuple[int, ...] = ()
    keep_rungs: bool = False  # whether checkpoints at rungs stay until the search has no use for them
    itinerary: tuple[int, ...] = ()  # as many as `shards`, of more; empty: 0, 1, 2, ...
    merges: bool = False  # all hops of an iteration begin with one state, and what they make is merged

    @property
    def hops(self) -> int:
        """Hops of one configuration over the whole run."""
        return self.shards * self.iterations

    def shard(self, offset: int, hop: int) -> int:
        """Return the shard that a hop trains on."""
        at = (offset + hop) % self.shards
        return self.itinerary[at] if self.itinerary else at

    def iteration(self, hop: int) -> int:
        """Return how many iterations are complete before a hop."""
        return hop // self.shards

    def start(self, hop: int) -> int:
        """Return the first hop of a hop's iteration."""
        return hop - hop % self.shards

    def is_evaluated(self, hop: int) -> bool:
        """Say whether checkpoint `hop` is evaluated: every `evaluate_every`-th iteration, rungs, and the last."""
        if hop == 0 or hop % self.shards:
            return False
        iteration = hop // self.shards
        return iteration % self.evaluate_every == 0 or iteration == self.iterations or iteration in self.rungs

    def is_kept(self, hop: int) -> bool:
        """Say whether checkpoint `hop` stays in the store when later ones are there."""
        iteration, rest = divmod(hop, self.shards)
        if hop == 0 or rest:
            return False
        return iteration == self.iterations or self.keep_iterations or (self.keep_rungs and iteration in self.rungs)

    def evaluated_iterations(self) -> list[int]:
        """Return all evaluated iterations, ascending."""
        return [n for n in range(1, self.iterations + 1) if self.is_evaluated(n * self.shards)]


@dataclass(frozen=True)
class Stations:
    """Who holds which shard: with s stations for p shards, station k holds an arc of neighbouring shards.

    With more stations than shards, a shard has several holders and a configuration always uses the same one.
    """

    stations: int
    shards: int

    def holder(self, shard: int, number: int = 0) -> int:
        """Return the station where configuration `number` finds a shard."""
        if self.stations <= self.shards:
            return shard * self.stations // self.shards
        holders = (self.stations - shard - 1) // self.shards + 1
        return shard + self.shards * (number % holders)

    def held(self, station: int, number: int = 0) -> list[int]:
        """Return the shards where configuration `number` finds `station`, ascending."""
        return [shard for shard in range(self.shards) if self.holder(shard, number) == station]


def stay_end(ring: Ring, stations: Stations, number: int, offset: int, hop: int) -> int:
    """Return the hop before which a configuration leaves the station that serves `hop`.

    A stay is every following hop on shards of the same station, at most once around, cut where the state must be in
    the store: at iterations that are evaluated or kept, and at the end of the run. Where hops are merged, each is a
    stay of its own.
    """
    end = hop + 1
    if ring.merges:
        return end
    if 1 < stations.shards <= stations.stations:
        return end  # neighbouring shards are at different stations
    here = stations.holder(ring.shard(offset, hop), number)
    while (
        end < ring.hops
        and not ring.is_evaluated(end)
        and not ring.is_kept(end)
        and end - hop < ring.shards
        and stations.holder(ring.shard(offset, end), number) == here
    ):
        end += 1
    return end
