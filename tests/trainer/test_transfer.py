"""Transfer learning: layers begin with a file's weights by name, and frozen ones keep them to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import Model
from modelhopper_trainer.device import configure
from modelhopper_trainer.models import build_model
from modelhopper_trainer.transfer import freeze, take_weights

pytestmark = [
    pytest.mark.xdist_group("tensorflow"),
    # h5py asks Keras' variables for arrays in a way that NumPy 2 finds old.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras"),
]


def sequential(*parts: Any, name: str | None = None) -> keras.Model:
    return keras.Sequential([keras.Input((4,)), *parts], name=name)


def dense(units: int = 3, name: str | None = None) -> keras.layers.Layer:
    return layers.Dense(units, name=name, bias_initializer="random_normal")


def taken(model: keras.Model, base: keras.Model, folder: Path, file: str = "base.keras") -> Any:
    """Save `base` and give its weights to `model`."""
    base.save(folder / file) if file.endswith(".keras") else base.save_weights(folder / file)
    return take_weights(model, file, folder, is_numbered=True)


def same(one: keras.layers.Layer, other: keras.layers.Layer) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


@pytest.fixture(autouse=True)
def numbered_anew() -> None:
    configure(threads=1, gpu=False, deterministic=True)
    keras.utils.clear_session(free_memory=False)


# Which layers are found


@pytest.mark.parametrize("file", ["base.keras", "base.weights.h5"])
def test_layers_take_the_weights_of_their_names_and_others_start_fresh(tmp_path: Path, file: str) -> None:
    base = sequential(dense(8, "a"), dense(5, "b"), dense(2, "head"))
    base.compile("adam", "mse")
    base.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    model = sequential(dense(8, "a"), dense(5, "b"), layers.Dropout(0.5), dense(3, "new_head"))
    head = model.get_layer("new_head").get_weights()
    found = taken(model, base, tmp_path, file)
    assert same(model.get_layer("a"), base.get_layer("a"))
    assert same(model.get_layer("b"), base.get_layer("b"))
    assert all(np.array_equal(x, y) for x, y in zip(head, model.get_layer("new_head").get_weights(), strict=True))
    assert str(found) == f"{file} gives a, b their weights; new_head start fresh; not in the model: head"


def test_a_base_is_found_inside_a_model_and_a_part_of_a_base_without_it(tmp_path: Path) -> None:
    base = sequential(dense(4, "a"), dense(4, "b"), name="base")
    outer = sequential(sequential(dense(4, "a"), dense(4, "b"), name="body"), dense(3, "head"))
    assert taken(outer, base, tmp_path).taken == ("body/a", "body/b")
    assert same(outer.get_layer("body").get_layer("b"), base.get_layer("b"))
    inner = sequential(dense(4, "b"), dense(3, "other"))
    assert taken(inner, outer, tmp_path).taken == ("b",)
    assert same(inner.get_layer("b"), base.get_layer("b"))


def test_layers_made_of_layers_take_all_that_is_inside(tmp_path: Path) -> None:
    def attending(head: str) -> keras.Model:
        entry = keras.Input((5, 4))
        found = layers.MultiHeadAttention(2, 3, name="attention")(entry, entry)
        found = layers.Bidirectional(layers.LSTM(3), name="reader")(found)
        return keras.Model(entry, layers.Dense(2, name=head)(found))

    base, model = attending("old"), attending("new")
    assert taken(model, base, tmp_path).taken == ("attention", "reader")
    assert same(model.get_layer("attention"), base.get_layer("attention"))
    assert same(model.get_layer("reader"), base.get_layer("reader"))


class Own(keras.Model):  # type: ignore[misc]  # Keras has no types
    def __init__(self, head: str) -> None:
        super().__init__()
        self.scale = self.add_weight(shape=(4,), initializer="random_normal", name="scale")
        self.parts = [layers.Dense(5, name="first"), layers.Dense(2, name=head)]

    def call(self, x: Any) -> Any:
        return self.parts[1](self.parts[0](x * self.scale))


def test_a_subclassed_model_takes_its_own_variables_too(tmp_path: Path) -> None:
    base, model = Own("old"), Own("new")
    for one in (base, model):
        one(np.ones((1, 4)))
    found = taken(model, base, tmp_path, "base.weights.h5")
    assert found.taken == ("", "first")
    assert "gives the model's own variables, first their weights" in str(found)
    assert np.array_equal(model.scale, base.scale)


def test_unnamed_layers_are_found_by_number_where_both_begin_anew(tmp_path: Path) -> None:
    base = sequential(dense(8), dense(5))
    keras.utils.clear_session(free_memory=False)
    model = sequential(dense(8), dense(5), dense(2))
    found = taken(model, base, tmp_path)
    assert (found.taken, found.fresh) == (("dense", "dense_1"), ("dense_2",))
    assert same(model.layers[1], base.layers[1])


def test_numbers_of_a_process_that_made_other_layers_before_are_refused(tmp_path: Path) -> None:
    sequential(dense())
    base = sequential(dense(4), dense(4))
    keras.utils.clear_session(free_memory=False)
    with pytest.raises(SpecError, match=r"has a `dense_1` and no `dense`: Keras numbered.*`name=...`"):
        taken(sequential(dense(4), dense(4)), base, tmp_path)


def test_names_in_a_json_file_are_names_though_they_are_numbers(tmp_path: Path) -> None:
    """MADlib's tables hold an architecture in JSON, whose layers Keras 2 numbered from 1, and its weights."""
    base = sequential(dense(4, "dense_1"), dense(4, "dense_2"))
    (tmp_path / "model.json").write_text(base.to_json())
    base.save_weights(tmp_path / "base.weights.h5")
    model = build_model(Model(build="model.json"), {}, tmp_path, 3)
    take_weights(model, "base.weights.h5", tmp_path, is_numbered=False)
    assert same(model, base)


def test_other_shapes_are_a_mistake_that_tells_both(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as found:
        taken(sequential(dense(7, "a")), sequential(dense(8, "a")), tmp_path)
    assert "a is float32 (4, 8), float32 (8,) in base.keras, and float32 (4, 7), float32 (7,) in the model" in str(
        found.value
    )
    assert "another name" in str(found.value)


def test_no_common_layer_is_a_mistake_that_lists_both(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none of the model's layers: it has a, b, and the model has c\. Layers are"):
        taken(sequential(dense(3, "c")), sequential(dense(3, "a"), dense(3, "b")), tmp_path)


def test_a_name_that_could_be_two_is_a_mistake(tmp_path: Path) -> None:
    base = sequential(sequential(dense(4, "a"), name="one"), sequential(dense(4, "a"), name="two"))
    with pytest.raises(SpecError, match=r"`a` could be `one/a` or `two/a` of base\.keras"):
        taken(sequential(dense(4, "a")), base, tmp_path)


# Files


def test_what_a_file_could_run_is_never_read(tmp_path: Path) -> None:
    base = sequential(dense(4, "a"), layers.Lambda(lambda x: x * 2))
    base.save(tmp_path / "base.keras")
    with pytest.raises(ValueError, match="unsafe"):
        keras.models.load_model(tmp_path / "base.keras")
    model = sequential(dense(4, "a"))
    assert take_weights(model, "base.keras", tmp_path, is_numbered=True).taken == ("a",)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    for name in ("a.keras", "a.weights.h5"):
        (tmp_path / name).write_text("weights")
        with pytest.raises(SpecError, match="cannot be read as weights of a Keras model"):
            take_weights(sequential(dense()), name, tmp_path, is_numbered=True)
    with pytest.raises(SpecError, match=r"`b\.keras` is not there"):
        take_weights(sequential(dense()), "b.keras", tmp_path, is_numbered=True)


def test_a_file_without_names_is_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old.weights.h5", "w") as file:
        file.create_group("dense_1/dense_1")["kernel:0"] = np.ones((4, 3))
        file.attrs["layer_names"] = ["dense_1"]
    with pytest.raises(SpecError, match=r"names no layers: it is of an older Keras"):
        take_weights(sequential(dense(3, "dense_1")), "old.weights.h5", tmp_path, is_numbered=True)


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    sequential(dense(3, "a")).save_weights(tmp_path / "secret.weights.h5")
    with h5py.File(tmp_path / "base.weights.h5", "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "a"
        for key in ("0", "1"):
            group[key] = h5py.ExternalLink(str(tmp_path / "secret.weights.h5"), f"layers/dense/vars/{key}")
    with pytest.raises(SpecError, match="names no layers"):
        take_weights(sequential(dense(3, "a")), "base.weights.h5", tmp_path, is_numbered=True)


# Frozen layers


def trained_names(model: keras.Model) -> list[str]:
    return [variable.path.split("/")[-2] for variable in model.trainable_variables]


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["conv*"], ["a", "head"]),
        (["body"], ["head"]),
        (["a"], ["conv_1", "head"]),
        (["body/c*"], ["a", "head"]),
        (["*_1", "a"], ["head"]),
    ],
)
def test_patterns_are_for_names_at_any_depth(patterns: list[str], left: list[str]) -> None:
    model = sequential(sequential(dense(4, "conv_1"), dense(4, "a"), name="body"), dense(3, "head"))
    freeze(model, patterns)
    assert list(dict.fromkeys(trained_names(model))) == left


def test_a_pattern_that_fits_nothing_is_a_mistake_with_the_nearest() -> None:
    with pytest.raises(
        SpecError, match=r"`bodi\*` in frozen_layers fits none .*: body, body/conv_1\. Did you mean `body`"
    ):
        freeze(sequential(sequential(dense(4, "conv_1"), name="body")), ["bodi*"])


def test_freezing_everything_is_a_mistake() -> None:
    with pytest.raises(SpecError, match=r"frozen_layers, a, h\*, leaves no layer with weights to train"):
        freeze(sequential(dense(4, "a"), layers.Dropout(0.1), dense(3, "head")), ["a", "h*"])
