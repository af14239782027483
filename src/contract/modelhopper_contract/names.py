"""The names of everything an experiment keeps in the store. No other module joins these strings.

::

    <experiment>/submission.json                              what was asked for on a cluster, before it begins
    <experiment>/files/<sha256>                               the user's files, as they were submitted
    <experiment>/manifests/<split>.json                       the manifests of the data sets
    <experiment>/experiment.json                              the canonical spec
    <experiment>/measurement.json                             what was measured when the run began, if anything was
    <experiment>/configurations/<c>.json                      written once
    <experiment>/checkpoints/<c>/<n>.safetensors              state before hop n; its header holds hop n-1's record
    <experiment>/replicas/<c>/<n>.safetensors                 state after hop n of one shard, until all are merged
    <experiment>/metrics/<c>/<iteration>/<split>/<shard>.json mergeable metric state
    <experiment>/history/<c>/<iteration>.json                 the merged metrics, written when the last state is there
    <experiment>/inbox/<station>/<c>-train-<n>                token: ready to train hop n
    <experiment>/inbox/<station>/<c>-evaluate-<iteration>     token: ready to be evaluated
    <experiment>/outcomes/<c>.json                            finished, stopped or failed, and why
    <experiment>/failures/<c>.json                            a failure that counts unless an evaluation stops it before
    <experiment>/turns/<n>.json                               what a search decided, in order
    <experiment>/journal/<c>/<n>.json                         who trained the hops to checkpoint n, how long
    <experiment>/retries/<c>/<n>-<who>.json                   what was begun at a station that died
    <experiment>/logs/<file>                                  what stations printed
    <experiment>/suspects/<who>.json                          what a pod is at, written where the one before was killed
    <experiment>/cancelled.json                               stop: everyone who sees it does
    <experiment>/report.md                                    the leaderboard, for people

All down to `outcomes` are the same bytes whenever, wherever and however often they are written, but for where and how
something failed. A turn is written once, by the order of arrival.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

_CHECKPOINT = re.compile(r"checkpoints/(\d+)/(\d+)\.safetensors$")
_REPLICA = re.compile(r"replicas/(\d+)/(\d+)\.safetensors$")
_TOKEN = re.compile(r"inbox/(?P<station>\d+)/(?P<configuration>\d+)-(?P<action>train|evaluate)-(?P<number>\d+)$")


@dataclass(frozen=True)
class Names:
    """Object names of one experiment. Numbers are padded so that listings sort by number."""

    experiment: str

    def root(self) -> str:
        """Everything of the experiment."""
        return f"{self.experiment}/"

    def specification(self) -> str:
        """The canonical spec."""
        return f"{self.experiment}/experiment.json"

    def submission(self) -> str:
        """What was asked for, before it begins."""
        return f"{self.experiment}/submission.json"

    def file(self, sha256: str) -> str:
        """One of the user's files, by its digest."""
        return f"{self.experiment}/files/{sha256}"

    def manifest(self, split: str) -> str:
        """The manifest of a data set."""
        return f"{self.experiment}/manifests/{split}.json"

    def configurations(self) -> str:
        """All configurations."""
        return f"{self.experiment}/configurations/"

    def configuration(self, number: int) -> str:
        """One configuration."""
        return f"{self.configurations()}{number:05d}.json"

    def checkpoints(self, number: int | None = None) -> str:
        """All checkpoints, or those of one configuration."""
        return f"{self.experiment}/checkpoints/" + ("" if number is None else f"{number:05d}/")

    def checkpoint(self, number: int, hop: int) -> str:
        """The state of configuration `number` before hop `hop`."""
        return f"{self.checkpoints(number)}{hop:08d}.safetensors"

    def replicas(self, number: int | None = None) -> str:
        """All replicas, or those of one configuration."""
        return f"{self.experiment}/replicas/" + ("" if number is None else f"{number:05d}/")

    def replica(self, number: int, hop: int) -> str:
        """The state that configuration `number` has on one shard after hop `hop`, where shards train side by side."""
        return f"{self.replicas(number)}{hop:08d}.safetensors"

    def metrics(self, number: int, iteration: int) -> str:
        """All metric states of one evaluation."""
        return f"{self.experiment}/metrics/{number:05d}/{iteration:06d}/"

    def metric(self, number: int, iteration: int, split: str, shard: int) -> str:
        """The metric state of one shard."""
        return f"{self.metrics(number, iteration)}{split}/{shard:05d}.json"

    def histories(self, number: int | None = None) -> str:
        """All merged metrics, or those of one configuration."""
        return f"{self.experiment}/history/" + ("" if number is None else f"{number:05d}/")

    def history(self, number: int, iteration: int) -> str:
        """The merged metrics of one evaluation."""
        return f"{self.histories(number)}{iteration:06d}.json"

    def inbox(self, station: int | None = None) -> str:
        """All tokens, or those of one station."""
        return f"{self.experiment}/inbox/" + ("" if station is None else f"{station:05d}/")

    def training_token(self, station: int, number: int, hop: int) -> str:
        """The token that lets a station train a configuration.

        It names the hop, because a configuration can be back before the station has deleted its last token.
        """
        return f"{self.inbox(station)}{number:05d}-train-{hop:08d}"

    def evaluation_token(self, station: int, number: int, iteration: int) -> str:
        """The token that lets a station evaluate a configuration."""
        return f"{self.inbox(station)}{number:05d}-evaluate-{iteration:06d}"

    def outcomes(self) -> str:
        """All outcomes."""
        return f"{self.experiment}/outcomes/"

    def outcome(self, number: int) -> str:
        """How a configuration ended."""
        return f"{self.outcomes()}{number:05d}.json"

    def failures(self) -> str:
        """All failures that wait for evaluations."""
        return f"{self.experiment}/failures/"

    def failure(self, number: int) -> str:
        """Why a configuration cannot go on, where evaluations that are not complete may stop it before that."""
        return f"{self.failures()}{number:05d}.json"

    def measurement(self) -> str:
        """What was measured when the run began."""
        return f"{self.experiment}/measurement.json"

    def turns(self) -> str:
        """All turns of the search."""
        return f"{self.experiment}/turns/"

    def turn(self, order: int) -> str:
        """One turn of the search."""
        return f"{self.turns()}{order:08d}.json"

    def journals(self, number: int | None = None) -> str:
        """All journal entries, or those of one configuration."""
        return f"{self.experiment}/journal/" + ("" if number is None else f"{number:05d}/")

    def journal(self, number: int, hop: int) -> str:
        """Who made checkpoint `hop` of a configuration, when, and how long it took."""
        return f"{self.journals(number)}{hop:08d}.json"

    def retries(self, number: int) -> str:
        """What of a configuration was begun at stations that died."""
        return f"{self.experiment}/retries/{number:05d}/"

    def retry(self, number: int, hop: int, who: str) -> str:
        """One such death: of the station or pod `who`, whose deaths are counted in it."""
        return f"{self.retries(number)}{hop:08d}-{who}.json"

    def suspect(self, who: str) -> str:
        """What a pod is at, written when the pod before it in the same place was killed.

        `who` is the place, in which there is one pod at a time: `hop-00003` for the hop pods of the convoy that begins
        with configuration 3 (several convoys can be at one shard at once), `evaluate-00002` for shard 2's, and
        `station-00002` for station 2's.
        """
        return f"{self.experiment}/suspects/{who}.json"

    def cancelled(self) -> str:
        """There when the run is to stop."""
        return f"{self.experiment}/cancelled.json"

    def report(self) -> str:
        """The leaderboard, for people."""
        return f"{self.experiment}/report.md"

    def logs(self) -> str:
        """All log files."""
        return f"{self.experiment}/logs/"

    def log(self, file: str) -> str:
        """One log file."""
        return f"{self.logs()}{file}"


def checkpoint_number(name: str) -> tuple[int, int]:
    """Return (configuration, hop) of a checkpoint's name."""
    found = _CHECKPOINT.search(name)
    if found is None:
        raise ValueError(f"{name} is not the name of a checkpoint. This is a bug. Please report it.")
    return int(found[1]), int(found[2])


def replica_number(name: str) -> tuple[int, int]:
    """Return (configuration, hop) of a replica's name."""
    found = _REPLICA.search(name)
    if found is None:
        raise ValueError(f"{name} is not the name of a replica. This is a bug. Please report it.")
    return int(found[1]), int(found[2])


class TokenName(NamedTuple):
    """What a token's name says."""

    station: int
    configuration: int
    action: Literal["train", "evaluate"]
    number: int  # the hop to train, or the iteration to evaluate


def token_name(name: str) -> TokenName:
    """Read a token's name."""
    found = _TOKEN.search(name)
    if found is None:
        raise ValueError(f"{name} is not the name of a token. This is a bug. Please report it.")
    action: Literal["train", "evaluate"] = "train" if found["action"] == "train" else "evaluate"
    return TokenName(int(found["station"]), int(found["configuration"]), action, int(found["number"]))


def token_configuration(name: str) -> int:
    """Return the configuration of a token's name."""
    return token_name(name).configuration
