"""What users see of a run whose replicas are merged."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import modelhopper as mh
from modelhopper.display.progress import Progress
from modelhopper.display.sentences import framed
from modelhopper.documents import load_experiment
from modelhopper.proposing import shapes_for
from modelhopper.reading import Reader
from modelhopper.running import make_ready, run_job
from modelhopper.simulating import Assumptions, simulated
from modelhopper_contract.errors import ConflictError, SpecError
from modelhopper_contract.messages import Event, Trained
from modelhopper_contract.records import Configuration
from modelhopper_contract.ring import Ring
from tests.scheduler.planned import experiment_value
from tests.sdk.conftest import Work

pytestmark = pytest.mark.xdist_group("tensorflow")

ELASTIC = {"name": "easgd", "alpha": 0.001, "beta": 0.9}
LIST = {"method": "list", "configurations": [{"batch_size": 8}]}


def test_a_run_is_told_like_any_other(work: Work) -> None:
    experiment = mh.Experiment(**work.value(method=ELASTIC, search=LIST))
    run = experiment.run(engine="inline", store="here", progress=False)
    status, board = run.status(), run.leaderboard()
    assert (status.hops_done, status.hops, status.finished) == (4, 4, 1)
    assert [row.state for row in board.rows] == ["finished"]
    lines = {line.about: line.words for line in run.explain(1).lines}
    assert lines["method"].startswith("easgd (alpha 0.001, beta 0.9): each iteration trains a replica on each of 2")
    assert lines["hops"].startswith("4, ")
    assert lines["ended"] == "finished with the weights of iteration 2"
    assert "started" not in lines
    assert run.best().model().count_params() > 0


def test_the_frame_names_the_method(work: Work) -> None:
    job = make_ready(load_experiment(work.experiment(method="average", search=LIST)), Path.cwd(), engine="inline")
    assert framed(job.specification, 1) == "iris: 1 configuration, 2 iterations, 2 shards, average: 4 hops"


def test_one_configuration_is_at_several_stations(work: Work) -> None:
    alone = {"devices": {"kind": "cpu", "stations": 8}, "search": LIST}
    merged = make_ready(load_experiment(work.experiment(method="average", **alone)), Path.cwd())
    assert merged.stations == 2
    assert make_ready(load_experiment(work.experiment(**alone)), Path.cwd()).stations == 1


def test_a_run_is_extended_from_the_command_line_and_here(work: Work) -> None:
    experiment = load_experiment(work.experiment(method=ELASTIC, search=LIST))
    run_job(make_ready(experiment, Path.cwd(), engine="inline", store="here"), lambda _: None)
    longer = experiment.model_copy(update={"iterations": 3})
    run_job(make_ready(longer, Path.cwd(), engine="inline", store="here", extend=True), lambda _: None)
    run_job(make_ready(longer, Path.cwd(), engine="inline", store="there"), lambda _: None)
    here, there = (Path(store, "iris/checkpoints/00001/00000006.safetensors") for store in ("here", "there"))
    assert here.read_bytes() == there.read_bytes()


def test_what_early_stopping_has_removed_cannot_be_extended(work: Work) -> None:
    changes = {"method": ELASTIC, "search": LIST, "early_stopping": 5}
    experiment = load_experiment(work.experiment(**changes))
    run_job(make_ready(experiment, Path.cwd(), engine="inline", store="here"), lambda _: None)
    longer = experiment.model_copy(update={"iterations": 3})
    with pytest.raises(ConflictError, match=r"iterations was 2, is 3\. Give it another name, or remove that folder"):
        make_ready(longer, Path.cwd(), engine="inline", store="here", extend=True)


def test_another_method_is_another_experiment(work: Work) -> None:
    experiment = load_experiment(work.experiment(method="average", search=LIST))
    run_job(make_ready(experiment, Path.cwd(), engine="inline", store="here"), lambda _: None)
    other = load_experiment(work.experiment(search=LIST))
    with pytest.raises(ConflictError, match=r"method\.name was average, is None"):
        make_ready(other, Path.cwd(), engine="inline", store="here", extend=True)


def test_replicas_count_as_hops_that_are_done(work: Work) -> None:
    experiment = load_experiment(work.experiment(method="average", search=LIST))
    job = make_ready(experiment, Path.cwd(), engine="inline", store="here")
    seen: list[dict[int, int]] = []

    def hear(event: Event) -> None:
        if isinstance(event, Trained):
            seen.append(Reader(job.store, "iris").hops())

    run_job(job, hear)
    # The last of an iteration is there when its replicas are merged.
    assert [hops[1] for hops in seen] == [1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(3))
def test_progress_counts_hops_in_any_order_of_an_iteration(seed: int) -> None:
    ring = Ring(shards=4, iterations=3, evaluate_every=3, merges=True)
    one = Configuration(number=1, name="", model="small", parameters={}, compile={}, fit={})
    progress = Progress.of([one], ring, 2, 0.0)
    counts = []
    for iteration in range(3):
        hops = [iteration * 4 + shard for shard in range(4)]
        random.Random(seed).shuffle(hops)
        for hop in hops:
            event = Trained(station=0, configuration=1, first_hop=hop, end_hop=hop + 1, loss=1.0, busy_s=1.0)
            progress = progress.heard(event, float(hop))
            counts.append(progress.hops_done)
    assert counts == list(range(1, 13))
    assert progress.heard(event, 20.0).hops_done == 12


def test_a_cluster_runs_it_in_station_pods_only() -> None:
    experiment = mh.Experiment(**experiment_value(method="average"))
    assert shapes_for(experiment, None, 1) == shapes_for(experiment, "station", 1) == ("station",)
    with pytest.raises(SpecError, match="average trains on all shards at once, which is the shape `station`"):
        shapes_for(experiment, "hop", 1)


def test_what_hops_is_simulated_only() -> None:
    experiment = mh.Experiment(**experiment_value(method="average"))
    with pytest.raises(SpecError, match="`simulate` plays the schedule of hops, and the method is average"):
        simulated(experiment, Path.cwd(), [2], Assumptions(hop_s=1.0, shards=4))
