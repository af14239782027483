"""Cancelling and resuming: real runs in child processes, stopped from here, that go on to the same bytes."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from modelhopper.command import main
from modelhopper.documents import load_experiment
from modelhopper.experiment import Experiment
from modelhopper.reading import Reader
from modelhopper.results import open_run
from modelhopper.running import make_ready, run_job
from modelhopper.steering import cancelled
from modelhopper_contract.cancellation import cancel
from modelhopper_contract.cluster import Cluster
from modelhopper_contract.errors import Cancelled, ObjectNotFound
from modelhopper_contract.messages import Event, Trained
from modelhopper_contract.names import Names
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.directory import DirectoryStore
from tests.sdk.conftest import Work
from tests.sdk.synthetic import SyntheticRun, whole_run

NAMES = Names("iris")
LENGTH: dict[str, Any] = {"iterations": 90, "evaluate_every": 30}


def started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "modelhopper.command", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def hops(store: Store) -> int:
    try:
        return sum(Reader(store, "iris").hops().values())
    except ObjectNotFound:
        return 0


def cancelled_at_work(store: str, *arguments: str) -> str:
    """Run the command, cancel the run as soon as it has done some hops; return what it said as it ended."""
    opened = open_store(store)
    with started(*arguments) as process:
        while hops(opened) < 1 and process.poll() is None:
            time.sleep(0.02)  # until another process has done something
        assert main(["cancel", "iris", "--store", store]) == 0
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    return errors


def cancelled_in_this_process(experiment: Experiment, store: str) -> None:
    """Cancel a run as soon as it has done some hops, as another process would."""

    def heard(event: Event) -> None:
        if isinstance(event, Trained) and event.end_hop == 4:
            assert open_run("iris", store).cancel()

    with pytest.raises(
        Cancelled, match=rf"everything up to hop \d+ is safe. modelhopper resume '{store}/iris' goes on"
    ):
        run_job(make_ready(experiment, experiment.folder, engine="inline", store=store), heard)
    assert open_run("iris", store).status().is_cancelled


def bytes_of(store: Store) -> dict[str, bytes]:
    kept = ("checkpoints", "history", "outcomes")
    return {entry.name: store.get(entry.name) for entry in store.list("iris/") if entry.name.split("/")[1] in kept}


@pytest.mark.xdist_group("tensorflow")
def test_a_cancelled_run_goes_on_to_the_same_bytes(
    work: Work, s3_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = work.experiment(**LENGTH)

    # In a folder, with station processes; `resume` goes on.
    said = cancelled_at_work("runs", "run", file)
    found = re.fullmatch(
        r"Cancelled; everything up to hop (\d+) is safe\. modelhopper resume iris goes on\.\n",
        said.splitlines(True)[-1],
    )
    assert found, said
    assert 1 <= int(found[1]) == hops(DirectoryStore(Path("runs"))) < 360
    assert open_run("iris").status().is_cancelled
    with started("resume", "iris") as resumed:
        output, errors = resumed.communicate(timeout=120)
    assert (resumed.returncode, errors) == (0, "")
    assert output.splitlines()[1] == f"going on from hop {found[1]} of 360"
    assert output.splitlines()[-1] == "Next: modelhopper best iris --export best.keras"

    # In a bucket, in this process; `run` goes on, too.
    experiment = load_experiment(file)
    cancelled_in_this_process(experiment, s3_url)
    run = experiment.run("inline", s3_url, progress=False)
    assert run.status().is_complete
    assert not run.reader.is_cancelled()
    assert not run.cancel()
    assert run.resume("inline", progress=False).status().is_complete

    experiment.run("inline", "uninterrupted", progress=False)
    expected = bytes_of(open_store("uninterrupted"))
    assert len(expected) == 2 + 2 * 3 + 2
    assert bytes_of(open_store("runs")) == expected
    assert bytes_of(open_store(s3_url)) == expected


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    return capsys.readouterr().err


def test_cancelling_says_how_far_the_run_came_and_status_says_how_to_go_on(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = SyntheticRun(DirectoryStore(place / "elsewhere"))
    run.trained(1, 3)
    assert main(["cancel", "elsewhere/iris", "--reason", "too slow"]) == 0
    words = "; everything up to hop 3 is safe. modelhopper resume elsewhere/iris goes on.\n"
    assert capsys.readouterr().out == f"Cancelled (too slow){words}"
    assert b"too slow" in run.store.get(NAMES.cancelled())
    assert main(["cancel", "elsewhere/iris"]) == 0
    assert capsys.readouterr().out == f"iris was cancelled before. Cancelled{words}"
    assert main(["status", "elsewhere/iris"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "  cancelled; modelhopper resume iris goes on"


def test_a_complete_run_cannot_be_cancelled(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = whole_run(DirectoryStore(place / "runs"))
    assert main(["cancel", "iris"]) == 0
    assert capsys.readouterr().out == "iris is complete; there is nothing to cancel.\n"
    assert not run.store.list(NAMES.cancelled())
    cancel(run.store, "iris")  # as one that came too late
    assert not open_run("iris").status().is_cancelled


@pytest.mark.parametrize("command", ["cancel", "resume"])
def test_unknown_experiments_are_told_with_the_nearest(
    command: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole_run(DirectoryStore(place / "runs"))
    assert "Did you mean `iris`?" in complaint(capsys, command, "irs")


def test_a_run_whose_files_are_elsewhere_says_where_they_were(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = SyntheticRun(DirectoryStore(place / "runs"))
    moved = run.specification.model_copy(update={"digests": {"train": "1", "models.py": "2", "s3://there/valid": "3"}})
    run.store.put(NAMES.specification(), moved.to_json())
    cancel(run.store, "iris")
    said = complaint(capsys, "resume", "iris")
    assert said.startswith("iris was run from /nowhere, and models.py, train are not there on this machine.")
    assert Reader(run.store, "iris").is_cancelled()


def test_a_run_whose_files_have_changed_is_not_resumed(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    from modelhopper.specify import specify

    experiment = load_experiment(work.experiment())
    store = DirectoryStore(work.folder / "runs")
    store.put(NAMES.specification(), specify(experiment, work.folder).to_json())
    (work.folder / "models.py").write_text("changed = True\n")
    said = complaint(capsys, "resume", "iris")
    assert said.startswith(f"iris cannot go on from {work.folder}, because what it reads is not what it was: ")
    assert "the contents of models.py changed" in said


def test_an_experiment_that_never_began_is_run_from_its_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DirectoryStore(place / "runs").put(NAMES.checkpoint(1, 0), b"")
    assert main(["cancel", "iris"]) == 0
    assert capsys.readouterr().out == "Cancelled before it began. Run its file again to begin.\n"
    assert "modelhopper run experiment.yaml" in complaint(capsys, "resume", "iris")


@pytest.fixture
def cluster(place: Path) -> str:
    (place / "cluster.yaml").write_text("store: s3://bucket/prefix\nnamespace: ours\n")
    return "cluster.yaml"


def test_workflows_are_stopped_where_a_cluster_is_given(
    place: Path, cluster: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = SyntheticRun(DirectoryStore(place / "runs"))
    asked: list[tuple[str, str]] = []

    def stop(cluster: Cluster, experiment: str) -> list[str]:
        asked.append((cluster.namespace, experiment))
        return ["iris-x"]

    monkeypatch.setattr("modelhopper_scheduler.workflow_api.stop", stop)
    assert main(["cancel", "iris", "--cluster", cluster, "--store", "runs"]) == 0
    assert capsys.readouterr().out.startswith("Stopped iris-x.\nCancelled; ")
    assert asked == [("ours", "iris")]
    assert Reader(run.store, "iris").is_cancelled()


def test_a_cancelled_run_of_a_cluster_is_resumed_there(place: Path) -> None:
    run = SyntheticRun(DirectoryStore(place / "runs"))
    assert "cluster" not in cancelled(run.store, "iris")
    run.store.put(Names("iris").submission(), b"{}")
    assert "modelhopper resume iris --cluster cluster.yaml" in cancelled(run.store, "iris")


def test_resuming_on_a_cluster_submits_again(
    place: Path, cluster: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    SyntheticRun(DirectoryStore(place / "runs"))
    asked: list[tuple[str, str, Path]] = []

    def resubmit(name: str, store: Store, file: Path) -> list[str]:
        asked.append((name, store.url, file))
        return ["iris-y"]

    monkeypatch.setattr("modelhopper.submitting.resubmit", resubmit)
    monkeypatch.setenv("MODELHOPPER_STORE", "runs")
    assert main(["resume", "iris", "--cluster", cluster]) == 0
    assert capsys.readouterr().out == "Submitted iris-y. `modelhopper watch iris` follows it.\n"
    assert asked == [("iris", str(place / "runs"), Path(cluster))]


def test_the_store_is_the_clusters_unless_one_is_given(
    cluster: str, s3_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(cluster).write_text(f"store: {s3_url}\n")
    monkeypatch.setattr("modelhopper_scheduler.workflow_api.stop", lambda *_: [])
    assert f"{s3_url} has no experiment `iris`" in complaint(capsys, "cancel", "iris", "--cluster", cluster)
