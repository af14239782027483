"""A run that is extended, with evaluations at other iterations, ends with every metric that can be had."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.records import Outcome
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.conduct import begun, take_over
from tests.trainer.small_run import Mortal, SmallRun

pytestmark = pytest.mark.xdist_group("tensorflow")

SEARCH = {
    "method": "list",
    "configurations": [{"model": "plain", "optimizer": {"name": "SGD", "learning_rate": 0.1}, "batch_size": 8}],
}


def prepared(folder: Path, **changes: Any) -> SmallRun:
    return SmallRun.prepare(folder, search=SEARCH, **changes)


@pytest.mark.parametrize("changes", [0, 9, 12, 15, 18, 25])
def test_evaluating_more_often_than_begun_still_ends(tmp_path: Path, changes: int) -> None:
    seldom = prepared(tmp_path, iterations=2, evaluate_every=2)
    often = prepared(tmp_path, iterations=2, evaluate_every=1)
    store = MemoryStore()
    seldom.begin(store)
    with contextlib.suppress(StoreUnavailable):
        seldom.finish(Mortal(store, changes), 1)
    assert begun(often.specification, store, extend=True)
    take_over(often.specification, store)
    often.finish(store, 1)
    assert Outcome.from_json(store.get(often.names.outcome(1))).state == "finished"
    assert store.list(often.names.history(1, 2))


def test_an_extended_run_waits_for_every_evaluation_before_it_ends(tmp_path: Path) -> None:
    short = prepared(tmp_path, iterations=3, evaluate_every=2)
    longer = prepared(tmp_path, iterations=5, evaluate_every=2)
    store = MemoryStore()
    short.begin(store)
    short.finish(store, 1)
    assert begun(longer.specification, store, extend=True)
    take_over(longer.specification, store)
    stations = longer.stations(store, 2)
    late = longer.names.evaluation_token(1, 1, 4)
    while busy := [station for station in stations if station._waiting()]:
        busy[0].step()
        busy[0].flush()
        store.delete(late)  # that station's part of the evaluation of iteration 4 comes last, after that of iteration 5
    assert store.list(longer.names.history(1, 5))
    assert not store.list(longer.names.outcome(1))
    longer.finish(store, 2)
    assert [e.name for e in store.list(longer.names.histories())] == [longer.names.history(1, n) for n in (2, 3, 4, 5)]
