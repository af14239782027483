"""The ring: every configuration meets every shard once per iteration, wherever the shards are held."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.ring import Ring, Stations, stay_end

shards = st.integers(1, 12)
stations = st.integers(1, 40)
numbers = st.integers(1, 200)


@st.composite
def rings(draw: st.DrawFn) -> Ring:
    iterations = draw(st.integers(1, 6))
    return Ring(draw(shards), iterations, draw(st.integers(1, iterations)), draw(st.booleans()))


def stays(ring: Ring, holders: Stations, number: int, offset: int) -> list[range]:
    """Return the hops of each stay of a whole run."""
    found, hop = [], 0
    while hop < ring.hops:
        found.append(range(hop, stay_end(ring, holders, number, offset, hop)))
        assert found[-1].stop > hop
        hop = found[-1].stop
    return found


@given(rings(), st.integers(0, 11))
def test_a_configuration_meets_each_shard_once_per_iteration(ring: Ring, offset: int) -> None:
    for iteration in range(ring.iterations):
        hops = range(iteration * ring.shards, (iteration + 1) * ring.shards)
        assert sorted(ring.shard(offset, hop) for hop in hops) == list(range(ring.shards))
        assert {ring.iteration(hop) for hop in hops} == {iteration}


@given(stations, shards, numbers)
def test_a_shard_has_exactly_one_holder_per_configuration(count: int, shards: int, number: int) -> None:
    holders = Stations(count, shards)
    held = [shard for station in range(count) for shard in holders.held(station, number)]
    assert sorted(held) == list(range(shards))
    assert all(0 <= holders.holder(shard, number) < count for shard in range(shards))


@given(stations, shards, numbers)
def test_arcs_are_contiguous_and_as_equal_as_can_be(count: int, shards: int, number: int) -> None:
    arcs = [Stations(count, shards).held(station, number) for station in range(count)]
    assert all(arc == list(range(arc[0], arc[-1] + 1)) for arc in arcs if arc)
    sizes = [len(arc) for arc in arcs]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 40), shards)
def test_with_more_stations_than_shards_every_station_serves_somebody(count: int, shards: int) -> None:
    holders = Stations(count, shards)
    used = Counter(holders.holder(shard, number) for number in range(1, 41) for shard in range(shards))
    assert set(used) == set(range(count))


@given(rings(), stations, numbers, st.integers(0, 11))
def test_stays_partition_the_hops(ring: Ring, count: int, number: int, offset: int) -> None:
    found = stays(ring, Stations(count, ring.shards), number, offset)
    assert [hop for stay in found for hop in stay] == list(range(ring.hops))


@given(rings(), stations, numbers, st.integers(0, 11))
def test_all_hops_of_a_stay_are_at_one_station(ring: Ring, count: int, number: int, offset: int) -> None:
    holders = Stations(count, ring.shards)
    for stay in stays(ring, holders, number, offset):
        assert len({holders.holder(ring.shard(offset, hop), number) for hop in stay}) == 1
        assert len({ring.shard(offset, hop) for hop in stay}) == len(stay)


@given(rings(), stations, numbers, st.integers(0, 11))
def test_a_stay_never_crosses_a_checkpoint_that_must_be_in_the_store(
    ring: Ring, count: int, number: int, offset: int
) -> None:
    for stay in stays(ring, Stations(count, ring.shards), number, offset):
        assert not any(ring.is_evaluated(hop) or ring.is_kept(hop) for hop in stay[1:])


@given(rings())
def test_the_last_iteration_is_always_evaluated_and_kept(ring: Ring) -> None:
    assert ring.evaluated_iterations()[-1] == ring.iterations
    assert ring.is_evaluated(ring.hops)
    assert ring.is_kept(ring.hops)
    assert not ring.is_evaluated(0)
    assert not ring.is_kept(0)


@given(rings())
def test_only_ends_of_iterations_are_evaluated(ring: Ring) -> None:
    evaluated = [hop for hop in range(ring.hops + 1) if ring.is_evaluated(hop)]
    assert evaluated == [iteration * ring.shards for iteration in ring.evaluated_iterations()]
