from __future__ import annotations

from pathlib import Path

import pytest

from modelhopper.documents import load_experiment
from modelhopper.running import make_ready, run_job
from modelhopper_contract.errors import UserError
from tests.sdk.conftest import Work

pytestmark = pytest.mark.xdist_group("tensorflow")


def test_a_store_that_cannot_be_one_is_told_before_anything_starts(work: Work) -> None:
    experiment = load_experiment(work.experiment())
    (work.folder / "a file").touch()
    job = make_ready(experiment, Path.cwd(), store="a file")
    with pytest.raises(UserError, match="a file cannot be a store: Not a directory"):
        run_job(job, lambda _: None)


def test_making_ready_to_extend_changes_nothing(work: Work) -> None:
    experiment = load_experiment(work.experiment())
    run_job(make_ready(experiment, Path.cwd(), engine="inline", store="here"), lambda _: None)
    before = {path: path.read_bytes() for path in Path("here").rglob("*.json")}
    longer = experiment.model_copy(update={"iterations": 4})
    job = make_ready(longer, Path.cwd(), engine="inline", store="here", extend=True)
    assert job.has_begun
    assert {path: path.read_bytes() for path in Path("here").rglob("*.json")} == before
    run_job(job, lambda _: None)
    assert (Path("here") / "iris/history/00001/000004.json").exists()
