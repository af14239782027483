"""The commands that look: what they print, and how they end."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from modelhopper.command import main
from modelhopper_contract.stores.directory import DirectoryStore
from tests.sdk.synthetic import SyntheticRun, whole_run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SyntheticRun:
    """A complete run in the store `runs` of the working directory."""
    monkeypatch.chdir(tmp_path)
    return whole_run(DirectoryStore(tmp_path / "runs"))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    return capsys.readouterr().err


def test_status_of_one_experiment(run: SyntheticRun, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "status", "iris").splitlines()
    assert lines[:3] == [
        "iris: 4 configurations: 3 finished, 1 failed, 0 going on",
        "  hops 27 of 27; iteration 4 of 4 is complete",
        "  best: configuration 2, validation accuracy 0.950 (small  batch_size 8)",
    ]


def test_status_without_a_name_has_one_line_for_each(run: SyntheticRun, capsys: pytest.CaptureFixture[str]) -> None:
    SyntheticRun(run.store, name="another")
    lines = said(capsys, "status").splitlines()
    assert [line.partition(":")[0] for line in lines] == ["another", "iris"]


def test_status_of_an_empty_store_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no experiments" in said(capsys, "status", "--store", str(tmp_path))


def test_results_in_a_pipe_are_the_plain_table(run: SyntheticRun, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "results", "iris").splitlines()
    assert lines[2].startswith("2  small  batch 8")
    assert lines[-1].endswith("failed at hop 3: loss is NaN (modelhopper logs iris 3)")


def test_results_by_another_metric(run: SyntheticRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "results", "iris", "--metric", "loss").splitlines()[1].split()[0] == "loss"


def test_results_as_csv_and_json_have_whole_numbers(run: SyntheticRun, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(said(capsys, "results", "iris", "--format", "csv").splitlines()))
    assert rows[0]["validation accuracy"] == "0.95"
    assert json.loads(said(capsys, "results", "iris", "--format", "json"))[0]["configuration"] == 2


def test_the_history_of_one_configuration(run: SyntheticRun, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "results", "iris", "--configuration", "2", "--format", "json"))
    assert [(row["iteration"], row["train_s"]) for row in found] == [(2, 8.0), (4, 16.0)]
    assert len(json.loads(said(capsys, "results", "iris", "--history", "--format", "json"))) == 6


def test_an_unknown_format_is_a_mistake(run: SyntheticRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert "use table, csv, json. Did you mean `json`?" in complaint(capsys, "results", "iris", "--format", "jsn")


def test_best_says_what_to_do_next(run: SyntheticRun, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "best", "iris", "--metric", "training loss").splitlines()
    assert lines[0] == "configuration 2: small  batch_size 8"
    assert "  validation accuracy       0.950" in lines
    assert lines[-1] == 'Next: modelhopper best iris --metric "training loss" --export best.keras'


def test_logs_of_a_failed_configuration_tell_everything(run: SyntheticRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "logs", "iris", "3") == (
        "configuration 3 (deep  batch_size 4  layers 3) failed at hop 3, on shard 1, at station 1: loss is NaN\n\n"
        "Traceback of it\n\nThe last lines printed:\nthe last line\n"
    )


def test_logs_of_another_configuration_are_its_journal(run: SyntheticRun, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "logs", "iris", "2").splitlines()
    assert len(lines) == 9
    assert re.split(" {2,}", lines[1])[1:] == [
        *("2023-11-14 22:13:20", "hop 0", "station 0", "2.0 s of training, 0.5 s of moving")
    ]
    assert len(said(capsys, "logs", "iris", "2", "--station", "1").splitlines()) == 5


def test_logs_without_a_number_are_the_ends_of_the_stations_logs(
    run: SyntheticRun, capsys: pytest.CaptureFixture[str]
) -> None:
    for station in (0, 1):
        text = "\n".join(f"line {line}" for line in range(100))
        run.store.put(run.names.log(f"station-{station}.log"), text.encode())
    found = said(capsys, "logs", "iris")
    assert found.startswith("station-0.log\n  line 80\n")
    assert found.endswith("  line 99\n")
    assert "station-0.log" not in said(capsys, "logs", "iris", "--station", "1")
    assert "no log of station 2: there are station-0.log" in complaint(capsys, "logs", "iris", "--station", "2")


def test_export_writes_a_file(run: SyntheticRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "export", "iris", "--out", "a.csv", "--what", "history") == "Wrote a.csv.\n"
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 7
    assert "use leaderboard or history" in complaint(capsys, "export", "iris", "--out", "a.csv", "--what", "all")


@pytest.mark.parametrize("command", [("status",), ("results",), ("best",), ("logs",), ("export", "--out", "a.csv")])
def test_every_command_takes_another_store_and_knows_no_unknown_name(
    command: tuple[str, ...], run: SyntheticRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, command[0], "iris", *command[1:], "--store", str(tmp_path / "runs"))
    assert "Did you mean `iris`?" in complaint(capsys, command[0], "irs", *command[1:])
