"""Claims about `modelhopper simulate` and `experiment.simulate`."""

from __future__ import annotations

import json

import pytest

import modelhopper
from modelhopper.command import main
from modelhopper_contract.errors import UserError
from modelhopper_contract.stores import open_store
from tests.sdk.conftest import Work
from tests.sdk.synthetic import SyntheticRun, whole_run

HYPERBAND = {"method": "hyperband", "space": {"batch_size": {"linear": [1, 64]}}}
UNKNOWN_TIME = (
    "It is not known how long a hop trains: say so in seconds (hop_s, --hop-time), or give a run that was measured "
    "(curves, --curves)."
)
NO_DATA = {"train": "nowhere/train", "validation": "nowhere/validation"}

Said = pytest.CaptureFixture[str]


def said(capsys: Said, *arguments: str) -> str:
    assert main(["simulate", *arguments]) == 0
    return capsys.readouterr().out


def complaint(capsys: Said, *arguments: str) -> str:
    assert main(["simulate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.strip()


def test_a_grid_is_told_with_the_shards_of_its_data(work: Work, capsys: Said) -> None:
    out = said(capsys, work.experiment(), "--stations", "1,2", "--hop-time", "30")
    assert out.splitlines() == [
        "iris: 2 configurations, 2 iterations, 2 shards: 8 hops",
        "a hop trains 30 s (stated)",
        "",
        "  stations    makespan    bound    busy    idle",
        "         1     4 m 0 s  4 m 0 s   100 %     0 %",
        "         2     2 m 0 s  2 m 0 s   100 %     0 %",
    ]


def test_hyperband_is_told_with_its_rungs_before_there_is_data(work: Work, capsys: Said) -> None:
    file = work.experiment(search=HYPERBAND, iterations=9, data=NO_DATA)
    out = said(capsys, file, "--stations", "4", "--hop-time", "0.5", "--shards", "4", "--jitter", "0.2")
    assert out.startswith(
        "iris: 17 configurations, at most 9 iterations each, 4 shards: 69 model-iterations, 276 hops\n"
        "a hop trains 0.5 s (stated); give or take 20 %; values are modelled\n"
    )
    assert [line.split() for line in out.splitlines()[-3:]] == [
        ["1", "9", "3", "6"],
        ["3", "8", "2", "6"],
        ["9", "5", "5"],
    ]


def test_one_bracket_after_another_takes_longer(work: Work, capsys: Said) -> None:
    file = work.experiment(search=HYPERBAND, iterations=9, data=NO_DATA)
    options = (file, "--stations", "4", "--hop-time", "60", "--shards", "4", "--json")
    merged, apart = json.loads(said(capsys, *options)), json.loads(said(capsys, *options, "--one-by-one"))
    assert merged["simulations"][0]["rungs"] == apart["simulations"][0]["rungs"]
    assert merged["simulations"][0]["makespan_s"] < apart["simulations"][0]["makespan_s"]
    assert (merged["one_by_one"], apart["one_by_one"]) == (False, True)


def test_json_holds_all_numbers(work: Work, capsys: Said) -> None:
    found = json.loads(said(capsys, work.experiment(), "--stations", "2", "--hop-time", "30", "--json"))
    (one,) = found.pop("simulations")
    assert found == {
        "experiment": "iris",
        "search": "grid",
        "shards": 2,
        "iterations": 2,
        "hop_s": 30.0,
        "jitter": 0.0,
        "evaluation_s": 0.0,
        "one_by_one": False,
        "curves": None,
        "metric": "validation accuracy",
    }
    assert (one["stations"], one["makespan_s"], one["bound_s"], one["busy"], one["idle"]) == (2, 120.0, 120.0, 1.0, 0.0)
    assert (one["configurations"], one["model_iterations"], one["hops"]) == (2, 4, 8)


def test_python_has_the_same_numbers(work: Work) -> None:
    experiment = modelhopper.Experiment(**work.value(search=HYPERBAND, iterations=9, data=NO_DATA))
    found = experiment.simulate(stations=4, hop_s=60, shards=4)
    assert (found.configurations, found.model_iterations, found.hops) == (17, 69, 276)
    assert found.makespan_s >= found.bound_s >= 9 * 4 * 60
    assert found.busy + found.idle == 1
    assert found.makespan_s < experiment.simulate(stations=4, hop_s=60, shards=4, one_by_one=True).makespan_s


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stations", "0"], "`0` is not a number of stations: give 1 or more, or several such as 4,8,16."),
        (["--stations", "4,x"], "`4,x` is not a number of stations: give 1 or more, or several such as 4,8,16."),
        (["--stations", "4", "--hop-time", "0"], "A hop cannot take 0 seconds: give more than 0."),
        (["--stations", "4", "--shards", "0"], "0 is not a number of shards: give 1 or more."),
        (
            ["--stations", "4"],
            UNKNOWN_TIME,
        ),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, work: Work, capsys: Said) -> None:
    assert complaint(capsys, work.experiment(), *arguments) == message


def test_python_refuses_no_station(work: Work) -> None:
    with pytest.raises(UserError, match="0 is not a number of stations"):
        modelhopper.Experiment(**work.value()).simulate(stations=0, hop_s=60)


def test_what_would_be_simulated_without_its_parts_is_refused(work: Work, capsys: Said) -> None:
    file = work.experiment(folds=2, data={"train": "nowhere/train"})
    assert complaint(capsys, file, "--stations", "2", "--hop-time", "1", "--shards", "4").endswith(
        "and the experiment has folds. Simulate it without them."
    )
    SyntheticRun(open_store("runs"), folds=2, data={"train": "train"}).finished(1)
    said_of = complaint(capsys, work.experiment(), "--stations", "2", "--curves", "runs/iris")
    assert "recorded values by fold or group" in said_of


def test_data_that_is_not_there_is_asked_for(work: Work, capsys: Said) -> None:
    file = work.experiment(data=NO_DATA)
    said_of = complaint(capsys, file, "--stations", "4", "--hop-time", "60")
    assert "nowhere/train does not exist" in said_of
    assert said_of.endswith("Or say how many shards there are to be (shards, --shards).")


# --- Curves of an earlier run -----------------------------------------------------------------------------------------


def test_recorded_curves_decide_and_recorded_times_pass(work: Work, capsys: Said) -> None:
    whole_run(open_store("runs"))  # four configurations of which the third fails; a hop trains 2 s
    search = {"method": "halving", "configurations": 4, "eta": 2, "first": 2, "space": {"batch_size": [4, 8, 16, 32]}}
    out = said(capsys, work.experiment(search=search, iterations=4), "--stations", "2", "--curves", "runs/iris")
    assert out.splitlines()[1] == (
        "a hop trains 2.0 s (measured: 4 configurations of runs/iris); values are those of runs/iris"
    )
    assert [line.split() for line in out.splitlines()[-5:-2]] == [
        ["iterations", "reached", "went", "on", "stopped", "finished", "failed"],
        ["2", "4", "2", "1", "1"],
        ["4", "2", "2"],
    ]
    assert out.splitlines()[-1] == "best: configuration 2, validation accuracy 0.950 at iteration 4"


def test_hops_are_as_long_as_their_shards(work: Work, capsys: Said) -> None:
    whole_run(open_store("runs"))
    options = (work.experiment(), "--stations", "1", "--curves", "iris", "--store", "runs", "--json")
    two, four = (json.loads(said(capsys, *options, "--shards", shards)) for shards in ("2", "4"))
    assert (two["hop_s"], four["hop_s"]) == (2.0, 1.0)
    assert two["simulations"][0]["makespan_s"] == four["simulations"][0]["makespan_s"]


def test_an_unknown_run_is_told_with_the_nearest(work: Work, capsys: Said) -> None:
    whole_run(open_store("runs"))
    said_of = complaint(capsys, work.experiment(), "--stations", "2", "--curves", "runs/irsi")
    assert "has no experiment `irsi`" in said_of
    assert "Did you mean `iris`?" in said_of


def test_a_search_of_more_configurations_than_were_recorded_is_a_mistake(work: Work, capsys: Said) -> None:
    whole_run(open_store("runs"))
    file = work.experiment(search=HYPERBAND, iterations=9)
    said_of = complaint(capsys, file, "--stations", "2", "--curves", "runs/iris")
    assert "recorded values of 4 configurations and none of number 5, which the search starts" in said_of
