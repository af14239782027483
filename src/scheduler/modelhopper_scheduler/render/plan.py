"""The plan of an experiment on a cluster: its pods, and how they are divided among Workflows. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from modelhopper_contract.cluster import Shape
from modelhopper_contract.errors import UserError

# A Workflow is one object of at most 1 MiB in etcd, and its status grows by some 0.2 kB for every pod, compressed: with
# its own text and outputs that compress badly, a few times this many would fit. More pods make more Workflows.
MOST_PODS = 1_000


# Argo stops a recursion at a depth of 100. Under a search that judges, a chain to a rung leads into those that follow
# from it, and the name of each node has those of all that it is in.
MOST_RUNGS = 30
AT_A_RUNG = 1  # pods beside one for each shard, which evaluates: one that judges


@dataclass(frozen=True)
class Expected:
    """What a search that judges is expected to do. What it will, only the run tells."""

    legs: int  # times that a configuration sets out: each starts, and goes on from rungs
    hops: int  # of all configurations together
    depth: int  # legs of which each follows from the one before, at most


@dataclass(frozen=True)
class Windows:
    """How an experiment is divided: Workflows that follow each other, each with so many chains of so many hops.

    Of a run of station pods there is one Workflow, without chains. Under a search that judges, how many chains there
    are is decided as it goes: `most_chains` is 0, and what one of them may have is `most_hops`.
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
    expected: Expected | None = None  # None: no search judges, and all is known before
    is_fused: bool = False  # those who train side by side are not parted, so pods may have fewer than `convoy`

    @property
    def together(self) -> int:
        """How many configurations travel together at most."""
        return self.convoy if self.shape == "convoy" else 1

    def windows(self) -> Windows:
        """Divide the experiment among Workflows of at most `most_pods` pods.

        All chains at once with fewer hops, so that all GPUs work; fewer chains only where all do not fit.
        """
        if self.shape == "station":
            self._check(self._station_pods)
            return Windows(1, 0, 0)
        if self.expected is not None:
            return self._judged_windows(self.expected)
        self._check(self.shards + 3)
        room = self.most_pods - self._around
        parts = -(-self._most_chains // room)
        chains = -(-self._most_chains // parts)
        hops = min(self.hops, room // chains)
        # What is left over takes chains that come apart: configurations that failed leave smaller convoys.
        return Windows(parts * -(-self.hops // hops), room // hops, hops)

    def pods(self) -> int:
        """Return how many pods the whole experiment takes when none is retried; under a search that judges, about."""
        if self.shape == "station":
            return self._station_pods
        if self.expected is not None:
            return self._judged_pods(self.expected) + 2 * self._judged_windows(self.expected).workflows
        members = -(-self.configurations // self.shards)  # that start at the same shard: they are spread evenly
        chains = min(self.configurations, self.shards * -(-members // self._at_least))
        return chains * self.hops + self.windows().workflows * self._around

    @property
    def _at_least(self) -> int:
        """How many travel together in the mean, at least, but for the last convoy of a shard."""
        # Of two convoys that follow each other, both cannot be half empty: the second would have gone with the first.
        return -(-self.together // 2) if self.is_fused else self.together

    @property
    def _station_pods(self) -> int:
        return self.stations + 2 + (self.expected is not None)

    def _judged_windows(self, expected: Expected) -> Windows:
        room = self.most_pods - 2  # one begins, and one reports
        self._check(self.shards + AT_A_RUNG + 3)
        parts = max(-(-self._judged_pods(expected) // room), -(-expected.depth // MOST_RUNGS))
        # A Workflow stops short of what it may have, and what a search does is not known exactly.
        workflows = 1 if parts == 1 else -(-parts * 5 // 4)
        return Windows(workflows, 0, min(self.hops, room - self.shards - AT_A_RUNG))

    def _judged_pods(self, expected: Expected) -> int:
        # As if nobody travelled together: who does is known only when several set out at once.
        return expected.hops + expected.legs * (self.shards + AT_A_RUNG)

    @property
    def _around(self) -> int:
        # One pod for each shard evaluates what the chains left; one begins, and one reports.
        return self.shards + 2

    @property
    def _most_chains(self) -> int:
        # However unevenly configurations are spread, each shard has at most one convoy that is not full.
        spread = (self.configurations + self.shards * (self._at_least - 1)) // self._at_least
        return min(self.configurations, spread)

    def _check(self, pods: int) -> None:
        if pods > self.most_pods:
            what = f"{self.stations:,} stations" if self.shape == "station" else f"{self.shards:,} shards"
            raise UserError(
                f"{what} need {pods:,} pods at once, and a Workflow has at most {self.most_pods:,}. "
                + ("Take fewer stations." if self.shape == "station" else "Take the shape `station`, or larger shards.")
            )
