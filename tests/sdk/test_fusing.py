"""Experiments whose configurations train together: said in one key, told in one line, and the same after any kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhopper.command import main
from modelhopper.experiment import Experiment
from modelhopper.results import Run, open_run
from modelhopper.running import make_ready, run_job
from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.messages import Event, Trained
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, Measurement, Program
from modelhopper_contract.store import Store
from modelhopper_contract.stores.memory import MemoryStore
from tests.decided import decided
from tests.sdk.conftest import Work

ADAM = {"optimizer": [{"name": "Adam", "learning_rate": [0.1, 0.03, 0.01, 0.003]}]}
GRID = {"method": "grid", "space": ADAM}
HYPERBAND = {
    "method": "hyperband",
    "eta": 3,
    "space": {"optimizer": [{"name": "Adam", "learning_rate": {"log": [0.001, 0.3]}}]},
}


def trained(work: Work, store: Store, stop_after: int | None = None, engine: Any = "inline", **changes: Any) -> Run:
    """Train; `stop_after`: be killed after so many stays."""
    made = Experiment.in_folder(work.value(**changes), work.folder)
    stays: list[Event] = []

    def heard(event: Event) -> None:
        stays.extend([event] if isinstance(event, Trained) else [])
        if stop_after is not None and len(stays) >= stop_after:
            raise StoreUnavailable("killed")

    run_job(make_ready(made, work.folder, engine=engine, store=store), heard)
    return Run(store, "iris")


def results(store: Store) -> dict[str, bytes]:
    names = Names("iris")
    parts = (names.outcomes(), names.histories(), names.checkpoints())
    return {entry.name: store.get(entry.name) for part in parts for entry in store.list(part)}


def programs(store: Store) -> list[Program]:
    entries = store.list(Names("iris").configurations())
    return [Configuration.from_json(store.get(entry.name)).program for entry in entries]


def test_a_search_whose_configurations_train_together_goes_on_after_a_kill(work: Work) -> None:
    changes: dict[str, Any] = {"search": HYPERBAND, "iterations": 3, "fuse": 3}
    whole, broken = MemoryStore(), MemoryStore()
    trained(work, whole, **changes)
    with pytest.raises(StoreUnavailable):
        trained(work, broken, stop_after=5, **changes)
    trained(work, broken, **changes)
    assert programs(whole) == programs(broken)
    assert Program(lanes=3) in programs(whole)
    assert whole.list(Names("iris").measurement())
    assert decided(broken, "iris") == decided(whole, "iris")
    assert results(broken) == results(whole)


def test_a_run_says_that_its_configurations_train_together(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    file = work.experiment(search=GRID, fuse=4)
    assert main(["run", file, "--engine", "inline", "--plain"]) == 0
    said = capsys.readouterr().out
    assert "4 configurations train 4 at a time (fused): measured " in said
    assert "4 configurations trained 4 at a time (fused)" in said
    run = open_run("iris", "runs")
    assert ("compiled", "trains 4 at a time (fused)") in [(one.about, one.words) for one in run.explain(2).lines]
    names = Names("iris")
    known = Measurement.from_json(run.reader.store.get(names.measurement()))
    assert [one.configurations for one in known.kinds] == [(1, 2, 3, 4)]
    # The same command goes on, with what was measured then.
    assert main(["run", file, "--engine", "inline", "--plain"]) == 0
    assert "measured" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("stations", [1, 2, 3])
def test_processes_make_the_same_bytes(work: Work, tmp_path: Path, stations: int) -> None:
    from modelhopper_contract.stores import open_store

    changes: dict[str, Any] = {"search": GRID, "fuse": 2, "iterations": 3}
    here, there = MemoryStore(), open_store(str(tmp_path / "store"))
    trained(work, here, **changes)
    trained(work, there, engine="local", devices={"kind": "cpu", "stations": stations}, **changes)
    assert results(there) == results(here)


@pytest.mark.slow
def test_appended_configurations_keep_what_was_chosen(work: Work) -> None:
    first, second = GRID, {"method": "list", "configurations": [{"batch_size": 8}, {"batch_size": 16}]}
    store = MemoryStore()
    trained(work, store, search=[first], fuse=4)
    before = programs(store)
    made = Experiment.in_folder(work.value(search=[first, second], fuse=4), work.folder)
    run_job(make_ready(made, work.folder, engine="inline", store=store, extend=True), lambda _: None)
    assert programs(store) == [*before, Program(), Program()]
    assert len(store.list(Names("iris").outcomes())) == 6
