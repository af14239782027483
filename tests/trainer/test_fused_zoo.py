"""Layers, optimizers and their numbers, side by side and alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelhopper_contract.errors import HopError
from modelhopper_contract.records import HopRecord
from modelhopper_trainer.blueprint import blueprint
from modelhopper_trainer.fused import FusedProgram
from tests.trainer.side_by_side import Lane, Rows, alone, distance, fused, lanes, rows, same

pytestmark = [pytest.mark.xdist_group("tensorflow"), pytest.mark.slow]

MODEL = """
import keras
from keras import layers, ops

class Noise(layers.Layer):
    def call(self, x, training=False):
        return x + keras.random.normal(ops.shape(x)) if training else x

def make(rate=0.5):
    return keras.Sequential([{layers}])
"""
DENSE = "keras.Input((4,)), layers.Dense(5, 'tanh'), layers.Dense(3, 'softmax')"
WORDS = (
    "keras.Input((6,), dtype='int32'), layers.Embedding(9, 4, mask_zero={mask}), {inner}, layers.Dense(3, 'softmax')"
)
IMAGE = "keras.Input((8, 8, 2)), {inner}, layers.GlobalAveragePooling2D(), layers.Dense(3, 'softmax')"
SERIES = "keras.Input((6, 3)), {inner}, layers.GlobalAveragePooling1D(), layers.Dense(3, 'softmax')"
TABLE = "keras.Input((4,)), layers.Dense(6, 'tanh'), {inner}, layers.Dense(3, 'softmax')"


def check(folder: Path, text: str, given: Rows, each: list[dict[str, Any]], tolerance: float = 1e-5) -> list[Lane]:
    """Claim that configurations are of one kind, agree with single training, and do not depend on one another."""
    path = folder / "model.py"
    path.write_text(MODEL.replace("{layers}", text))
    group = lanes(path, given, each)
    assert len({blueprint(lane.assembly).kind for lane in group}) == 1
    program = FusedProgram(group[0].assembly, len(group))
    found = fused(program, group, given.feed)
    for lane, (record, state) in zip(group, found, strict=True):
        single, own = alone(lane, given.feed)
        assert isinstance(record, HopRecord)
        assert record.loss == pytest.approx(single.loss, rel=tolerance)
        assert distance(own, state) < tolerance
    for (_, one), (_, other) in zip(found, fused(program, group[::-1], given.feed)[::-1], strict=True):
        assert same(one, other)
    return group


RATES = [
    {"parameters": {"rate": rate}, "optimizer": {"name": "SGD", "learning_rate": 0.1}} for rate in (0.1, 0.35, 0.6)
]


@pytest.mark.parametrize(
    "layer",
    [
        TABLE.format(inner="layers.Dropout(rate)"),
        TABLE.format(inner="layers.AlphaDropout(rate)"),
        TABLE.format(inner="layers.GaussianNoise(rate)"),
        SERIES.format(inner="layers.SpatialDropout1D(rate), layers.Dropout(rate, noise_shape=(None, 1, 3))"),
        IMAGE.format(inner="layers.SpatialDropout2D(rate)"),
        "keras.Input((2, 4, 4, 2)), layers.SpatialDropout3D(rate), layers.Flatten(), layers.Dense(3, 'softmax')",
        SERIES.format(inner="layers.TimeDistributed(layers.Dropout(rate))"),
    ],
)
def test_rates_of_layers_are_numbers(tmp_path: Path, layer: str) -> None:
    shape = (
        (2, 4, 4, 2)
        if "(2, 4, 4, 2)" in layer
        else (8, 8, 2)
        if "(8, 8, 2)" in layer
        else (6, 3)
        if "(6, 3)" in layer
        else (4,)
    )
    group = check(tmp_path, layer, rows(shape), RATES)
    assert 0.35 in group[1].numbers.values()


@pytest.mark.parametrize(
    ("text", "shape", "words"),
    [
        (TABLE.format(inner="layers.BatchNormalization()"), (4,), 0),
        (TABLE.format(inner="layers.LayerNormalization()"), (4,), 0),
        (TABLE.format(inner="layers.GaussianDropout(0.3)"), (4,), 0),
        (TABLE.format(inner="Noise()"), (4,), 0),
        (TABLE.format(inner="layers.Dense(5, 'gelu', kernel_regularizer='l2', activity_regularizer='l2')"), (4,), 0),
        (TABLE.format(inner="layers.Dense(5, 'elu', kernel_constraint='max_norm')"), (4,), 0),
        (TABLE.format(inner="layers.Dense(5, 'silu', trainable=False)"), (4,), 0),
        (TABLE.format(inner="layers.UnitNormalization(), layers.PReLU()"), (4,), 0),
        (SERIES.format(inner="layers.Conv1D(4, 3, activation='relu')"), (6, 3), 0),
        (SERIES.format(inner="layers.LSTM(4, return_sequences=True)"), (6, 3), 0),
        (SERIES.format(inner="layers.GRU(4, return_sequences=True, dropout=0.2, recurrent_dropout=0.2)"), (6, 3), 0),
        (SERIES.format(inner="layers.Bidirectional(layers.SimpleRNN(4, return_sequences=True))"), (6, 3), 0),
        (IMAGE.format(inner="layers.Conv2D(4, 3, activation='relu'), layers.MaxPooling2D()"), (8, 8, 2), 0),
        (IMAGE.format(inner="layers.DepthwiseConv2D(3), layers.AveragePooling2D(2)"), (8, 8, 2), 0),
        (IMAGE.format(inner="layers.SeparableConv2D(4, 3), layers.GroupNormalization(2)"), (8, 8, 2), 0),
        (IMAGE.format(inner="layers.Conv2DTranspose(4, 3, strides=2)"), (8, 8, 2), 0),
        (
            IMAGE.format(inner="layers.RandomFlip(), layers.RandomTranslation(0.2, 0.2), layers.Conv2D(3, 3)"),
            (8, 8, 2),
            0,
        ),
        (WORDS.format(mask=False, inner="layers.Flatten()"), (6,), 9),
        (WORDS.format(mask=True, inner="layers.GlobalAveragePooling1D()"), (6,), 9),
    ],
)
def test_layers_compute_the_same(tmp_path: Path, text: str, shape: tuple[int, ...], words: int) -> None:
    each = [{"optimizer": {"name": "SGD", "learning_rate": rate, "momentum": 0.9}} for rate in (0.1, 0.02, 0.05)]
    check(tmp_path, text, rows(shape, words=words), each, 3e-5)


OPTIMIZERS: dict[str, list[dict[str, float]]] = {
    "SGD": [{"momentum": 0.2}, {"momentum": 0.9}],
    "RMSprop": [{"rho": 0.8, "momentum": 0.1, "epsilon": 1e-3}, {"rho": 0.95, "momentum": 0.7, "epsilon": 1e-7}],
    "Adam": [{"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3}, {"beta_1": 0.95, "beta_2": 0.9995, "epsilon": 1e-7}],
    "AdamW": [{"beta_1": 0.8, "weight_decay": 0.1}, {"beta_1": 0.95, "weight_decay": 0.01}],
    "Nadam": [{"beta_1": 0.8, "beta_2": 0.99}, {"beta_1": 0.95, "beta_2": 0.9995}],
    "Adamax": [{"beta_1": 0.8, "beta_2": 0.99}, {"beta_1": 0.95, "beta_2": 0.9995}],
    "Adagrad": [{"epsilon": 1e-2}, {"epsilon": 1e-7}],
    "Adadelta": [{"rho": 0.8, "epsilon": 1e-2}, {"rho": 0.99, "epsilon": 1e-4}],
    "Lion": [{"beta_1": 0.8, "beta_2": 0.9}, {"beta_1": 0.95, "beta_2": 0.99}],
    "Lamb": [{"beta_1": 0.8, "beta_2": 0.99}, {"beta_1": 0.95, "beta_2": 0.9995}],
    "Ftrl": [{}, {}],
    "Adafactor": [{}, {}],
    "Muon": [{}, {}],
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_numbers_of_optimizers_differ_by_lane(tmp_path: Path, name: str) -> None:
    each = [
        {"optimizer": {"name": name, "learning_rate": rate, **numbers}, "epochs": 2}
        for rate, numbers in zip((0.1, 0.03), OPTIMIZERS[name], strict=True)
    ]
    group = check(tmp_path, DENSE, rows(), each, 3e-5)
    assert set(OPTIMIZERS[name][1].values()) <= set(group[1].numbers.values())


@pytest.mark.parametrize(
    "options",
    [
        [{"weight_decay": 0.1}, {"weight_decay": 0.01}],
        [{"clipnorm": 0.5}, {"clipnorm": 0.05}],
        [{"global_clipnorm": 1.5}, {"global_clipnorm": 0.05}],
        [{"clipvalue": 0.1}, {"clipvalue": 0.01}],
        [{"use_ema": True, "ema_momentum": 0.5}, {"use_ema": True, "ema_momentum": 0.9}],
        [{"use_ema": True, "ema_momentum": m, "ema_overwrite_frequency": 2} for m in (0.5, 0.9)],
        [{"gradient_accumulation_steps": 2, "weight_decay": decay} for decay in (0.1, 0.01)],
        [{"loss_scale_factor": 4.0}, {"loss_scale_factor": 4.0}],
        [{"nesterov": True, "momentum": 0.3}, {"nesterov": True, "momentum": 0.9}],
    ],
)
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_options_of_optimizers(tmp_path: Path, name: str, options: list[dict[str, Any]]) -> None:
    if "nesterov" in options[0] and name != "SGD":
        pytest.skip("SGD's own")
    each = [
        {"optimizer": {"name": name, "learning_rate": rate, **option}, "epochs": 2}
        for rate, option in zip((0.1, 0.03), options, strict=True)
    ]
    group = check(tmp_path, DENSE, rows(), each, 3e-5)
    floats = {value for key, value in options[1].items() if isinstance(value, float) and key != "loss_scale_factor"}
    assert floats <= set(group[1].numbers.values())


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Nadam", "Adamax", "Lion"])
def test_rows_of_embeddings_are_updated_as_alone(tmp_path: Path, name: str) -> None:
    each = [{"optimizer": {"name": name, "learning_rate": rate}} for rate in (0.1, 0.02)]
    check(tmp_path, WORDS.format(mask=False, inner="layers.Flatten()"), rows((6,), words=9), each, 3e-5)


@pytest.mark.parametrize(
    ("text", "optimizer"),
    [
        (WORDS.format(mask=True, inner="layers.LSTM(4)"), "SGD"),  # a gradient that TensorFlow cannot vectorize
        (WORDS.format(mask=False, inner="layers.Flatten()"), "RMSprop"),  # asks which words a batch has
    ],
)
def test_what_trains_alone_says_so(tmp_path: Path, text: str, optimizer: str) -> None:
    with pytest.raises(HopError, match="side by side"):
        check(tmp_path, text, rows((6,), words=9), [{"optimizer": {"name": optimizer, "learning_rate": 0.1}}] * 2)


def test_schedules_of_learning_rates(tmp_path: Path) -> None:
    schedule = {"name": "ExponentialDecay", "initial_learning_rate": 0.1, "decay_steps": 2, "decay_rate": 0.5}
    check(tmp_path, DENSE, rows(), [{"optimizer": {"name": "SGD", "learning_rate": schedule}}] * 2)


# As many as a processor takes at once, so that none is there only to fill up.
EIGHT = [{**RATES[0], "parameters": {"rate": 0.1 + 0.05 * lane}} for lane in range(8)]


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_precisions(tmp_path: Path, precision: str) -> None:
    each = [{**one, "precision": precision} for one in EIGHT]
    group = check(tmp_path, TABLE.format(inner="layers.Dropout(rate)"), rows(), each, 0.03)
    assert group[0].assembly.model.layers[0].compute_dtype == precision.removeprefix("mixed_")
    assert any("dynamic_scale" in name for name in group[0].state) == (precision == "mixed_float16")


def test_xla_compiles_lanes(tmp_path: Path) -> None:
    each = [{**one, "jit_compile": True} for one in EIGHT]
    check(tmp_path, TABLE.format(inner="layers.Dropout(rate)"), rows(), each)
