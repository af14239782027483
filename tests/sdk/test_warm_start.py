"""Warm starts and longer training, as users ask for them: what begins with what, what is refused, and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper.bundling import bundle
from modelhopper.candidate import Candidate
from modelhopper.command import main
from modelhopper.command.schema import experiment_schema
from modelhopper.documents import load_experiment
from modelhopper.experiment import Experiment
from modelhopper.pods.beginning import Task, begin_pod
from modelhopper.results import Run, open_run
from modelhopper.running import make_ready, run_job
from modelhopper.warm_start import Earlier, begun_with, continued, note, with_origins
from modelhopper_contract import checkpoint
from modelhopper_contract.errors import ConflictError, SpecError, StoreUnavailable
from modelhopper_contract.experiment import Experiment as Spec
from modelhopper_contract.experiment import WarmStart, validated
from modelhopper_contract.messages import Built, Event, Trained
from modelhopper_contract.names import Names
from modelhopper_contract.records import Failure, Origin, Outcome, Program
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.programs import must_measure
from tests.scheduler.planned import configuration
from tests.sdk.conftest import Work
from tests.sdk.synthetic import EXPERIMENT, SyntheticRun, whole_run

Said = pytest.CaptureFixture[str]


# What begins with what, decided from numbers and outcomes only


def outcome(number: int, state: Any = "finished", hops: int = 6) -> Outcome:
    failed = Failure(reason="loss is NaN", hop=hops, shard=None, station=None, traceback=None, output=None)
    failure = failed if state == "failed" else None
    return Outcome(configuration=number, state=state, hops=hops, failure=failure)


def earlier(**states: str) -> Earlier:
    """Return an experiment of configurations by number: `_1="finished"`; "" for one that has not ended."""
    found = {int(key[1:]): state for key, state in states.items()}
    ended = {number: outcome(number, state) for number, state in found.items() if state}
    return Earlier("iris", frozenset(found), ended)


@given(here=st.sets(st.integers(1, 9), min_size=1), there=st.sets(st.integers(1, 9), min_size=1), data=st.data())
def test_numbers_in_both_go_on_unless_they_failed_and_all_others_begin_fresh(
    here: set[int], there: set[int], data: st.DataObject
) -> None:
    states = {number: data.draw(st.sampled_from(["finished", "stopped", "failed"])) for number in there}
    before = earlier(**{f"_{number}": state for number, state in states.items()})
    found = with_origins(WarmStart(experiment="iris"), [configuration(number) for number in sorted(here)], before)
    going = {number for number in here & there if states[number] != "failed"}
    origins = {one.number: one.origin for one in found}
    assert origins == {
        number: Origin(experiment="iris", configuration=number, hop=6) if number in going else None for number in here
    }


def test_the_numbers_of_folds_are_not_taken_for_those_of_settings() -> None:
    folded = SyntheticRun(MemoryStore(), folds=2, data={"train": "train"})
    for number in range(1, 9):
        folded.finished(number, accuracy=0.5, loss=0.5)
    settings = [one.model_copy(update={"part": None}) for one in folded.configurations[:4]]

    def begun(wanted: Any) -> list[int | None]:
        made = validated(Spec, EXPERIMENT | {"name": "final", "warm_start": wanted})
        specification = Specification(experiment=made, folder="/nowhere", shards=2, validation_shards=1, digests={})
        found = begun_with(specification, settings, folded.store).configurations
        return [None if one.origin is None else one.origin.configuration for one in found]

    with pytest.raises(SpecError, match=r"each setting of iris has 2 configurations \(fold 1, fold 2\)"):
        begun({"experiment": "iris"})
    assert begun({"experiment": "iris", "configurations": {1: 3}}) == [3, None, None, None]
    with pytest.raises(SpecError, match="iris has folds, and a configuration of one of them cannot go on alone"):
        continued(folded.specification, folded.configurations[0], 5)


def test_a_stopped_configuration_goes_on_from_the_checkpoint_that_counts() -> None:
    stopped = Earlier("iris", frozenset({1}), {1: outcome(1, "stopped", hops=4)})
    (found,) = with_origins(WarmStart(experiment="iris"), [configuration(1)], stopped)
    assert found.origin == Origin(experiment="iris", configuration=1, hop=4)


def test_a_mapping_goes_from_numbers_here_to_numbers_there() -> None:
    wanted = WarmStart(experiment="iris", configurations={1: 5, 3: 5})
    found = with_origins(wanted, map(configuration, (1, 2, 3)), earlier(_1="finished", _5="finished"))
    assert [one.origin and one.origin.configuration for one in found] == [5, None, 5]


@pytest.mark.parametrize(
    ("mapping", "states", "message"),
    [
        (None, {"_1": ""}, "configuration 1 of iris has not ended.*modelhopper resume iris"),
        ({1: 2}, {"_2": ""}, "configuration 2 of iris has not ended"),
        ({1: 2}, {"_2": "failed"}, "configuration 2 of iris failed, so it has no result to begin with: loss is NaN"),
        ({4: 1}, {"_1": "finished"}, "names configuration 4, and those of this experiment are numbered from 1 to 2"),
        ({1: 7}, {"_1": "finished"}, "names configuration 7, and those of iris are numbered from 1 to 1"),
    ],
)
def test_what_has_no_result_to_begin_with_is_a_mistake(
    mapping: dict[int, int] | None, states: dict[str, str], message: str
) -> None:
    wanted = WarmStart(experiment="iris", configurations=mapping)
    with pytest.raises(SpecError, match=message) as error:
        with_origins(wanted, map(configuration, (1, 2)), earlier(**states))
    assert error.value.path == ("warm_start",)


def test_what_is_not_begun_with_does_not_have_to_have_ended() -> None:
    wanted = WarmStart(experiment="iris", configurations={1: 1})
    found = with_origins(wanted, map(configuration, (1, 2)), earlier(_1="finished", _2=""))
    assert found[1].origin is None


@pytest.mark.parametrize(
    ("numbers", "states", "said"),
    [
        ((1, 2), {"_1": "finished", "_2": "finished"}, "all 2 configurations go on from iris"),
        ((1,), {"_1": "finished"}, "1 of 1 configuration goes on from iris"),
        ((1, 2, 3), {"_1": "finished", "_2": "failed"}, "1 of 3 configurations goes on from iris; 2 failed there and"),
    ],
)
def test_a_line_says_who_goes_on(numbers: tuple[int, ...], states: dict[str, str], said: str) -> None:
    wanted, before = WarmStart(experiment="iris"), earlier(**states)
    assert note(wanted, with_origins(wanted, map(configuration, numbers), before), before).startswith(
        f"warm start: {said}"
    )


# What a file may say


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warm_start": "iris"}, "iris cannot begin with its own results"),
        ({"warm_start": {"experiment": "a", "configuration": 1}}, "Did you mean `configurations`"),
        ({"warm_start": {"experiment": "a", "configurations": {"x": 1}}}, "warm_start.configurations.x"),
    ],
)
def test_a_wrong_warm_start_is_one_clear_mistake(work: Work, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Experiment.in_folder(work.value(**changes), work.folder)


def test_the_schema_knows_both_forms(work: Work) -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(experiment_schema())
    for form in ("iris", {"experiment": "iris"}, {"experiment": "iris", "configurations": {"1": 5}}):
        value = work.value(name="more", warm_start=form)
        assert validator.is_valid(value)
        assert Experiment.in_folder(value, work.folder).warm_start is not None
    assert not validator.is_valid(work.value(warm_start={"configurations": {"1": 5}}))


def test_a_search_that_numbers_while_it_runs_cannot_be_warm_started(work: Work) -> None:
    search = {"method": "asha", "space": {"batch_size": [4, 8]}, "configurations": 2}
    with pytest.raises(SpecError, match="`warm_start` goes by configuration numbers, and `asha` gives them while it"):
        Experiment.in_folder(work.value(name="more", warm_start="iris", search=search), work.folder)


def test_an_earlier_experiment_that_is_not_there_is_told_with_the_nearest(work: Work) -> None:
    whole_run(open_store("runs"))
    experiment = load_experiment(work.experiment(name="more", warm_start="irs"))
    with pytest.raises(SpecError, match=r"no experiment of this name that has begun: it has iris. Did you mean `iris`"):
        make_ready(experiment, work.folder)


def test_a_bundle_cannot_be_warm_started_without_the_store(work: Work) -> None:
    with pytest.raises(SpecError, match="needs the store that holds the earlier experiment"):
        bundle(load_experiment(work.experiment(name="more", warm_start="iris")), work.folder)


# Real runs


def ran(work: Work, **changes: Any) -> Run:
    experiment = load_experiment(work.experiment(**changes))
    return experiment.run("inline", progress=False)


def bytes_of(store: Store, name: str) -> dict[str, bytes]:
    kept = ("checkpoints", "history", "outcomes")
    return {e.name: store.get(e.name) for e in store.list(f"{name}/") if e.name.split("/")[1] in kept}


@pytest.mark.xdist_group("tensorflow")
def test_a_warm_started_run_that_is_killed_goes_on_to_the_same_bytes(work: Work) -> None:
    ran(work)
    changes: dict[str, Any] = {"name": "more", "warm_start": "iris", "iterations": 4}
    expected = bytes_of(ran(work, **changes).reader.store, "more")
    store = Path("elsewhere")
    load_experiment(work.experiment()).run("inline", str(store), progress=False)
    experiment = load_experiment(work.experiment(**changes))

    def heard(event: Event) -> None:
        if isinstance(event, Trained) and event.end_hop == 4:
            raise StoreUnavailable("killed")

    with pytest.raises(StoreUnavailable):
        run_job(make_ready(experiment, work.folder, engine="inline", store=str(store)), heard)
    run = open_run("more", str(store))
    run.resume("inline", progress=False)
    assert bytes_of(run.reader.store, "more") == expected


@pytest.mark.xdist_group("tensorflow")
def test_the_pod_that_begins_a_run_makes_the_same_first_states(work: Work) -> None:
    store = ran(work).reader.store
    experiment = load_experiment(work.experiment(name="more", warm_start="iris"))
    text = bundle(experiment, work.folder, store=store).encode()
    begin_pod(store, Task("more"), text, work.folder / "outputs", lambda _: None)
    begun = bytes_of(store, "more")
    elsewhere = open_store("elsewhere")
    for entry in store.list("iris/"):
        elsewhere.put(entry.name, store.get(entry.name))
    found: dict[str, bytes] = {}

    def heard(event: Event) -> None:
        if isinstance(event, Built):
            found.update(bytes_of(elsewhere, "more"))

    run_job(make_ready(experiment, work.folder, engine="inline", store="elsewhere"), heard)
    assert begun == found
    assert len(found) == 2


@pytest.mark.xdist_group("tensorflow")
def test_an_earlier_experiment_that_has_changed_is_refused_when_a_run_goes_on(work: Work) -> None:
    run = ran(work)
    changes: dict[str, Any] = {"name": "more", "warm_start": "iris"}
    ran(work, **changes)
    ran_longer = load_experiment(work.experiment(iterations=3))
    ran_longer.run("inline", extend=True, progress=False)
    with pytest.raises(ConflictError, match="what configuration 1 begins with changed; what configuration 2 begins"):
        ran(work, **changes)
    assert run.status().is_complete


@pytest.mark.xdist_group("tensorflow")
def test_continue_trains_the_best_longer_and_the_same_command_only_tells(work: Work, capsys: Said) -> None:
    run = ran(work)
    best = run.best()
    command = ["continue", "iris", "--iterations", "3", "--engine", "inline"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "warm start: 1 of 1 configuration goes on from iris" in said
    longer = open_run(f"iris-{best.number}")
    assert longer.status().is_complete
    assert same_settings(longer.best(), best)
    before = bytes_of(longer.reader.store, longer.name)
    assert main(command) == 0
    assert bytes_of(longer.reader.store, longer.name) == before
    assert main(["continue", "iris", "--iterations", "5", "--engine", "inline"]) == 2
    assert "iterations was 3, is 5" in capsys.readouterr().err
    assert main(["continue", "iris", "--iterations", "5", "--engine", "inline", "--extend", "--quiet"]) == 0


def same_settings(one: Candidate, other: Candidate) -> bool:
    def of(candidate: Candidate) -> Any:
        found = candidate.configuration
        return found.model, found.parameters, found.compile, found.fit

    return bool(of(one) == of(other))


@pytest.mark.xdist_group("tensorflow")
def test_a_continued_configuration_begins_where_it_ended(work: Work) -> None:
    run = ran(work, compile={"optimizer": "adam", "loss": "categorical_crossentropy", "metrics": ["accuracy"]})
    experiment = run.configuration(2).continued(2, name="longer")
    made = experiment.model_copy(update={"keep_checkpoints": "iterations"})
    job = make_ready(made, experiment.folder, engine="inline")
    begun: dict[str, Any] = {}

    def heard(event: Event) -> None:
        if not begun:
            name = Names("longer").checkpoint(1, 0)
            begun.update(checkpoint.from_bytes(job.store.get(name), name).state)

    run_job(job, heard)
    name = Names("iris").checkpoint(2, 4)
    result = checkpoint.from_bytes(run.reader.store.get(name), name).state
    assert begun.keys() == result.keys()
    for key, array in begun.items():
        np.testing.assert_array_equal(array, result[key], strict=True)
    assert begun["optimizer/0000/iteration"] > 0


def test_a_continued_experiment_is_the_old_one_with_one_choice(tmp_path: Path) -> None:
    run = open_run("iris", whole_run(MemoryStore()).store)
    one = run.configuration(3)
    specification = run.reader.specification()
    value = continued(specification, one.configuration, 50)
    assert (value["name"], value["iterations"]) == ("iris-3", 50)
    assert value["warm_start"] == {"experiment": "iris", "configurations": {1: 3}}
    made = Experiment.in_folder(value, tmp_path)
    (found,) = made.configurations()
    assert (found.parameters, found.compile, found.fit) == (
        one.configuration.parameters,
        one.configuration.compile,
        one.configuration.fit,
    )
    assert (made.seed, made.data) == (specification.experiment.seed, specification.experiment.data)


@pytest.mark.parametrize("own", [{}, {"precision": "float32"}])
def test_what_was_measured_for_it_holds_when_it_is_continued(tmp_path: Path, own: dict[str, str]) -> None:
    run = open_run("iris", whole_run(MemoryStore()).store)
    specification, one = run.reader.specification(), run.configuration(3).configuration
    compiled = specification.experiment.compile.model_copy(update={"jit_compile": "auto", "precision": "auto"})
    experiment = specification.experiment.model_copy(update={"compile": compiled, "fuse": "auto"})
    program = Program.model_validate({"lanes": 4, "jit_compile": True, "precision": "mixed_bfloat16", **own})
    asked = {**one.compile, "jit_compile": "auto", "precision": "auto", **own}
    one = one.model_copy(update={"program": program, "compile": asked})
    value = continued(specification.model_copy(update={"experiment": experiment}), one, 50)
    made = Experiment.in_folder(value, tmp_path)
    (found,) = made.configurations()
    assert (found.compile["jit_compile"], found.compile["precision"]) == (True, program.precision)
    assert not must_measure(made, [found])
