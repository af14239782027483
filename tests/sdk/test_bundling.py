"""All that an experiment needs elsewhere is in its bundle; results need neither the data nor the user's files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from modelhopper.bundling import bundle
from modelhopper.copying import copy_data
from modelhopper.documents import load_experiment
from modelhopper.results import Run, open_run
from modelhopper.running import make_ready, run_job
from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.errors import UserError
from modelhopper_contract.names import Names
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_contract.submission import Bundle, read_file, read_submission
from modelhopper_trainer.shards import open_data
from tests.sdk.conftest import MODELS, Work

pytestmark = pytest.mark.xdist_group("tensorflow")

WITH_NEIGHBOURS = f"""
from layers import activation
{MODELS.replace('"relu"', "activation()")}
"""


@pytest.fixture
def neighbourly(work: Work) -> Work:
    """The working directory with a model that needs `layers.py`, and at building time `late.py`."""
    (work.folder / "models.py").write_text(WITH_NEIGHBOURS)
    (work.folder / "layers.py").write_text("def activation():\n    from late import NAME\n    return NAME\n")
    (work.folder / "late.py").write_text("NAME = 'relu'\n")
    return work


def test_a_bundle_has_manifests_and_files_and_survives_its_way(neighbourly: Work, iris: Path) -> None:
    made = bundle(load_experiment(neighbourly.experiment()), Path.cwd(), extend=True)
    assert made.submission.extend
    assert made.submission.manifests["validation"] == open_data(iris / "valid").manifest
    assert made.contents.keys() == {"layers.py", "late.py", "models.py"}
    found = Bundle.decode(made.encode())
    assert (found.submission.to_json(), found.contents) == (made.submission.to_json(), made.contents)
    store = MemoryStore()
    found.put(store)
    submission = read_submission(store, "iris")
    for written, content in made.contents.items():
        assert read_file(store, "iris", submission.files[written]) == content
        assert submission.specification.digests[written] == digest_bytes(content)


def test_a_file_of_an_absolute_path_cannot_travel(work: Work) -> None:
    file = work.experiment(models={"small": f"{work.folder}/models.py:mlp"})
    with pytest.raises(UserError, match=r"models\.py is outside the experiment's folder"):
        bundle(load_experiment(file), Path.cwd())


def results(store: Store) -> dict[str, bytes]:
    kept = ("checkpoints", "metrics", "history")
    return {e.name: store.get(e.name) for e in store.list("iris/") if e.name.split("/")[1] in kept}


def test_a_run_on_data_in_s3_is_the_run_on_the_folder(
    neighbourly: Work, iris: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELHOPPER_CACHE", str(neighbourly.folder / "cache"))
    places = {"train": str(iris / "train"), "validation": str(iris / "valid")}
    for split, place in places.items():
        copy_data(place, f"{s3_url}/{split}")
    in_s3 = {split: f"{s3_url}/{split}" for split in places}
    for engine, store, data in (("inline", "of-folder", places), ("local", "of-s3", in_s3)):
        experiment = load_experiment(neighbourly.experiment(data=data))
        run_job(make_ready(experiment, Path.cwd(), engine=engine, store=store), lambda _: None)  # type: ignore[arg-type]
    assert len(results(open_store("of-s3"))) > 4
    assert results(open_store("of-s3")) == results(open_store("of-folder"))
    run = open_run("iris", "of-s3")
    _needs_neither_data_nor_files(run, neighbourly, s3_url)


def _needs_neither_data_nor_files(run: Run, work: Work, url: str) -> None:
    rows = np.zeros((2, 4), np.float32)
    before = run.best().predict(rows)
    assert run.best().evaluate() == run.best().evaluate(f"{url}/validation")
    bundle(load_experiment(work.experiment(data={"train": f"{url}/train"})), Path.cwd())
    experiment = run._specification().experiment
    bundle(experiment, Path.cwd()).put(run.reader.store)
    for name in ("models.py", "layers.py", "late.py"):
        (work.folder / name).unlink()
    shutil.rmtree(work.folder / "cache")
    for split in ("train", "validation"):
        open_store(f"{url}/{split}").delete("manifest.json")
    assert np.array_equal(run.best().predict(rows).probabilities, before.probabilities)
    run.reader.store.delete(Names("iris").submission())
    with pytest.raises(UserError, match=r"is built from late\.py, and there is no file"):
        run.best().model()
