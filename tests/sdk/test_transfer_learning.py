"""The page on transfer learning is true: its example runs as it stands, and the weights travel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import modelhopper as mh
from modelhopper.bundling import bundle
from modelhopper.documents import load_experiment
from modelhopper.results import open_run
from modelhopper.submitting import _MOST_ENCODED_BYTES
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_contract.submission import Bundle
from modelhopper_trainer.device import configure
from modelhopper_trainer.places import user_files
from tests.project import tree

pytestmark = [
    pytest.mark.xdist_group("tensorflow"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras"),
]

PAGE = tree.ROOT / "docs/transfer-learning.md"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, prepared."""
    folder = tmp_path_factory.mktemp("example")
    fences = [token for token in tree.markdown(PAGE) if token.type == "fence"]
    models, prepare = [token.content for token in fences if token.info == "python"]
    (experiment,) = [token.content for token in fences if token.content.startswith("name:")]
    for name, text in {"models.py": models, "prepare.py": prepare, "experiment.yaml": experiment}.items():
        (folder / name).write_text(text)
    subprocess.run([sys.executable, "prepare.py"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def said(example: Path) -> str:
    """What the page's command says."""
    command = [sys.executable, "-m", "modelhopper.command", "run", "experiment.yaml", "--stations", "2"]
    return subprocess.run(command, cwd=example, check=True, capture_output=True, text=True).stdout


def test_the_run_says_once_what_was_found_as_on_the_page(said: str) -> None:
    notes = [line for line in said.splitlines() if line.startswith("base.keras gives")]
    assert len(notes) == 1
    assert notes[0] in PAGE.read_text()


def test_given_weights_are_worth_something_and_results_need_no_file(example: Path, said: str) -> None:
    configure(threads=1, gpu=False, deterministic=True)  # as the other tests of this process
    kept = (example / "base.keras").read_bytes()
    (example / "base.keras").unlink()
    try:
        run = open_run(example / "runs/fives-to-nines")
        scratch, given, frozen = (run.configuration(number) for number in (1, 2, 3))
        scores = [one.metrics["validation accuracy"] for one in (scratch, given, frozen)]
        assert scores == sorted(scores)
        assert scores[2] > 0.6 > scores[1]
        assert frozen.model().get_layer("conv_1").trainable is False
    finally:
        (example / "base.keras").write_bytes(kept)


def test_weights_travel_to_pods_and_lie_there_at_their_path(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example)
    made = bundle(load_experiment("experiment.yaml"), example)
    weights = (example / "base.keras").read_bytes()
    assert made.contents["base.keras"] == weights
    assert made.size_bytes < _MOST_ENCODED_BYTES
    store = MemoryStore()
    Bundle.decode(made.encode()).put(store)
    with user_files(made.submission.specification, store) as folder:
        assert (folder / "base.keras").read_bytes() == weights


def test_weights_outside_the_folder_cannot_travel(example: Path, tmp_path: Path) -> None:
    value = yaml.safe_load((example / "experiment.yaml").read_text())
    value["models"]["given"]["initial_weights"] = str(example / "base.keras")
    value["data"] = {key: str(example / path) for key, path in value["data"].items()}
    (tmp_path / "models.py").write_bytes((example / "models.py").read_bytes())
    (tmp_path / "base.keras").write_bytes((example / "base.keras").read_bytes())
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(value))
    with pytest.raises(UserError, match=r"base\.keras is outside the experiment's folder"):
        bundle(load_experiment(str(tmp_path / "experiment.yaml")), tmp_path)


def test_python_and_file_say_the_same(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example)
    made = mh.Model("models.py:cnn", filters=8, initial_weights=Path("base.keras"), frozen_layers=("conv*",))
    value = yaml.safe_load((example / "experiment.yaml").read_text())
    value["models"] = {
        "short": made,
        "plain": mh.Model("models.py:cnn", frozen_layers=["conv*"]),
        "long": {"build": "models.py:cnn", "parameters": {"frozen_layers": 1}, "initial_weights": "base.keras"},
    }
    experiment = mh.Experiment(**{**value, "search": mh.Grid(model=["short"])})
    written = yaml.safe_load(experiment.to_yaml())["models"]
    assert written["short"] == {
        "build": "models.py:cnn",
        "filters": 8,
        "initial_weights": "base.keras",
        "frozen_layers": ["conv*"],
    }
    assert written["plain"] == {"build": "models.py:cnn", "frozen_layers": ["conv*"]}
    assert written["long"]["parameters"] == {"frozen_layers": 1}
    (example / "again.yaml").write_text(experiment.to_yaml())
    assert load_experiment("again.yaml").models == experiment.models


def test_a_mistake_in_python_is_told_in_one_message() -> None:
    with pytest.raises(SpecError, match="frozen_layers: input should be a valid list"):
        mh.Model("models.py:cnn", frozen_layers="conv*")
