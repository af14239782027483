"""Every search on the data of both examples, with the local engine and its real processes."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

import modelhopper as mh
from modelhopper_contract.decisions import read_turns
from modelhopper_contract.names import Names

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples"
RATES = {"optimizer": [{"name": "Adam", "learning_rate": mh.log(1e-3, 1e-1)}], "batch_size": [16, 32]}
METHODS: dict[str, dict[str, Any]] = {
    "grid": {"method": "grid", "space": {"optimizer": [{"name": "Adam", "learning_rate": [0.01, 0.05]}]}},
    "random": {"method": "random", "configurations": 3},
    "halving": {"method": "halving", "configurations": 6},
    "hyperband": {"method": "hyperband"},
    "asha": {"method": "asha", "configurations": 6},
    "median": {"method": "median", "configurations": 4},
    "tpe": {"method": "tpe", "configurations": 4, "parallel": 2},
    "pbt": {"method": "pbt", "configurations": 4},
}
MODELS = {"iris": "mlp", "digits": "cnn"}
LOSSES = {"iris": "categorical_crossentropy", "digits": "sparse_categorical_crossentropy"}


@pytest.fixture(scope="module", params=MODELS)
def example(request: pytest.FixtureRequest) -> str:
    """The name of an example, its data packed."""
    name = str(request.param)
    runpy.run_path(str(EXAMPLES / name / "prepare.py"), run_name="__main__")
    return name


@pytest.mark.parametrize("method", METHODS)
def test_a_search_trains_to_its_end_and_finds_something(example: str, method: str, tmp_path: Path) -> None:
    folder = EXAMPLES / example
    run = mh.Experiment(
        name=method,
        data={"train": str(folder / "data/train"), "validation": str(folder / "data/validation")},
        models={"model": f"{folder / 'models.py'}:{MODELS[example]}"},
        compile={"loss": LOSSES[example], "metrics": ["accuracy"]},
        search={"space": RATES, **METHODS[method]},
        iterations=9,
        seed=1,
        devices={"kind": "cpu", "stations": 2},
    ).run(store=str(tmp_path), progress=False)
    status = run.status()
    assert status.is_complete
    assert status.failed == 0
    turns = read_turns(run.reader.store, Names(method))
    assert not turns or turns[-1].is_last
    # Guessing gives a third on iris, and a tenth on digits.
    assert run.best().metrics["validation accuracy"] > 0.6
    assert run.explain(1).lines
