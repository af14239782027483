"""Several models become one: what it gives is NumPy's arithmetic on what they give, and Keras alone opens its file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from modelhopper_contract.errors import UserError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.records import Program
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.ensembles import Member, Rows, ensemble, evaluate_rows, learned, own_layers
from modelhopper_trainer.ensembles.blending import blend
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.prediction import predictor, save
from tests.trainer.assembled import assembled, configuration, manifest

pytestmark = pytest.mark.xdist_group("tensorflow")

# Keras' own save copies its variables in a way that numpy 2 warns of.
KERAS_COPIES = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")

Array = npt.NDArray[Any]

MODELS = """
import keras
from keras import layers


def plain(units=3, activation="softmax", penalty=None):
    l2 = penalty and keras.regularizers.L2(penalty)
    return keras.Sequential([keras.Input((4,)), layers.Dense(units, activation, kernel_regularizer=l2)])


def deep(units=3, activation="softmax"):
    x = entry = keras.Input((4,))
    for width in (6, 5):
        x = layers.Dropout(0.5)(layers.BatchNormalization()(layers.Dense(width, "relu")(x)))
    return keras.Model(entry, layers.Dense(units, activation)(x))


def two(width=4):
    words, image = keras.Input((3,), dtype="int32", name="words"), keras.Input((2,), name="image")
    both = layers.Concatenate()([layers.Flatten()(layers.Embedding(20, width)(words)), image])
    return keras.Model(
        {"words": words, "image": image},
        {"kind": layers.Dense(3, "softmax", name="kind")(both), "size": layers.Dense(1, name="size")(both)},
    )


def two_as_lists():
    image, words = keras.Input((2,), name="image"), keras.Input((3,), dtype="int32", name="words")
    both = layers.Concatenate()([layers.Flatten()(layers.Embedding(20, 2)(words)), image])
    outputs = [layers.Dense(1, name="size")(both), layers.Dense(3, "softmax", name="kind")(both)]
    return keras.Model([image, words], outputs)


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = layers.Dense(3, "softmax")

    def call(self, x):
        return self.head(x)


def own_class():
    net = Net()
    net(keras.ops.zeros((1, 4)))
    return net


class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x


def own_layer():
    return keras.Sequential([keras.Input((4,)), Doubled(), layers.Dense(3, "softmax")])


def whole_numbers():
    return keras.Sequential(
        [keras.Input((4,), dtype="int32"), layers.Embedding(300, 2), layers.Flatten(), layers.Dense(3, "softmax")]
    )
"""


def drawn(rows: int = 40) -> Array:
    return np.random.default_rng(0).integers(0, 256, (rows, 4)).astype(np.uint8)


X = drawn()
THREE = (X.argmax(1) % 3).astype(np.int32)


class Case:
    """Members for the same rows, each with a weight, and what NumPy says of them."""

    def __init__(self, folder: Path, inputs: dict[str, Array], outputs: dict[str, Array], classes: Any = None) -> None:
        (folder / "models.py").write_text(MODELS)
        self.folder, self.inputs, self.outputs = folder, inputs, outputs
        self.manifest: Manifest = manifest(inputs, outputs, classes, normalize=255.0)
        self.members: list[Member] = []
        self._said: dict[tuple[str, str], Array] = {}  # what members predict, by their name and an output's

    def copy(self, weights: Sequence[float] = ()) -> Case:
        """The same members, to which others can be added, or with these weights."""
        found = copy(self)
        found.members, found._said = list(self.members), dict(self._said)
        if weights:
            pairs = zip(self.members, weights, strict=True)
            found.members = [replace(member, weight=weight) for member, weight in pairs]
        return found

    def add(self, build: str, weight: float = 1.0, precision: Any = None, **settings: Any) -> Case:
        number = len(self.members) + 1
        parameters = settings.pop("parameters", None)
        one = configuration(number, parameters, **settings)
        if precision is not None:
            one = one.model_copy(update={"program": Program(precision=precision)})
        made = assembled(f"models.py:{build}", self.folder, self.manifest, one)
        for at, variable in enumerate(made.model.variables):  # a state that no initialization gives
            if "float" in str(variable.dtype):
                random = np.random.default_rng([number, at])
                variable.assign(variable.numpy() + random.uniform(0.1, 0.4, variable.shape))
        self.members.append(Member(f"configuration_{number}", made, weight))
        return self

    def seats(self) -> list[list[Member]]:
        return [[one] for one in self.members]

    def each(self, output: str = "y") -> Array:
        """What the members predict, shape (members, rows, ...)."""
        for one in self.members:
            if (one.name, output) not in self._said:
                self._said[one.name, output] = self.said(one.assembly, output)
        return np.stack([self._said[one.name, output] for one in self.members])

    def said(self, assembly: Assembly, output: str = "y") -> Array:
        return predictor(assembly)(self.inputs, 16)[output]

    def made(self, combine: Any, **named: Any) -> Assembly:
        return ensemble(self.seats(), self.manifest, combine, **named)

    def rows(self) -> Rows:
        return Rows({**self.inputs, **self.outputs})


@pytest.fixture(scope="module")
def softmaxes(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Different architectures, one with dropout, one of logits and a sparse loss."""
    case = Case(tmp_path_factory.mktemp("softmaxes"), {"x": X}, {"y": THREE}, {"y": ["a", "b", "c"]})
    case.add("plain", loss="categorical_crossentropy", metrics=["accuracy", "AUC"])
    case.add("deep", loss="categorical_crossentropy", metrics=["accuracy"])
    logits = {"name": "SparseCategoricalCrossentropy", "from_logits": True}
    return case.add("plain", loss=logits, parameters={"activation": None})


@pytest.fixture(scope="module")
def chances(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """One sigmoid unit for two classes; the first gives logits."""
    case = Case(
        tmp_path_factory.mktemp("chances"), {"x": X}, {"y": (X[:, 0] > 128).astype(np.int32)}, {"y": ["no", "yes"]}
    )
    logits = {"name": "BinaryCrossentropy", "from_logits": True}
    metrics = [{"name": "BinaryAccuracy", "threshold": 0.0}, "Recall"]
    case.add("plain", loss=logits, metrics=metrics, parameters={"units": 1, "activation": None})
    return case.add("deep", loss="binary_crossentropy", parameters={"units": 1, "activation": "sigmoid"})


def softmax(z: Array) -> Array:
    raised = np.exp(z - z.max(-1, keepdims=True))
    found: Array = raised / raised.sum(-1, keepdims=True)
    return found


def test_the_average_is_numpys(softmaxes: Case) -> None:
    case = softmaxes
    assert np.allclose(case.said(case.made("average")), case.each().mean(0), atol=1e-6)


def test_the_weighted_average_is_numpys(softmaxes: Case) -> None:
    case = softmaxes.copy((3, 1, 0.5))
    expected = np.average(case.each(), axis=0, weights=[3, 1, 0.5])
    assert np.allclose(case.said(case.made("average")), expected, atol=1e-6)


def test_the_average_of_logits_is_numpys(softmaxes: Case) -> None:
    case = softmaxes.copy((3, 1, 0.5))
    scores = np.log(np.clip(case.each(), 1e-7, 1))
    expected = softmax(np.average(scores, axis=0, weights=[3, 1, 0.5]))
    assert np.allclose(case.said(case.made("logits")), expected, atol=1e-6)


def test_the_vote_is_numpys_and_ties_go_to_the_higher_average(softmaxes: Case) -> None:
    case = softmaxes
    each = case.each()
    votes, average = np.eye(3)[each.argmax(-1)].mean(0), each.mean(0)
    found = case.said(case.made("vote"))
    assert np.allclose(found, votes, atol=2e-4)
    assert np.allclose(found.sum(-1), 1, atol=1e-5)
    tied = (votes == votes.max(-1, keepdims=True)).sum(-1) > 1
    assert np.array_equal(
        found[tied].argmax(-1), np.where(votes == votes.max(-1, keepdims=True), average, -1)[tied].argmax(-1)
    )


def test_one_unit_of_a_sigmoid_stays_one_unit(chances: Case) -> None:
    case = chances
    each = case.each()
    model = case.made("average").model
    assert model.output_shape == (None, 1)
    assert np.allclose(case.said(case.made("average")), each.mean(0), atol=1e-6)
    odds = np.log(each[..., 1:] / each[..., :1]).mean(0)
    assert np.allclose(case.said(case.made("logits"))[:, 1:], 1 / (1 + np.exp(-odds)), atol=1e-5)
    votes = (each[..., 1:] > 0.5).mean(0)
    assert np.allclose(case.said(case.made("vote"))[:, 1:], votes, atol=2e-4)


def test_a_sigmoid_and_a_softmax_of_two_classes_agree_on_two_columns(chances: Case) -> None:
    case = chances.copy()
    case.add("plain", loss="categorical_crossentropy", metrics=["accuracy"], parameters={"units": 2})
    for combine in ("average", "logits", "vote", "stack"):
        blends = learned(case.seats(), case.manifest, [case.rows()]) if combine == "stack" else None
        assert case.made(combine, blends=blends).model.output_shape == (None, 2)
    found = case.made("average")
    assert np.allclose(case.said(found), case.each().mean(0), atol=1e-6)
    assert found.losses == {"y": "categorical_crossentropy"}


def test_numbers_are_averaged_and_cannot_be_voted_on(tmp_path: Path) -> None:
    case = Case(tmp_path, {"x": X}, {"y": X.sum(1).astype(np.float32)})
    for build in ("plain", "deep"):
        case.add(build, loss="mse", metrics=["mae"], parameters={"units": 1, "activation": None})
    assert np.allclose(case.said(case.made("average")), case.each().mean(0), atol=1e-4)
    assert np.array_equal(case.said(case.made("logits")), case.said(case.made("average")))
    with pytest.raises(UserError, match=r"`vote` is for classes, and the models give numbers \(y\)"):
        case.made("vote")


def test_labels_of_several_classes_at_once_are_read_column_by_column(tmp_path: Path) -> None:
    case = Case(tmp_path, {"x": X}, {"y": (X[:, :3] > 128).astype(np.float32)})
    case.add("plain", loss="binary_crossentropy", parameters={"activation": "sigmoid"})
    case.add("deep", loss="binary_crossentropy", parameters={"activation": "sigmoid"})
    each = case.each()
    odds = np.log(each / (1 - each)).mean(0)
    assert np.allclose(case.said(case.made("logits")), 1 / (1 + np.exp(-odds)), atol=1e-5)
    assert np.allclose(case.said(case.made("vote")), (each > 0.5).mean(0), atol=2e-4)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Two inputs and two outputs, one model with lists of them in another order."""
    random = np.random.default_rng(3)
    inputs = {
        "words": random.integers(0, 20, (30, 3)).astype(np.int32),
        "image": random.normal(size=(30, 2)).astype(np.float32),
    }
    outputs = {"kind": random.integers(0, 3, 30).astype(np.int32), "size": random.normal(size=30).astype(np.float32)}
    case = Case(tmp_path_factory.mktemp("several"), inputs, outputs, {"kind": ["a", "b", "c"]})
    loss = {"kind": "categorical_crossentropy", "size": "mse"}
    metrics = {"kind": ["accuracy"], "size": ["mae"]}
    return case.add("two", loss=loss, metrics=metrics).add("two_as_lists", loss=loss, metrics=metrics)


def test_several_inputs_and_outputs_go_by_name(several: Case) -> None:
    case = several
    for combine in ("average", "vote", "logits"):
        made = case.made(combine)
        assert np.allclose(case.said(made, "size"), case.each("size").mean(0), atol=1e-5)
    assert np.allclose(case.said(case.made("average"), "kind"), case.each("kind").mean(0), atol=1e-6)
    assert set(evaluate_rows(made, [case.rows()])) == {"loss", "kind_loss", "size_loss", "kind_accuracy", "size_mae"}


@pytest.mark.parametrize("combine", ["average", "logits", "vote"])
def test_metrics_are_those_of_what_is_predicted(softmaxes: Case, chances: Case, combine: Any) -> None:
    for case in (softmaxes, chances):
        made = case.made(combine)
        found, said = evaluate_rows(made, [case.rows()]), case.said(made)
        labels = case.outputs["y"]
        expected = -np.log(np.clip(said[np.arange(len(labels)), labels], 1e-7, 1)).mean()
        assert np.isclose(found["loss"], expected, rtol=1e-4)
        accuracy = found["accuracy" if "accuracy" in found else "BinaryAccuracy"]
        assert np.isclose(accuracy, (said.argmax(-1) == labels).mean(), atol=1e-6)


def test_metrics_of_parts_of_the_rows_merge_exactly(softmaxes: Case) -> None:
    case = softmaxes
    made, fields = case.made("average"), {**case.inputs, **case.outputs}
    parts = [Rows({name: array[at] for name, array in fields.items()}) for at in (slice(0, 7), slice(7, 40))]
    evaluator = Evaluator(made)
    whole = evaluator.merge([evaluator.evaluate(Feed(fields, 40).stored())])
    assert evaluate_rows(made, parts) == whole


def test_penalties_of_members_weights_are_no_part_of_its_loss(tmp_path: Path) -> None:
    case = Case(tmp_path, {"x": X}, {"y": THREE}, {"y": ["a", "b", "c"]})
    for penalty in (0.1, 0.2):
        case.add("plain", loss="categorical_crossentropy", parameters={"penalty": penalty})
    said = case.said(case.made("average"))
    found = evaluate_rows(case.made("average"), [case.rows()])
    assert np.isclose(found["loss"], -np.log(said[np.arange(40), THREE]).mean(), rtol=1e-5)


@pytest.mark.slow
def test_members_of_half_precision_are_combined_in_float32(tmp_path: Path) -> None:
    case = Case(tmp_path, {"x": X}, {"y": THREE}, {"y": ["a", "b", "c"]})
    case.add("plain", loss="categorical_crossentropy", precision="mixed_float16")
    case.add("deep", loss="categorical_crossentropy", precision="mixed_bfloat16")
    found = case.said(case.made("average"))
    assert found.dtype == np.float32
    assert np.allclose(found, case.each().mean(0), atol=1e-6)


def test_members_keep_their_weights_to_the_bit(softmaxes: Case) -> None:
    case = softmaxes
    before = [[v.numpy() for v in one.assembly.model.variables] for one in case.members]
    model = case.made("average").model
    for one, values in zip(case.members, before, strict=True):
        inside = {id(v): v.numpy() for v in model.get_layer(one.name).variables}
        mine = one.assembly.model.variables
        assert all(np.array_equal(inside[id(v)], value) for v, value in zip(mine, values, strict=True))


def test_stacking_is_at_least_as_good_on_what_it_learned_from_and_deterministic(softmaxes: Case, chances: Case) -> None:
    for case in (softmaxes, chances):
        first, second = (learned(case.seats(), case.manifest, [case.rows()])["y"] for _ in range(2))
        assert np.array_equal(first.weights, second.weights)
        assert np.array_equal(first.bias, second.bias)
        stacked = case.made("stack", blends={"y": first})
        average = case.made("logits")
        assert evaluate_rows(stacked, [case.rows()])["loss"] < evaluate_rows(average, [case.rows()])["loss"]


def test_stacking_is_the_regression_that_it_says_it_is(softmaxes: Case) -> None:
    case = softmaxes
    found = learned(case.seats(), case.manifest, [case.rows()])["y"]
    scores = np.log(np.clip(case.each(), 1e-7, 1))
    expected = softmax(np.einsum("mnc,mc->nc", scores, found.weights) + found.bias)
    assert np.allclose(case.said(case.made("stack", blends={"y": found})), expected, atol=1e-5)


def test_stacking_of_numbers_is_ridge_regression_towards_the_average_in_any_unit() -> None:
    random = np.random.default_rng(0)
    x = random.normal(5, 2, (60, 3, 1))
    y = x[:, 0] * 0.7 + x[:, 2] * 0.4 + random.normal(1, 0.1, (60, 1))
    found = blend(x, y, "numbers")
    centered, wanted = (x[..., 0] - x[..., 0].mean(0)), y[:, 0] - y.mean()
    pull = np.eye(3) * y.var()
    expected = np.linalg.solve(centered.T @ centered + pull, centered.T @ wanted + pull @ np.full(3, 1 / 3))
    assert np.allclose(found.weights[:, 0], expected, atol=1e-5)
    assert np.isclose(found.bias[0], y.mean() - expected @ x[..., 0].mean(0), atol=1e-4)
    thousandths = blend(x * 1000, y * 1000, "numbers")
    assert np.allclose(thousandths.weights, found.weights, atol=1e-5)


@pytest.mark.parametrize("reading", ["classes", "chances"])
def test_stacking_has_found_the_least_loss(reading: str) -> None:
    random = np.random.default_rng(1)
    x, labels = random.normal(-3, 2, (50, 2, 3)), random.integers(0, 3, 50)
    y = np.eye(3)[labels]

    def loss(weights: Array, bias: Array) -> float:
        score = np.einsum("nmc,mc->nc", x, weights) + bias
        said = softmax(score) if reading == "classes" else 1 / (1 + np.exp(-score))
        each = -np.log(said) * y if reading == "classes" else -np.log(said) * y - np.log(1 - said) * (1 - y)
        return float(each.sum() + 0.5 * ((weights - 0.5) ** 2).sum())

    found = blend(x, y, reading)
    least = loss(found.weights, found.bias)
    for _ in range(20):
        other = random.normal(0, 0.01, (2, 3)), random.normal(0, 0.01, 3)
        assert loss(found.weights + other[0], found.bias + other[1]) >= least - 1e-6


def test_stacking_of_folds_asks_only_members_that_did_not_see_the_rows(softmaxes: Case) -> None:
    case = softmaxes.copy()
    case.add("deep", loss="categorical_crossentropy")
    one, other, third, fourth = (member.assembly for member in case.members)
    seats = [
        [Member("a", one, fold=0), Member("b", other, fold=1)],
        [Member("c", third, fold=0), Member("d", fourth, fold=1)],
    ]
    fields = {**case.inputs, **case.outputs}
    halves = [{name: array[at] for name, array in fields.items()} for at in (slice(0, 20), slice(20, 40))]
    found = learned(seats, case.manifest, [Rows(halves[0], 0), Rows(halves[1], 1)])["y"]
    each = np.log(np.clip(case.each(), 1e-7, 1)).astype(np.float32)
    scores = np.concatenate([each[[0, 2], :20], each[[1, 3], 20:]], axis=1).transpose(1, 0, 2)
    expected = blend(scores, np.eye(3)[THREE], "classes")
    assert np.allclose(found.weights, expected.weights, atol=1e-3)
    joined = case.said(ensemble(seats, case.manifest, "average"))
    assert np.allclose(joined, case.each().mean(0), atol=1e-6)


def test_what_cannot_be_joined_is_told(softmaxes: Case) -> None:
    case = softmaxes.copy().add("own_class", loss="categorical_crossentropy")
    with pytest.raises(UserError, match=r"configuration_4 is a model of a class of its own \(`Net`\)"):
        case.made("average")
    case = softmaxes.copy().add("whole_numbers", loss="categorical_crossentropy")
    with pytest.raises(UserError, match=r"take the input `x` differently .*configuration_4 as int32"):
        case.made("average")


def test_layers_that_keras_does_not_have_are_named(softmaxes: Case) -> None:
    assert own_layers(softmaxes.made("average").model) == []
    case = softmaxes.copy().add("own_layer", loss="categorical_crossentropy")
    assert own_layers(case.made("average").model) == ["Doubled"]


OPEN = """
import sys

class Absent:
    def find_spec(self, name, *rest):
        if name.partition(".")[0].startswith("modelhopper"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import keras, numpy as np
for path in sys.argv[1:]:
    model = keras.models.load_model(path)
    rows = dict(np.load(path.replace(".keras", "-rows.npz")))
    found = model.predict(rows if len(rows) > 1 else next(iter(rows.values())), verbose=0)
    np.savez(path.replace(".keras", "-found.npz"), **(found if isinstance(found, dict) else {"y": found}))
assert not any(name.startswith("modelhopper") for name in sys.modules)
"""


@pytest.mark.slow
@KERAS_COPIES
def test_keras_alone_opens_the_file_and_predicts_the_same(
    tmp_path: Path, softmaxes: Case, chances: Case, several: Case
) -> None:
    cases: dict[str, tuple[Case, Any]] = {
        "weighted": (softmaxes.copy((3, 1, 1)), "average"),
        "vote": (softmaxes, "vote"),
        "logits": (chances, "logits"),
        "stack": (several, "stack"),
    }
    files, expected = [], {}
    for name, (case, combine) in cases.items():
        blends = learned(case.seats(), case.manifest, [case.rows()]) if combine == "stack" else None
        made = case.made(combine, blends=blends)
        fields = made.encoding.encode_inputs(case.inputs)
        rows = {k: np.asarray(v) for k, v in (fields if isinstance(fields, dict) else {"x": fields}).items()}
        found = made.model(rows if len(rows) > 1 else rows["x"], training=False)
        expected[name] = {k: np.asarray(v) for k, v in (found if isinstance(found, dict) else {"y": found}).items()}
        np.savez(tmp_path / f"{name}-rows.npz", allow_pickle=False, **rows)
        save(made, tmp_path / f"{name}.keras")
        files.append(str(tmp_path / f"{name}.keras"))
        again = keras.models.load_model(tmp_path / f"{name}.keras")
        assert all(np.array_equal(a, b) for a, b in zip(again.get_weights(), made.model.get_weights(), strict=True))
        assert again.compiled
    subprocess.run([sys.executable, "-c", OPEN, *files], check=True, timeout=120)
    for name, values in expected.items():
        found = dict(np.load(tmp_path / f"{name}-found.npz"))
        assert found.keys() == values.keys()
        assert all(np.allclose(found[key], values[key], atol=1e-6) for key in values)
