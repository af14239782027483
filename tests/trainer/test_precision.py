"""Precision: layers compute in half of it, variables and metrics do not, and nothing of it stays in the process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract import experiment
from modelhopper_contract.records import Configuration, Precision, Program
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.assembly import Assembly, assemble, program_key
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.hop import HopTask, run_hop
from modelhopper_trainer.models import build_model
from modelhopper_trainer.origin import _with_optimizer, _with_weights
from modelhopper_trainer.precision import policy, used_program
from modelhopper_trainer.prediction import compiled_model, predictor, restore, save
from modelhopper_trainer.program import make_program
from tests.trainer.assembled import Array, assembled, configuration, manifest
from tests.trainer.small_run import SmallRun

pytestmark = pytest.mark.xdist_group("tensorflow")

MODELS = """
import keras
from keras import layers


def mlp():
    return keras.Sequential([keras.Input((4,)), layers.Dense(6, "tanh"), layers.Dense(3, "softmax")])


def advised():
    hidden = [layers.Dense(6, "tanh", name="hidden"), layers.BatchNormalization(name="norm")]
    last = layers.Dense(3, "softmax", dtype="float32", name="last")
    return keras.Sequential([keras.Input((4,)), *hidden, last], name="advised")


class Lazy(keras.Model):
    def call(self, x):
        return self.last(self.hidden(x))

    def build(self, shape):
        self.hidden, self.last = layers.Dense(6, "tanh"), layers.Dense(3, "softmax")
        self.hidden.build(shape)
        self.last.build((None, 6))


def lazy():
    return Lazy()


def failing():
    raise ValueError("not today")
"""

X = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
LABELS = np.argmax(X[:, :3], axis=1).astype(np.uint8)
FEED = {"x": X, "y": LABELS}
DESCRIBED = manifest({"x": X}, {"y": LABELS}, {"y": "abc"})
BFLOAT16: Precision = "mixed_bfloat16"
FLOAT16: Precision = "mixed_float16"
MIXED = (BFLOAT16, FLOAT16)
WEIGHT = re.compile("model/.*/(kernel|bias)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    (path / "models.py").write_text(MODELS)
    return path


@pytest.fixture
def own_policy() -> Iterator[str]:
    """The process has a dtype policy of its own, as a notebook may."""
    keras.config.set_dtype_policy("mixed_float16")
    yield "mixed_float16"
    keras.config.set_dtype_policy("float32")


def compiled(one: Configuration, **changes: Any) -> Configuration:
    return one.model_copy(update={"compile": {**one.compile, **changes}})


def made(folder: Path, build: str, precision: str = "float32", **settings: Any) -> Assembly:
    one = configuration(loss="categorical_crossentropy", metrics=["accuracy", "mae"], **settings)
    return assembled(
        build if "." in build else f"models.py:{build}", folder, DESCRIBED, compiled(one, precision=precision)
    )


def hops(assembly: Assembly, numbers: range = range(3)) -> dict[str, Array]:
    program = make_program(assembly)
    for hop in numbers:
        run_hop(program, Feed(FEED, 30), HopTask(1, assembly.configuration, hop, 0), 0)
    return program.read()


def same(one: dict[str, Array], other: dict[str, Array]) -> bool:
    return [array.tobytes() for array in one.values()] == [array.tobytes() for array in other.values()]


@pytest.mark.parametrize("precision", MIXED)
@pytest.mark.parametrize("build", ["mlp", "lazy"])
def test_layers_compute_in_half_precision_and_keep_float32_variables(folder: Path, build: str, precision: str) -> None:
    assembly = made(folder, build, precision)
    layers = [layer for layer in assembly.model._flatten_layers(include_self=False) if layer.variables]
    assert {layer.compute_dtype for layer in layers} == {precision.removeprefix("mixed_")}
    assert {variable.dtype for variable in assembly.variables.model.values()} == {"float32"}


def test_a_layer_that_says_its_own_keeps_it(folder: Path) -> None:
    assert [layer.compute_dtype for layer in made(folder, "advised", BFLOAT16).model.layers] == [
        "bfloat16",
        "bfloat16",
        "float32",
    ]


def test_the_policy_of_the_process_stays_what_it_was(folder: Path, own_policy: str) -> None:
    assert made(folder, "mlp").model.layers[0].compute_dtype == "float32"
    assert keras.config.dtype_policy().name == own_policy
    made(folder, "mlp", BFLOAT16)
    with pytest.raises(ValueError, match="not today"):
        made(folder, "failing", BFLOAT16)
    assert keras.config.dtype_policy().name == own_policy


@pytest.mark.parametrize("precision", MIXED)
def test_it_learns_and_survives_a_hop_to_another_process(folder: Path, precision: str) -> None:
    stays = made(folder, "mlp", precision)
    evaluator = Evaluator(stays)
    before = evaluator.merge([evaluator.evaluate(Feed(FEED, 30).stored())])
    state = hops(stays, range(4))
    after = evaluator.merge([evaluator.evaluate(Feed(FEED, 30).stored())])
    assert after["loss"] < before["loss"]
    taken_over = made(folder, "mlp", precision)
    for name, variable in taken_over.variables.all.items():
        variable.assign(state[name])
    assert same(hops(taken_over, range(4, 6)), hops(stays, range(4, 6)))


def test_float16_scales_its_loss_and_the_scale_is_part_of_the_state(folder: Path) -> None:
    assembly = made(folder, "mlp", FLOAT16)
    assert isinstance(assembly.model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert any("dynamic_scale" in name for name in assembly.variables.all)
    assert not any("dynamic_scale" in name for name in made(folder, "mlp", BFLOAT16).variables.all)


def test_xla_and_bfloat16_go_together(folder: Path) -> None:
    both, alone = made(folder, "mlp", BFLOAT16, jit_compile=True), made(folder, "mlp", BFLOAT16)
    assert both.jit_compile
    for ours, theirs in zip(hops(both).values(), hops(alone).values(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.02)


# Files bring the policy of each layer


def written(folder: Path, form: str, precision: str = "float32") -> str:
    """Write `advised` to a file, built under a policy; return the file's name."""
    model = made(folder, "advised", precision).model
    name = f"{precision}.{form}"
    if form == "json":
        (folder / name).write_text(model.to_json())
    else:
        model.compiled = False
        model.save(folder / name)
    return name


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")
@pytest.mark.parametrize("form", ["json", "keras"])
def test_a_file_saved_in_float32_trains_as_the_function_whose_last_layer_stays_so(folder: Path, form: str) -> None:
    of_file = made(folder, written(folder, form), BFLOAT16)
    assert [layer.compute_dtype for layer in of_file.model.layers] == ["bfloat16", "bfloat16", "float32"]
    of_function = made(folder, "advised", BFLOAT16)
    for name, variable in of_file.variables.all.items():
        variable.assign(of_function.variables.read()[name])
    assert same(hops(of_file), hops(of_function))


def test_a_file_saved_in_another_precision_keeps_it(folder: Path) -> None:
    file = written(folder, "json", BFLOAT16)
    for precision in ("float32", FLOAT16):
        assert made(folder, file, precision).model.layers[0].compute_dtype == "bfloat16"


def test_all_outputs_of_a_file_stay_in_float32(folder: Path) -> None:
    x = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(5, name="hidden")(x)
    inner = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, name="deep"), keras.layers.Dense(2, name="b")])
    model = keras.Model(x, [keras.layers.Dense(3, name="a")(hidden), inner(hidden)])
    (folder / "two.json").write_text(model.to_json())
    with policy(BFLOAT16):
        built = build_model(experiment.Model(build="two.json"), {}, folder, 1)
    found = {layer.name: layer.compute_dtype for layer in built._flatten_layers(include_self=False)}
    assert {name: found[name] for name in ("hidden", "deep", "a", "b")} == {
        "hidden": "bfloat16",
        "deep": "bfloat16",
        "a": "float32",
        "b": "float32",
    }


# What a configuration asks for, and what it uses


@given(
    st.sampled_from([True, False, "auto", None]),
    st.sampled_from(["float32", *MIXED, "auto", None]),
    st.builds(Program, lanes=st.integers(1, 4), jit_compile=st.booleans(), precision=st.sampled_from(MIXED)),
)
def test_what_the_user_wrote_holds_and_auto_is_what_was_measured(
    jit_compile: bool | str | None, precision: str | None, program: Program
) -> None:
    asked = {"jit_compile": jit_compile, "precision": precision}
    one = compiled(configuration(), **{key: value for key, value in asked.items() if value is not None})
    used = used_program(one.model_copy(update={"program": program}))
    default = {"jit_compile": False, "precision": "float32"}
    for key, value in asked.items():
        meant = default[key] if value is None else getattr(program, key) if value == "auto" else value
        assert getattr(used, key) == meant
    assert used.lanes == program.lanes


def test_until_it_is_measured_auto_is_the_default() -> None:
    assert used_program(compiled(configuration(), jit_compile="auto", precision="auto")) == Program()


def test_a_program_is_shared_by_those_that_use_the_same_whatever_they_asked_for() -> None:
    model = experiment.Model(build="models.py:mlp")
    plain = configuration(1)
    measured = compiled(configuration(2), jit_compile="auto", precision="auto")
    fast = measured.model_copy(update={"program": Program(jit_compile=True, precision=BFLOAT16, lanes=8)})
    written_so = compiled(configuration(3), jit_compile=True, precision=BFLOAT16)
    keys = [program_key(one, model) for one in (plain, measured, fast, written_so)]
    assert keys[0] == keys[1] != keys[2] == keys[3]


@pytest.mark.parametrize(("name", "shared"), [("Adam", True), ("models.py:schedule", False)])
def test_a_learning_rate_is_a_variable_of_keras_own_optimizers_only(name: str, shared: bool) -> None:
    """What a function of the user's makes of it, such as a schedule, may be a constant of the program."""
    model = experiment.Model(build="models.py:mlp")
    slow, fast = (compiled(configuration(), optimizer={"name": name, "learning_rate": rate}) for rate in (0.1, 0.2))
    assert (program_key(slow, model) == program_key(fast, model)) == shared


# What comes after training


@pytest.mark.parametrize("precision", MIXED)
def test_metrics_are_computed_in_float32(folder: Path, precision: str) -> None:
    assembly = made(folder, "mlp", precision)
    last = assembly.model.layers[-1]
    last.set_weights([np.zeros((6, 3), np.float32), np.array([0.1, 0.7, -0.3], np.float32)])
    evaluator = Evaluator(assembly)
    found = evaluator.merge([evaluator.evaluate(Feed(FEED, 30).stored())])
    predicted = np.asarray(assembly.model(X)).astype(np.float32)
    assert found["mae"] == pytest.approx(np.abs(predicted - np.eye(3)[LABELS]).mean(-1).mean(), rel=1e-6)
    (given,) = predictor(assembly)({"x": X}, 7).values()
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, predicted, rtol=1e-6)


CHANGES: dict[str, Any] = {
    "compile": {"loss": "categorical_crossentropy", "metrics": ["accuracy", "AUC"], "precision": BFLOAT16},
    "search": [
        {"model": "dropout", "optimizer": {"name": "Adam", "learning_rate": 0.01}, "batch_size": 8},
        {"model": "norm", "optimizer": {"name": "SGD", "momentum": 0.9}, "precision": FLOAT16, "batch_size": 5},
        {"model": "plain", "optimizer": {"name": "SGD"}, "precision": "float32"},
    ],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    changes = {**CHANGES, "search": {"method": "list", "configurations": CHANGES["search"]}}
    return SmallRun.prepare(tmp_path_factory.mktemp("small"), **changes)


def test_any_number_of_stations_makes_the_same_bytes_in_any_precision(run: SmallRun) -> None:
    found = []
    for count in (1, 3):
        store = MemoryStore()
        run.begin(store)
        run.finish(store, count, lambda busy: busy - 1)
        found.append(run.results(store))
    assert found[0] == found[1]
    alone = run.alone()
    assert {name: found[0][name] for name in alone} == alone


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")
def test_a_result_is_the_same_model_again_and_is_saved_whole(run: SmallRun, tmp_path: Path) -> None:
    for one in run.planned[:2]:
        state = run_alone(run, one)
        restored = restore(run.specification, one, run.workshop.manifest, state)
        model = compiled_model(restored)
        assert all(np.array_equal(restored.variables.read()[name], state[name]) for name in state)
        save(restored, tmp_path / "a.keras")
        loaded = keras.models.load_model(tmp_path / "a.keras")
        assert loaded.layers[0].compute_dtype == used_program(one).precision.removeprefix("mixed_")
        rows = np.ones((2, 4), np.float32)
        np.testing.assert_array_equal(np.asarray(loaded(rows)), np.asarray(model(rows)))
        assert type(loaded.optimizer) is type(model.optimizer)


def run_alone(run: SmallRun, one: Configuration) -> dict[str, Array]:
    program = run._assembled(one)
    run_hop(program, run.workshop.feed("training", 0), HopTask(7, one, 0, 0), 0)
    found: dict[str, Array] = program.read()
    return found


def test_a_warm_start_may_change_the_precision(run: SmallRun) -> None:
    """Weights are float32 in all of them; only the scale of a loss is not there in another."""
    one = run.planned[0]
    states = {}
    for precision in ("float32", *MIXED):
        changed = compiled(one, precision=precision)
        model = run.specification.experiment.models[one.model]
        states[precision] = assemble(
            changed, model, run.workshop.manifest, 1, run.specification.path(".")
        ).variables.read()
    moved = {name: array + 1 for name, array in states["float32"].items()}
    for precision in MIXED:
        taken = _with_optimizer(_with_weights(states[precision], moved, "1"), moved)
        assert all(np.array_equal(taken[name], moved[name]) for name in moved if WEIGHT.match(name))
    moments = [name for name in moved if "velocity" in name]
    assert moments
    assert all(np.array_equal(_with_optimizer(states[BFLOAT16], moved)[name], moved[name]) for name in moments)
    assert _with_optimizer(states[FLOAT16], moved) == states[FLOAT16]
