"""Every search trains iris to its end, tells why, and comes to the same bytes when it is killed and goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelhopper.command import main
from modelhopper.documents import load_experiment
from modelhopper.experiment import Experiment
from modelhopper.results import Run, open_run
from modelhopper.running import make_ready, run_job
from modelhopper_contract.decisions import read_turns
from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.messages import Event, Trained
from modelhopper_contract.names import Names
from modelhopper_contract.store import Store
from modelhopper_contract.stores.memory import MemoryStore
from tests.decided import decided
from tests.sdk.conftest import Work

SPACE = {"optimizer": [{"name": "Adam", "learning_rate": {"log": [0.001, 0.3]}}], "batch_size": [8, 16]}
SEARCHES: dict[str, dict[str, Any]] = {
    "random": {"method": "random", "configurations": 2},
    "halving": {"method": "halving", "configurations": 4, "eta": 2},
    "hyperband": {"method": "hyperband", "eta": 3},
    "asha": {"method": "asha", "configurations": 4, "eta": 2},
    "median": {"method": "median", "configurations": 3},
    "tpe": {"method": "tpe", "configurations": 3, "parallel": 1},
    "optuna": {"method": "optuna", "sampler": "CmaEsSampler", "configurations": 2},
    "pbt": {"method": "pbt", "configurations": 4},
}


def experiment(work: Work, kind: str, **changes: Any) -> Experiment:
    search = {**SEARCHES[kind], "space": SPACE}
    value = work.value(name=kind, search=search, iterations=3, **changes)
    return Experiment.in_folder(value, work.folder)


def trained(work: Work, kind: str, store: Store, stop_after: int | None = None) -> Run:
    """Train in this process; `stop_after`: be killed after so many stays."""
    made = experiment(work, kind)
    stays: list[Event] = []

    def heard(event: Event) -> None:
        stays.extend([event] if isinstance(event, Trained) else [])
        if stop_after is not None and len(stays) >= stop_after:
            raise StoreUnavailable("killed")

    run_job(make_ready(made, work.folder, engine="inline", store=store), heard)
    return Run(store, kind)


def results(store: Store, name: str) -> dict[str, bytes]:
    names = Names(name)
    parts = (names.outcomes(), names.histories(), names.checkpoints())
    return {entry.name: store.get(entry.name) for part in parts for entry in store.list(part)}


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_search_that_is_killed_goes_on_to_the_same_decisions_and_bytes(work: Work, kind: str) -> None:
    whole, broken = MemoryStore(), MemoryStore()
    run = trained(work, kind, whole)
    with pytest.raises(StoreUnavailable):
        trained(work, kind, broken, stop_after=3)
    trained(work, kind, broken)
    # One station serves in one order, so even those that answer to whoever comes first decide the same.
    assert decided(broken, kind) == decided(whole, kind)
    assert results(broken, kind) == results(whole, kind)
    status = run.status()
    assert status.is_complete
    assert status.failed == 0
    turns = read_turns(whole, Names(kind))
    assert not turns or turns[-1].is_last
    assert run.best().metrics["validation accuracy"] > 0.3


def test_explain_tells_why_a_configuration_was_stopped(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    store = work.folder / "runs"
    experiment(work, "halving").run(engine="inline", store=str(store), progress=False)
    run = open_run("halving", str(store))
    stopped = next(number for number, one in run.reader.outcomes().items() if one.state == "stopped")
    assert main(["explain", "halving", str(stopped), "--store", str(store)]) == 0
    said = capsys.readouterr().out
    assert f"configuration {stopped}: Adam" in said
    assert "rank" in said
    assert "stopped at rung 0" in said
    assert "at iteration 1" not in said  # the line begins with it
    assert "of training" in said
    assert main(["explain", "halving", str(stopped), "--json", "--store", str(store)]) == 0
    assert json.loads(capsys.readouterr().out)["configuration"] == stopped
    assert main(["explain", "halving", "99", "--store", str(store)]) == 2
    assert "has no configuration 99: they are numbered from 1 to 4" in capsys.readouterr().err


def test_a_second_search_is_appended_to_a_run_and_changes_nothing_of_the_first(work: Work) -> None:
    first = {"method": "grid", "space": {"batch_size": [8, 16]}}
    second = {"method": "random", "configurations": 2, "space": SPACE}
    store = work.folder / "runs"
    Experiment.in_folder(work.value(name="more", search=first), work.folder).run(
        engine="inline", store=str(store), progress=False
    )
    run = open_run("more", str(store))
    before = results(run.reader.store, "more")
    both = Experiment.in_folder(work.value(name="more", search=[first, second]), work.folder)
    longer = both.run(engine="inline", store=str(store), extend=True, progress=False)
    assert [row.number for row in sorted(longer.leaderboard().rows, key=lambda row: row.number)] == [1, 2, 3, 4]
    assert "by the searches `grid`, `random`" in str(longer.explain(4))
    after = results(run.reader.store, "more")
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"method": "hyperband", "eta": 1, "space": SPACE}, "search.eta"),
        ({"method": "hyperband", "eta": 5, "space": SPACE}, "eta"),
        ({"method": "hyperband", "skip_last": 2, "space": SPACE}, "skip_last"),
        ({"method": "random", "space": SPACE}, "configurations"),
        ({"method": "grid", "space": SPACE}, "range"),
        ({"method": "hyperbnd", "space": SPACE}, "Did you mean `hyperband`?"),
        ({"method": "nothere.py:Search", "space": SPACE}, "nothere.py"),
        ({"method": "optuna", "sampler": "TPESampler2", "configurations": 2, "space": SPACE}, "TPESampler"),
        ({"method": "asha", "configurations": 4, "space": {"optimizer": [{}]}}, "empty"),
        ({"method": "asha", "configurations": 4, "space": {"batchsize": [4]}}, "Did you mean `batch_size`?"),
        ({"method": "asha", "configurations": 4, "space": {"batch_size": {"logg": [4, 8]}}}, "log"),
    ],
)
def test_a_mistake_in_a_search_is_one_line_with_its_place(
    work: Work, capsys: pytest.CaptureFixture[str], search: dict[str, Any], message: str
) -> None:
    file = work.experiment(search=search, iterations=3)
    assert main(["configs", file]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith(f"{file}:"), "no line of the file"
    assert said.count("\n") == 1


def test_an_unknown_metric_as_objective_is_told_before_anything_runs(
    work: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    file = work.experiment(search={**SEARCHES["halving"], "space": SPACE}, iterations=3, objective="validation acuracy")
    assert main(["run", file, "--store", str(work.folder / "runs")]) == 2
    assert "Did you mean `validation accuracy`?" in capsys.readouterr().err


def test_an_experiment_with_a_search_says_the_same_as_yaml(work: Work) -> None:
    for kind in SEARCHES:
        made = experiment(work, kind)
        path = work.folder / f"{kind}.yaml"
        path.write_text(made.to_yaml())
        assert load_experiment(path).search == made.search


ONE_AFTER_ANOTHER = """
import modelhopper as mh


class One:
    rungs = ()

    def __init__(self, setting):
        self.setting = setting

    def start(self, past):
        number = len(past.trials) + 1
        if past.training or number > 2:
            return []
        choice = mh.draw(self.setting.space, self.setting.seed, number)
        return [mh.Start(configuration=number, choice=choice, until=self.setting.iterations, reason="the next one")]

    def judge(self, past):
        return []
"""


def test_a_search_of_ones_own_that_begins_with_one_configuration_has_all_stations(work: Work) -> None:
    (work.folder / "own.py").write_text(ONE_AFTER_ANOTHER)
    value = work.value(name="own", search={"method": "own.py:One", "space": SPACE}, iterations=1)
    made = Experiment.in_folder(value, work.folder)
    job = make_ready(made, work.folder, store=MemoryStore())
    assert (len(job.configurations), job.stations) == (1, 2)
    run_job(make_ready(made, work.folder, engine="inline", store=(store := MemoryStore())), lambda _: None)
    assert Run(store, "own").status().finished == 2
