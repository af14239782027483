"""Rendered scoring gives what scoring here gives, whatever happens to its pods."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import modelhopper as mh
from modelhopper.scoring_clusters import ScoringProposal, evaluation_of_request, requested
from modelhopper_contract.errors import UserError
from modelhopper_contract.model_card import card_path
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from tests.argo.pods import PodRun
from tests.argo.runs import Run
from tests.rendered.cluster_here import CLAIMS, NAME, ONE_CLAIM, ClusterHere
from tests.rendered.pods_here import Before, Fate, undisturbed

pytestmark = pytest.mark.xdist_group("rendered")

PLACES = [
    pytest.param({}, id="fetched"),
    pytest.param({"scoring": CLAIMS["training"]}, id="claims"),
    pytest.param({"scoring": ONE_CLAIM["training"]}, id="claim", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def trained(here: ClusterHere) -> str:
    """A store with a run, whose pods were here."""
    url = here.new_store()
    (run,) = here.run(here.propose(here.experiment(), url, shape="station"))
    assert run.phase == "Succeeded"
    return url


@pytest.fixture(scope="module")
def told(here: ClusterHere, trained: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What scoring here tells."""
    out = tmp_path_factory.mktemp("told") / "told.parquet"
    data = f"s3://{here.bucket}/train"
    return mh.predict([f"{NAME}/1,2"], data, out, type="prob", engine="inline", store=trained).table()


@pytest.fixture
def outs(here: ClusterHere) -> Iterator[str]:
    """Addresses where nothing is yet."""
    return (f"s3://{here.bucket}/outs {next(here.numbers)}/told.parquet" for _ in iter(int, 1))


def predicting(here: ClusterHere, store: str, out: str, *, data: Any = None, **more: Any) -> ScoringProposal:
    cluster = here.cluster(store, data=data or {})
    return requested(cluster, "predict", [f"{NAME}/1,2"], f"s3://{here.bucket}/train", out=out, type="prob", **more)


def run(here: ClusterHere, proposal: ScoringProposal, before: Before = undisturbed) -> Run:
    with here.argo(before) as argo:
        return argo.submit(proposal.document).wait(120)


def written(out: str, folder: Path) -> Any:
    above, _, name = out.rpartition("/")
    folder.joinpath(name).write_bytes(open_store(above).get(name))
    return pq.read_table(folder / name)


def left(store: Store, proposal: ScoringProposal) -> list[str]:
    return [entry.name.rpartition("/")[2] for entry in store.list(f"{proposal.name}/")]


@pytest.mark.parametrize("data", PLACES)
def test_predictions_of_pods_are_those_made_here(
    here: ClusterHere, trained: str, told: Any, outs: Iterator[str], data: dict[str, Any], tmp_path: Path
) -> None:
    out = next(outs)
    proposal = predicting(here, trained, out, data=data)
    done = run(here, proposal)
    assert done.phase == "Succeeded"
    assert len(done.pods("score")) == 3
    assert written(out, tmp_path).equals(told)
    assert left(open_store(trained), proposal) == ["request.json"]


def test_a_killed_pod_is_tried_again_and_each_part_is_written_once(
    here: ClusterHere, trained: str, told: Any, outs: Iterator[str], tmp_path: Path
) -> None:
    chance, out = random.Random(7), next(outs)

    def before(_: int, pod: PodRun) -> Fate | None:
        attempt = int(pod.node.rpartition("(")[2].rstrip(")"))
        return Fate(chance.randrange(5), chance.choice([137, 75, None])) if attempt < 2 else None

    done = run(here, predicting(here, trained, out), before)
    assert done.phase == "Succeeded"
    assert len(done.pods("score")) == 9
    assert written(out, tmp_path).equals(told)


def test_a_second_submission_does_what_the_first_has_left(
    here: ClusterHere, trained: str, told: Any, outs: Iterator[str], tmp_path: Path
) -> None:
    out = next(outs)
    proposal = predicting(here, trained, out)
    first = run(here, proposal, lambda number, _: Fate(0, 1) if number == 3 else None)  # of three pods that score
    assert first.phase == "Failed"
    second = run(here, proposal)
    assert second.phase == "Succeeded"
    assert len(second.pods("score")) == 1
    assert written(out, tmp_path).equals(told)


def test_what_is_there_is_not_replaced_without_being_told(here: ClusterHere, trained: str, outs: Iterator[str]) -> None:
    out = next(outs)
    assert run(here, predicting(here, trained, out, overwrite=True)).phase == "Succeeded"
    refused = run(here, predicting(here, trained, out))
    assert refused.phase == "Failed"
    assert [pod.exit_code for pod in refused.pods()] == [2]
    assert "exists already" in here.log(refused.pods("begin")[0])


def test_an_evaluation_of_pods_is_that_made_here(here: ClusterHere, trained: str) -> None:
    expected = mh.evaluate(NAME, engine="inline", store=trained)
    # By default the validation data, where the pods that train have it.
    proposal = requested(here.cluster(trained, data=CLAIMS), "evaluate", NAME, None)
    assert run(here, proposal).phase == "Succeeded"
    found = evaluation_of_request(proposal.cluster, proposal.bundle.request)
    assert found.records() == expected.records()


# Keras' own save copies its variables in a way that numpy 2 warns of.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")
@pytest.mark.parametrize("is_in_s3", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["travels", "s3"])
def test_a_model_travels_as_a_file_or_is_taken_from_s3(
    here: ClusterHere, trained: str, tmp_path: Path, *, is_in_s3: bool
) -> None:
    file, data = tmp_path / "best.keras", f"s3://{here.bucket}/train"
    mh.open_run(NAME, trained).best().save(file)
    bucket = open_store(f"s3://{here.bucket}/models")
    for path in (file, card_path(file)):
        bucket.put(path.name, path.read_bytes())
    expected = mh.evaluate(file, data, engine="inline", store=str(tmp_path / "store"))
    model = f"{bucket.url}/best.keras" if is_in_s3 else str(file)
    proposal = requested(here.cluster(trained), "evaluate", model, data)
    assert run(here, proposal).phase == "Succeeded"
    assert evaluation_of_request(proposal.cluster, proposal.bundle.request).records() == expected.records()


def test_what_pods_cannot_reach_is_refused_before_anything_is_sent(here: ClusterHere, tmp_path: Path) -> None:
    cluster = here.cluster("s3://nowhere/at all")
    for data in ("data/train", "s3://bucket/rows.csv", "postgresql://host/base?table=t"):
        with pytest.raises(UserError, match="give a packed data set in S3"):
            requested(cluster, "predict", NAME, data, out="s3://bucket/out.csv")
    with pytest.raises(UserError, match="pods cannot write"):
        requested(cluster, "predict", NAME, "s3://bucket/data", out="told.csv")
    large = tmp_path / "large.keras"
    large.write_bytes(random.Random(1).randbytes(60_000))
    with pytest.raises(UserError, match="give its address"):
        _ = requested(cluster, "predict", large, "s3://bucket/data", out="s3://bucket/out.csv").document


def test_another_best_model_begins_anew(here: ClusterHere, trained: str, outs: Iterator[str]) -> None:
    store, out = open_store(trained), next(outs)
    proposal = requested(here.cluster(trained), "predict", NAME, f"s3://{here.bucket}/train", out=out)
    other = f"{proposal.name}/0123456789ab/parts/00000000"
    store.put(other, b"of a model that was the best one before")
    assert run(here, proposal).phase == "Succeeded"
    assert not store.list(other)
