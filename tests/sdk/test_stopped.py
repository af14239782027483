"""Configurations that were stopped: the result is an earlier iteration than the newest, and they are no failures."""

from __future__ import annotations

from pathlib import Path

from modelhopper.following import Look, events, look
from modelhopper.pods.reporting import Ending, report_pod
from modelhopper.reading import Reader
from modelhopper.results import Run
from modelhopper.steering import is_complete
from modelhopper_contract.decisions import GoOn, Start, Stop, Turn
from modelhopper_contract.errors import ExitCode
from modelhopper_contract.messages import Ended, Evaluated
from modelhopper_contract.store import Store
from modelhopper_contract.stores.memory import MemoryStore
from tests.sdk.synthetic import SyntheticRun, whole_run

WHY = "validation loss has not improved for 2 evaluations: best 0.1 at iteration 1"


def stopped_run(store: Store) -> SyntheticRun:
    """Write a complete run: 3 was stopped after iteration 3 and is the best by its iteration 1; the others finished."""
    run = SyntheticRun(store, evaluate_every=1)
    run.finished(1, accuracy=0.9, loss=0.3)
    run.finished(2, accuracy=0.95, loss=0.2)
    run.stopped(3, 3, 1, WHY, accuracy=0.97, loss=0.1)
    run.finished(4, accuracy=0.9, loss=0.25)
    return run


def run_of(written: SyntheticRun) -> Run:
    return Run(written.store, written.names.experiment)


def test_a_stopped_configuration_is_ranked_by_its_result_and_says_where_it_stands() -> None:
    board = run_of(stopped_run(MemoryStore())).leaderboard()
    first = board.rows[0]
    assert (first.number, first.iteration, first.state, first.reason) == (3, 1, "stopped", WHY)
    assert first.metrics["validation accuracy"] == 0.97
    lines = board.text().splitlines()
    assert lines[1].split()[-2:] == ["iteration", "time"]
    assert lines[2].split()[-1] == "stopped"
    assert all("stopped" not in line for line in lines[3:])


def test_stopped_goes_first_where_there_is_no_room() -> None:
    board = run_of(stopped_run(MemoryStore())).leaderboard()
    whole = max(len(line) for line in board.text().splitlines())
    assert "stopped" in board.text(whole)
    assert "stopped" not in board.text(whole - 1)


def test_a_run_without_stopped_ones_shows_and_writes_nothing_of_it() -> None:
    run = run_of(whole_run(MemoryStore()))
    assert "stopped" not in run.leaderboard().text() + run.status().text()
    assert "reason" not in run.leaderboard().records()[0]


def test_the_reason_is_in_the_records() -> None:
    records = run_of(stopped_run(MemoryStore())).leaderboard().records()
    assert [record["reason"] for record in records] == [WHY, None, None, None]
    assert [record["state"] for record in records] == ["stopped", "finished", "finished", "finished"]


def test_the_history_ends_where_the_configuration_was_stopped() -> None:
    written = stopped_run(MemoryStore())
    written.evaluated(3, 4, accuracy=0.99, loss=0.01)  # another station evaluated what was trained meanwhile
    run = run_of(written)
    assert [row.iteration for row in run.history(3).rows] == [1, 2, 3]
    assert run.best().metrics["validation accuracy"] == 0.97


def test_the_status_counts_stopped_ones_and_the_hops_that_count() -> None:
    status = run_of(stopped_run(MemoryStore())).status()
    assert (status.finished, status.stopped, status.failed, status.going_on) == (3, 1, 0, 0)
    assert status.hops_done == status.hops == 3 * 8 + 6
    assert (status.iteration, status.is_complete) == (4, True)
    assert status.text().startswith("iris: 4 configurations: 3 finished, 1 stopped, 0 failed, 0 going on\n")
    assert ", 1 stopped, best: configuration 3" in status.line()


def test_the_model_is_that_of_the_result(tmp_path: Path) -> None:
    written = stopped_run(MemoryStore())
    written._checkpoint(3, 6)
    found = run_of(written).configuration(3)._checkpoint()
    assert found.record.hop == 1


def test_a_report_lists_who_was_stopped_and_is_no_failure() -> None:
    written = SyntheticRun(MemoryStore(), evaluate_every=1)
    for number in (1, 2, 3, 4):
        written.stopped(number, 3, 1, WHY, accuracy=0.5, loss=0.1)
    assert report_pod(written.store, Ending("iris"), lambda _: None) == ExitCode.DONE
    report = written.store.get(written.names.report()).decode()
    assert f"## Stopped\n\n- configuration 1 (small  batch_size 4): {WHY}\n" in report
    assert "## Failed" not in report


def test_whoever_follows_hears_of_the_end_before_its_earlier_result() -> None:
    written = SyntheticRun(MemoryStore(), evaluate_every=1)
    reader = Reader(written.store, "iris")
    written.trained(3, 6)
    for at, value in ((1, 0.97), (2, 0.4), (3, 0.4)):
        written.evaluated(3, at, accuracy=value, loss=0.1)
    before = look(reader, written.specification)
    assert before.histories[3].iteration == 3
    written.stopped(3, 3, 1, WHY, accuracy=0.97, loss=0.1)
    now = look(reader, written.specification)
    told = [one for one in events(before, now) if isinstance(one, Ended | Evaluated)]
    assert [type(one) for one in told] == [Ended, Evaluated]
    assert now.histories[3].iteration == 1


def turn(order: int, *decisions: Start | GoOn | Stop, is_last: bool = False) -> Turn:
    return Turn(order=order, arrival=None, decisions=decisions, is_last=is_last)


def test_a_judged_run_is_complete_when_its_search_has_nothing_more_to_decide() -> None:
    search = {"method": "halving", "configurations": 4, "space": {"batch_size": [2, 4, 8, 16]}}
    written = SyntheticRun(MemoryStore(), evaluate_every=1)
    experiment = written.specification.experiment.model_dump() | {"search": search}
    written.specification = written.specification.model_copy(
        update={"experiment": type(written.specification.experiment).model_validate(experiment), "rungs": (1,)}
    )
    written.store.put(written.names.specification(), written.specification.to_json())
    starts = [Start(configuration=n, choice={}, until=1, reason="") for n in (1, 2, 3, 4)]
    written.store.put(written.names.turn(0), turn(0, *starts).to_json())
    for number in (1, 2, 3, 4):
        written.stopped(number, 1, 1, "rank 4 of 4", accuracy=0.5, loss=0.1)
    run = run_of(written)
    assert (run.status().is_complete, is_complete(run.reader)) == (False, False)
    assert not look(run.reader, written.specification).is_complete
    written.store.put(written.names.turn(1), turn(1, is_last=True).to_json())
    assert (run.status().is_complete, is_complete(run.reader)) == (True, True)
    assert isinstance(look(run.reader, written.specification), Look)


def test_who_waits_at_a_rung_has_done_all_hops_that_are_known() -> None:
    written = SyntheticRun(MemoryStore(), evaluate_every=1)
    starts = [Start(configuration=n, choice={}, until=1, reason="") for n in (1, 2, 3, 4)]
    written.store.put(written.names.turn(0), turn(0, *starts).to_json())
    for number in (1, 2, 3, 4):
        written.trained(number, 2)
    status = run_of(written).status()
    assert (status.hops_done, status.hops, status.going_on) == (8, 8, 4)
