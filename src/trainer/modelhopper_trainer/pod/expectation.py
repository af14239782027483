"""Whether anything can still come to a station. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.names import Names
from modelhopper_contract.progress import Progress, newest_checkpoints
from modelhopper_contract.records import Configuration
from modelhopper_contract.ring import Stations
from modelhopper_contract.specification import Specification
from modelhopper_contract.tokens import held


def can_come(
    specification: Specification,
    unfinished: Iterable[Configuration],
    progress: Progress,
    metrics: Set[str],
    station: tuple[int, int],
    limits: Mapping[int, int] | None = None,
) -> bool:
    """Say whether a station (its number, and how many there are) whose inbox is empty may get another token.

    `unfinished` are the configurations that had no outcome at some time, and `metrics` the names of those metric states
    that are there of `open_evaluations`. `limits`: where a search is over, the iterations until which it has let each
    train. What the store holds may be older than the truth: then the answer is rather yes. Raises CorruptObject for a
    configuration without any checkpoint: everybody would wait for it forever.
    """
    names, newest = Names(specification.experiment.name), newest_checkpoints(progress.checkpoints)
    for configuration in unfinished:
        number = configuration.number
        if names.outcome(number) in progress.outcomes:
            continue
        if number not in newest:
            raise CorruptObject(f"configuration {number} has neither a checkpoint nor an outcome, and cannot go on.")
        last = (limits or {}).get(number, specification.ring.iterations)
        if _trains(specification, configuration, newest[number], last, station):
            return True
        if _evaluates(specification, configuration, newest[number], last, progress, metrics, station):
            return True
    return False


def open_evaluations(
    specification: Specification, unfinished: Iterable[Configuration], progress: Progress
) -> list[tuple[int, int]]:
    """Return the evaluations that can be done now and are not complete, as (configuration, iteration)."""
    names = Names(specification.experiment.name)
    return [
        (configuration.number, iteration)
        for configuration in unfinished
        for iteration in specification.ring.evaluated_iterations()
        if names.outcome(configuration.number) not in progress.outcomes
        and _is_open(specification, names, configuration.number, iteration, progress)
    ]


def _trains(
    specification: Specification, configuration: Configuration, newest: int, last: int, station: tuple[int, int]
) -> bool:
    ring, number = specification.ring_of(configuration), configuration.number
    this, stations = station
    holders = Stations(stations, specification.shards)
    soon = range(newest, min(newest + ring.shards, last * ring.shards))  # once around, it has been everywhere
    return any(holders.holder(ring.shard(configuration.offset, hop), number) == this for hop in soon)


def _evaluates(
    specification: Specification,
    configuration: Configuration,
    newest: int,
    last: int,
    progress: Progress,
    metrics: Set[str],
    station: tuple[int, int],
) -> bool:
    names, ring = Names(specification.experiment.name), specification.ring
    (this, stations), number = station, configuration.number
    own = held(specification, stations, this, configuration)
    for iteration in ring.evaluated_iterations() if own else []:
        if iteration > last:
            break
        if iteration * ring.shards > newest:
            return True
        mine = {names.metric(number, iteration, split, shard) for split, shards in own.items() for shard in shards}
        if _is_open(specification, names, number, iteration, progress) and not mine <= metrics:
            return True
    return False


def _is_open(specification: Specification, names: Names, number: int, iteration: int, progress: Progress) -> bool:
    return (
        names.history(number, iteration) not in progress.histories
        and names.checkpoint(number, iteration * specification.ring.shards) in progress.checkpoints
    )
