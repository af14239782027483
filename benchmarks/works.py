"""The works that are compared: data, models, configurations, how often they are evaluated. Imports no TensorFlow."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Arrays(NamedTuple):
    """What a user has in memory before anything is packed or trained."""

    x: np.ndarray
    y: np.ndarray
    x_valid: np.ndarray
    y_valid: np.ndarray


class Work(NamedTuple):
    """One comparison. Every model is a function of models.py with parameters."""

    name: str
    title: str
    arrays: Callable[[], Arrays]
    models: dict[str, dict]
    rates: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    loss: str
    iterations: int
    evaluate_every: int
    normalize: float
    tolerance: float  # of the best validation accuracy, between those that are compared
    targets: dict[str, float]
    keras: dict  # the sequential program's settings; settings.py tries others
    ray: dict  # and of Ray Tune's
    shards: int = 4

    @property
    def configurations(self) -> list[dict]:
        """Every model with every learning rate and batch size."""
        return [
            {"model": model, "learning_rate": rate, "batch_size": batch_size}
            for model, rate, batch_size in itertools.product(self.models, self.rates, self.batch_sizes)
        ]


def iris() -> Arrays:
    """Scikit-learn's 150 flowers: 120 to train on, 30 to validate with."""
    from sklearn.datasets import load_iris  # noqa: PLC0415 -- the others do without
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    flowers = load_iris()
    x, x_valid, y, y_valid = train_test_split(
        flowers.data, flowers.target, test_size=30, random_state=1, stratify=flowers.target
    )
    return Arrays(x.astype("float32"), y.astype("uint8"), x_valid.astype("float32"), y_valid.astype("uint8"))


def table(rows: int = 200_000, rows_valid: int = 20_000, columns: int = 28, rare: float = 0.03) -> Arrays:
    """Standard normal columns; the rows with the largest values of a bent function of six columns are frauds."""
    x = np.random.default_rng(0).standard_normal((rows + rows_valid, columns), dtype="float32")
    score = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + x[:, 3] ** 2 - np.abs(x[:, 4]) * x[:, 5]
    return _cut(x, (score > np.quantile(score, 1 - rare)).astype("uint8"), rows)


def images(rows: int = 10_000, rows_valid: int = 2_000, classes: int = 10) -> Arrays:
    """32x32x3: each class has a coarse pattern, which a picture shows shifted, faint and under noise."""
    generator = np.random.default_rng(0)
    patterns = np.kron(generator.normal(size=(classes, 8, 8, 3)), np.ones((1, 4, 4, 1)))
    count = rows + rows_valid
    y = generator.integers(0, classes, count).astype("uint8")
    shifts = generator.integers(-3, 4, (count, 2))
    x = np.empty((count, 32, 32, 3), "uint8")
    for i in range(count):
        shown = np.roll(patterns[y[i]], shifts[i], axis=(0, 1))
        x[i] = np.clip(128 + 20 * shown + 50 * generator.standard_normal((32, 32, 3)), 0, 255)
    return _cut(x, y, rows)


def _cut(x: np.ndarray, y: np.ndarray, rows: int) -> Arrays:
    return Arrays(x[:rows], y[:rows], x[rows:], y[rows:])


WORKS = {
    work.name: work
    for work in (
        Work(
            name="iris",
            title="iris, 12 configurations x 10 iterations, cold",
            arrays=iris,
            models={"small": {"build": "iris_mlp"}, "deep": {"build": "iris_mlp", "hidden": 3}},
            rates=(0.1, 0.01, 0.001),
            batch_sizes=(4, 8),
            loss="sparse_categorical_crossentropy",
            iterations=10,
            evaluate_every=5,
            normalize=1,
            tolerance=0.04,  # one row of 30
            targets={"keras": 0.30, "ray": 0.35},
            keras={"jit_compile": False, "feed": "tf.data"},
            ray={"jit_compile": False, "feed": "tf.data", "keep": True},
        ),
        Work(
            name="fraud",
            title="table of 200,000 rows x 28, 8 configurations of one MLP x 3 iterations, cold",
            arrays=table,
            models={"mlp": {"build": "table_mlp"}},
            rates=(0.003, 0.001, 0.0003, 0.0001),
            batch_sizes=(256, 512),
            loss="binary_crossentropy",
            iterations=3,
            evaluate_every=3,
            normalize=1,
            tolerance=0.003,
            targets={"keras": 0.5, "ray": 0.5},
            keras={"jit_compile": False, "steps_per_execution": 64},
            ray={"jit_compile": False, "steps_per_execution": 32, "keep": True},
        ),
        Work(
            name="images",
            title="10,000 images 32x32x3, 3 small CNNs x 4 settings x 2 iterations, cold",
            arrays=images,
            models={
                "two": {"build": "image_cnn"},
                "wide": {"build": "image_cnn", "filters": [32, 32]},
                "three": {"build": "image_cnn", "filters": [16, 32, 64]},
            },
            rates=(0.001, 0.0003),
            batch_sizes=(32, 64),
            loss="sparse_categorical_crossentropy",
            iterations=2,
            evaluate_every=2,
            normalize=255,
            tolerance=0.03,
            targets={"keras": 0.6, "ray": 0.6},
            keras={"jit_compile": False, "steps_per_execution": 16},
            ray={"jit_compile": False, "steps_per_execution": 16, "keep": True},
        ),
    )
}
