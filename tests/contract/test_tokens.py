"""Tokens: one for the next hop, and one for every station that holds rows to evaluate on."""

from __future__ import annotations

from hypothesis import given

from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration
from modelhopper_contract.ring import Stations
from modelhopper_contract.specification import Specification
from modelhopper_contract.tokens import evaluation_tokens, held, tokens_of, training_token
from tests.scheduler.planned import runs

Run = tuple[Specification, list[Configuration], int]


@given(runs())
def test_every_hop_has_one_training_token_at_the_holder_of_its_shard(run: Run) -> None:
    specification, planned, stations = run
    ring, names = specification.ring, Names(specification.experiment.name)
    for one in planned:
        for hop in range(ring.hops):
            ((name, token),) = training_token(specification, stations, one, hop).items()
            station = Stations(stations, ring.shards).holder(ring.shard(one.offset, hop), one.number)
            assert name == names.training_token(station, one.number, hop)
            assert (token.action, token.configuration, token.hop) == ("train", one.number, hop)
        assert training_token(specification, stations, one, ring.hops) == {}


@given(runs())
def test_evaluation_reaches_exactly_the_stations_that_hold_rows(run: Run) -> None:
    specification, planned, stations = run
    names, number = Names(specification.experiment.name), planned[0].number
    counts = {"training": specification.shards, "validation": specification.validation_shards}
    holders = {
        Stations(stations, count).holder(shard, number) for count in counts.values() if count for shard in range(count)
    }
    found = evaluation_tokens(specification, stations, planned[0], 1)
    assert set(found) == {names.evaluation_token(station, number, 1) for station in holders}
    assert {token.hop for token in found.values()} == {specification.shards}


@given(runs())
def test_every_shard_of_both_splits_is_evaluated_once(run: Run) -> None:
    specification, planned, stations = run
    each = [held(specification, stations, station, planned[0]) for station in range(stations)]
    training = sorted(shard for one in each for shard in one.get("training", []))
    validation = sorted(shard for one in each for shard in one.get("validation", []))
    assert training == list(range(specification.shards))
    assert validation == list(range(specification.validation_shards))


@given(runs())
def test_only_evaluated_checkpoints_give_rise_to_evaluation(run: Run) -> None:
    specification, planned, stations = run
    for hop in range(specification.ring.hops + 1):
        actions = {token.action for token in tokens_of(specification, stations, planned[0], hop).values()}
        assert ("evaluate" in actions) == specification.ring.is_evaluated(hop)
        assert ("train" in actions) == (hop < specification.ring.hops)
