"""The experiment in Python: functions as models, the same checks as in the file, and who may run it."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from modelhopper import parts
from modelhopper.experiment import Experiment, Model
from modelhopper.references import reference
from modelhopper_contract.errors import SpecError
from modelhopper_trainer.functions import load_function
from tests.sdk.synthetic import EXPERIMENT

MODELS = """
import functools

def mlp(layers=2): ...
def own_loss(y_true, y_pred): ...
class OwnLoss: ...
def decorated(function):
    @functools.wraps(function)
    def around(*args): return function(*args)
    return around
@decorated
def wrapped(layers=2): ...
nameless = lambda: None
def outer():
    def inner(): ...
    return inner
class Box:
    def method(self): ...
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A user's file in the working directory, imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODELS)
    spec = importlib.util.spec_from_file_location("users_mine", tmp_path / "mine.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "users_mine", module)
    spec.loader.exec_module(module)
    return module


def experiment(**changes: Any) -> Experiment:
    return Experiment(**(EXPERIMENT | changes))


def test_functions_become_references_to_their_file(models: ModuleType) -> None:
    made = experiment(models={"small": models.mlp, "deep": Model(models.mlp, layers=3)})
    assert made.models["small"].build == "mine.py:mlp"
    assert made.models["deep"].build == "mine.py:mlp"
    assert made.models["deep"].parameters == {"layers": 3}


def test_one_model_needs_no_name(models: ModuleType) -> None:
    search = parts.Grid(batch_size=[4])
    assert experiment(models=models.mlp, search=search).models["model"].build == "mine.py:mlp"
    assert experiment(models=Model(models.mlp), search=search).models["model"].build == "mine.py:mlp"


def test_losses_metrics_and_optimizers_may_be_functions(models: ModuleType) -> None:
    made = experiment(
        compile={"loss": models.own_loss, "metrics": ["accuracy", models.own_loss]},
        search=parts.Grid(model=["small"], loss=[models.OwnLoss, "mse"]),
    )
    assert made.compile.loss == "mine.py:own_loss"
    assert made.compile.metrics == ["accuracy", "mine.py:own_loss"]
    assert made.configurations()[0].compile["loss"] == "mine.py:OwnLoss"
    assert parts.Compile(loss=models.own_loss).loss == "mine.py:own_loss"


def test_a_decorated_function_is_found_by_its_own_file(models: ModuleType) -> None:
    assert reference(models.wrapped, Path.cwd()) == "mine.py:wrapped"


def test_a_file_elsewhere_is_named_by_its_whole_path(models: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    assert reference(models.mlp, tmp_path / "inner") == f"{tmp_path}/mine.py:mlp"


@pytest.mark.parametrize("unnamed", [lambda m: m.nameless, lambda m: m.outer(), lambda m: m.Box.method])
def test_what_no_other_process_can_find_is_refused(unnamed: Callable[[ModuleType], Any], models: ModuleType) -> None:
    with pytest.raises(SpecError, match=r"put it into a \.py file, at the top level"):
        experiment(models={"small": unnamed(models)})


def test_a_function_with_parameters_bound_is_told_how_to_give_them(models: ModuleType) -> None:
    with pytest.raises(SpecError, match=r"mh\.Model\(function, layers=3\)"):
        Model(functools.partial(models.mlp, layers=3))


def test_a_function_typed_at_the_prompt_is_refused() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("def mlp(): ...", "<stdin>", "exec"), space)
    with pytest.raises(SpecError, match="`mlp` was typed into a notebook or at the prompt"):
        Model(space["mlp"])


def test_an_object_of_keras_is_told_to_be_written_by_name() -> None:
    optimizer = type("Adam", (), {"__module__": "keras.src.optimizers.adam"})()
    with pytest.raises(SpecError, match=r"compile\.optimizer is an object of type Adam: write it by its name"):
        experiment(compile={"optimizer": optimizer})


def test_a_class_of_keras_is_taken_by_its_name() -> None:
    loss = type("MeanSquaredError", (), {"__module__": "keras.src.losses.losses"})
    assert experiment(compile={"loss": loss}).compile.loss == "MeanSquaredError"


def test_numbers_of_numpy_become_plain_numbers() -> None:
    search = parts.Grid(model=["small"], optimizer=[{"name": "Adam", "learning_rate": np.logspace(-3, -1, 3)}])
    rates = [one.compile["optimizer"]["learning_rate"] for one in experiment(search=search).configurations()]
    assert rates == pytest.approx([0.001, 0.01, 0.1])
    assert all(type(rate) is float for rate in rates)


def test_paths_may_be_path_objects() -> None:
    assert experiment(data=parts.Data(train=Path("a"), validation=Path("b"))).data.validation == "b"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: experiment(iteration=3), "`iteration` is not a key of the experiment"),
        (lambda: experiment(iterations=0), "iterations: input should be greater than 0"),
        (lambda: parts.Data(train="a", training="a"), "`training` is not a key of Data: use train, validation"),
        (parts.Data, "`train` is missing"),
        (lambda: parts.Grid(batchsize=[4]), "Did you mean `batch_size`?"),
        (lambda: parts.Explicit([]), "configurations: list should have at least 1 item"),
        (lambda: parts.Fit(batch_size=0), "batch_size: input should be greater than 0"),
        (lambda: Model("models.txt"), "`models.txt` is not a model"),
        (lambda: Model("model.json", layers=3), "takes no parameters"),
        (lambda: parts.Devices(kind="tpu"), "kind: input should be"),
        (lambda: parts.Compile(loss=object()), "loss is an object of type object: give text"),
        (lambda: Experiment.in_folder([], Path()), "an experiment is a mapping"),  # type: ignore[arg-type]
    ],
)
def test_a_mistake_is_one_clear_message(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_relative_paths_begin_at_the_folder(tmp_path: Path) -> None:
    assert Experiment.in_folder(EXPERIMENT, tmp_path).folder == tmp_path
    assert experiment().folder == Path.cwd()


def test_the_folder_is_no_part_of_the_specification(tmp_path: Path) -> None:
    assert Experiment.in_folder(EXPERIMENT, tmp_path).model_dump() == experiment().model_dump()


def test_parts_and_plain_values_make_equal_experiments() -> None:
    of_parts = experiment(
        data=parts.Data(train="train", validation="valid"),
        models={"small": Model("models.py:mlp"), "deep": Model("models.py:mlp", layers=3)},
        search=parts.Grid(model=["small", "deep"], batch_size=[4, 8]),
    )
    assert of_parts == experiment()


def test_the_yaml_is_the_same_experiment(models: ModuleType) -> None:
    made = experiment(
        models={"small": models.mlp, "odd": Model(models.mlp, build=1, parameters=2), "file": "a.keras"},
        search=parts.Explicit([{"model": "small", "optimizer": {"name": "Adam", "learning_rate": 1e-5}}]),
        fit={"class_weight": {"yes": 2.0}},
        store="s3://bucket/runs",
    )
    assert Experiment(**yaml.safe_load(made.to_yaml())) == made


def test_a_file_that_starts_a_run_when_a_station_imports_it_is_told_why(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.replace("MAIN", "True"))
    with pytest.raises(SpecError, match=r'script.py starts a run when it is imported.*if __name__ == "__main__":'):
        load_function("script.py:mlp", tmp_path)


def test_so_is_one_that_imports_such_a_file(tmp_path: Path) -> None:
    (tmp_path / "script_below.py").write_text(SCRIPT.replace("MAIN", "True"))
    (tmp_path / "above.py").write_text("from script_below import mlp\n")
    with pytest.raises(SpecError, match="starts a run when it is imported"):
        load_function("above.py:mlp", tmp_path)


def test_a_protected_file_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.replace("MAIN", '__name__ == "__main__"'))
    assert load_function("script.py:mlp", tmp_path).__name__ == "mlp"


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, modelhopper as mh; mh.Experiment, mh.Model, mh.open_run, mh.Run\n"
        "print([name for name in ('tensorflow', 'keras', 'pyarrow', 'minio', 'pandas') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


SCRIPT = """
from modelhopper.experiment import Experiment

def mlp(): ...

experiment = Experiment(
    name="iris", data={"train": "t"}, models=mlp, search={"method": "grid", "space": {"batch_size": [4]}}
)
if MAIN:
    experiment.run(progress=False)
"""
