"""Which hop is to blame for stations that die."""

from __future__ import annotations

from typing import Literal

from modelhopper_contract.messages import Started
from modelhopper_scheduler.engines.deaths import Deaths


def at(station: int, action: Literal["train", "evaluate"] = "train", configuration: int = 1, hop: int = 4) -> Started:
    return Started(action=action, station=station, configuration=configuration, hop=hop)


def test_a_hop_is_to_blame_for_the_third_death_of_its_station() -> None:
    deaths = Deaths(2)
    assert [deaths.add(0, at(0)) for _ in range(3)] == [False, False, True]


def test_stations_that_are_killed_together_blame_nobody() -> None:
    deaths = Deaths(12)
    assert not any(deaths.add(station, at(station, "evaluate")) for station in range(12))
    assert not deaths.are_too_many


def test_a_configuration_on_every_station_can_be_given_up_before_all_is() -> None:
    deaths = Deaths(4)
    blamed = [deaths.add(n, at(n, configuration=n)) for _ in range(3) for n in range(4)]
    assert blamed == [False] * 8 + [True] * 4
    assert not deaths.are_too_many


def test_stations_that_only_die_are_given_up() -> None:
    deaths = Deaths(1)
    for _ in range(6):
        deaths.add(0, None)
    assert not deaths.are_too_many
    deaths.add(0, None)
    assert deaths.are_too_many
    deaths.progress()
    assert not deaths.are_too_many
