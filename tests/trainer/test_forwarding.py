"""A token that comes late is forwarded, and costs no hop."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.messages import Event, Trained
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.station import Station
from tests.trainer.small_run import SEARCH, Mortal, SmallRun

pytestmark = pytest.mark.xdist_group("tensorflow")


def test_a_station_that_died_before_it_deleted_its_token_repeats_no_hop(tmp_path: Path) -> None:
    search = {"method": "list", "configurations": SEARCH[:1]}
    run = SmallRun.prepare(tmp_path, search=search, iterations=3, evaluate_every=3)
    trained: Counter[int] = Counter()

    def hear(event: Event) -> None:
        if isinstance(event, Trained):
            trained[event.first_hop] += 1

    run.report = hear
    store, undisturbed = MemoryStore(), MemoryStore()
    run.begin(store)
    stations = run.stations(store, 3)
    first = next(number for number, station in enumerate(stations) if station._waiting())
    dying = Station(Mortal(store, left=2), run.specification, first, 3, hear, workshop=run.workshop)
    dying.step()  # it puts checkpoint 1 and the next token, and not more
    with pytest.raises(StoreUnavailable):
        dying.flush()

    others = [station for number, station in enumerate(stations) if number != first]
    while busy := [station for station in others if station._waiting()]:
        busy[0].step()
        busy[0].flush()
    while busy := [station for station in stations if station._waiting()]:
        busy[0].step()
        busy[0].flush()

    assert set(trained.values()) == {1}
    run.begin(undisturbed)
    run.finish(undisturbed, 1)
    assert run.results(store) == run.results(undisturbed)
