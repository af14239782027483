"""Which tokens a checkpoint gives rise to. Pure; used by the station that made it, and by whoever resumes a run."""

from __future__ import annotations

from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, Split, Token
from modelhopper_contract.ring import Stations
from modelhopper_contract.specification import Specification


def tokens_of(
    specification: Specification, stations: int, configuration: Configuration, hop: int, until: int | None = None
) -> dict[str, Token]:
    """Return the tokens of checkpoint `hop` by name: for its evaluation, where one is due, and for what it trains next.

    `until`: how many iterations a search lets the configuration train; None: all.
    """
    ring = specification.ring
    evaluation = evaluation_tokens(specification, stations, configuration, ring.iteration(hop))
    training = training_tokens(specification, stations, configuration, hop, until)
    return (evaluation if ring.is_evaluated(hop) else {}) | training


def training_tokens(
    specification: Specification, stations: int, configuration: Configuration, hop: int, until: int | None = None
) -> dict[str, Token]:
    """Return the tokens of what starts with checkpoint `hop` by name.

    That is the next hop, or, where hops are merged, each hop of the next iteration.
    """
    ring = specification.ring
    return {
        name: token
        for each in range(hop, hop + (ring.shards if ring.merges else 1))
        for name, token in training_token(specification, stations, configuration, each, until).items()
    }


def training_token(
    specification: Specification, stations: int, configuration: Configuration, hop: int, until: int | None = None
) -> dict[str, Token]:
    """Return the token of a configuration's next hop by name; nothing after the last, or after `until` iterations."""
    ring = specification.ring_of(configuration)
    if hop >= ring.hops or (until is not None and hop >= until * ring.shards):
        return {}
    number = configuration.number
    station = Stations(stations, specification.shards).holder(ring.shard(configuration.offset, hop), number)
    name = Names(specification.experiment.name).training_token(station, number, hop)
    return {name: Token(action="train", configuration=number, hop=hop, until=until)}


def evaluation_tokens(
    specification: Specification, stations: int, configuration: Configuration, iteration: int
) -> dict[str, Token]:
    """Return one token by name for every station that holds rows to evaluate on."""
    names, number = Names(specification.experiment.name), configuration.number
    token = Token(action="evaluate", configuration=number, hop=iteration * specification.ring.shards)
    return {
        names.evaluation_token(station, number, iteration): token
        for station in sorted(_holders(specification, stations, configuration))
    }


def held(
    specification: Specification, stations: int, station: int, configuration: Configuration
) -> dict[Split, list[int]]:
    """Return the shards of each split on which a station evaluates a configuration; only splits with any."""
    return _holders(specification, stations, configuration).get(station, {})


def _holders(
    specification: Specification, stations: int, configuration: Configuration
) -> dict[int, dict[Split, list[int]]]:
    """Return the same for every station that evaluates a configuration on any shard."""
    counts: dict[Split, int] = {"training": specification.shards, "validation": specification.validation_shards}
    found: dict[int, dict[Split, list[int]]] = {}
    for split, evaluated in specification.evaluated(configuration).items():
        holders = Stations(stations, counts[specification.data_of(split)])
        for shard in evaluated:
            own = found.setdefault(holders.holder(shard, configuration.number), {})
            own.setdefault(split, []).append(shard)
    return found
