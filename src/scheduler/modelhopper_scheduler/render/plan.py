"""The plan of an experiment on a cluster: its pods, and how they are divided among Workflows. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from modelhopper_contract.cluster import Shape
from modelhopper_contract.errors import UserError

# A Workflow is one object of at most 1 MiB in etcd, and its status grows by some 0.2 kB for every pod, compressed: with
# its own text and outputs that compress badly, a few times this many would fit. More pods make more Workflows.
MOST_PODS = 1_000


@dataclass(frozen=True)
class Windows:
    """How an experiment is divided: Workflows that follow each other, each with so many chains of so many hops.

    Of a run of station pods there is one Workflow, without chains.
    """

    workflows: int
    most_chains: int
    most_hops: int


@dataclass(frozen=True)
class Plan:
    """What an experiment is to a cluster: numbers only."""

    experiment: str
    shape: Shape
    convoy: int  # configurations that travel together at most, in the shape `convoy`
    stations: int  # pods that train at once, in the shape `station`
    configurations: int
    shards: int
    validation_shards: int
    hops: int  # of one configuration
    most_pods: int = MOST_PODS  # of one Workflow

    @property
    def together(self) -> int:
        """How many configurations travel together at most."""
        return self.convoy if self.shape == "convoy" else 1

    def windows(self) -> Windows:
        """Divide the experiment among Workflows of at most `most_pods` pods.

        All chains at once with fewer hops, so that all GPUs work; fewer chains only where all do not fit.
        """
        if self.shape == "station":
            self._check(self.stations + 2)
            return Windows(1, 0, 0)
        self._check(self.shards + 3)
        room = self.most_pods - self._around
        parts = -(-self._most_chains // room)
        chains = -(-self._most_chains // parts)
        hops = min(self.hops, room // chains)
        # What is left over takes chains that come apart: configurations that failed leave smaller convoys.
        return Windows(parts * -(-self.hops // hops), room // hops, hops)

    def pods(self) -> int:
        """Return how many pods the whole experiment takes when none is retried."""
        if self.shape == "station":
            return self.stations + 2
        members = -(-self.configurations // self.shards)  # that start at the same shard: they are spread evenly
        chains = min(self.configurations, self.shards * -(-members // self.together))
        return chains * self.hops + self.windows().workflows * self._around

    @property
    def _around(self) -> int:
        # One pod for each shard evaluates what the chains left; one begins, and one reports.
        return self.shards + 2

    @property
    def _most_chains(self) -> int:
        # However unevenly configurations are spread, each shard has at most one convoy that is not full.
        spread = (self.configurations + self.shards * (self.together - 1)) // self.together
        return min(self.configurations, spread)

    def _check(self, pods: int) -> None:
        if pods > self.most_pods:
            what = f"{self.stations:,} stations" if self.shape == "station" else f"{self.shards:,} shards"
            raise UserError(
                f"{what} need {pods:,} pods at once, and a Workflow has at most {self.most_pods:,}. "
                + ("Take fewer stations." if self.shape == "station" else "Take the shape `station`, or larger shards.")
            )
