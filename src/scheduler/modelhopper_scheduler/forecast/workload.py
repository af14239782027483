"""What a forecast is about: so many hops of so many seconds, and the GPUs that there are for them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from modelhopper_contract.records import Stay
from modelhopper_contract.ring import Ring
from modelhopper_scheduler.offsets import offsets


@dataclass(frozen=True)
class Workload:
    """A run as a forecast sees it. Hop times do not vary: how they will cannot be known before."""

    ring: Ring
    configurations: int
    gpus: int  # pods that train at once
    pod_s: float  # what a pod costs beside its training, all of it counted as a GPU's time
    hop_s: float | tuple[float, ...] | None = None  # training of one hop: of all, or by configuration; None: not known
    is_shared: bool = False  # any GPU may read any shard, and several the same; else one pod at a shard at a time
    data_shards: int | None = None  # where no configuration visits all of them; None: the ring's

    @cached_property
    def costs(self) -> tuple[float, ...]:
        """Seconds of one hop by configuration, the first is number 1; equal ones when they are not known."""
        if isinstance(self.hop_s, tuple):
            return self.hop_s
        return (1.0 if self.hop_s is None else self.hop_s,) * self.configurations

    @property
    def train_s(self) -> float:
        """Seconds of training of all hops together."""
        return sum(self.costs) * self.ring.hops

    @property
    def bound_s(self) -> float:
        """Return what no schedule can beat: all GPUs always train, or the longest configuration always does.

        Where hops are merged, those of an iteration can be trained at once.
        """
        after_each_other = self.ring.iterations if self.ring.merges else self.ring.hops
        return max(self.train_s / self.gpus, max(self.costs) * after_each_other)

    @cached_property
    def starts(self) -> dict[int, int]:
        """The shard of hop 0 by configuration number."""
        return offsets(dict(enumerate(self.costs, start=1)), self.ring.shards)

    def convoys(self, most: int) -> list[list[int]]:
        """Return configurations that travel together, at most so many: they start at the same shard."""
        together: dict[int, list[int]] = {}
        for number in sorted(self.starts):
            together.setdefault(self.starts[number], []).append(number)
        return [members[at : at + most] for members in together.values() for at in range(0, len(members), most)]


def hop_seconds(stays: Iterable[Stay]) -> float | None:
    """Return the measured seconds of training of one hop, the median over a journal's stays; None without any.

    A process traces its program in its first stay. The median passes over it where stations serve many stays, and
    rightly has it where each hop is a pod.
    """
    found = [stay.train_s / (stay.end_hop - stay.first_hop) for stay in stays]
    return statistics.median(found) if found else None
