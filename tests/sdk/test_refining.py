"""A second stage, as users ask for it: who goes on, who does not and why, and what trains them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelhopper.command import main
from modelhopper.documents import load_experiment
from modelhopper.experiment import Experiment
from modelhopper.leaderboard import Leaderboard, Row
from modelhopper.proposing import Proposal
from modelhopper.refining import refined, refinement
from modelhopper.results import Run, open_run
from modelhopper.running import make_ready, run_job
from modelhopper.selection import Selection, select
from modelhopper_contract import checkpoint
from modelhopper_contract.errors import ConflictError, StoreUnavailable, UserError
from modelhopper_contract.experiment import Experiment as Contract
from modelhopper_contract.messages import Event, Trained
from modelhopper_contract.metrics import Metric
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, History, Program
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.memory import MemoryStore
from tests.sdk.conftest import Work
from tests.sdk.synthetic import SyntheticRun, whole_run

Said = pytest.CaptureFixture[str]


def run_of(written: SyntheticRun) -> Run:
    return Run(written.store, written.names.experiment)


def trained(**changes: Any) -> SyntheticRun:
    """Write a complete run: 1 has the best accuracy, learned by heart; 2 and 4 are honest; 3 failed."""
    run = SyntheticRun(MemoryStore(), **changes)
    run.finished(1, accuracy=0.9, training_accuracy=1.0, loss=0.3, training_loss=0.1)
    run.finished(2, accuracy=0.8, training_accuracy=0.82, loss=0.4, training_loss=0.39)
    run.failed(3, 3)
    run.finished(4, accuracy=0.7, training_accuracy=0.69, loss=0.6, training_loss=0.61)
    return run


def numbers(found: Selection) -> list[int]:
    return [one.number for one in found.chosen]


# Who goes on


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [
        ({"top": 2}, [1, 2]),
        ({"top": 2, "max_gap": 0.05}, [2, 4]),
        ({"top": 2, "max_gap": 0.1}, [1, 2]),  # 1.0 - 0.9 is a little more in floating point
        ({"top": 2, "max_gap": 0.0}, [4]),  # better on validation data than on training data is no gap
        ({"top": 1, "metric": "loss", "max_gap": 0.1}, [2]),
        ({"top": 3, "metric": "training accuracy"}, [1, 2, 4]),
        ({"top": 1, "metric": "accuracy", "lower_is_better": True}, [4]),
        ({"top": 9}, [1, 2, 4]),
    ],
)
def test_the_best_by_a_metric_go_on_unless_their_gap_is_too_wide(rule: dict[str, Any], chosen: list[int]) -> None:
    assert numbers(run_of(trained()).select(**rule)) == chosen


def test_everyone_else_has_a_reason() -> None:
    found = run_of(trained()).select(1, max_gap=0.05)
    reasons = {one.number: one.reason for one in found.places}
    assert reasons == {1: "gap above 0.05", 2: "", 4: "rank 3, and 1 go on", 3: "failed: loss is NaN"}
    assert [one["becomes"] for one in found.records()] == [None, 1, None, None]


def test_the_table_ends_with_the_last_that_goes_on_and_counts_the_others() -> None:
    text = run_of(trained()).select(1, max_gap=0.05).text()
    assert re.search(r"^ +1 +1 +small +batch 4 +0\.900 +1\.000 +0\.100 +gap above 0\.05$", text, re.MULTILINE)
    assert re.search(r"^ +2 +2 +small +batch 8 +0\.800 +0\.820 +0\.020 +goes on as 1$", text, re.MULTILINE)
    assert text.startswith(
        "iris: 1 of 4 configurations goes on, the best by validation accuracy with a gap of at most 0.05 to training"
    )
    assert text.endswith("The others: 1 with a wider gap, 1 of a lower rank, 1 failed")


def test_fewer_than_were_asked_for_is_said() -> None:
    assert "; 9 were asked for" in run_of(trained()).select(9).text()


def board(*accuracies: float) -> Leaderboard:
    """Return a leaderboard of configurations with these validation accuracies; all were perfect in training."""
    metric = Metric("validation", "accuracy", lower_is_better=False)
    rows = [
        Row(
            at,
            f"model {at}",
            {"model": at},
            History(configuration=at, iteration=1, training={"accuracy": 1.0}, validation={"accuracy": value}),
            1,
            1.0,
            "finished",
        )
        for at, value in enumerate(accuracies, start=1)
    ]
    return Leaderboard("iris", metric, tuple(sorted(rows, key=lambda row: metric.rank(metric.of(row.history)))), 4)


def identities(found: Leaderboard) -> dict[int, bytes]:
    return {row.number: str(row.number).encode() for row in found.rows}


@given(
    st.lists(st.floats(0, 1) | st.just(math.nan), min_size=1, max_size=12),
    st.integers(1, 12),
    st.none() | st.floats(0, 1),
)
def test_whoever_goes_on_meets_the_rule_and_nobody_better_who_meets_it_stays(
    accuracies: list[float], top: int, max_gap: float | None
) -> None:
    given = board(*accuracies)
    meet = {
        at
        for at, value in enumerate(accuracies, start=1)
        if not math.isnan(value) and (max_gap is None or 1.0 - value <= max_gap + 1e-9)
    }
    if not meet:
        with pytest.raises(UserError):
            select(given, identities(given), top, max_gap)
        return
    found = select(given, identities(given), top, max_gap)
    chosen = set(numbers(found))
    assert chosen <= meet
    assert len(chosen) == min(top, len(meet))
    worst = min(accuracies[number - 1] for number in chosen)
    assert all(accuracies[number - 1] <= worst for number in meet - chosen)
    assert [one.becomes for one in found.chosen] == list(range(1, len(chosen) + 1))


def test_of_those_with_the_same_settings_only_the_best_goes_on() -> None:
    given = board(0.9, 0.8, 0.7)
    found = select(given, {1: b"a", 2: b"a", 3: b"b"}, 2)
    assert numbers(found) == [1, 3]
    assert found.places[1].reason == "the settings of 1"


# Who cannot


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"top": 0}, "top is 0: give how many go on"),
        ({"top": 1, "max_gap": math.nan}, "max_gap is NaN"),
        ({"top": 1, "metric": "acuracy"}, "`acuracy` is not a recorded metric.*Did you mean `accuracy`"),
        (
            {"top": 1, "max_gap": -0.5},
            r"iris has no configuration that can go on: the smallest gap of accuracy .* is -0.010 \(configuration 4\)",
        ),
    ],
)
def test_a_rule_that_nobody_can_meet_is_told_with_what_there_is(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_of(trained()).select(**rule)


def test_without_validation_data_there_is_no_gap() -> None:
    run = SyntheticRun(MemoryStore(), data={"train": "train"})
    for number in (1, 2, 3, 4):
        run.finished(number, accuracy=number / 10, loss=1.0)
    assert numbers(run_of(run).select(1)) == [4]
    assert "gap" not in run_of(run).select(1).text()
    with pytest.raises(UserError, match="there is no validation data, so there is no gap"):
        run_of(run).select(1, max_gap=0.1)


def test_where_all_failed_nobody_goes_on() -> None:
    run = SyntheticRun(MemoryStore())
    run.evaluated(1, 2, accuracy=0.5, loss=1.0)
    for number in (1, 2, 3, 4):
        run.failed(number, 5)
    with pytest.raises(UserError, match=r"every configuration failed. `modelhopper logs iris` shows more"):
        run_of(run).select(1)


def test_where_all_are_nan_nobody_goes_on() -> None:
    given = board(math.nan, math.nan)
    with pytest.raises(UserError, match="validation accuracy is NaN for all that did not fail"):
        select(given, identities(given), 1)


def test_a_run_that_is_not_complete_has_to_go_on_first() -> None:
    run = SyntheticRun(MemoryStore())
    run.finished(1, accuracy=0.9, loss=0.1)
    run.trained(2, 3)
    with pytest.raises(UserError, match=r"iris is not complete \(3 of 4 .*`modelhopper resume iris`"):
        run_of(run).select(1)


# What trains them


def test_the_second_stage_is_the_first_with_a_list_of_the_chosen() -> None:
    run = run_of(trained(seed=7, objective="validation accuracy", early_stopping=3, evaluate_every=1))
    made = run.refine(2, 20, max_gap=0.05)
    first = run.reader.specification().experiment
    assert (made.name, made.iterations, made.evaluate_every) == ("iris-refined", 20, 1)
    assert made.warm_start is not None
    assert made.warm_start.configurations == {1: 2, 2: 4}
    kept = ("data", "compile", "fit", "objective", "seed", "early_stopping", "devices", "keep_checkpoints")
    assert all(getattr(made, key) == getattr(first, key) for key in kept)
    before = {one.number: one for one in run.reader.configurations}
    for one, number in zip(made.configurations(), (2, 4), strict=True):
        assert settings(one) == settings(before[number])


def settings(one: Configuration) -> tuple[Any, ...]:
    return one.model, one.parameters, one.compile, one.fit


def test_parameters_that_varied_are_in_the_list_and_unused_models_are_gone() -> None:
    search = {"method": "grid", "space": {"model": [{"name": "deep", "units": [4, 8]}, "small"]}}
    run = trained(search=search, iterations=4)
    run.finished(3, accuracy=0.1, loss=2.0)
    made = run_of(run).refine(2, 4)
    assert list(made.models) == ["deep"]
    assert [one.parameters for one in made.configurations()] == [{"layers": 3, "units": 4}, {"layers": 3, "units": 8}]


def test_what_was_measured_for_each_holds_in_the_second_stage(tmp_path: Path) -> None:
    run = run_of(trained(compile={"loss": "mse", "metrics": ["accuracy"], "jit_compile": "auto"}))
    chosen = [
        one.model_copy(update={"program": Program(jit_compile=one.number == 1)})
        for one in run.reader.configurations[:2]
    ]
    made = Experiment.in_folder(refined(run.reader.specification(), chosen, 5), tmp_path)
    assert [one.compile["jit_compile"] for one in made.configurations()] == [True, False]


def test_the_printed_file_is_the_same_experiment() -> None:
    run = run_of(trained())
    found = refinement(run, run.select(2), 20)
    text = found.to_yaml()
    assert text.startswith("# iris: 2 of 4 configurations go on, the best by validation accuracy\n#\n# ")
    assert Experiment.in_folder(yaml.safe_load(text), found.experiment.folder) == found.experiment


def test_folds_cannot_go_on_because_a_setting_has_several_results() -> None:
    run = run_of(trained())
    first = run.reader.specification()
    parted = first.model_copy(update={"experiment": first.experiment.model_copy(update={"groups": True})})
    run.reader.store.put(run.reader.names.specification(), parted.to_json())
    with pytest.raises(UserError, match="iris has groups, so a setting has several results"):
        run.select(1)


def test_a_second_stage_with_others_has_to_have_another_name() -> None:
    store = MemoryStore()
    run = run_of(whole_run(store))
    other = {"name": "iris-refined", "warm_start": {"experiment": "iris", "configurations": {1: 4}}}
    SyntheticRun(store, **other)
    with pytest.raises(ConflictError, match=r"goes on with others of iris: 4. Give this one another name with --name"):
        run.refine(2, 20)
    assert run.refine(2, 20, name="again").name == "again"


# The command, with real runs


def ran(work: Work, **changes: Any) -> Run:
    small = {"model": {"name": "small", "units": 2}, "batch_size": 8}
    search = {"method": "list", "configurations": [small, {"model": "small"}, {"model": "small", "batch_size": 8}]}
    compiled = {"optimizer": "adam", "loss": "categorical_crossentropy", "metrics": ["accuracy"]}
    experiment = load_experiment(work.experiment(search=search, compile=compiled, **changes))
    return experiment.run("inline", progress=False)


def bytes_of(run: Run) -> dict[str, bytes]:
    kept, store = ("checkpoints", "history", "outcomes"), run.reader.store
    return {e.name: store.get(e.name) for e in store.list(f"{run.name}/") if e.name.split("/")[1] in kept}


REFINE = ["refine", "iris", "--top", "2", "--iterations", "2", "--engine", "inline"]


@pytest.mark.xdist_group("tensorflow")
def test_refine_tells_who_goes_on_trains_them_and_the_same_command_only_tells(work: Work, capsys: Said) -> None:
    first = ran(work)
    best = first.select(2)
    assert main(REFINE) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{best.text()}\n\niris-refined: 2 configurations, 2 iterations")
    assert "warm start: all 2 configurations go on from iris" in said
    board = said[said.rindex("began with") :]
    for place in best.chosen:
        assert f"iris/{place.number}" in board
    second = open_run("iris-refined")
    before = bytes_of(second)
    assert main(REFINE) == 0
    assert bytes_of(second) == before
    assert {row["began_with"] for row in second.leaderboard().records()} == {f"iris/{n}" for n in numbers(best)}


@pytest.mark.xdist_group("tensorflow")
def test_a_second_stage_begins_where_the_first_ended_and_goes_on_after_a_kill_to_the_same_bytes(work: Work) -> None:
    first = ran(work)
    expected = bytes_of(first.refine(2, 2).run("inline", progress=False))
    again = load_experiment("experiment.yaml").run("inline", "elsewhere", progress=False)
    experiment = again.refine(2, 2)
    begun: dict[str, Any] = {}

    def heard(event: Event) -> None:
        if not begun:
            begun.update(state(again, "iris-refined", 2, 0))
        if isinstance(event, Trained) and event.end_hop == 2:
            raise StoreUnavailable("killed")

    with pytest.raises(StoreUnavailable):
        run_job(make_ready(experiment, experiment.folder, engine="inline"), heard)
    ended = state(again, "iris", again.select(2).chosen[1].number, 4)
    assert begun.keys() == ended.keys()
    assert all(np.array_equal(begun[key], ended[key]) for key in begun)
    assert begun["optimizer/0000/iteration"] > 0
    assert bytes_of(again.refine(2, 2).run("inline", progress=False)) == expected


def state(run: Run, name: str, number: int, hop: int) -> dict[str, Any]:
    found = Names(name).checkpoint(number, hop)
    return dict(checkpoint.from_bytes(run.reader.store.get(found), found).state)


def test_print_shows_the_file_and_trains_nothing(work: Work, capsys: Said) -> None:
    whole_run(open_store("runs"))
    assert main([*REFINE, "--print", "--name", "more"]) == 0
    made = Contract.model_validate(yaml.safe_load(capsys.readouterr().out))
    assert (made.name, made.iterations) == ("more", 2)
    assert open_store("runs").list("more/") == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["iris", "--top", "2", "--iterations", "2", "--metric", "acuracy"], "Did you mean `accuracy`"),
        (["irs", "--top", "2", "--iterations", "2"], "Did you mean `iris`"),
        (["iris", "--top", "2", "--iterations", "2", "--max-gap", "-1"], "Allow a wider one"),
    ],
)
def test_a_mistake_is_one_line(work: Work, capsys: Said, given: list[str], message: str) -> None:
    whole_run(open_store("runs"))
    assert main(["refine", *given]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_with_a_cluster_it_is_submitted_there(
    work: Work, s3_url: str, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    data = work.value()["data"]
    written = SyntheticRun(open_store(s3_url), data=data, models={"small": "models.py:mlp", "deep": "models.py:mlp"})
    for number in (1, 2, 3, 4):
        written.finished(number, accuracy=number / 10, loss=1.0)
    here = written.specification.model_copy(update={"folder": str(work.folder)})
    written.store.put(written.names.specification(), here.to_json())
    mounts = {"training": {"claims": "train-{shard}"}, "validation": {"claims": "validation-{shard}"}}
    Path("cluster.yaml").write_text(yaml.safe_dump({"store": s3_url, "data": mounts}))
    sent: list[Proposal] = []

    def submit(proposed: Proposal) -> list[str]:
        sent.append(proposed)
        return ["iris-refined-1"]

    monkeypatch.setattr("modelhopper.submitting.submit", submit)
    assert main(["refine", "iris", "--top", "2", "--iterations", "3", "--cluster", "cluster.yaml"]) == 0
    (proposed,) = sent
    assert (proposed.name, sorted(proposed.specification.origins)) == ("iris-refined", [1, 2])
    assert "Submitted to namespace default: iris-refined-1" in capsys.readouterr().out
