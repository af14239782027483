"""Seeds: every random draw is a function of (experiment seed, configuration, hop) and of what it is for."""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt


class Purpose(enum.IntEnum):
    """What a draw is for. The numbers are part of the results: never change or reuse one."""

    INITIAL_WEIGHTS = 1
    ROW_ORDER = 2
    LAYERS = 3  # dropout, augmentation and anything else inside the model


def initial_weights(seed: int, configuration: int) -> int:
    """Return the seed for building a configuration's model, below 2**31."""
    return int(_words(seed, configuration, 0, Purpose.INITIAL_WEIGHTS, 1)[0] >> 1)


def row_order(
    seed: int, configuration: int, hop: int, rows: int, epochs: int, *, shuffle: bool
) -> npt.NDArray[np.int32]:
    """Return the row numbers in the order in which a hop trains on them, shape (epochs, rows)."""
    if not shuffle:
        return np.tile(np.arange(rows, dtype=np.int32), (epochs, 1))
    generator = np.random.Generator(np.random.Philox(_sequence(seed, configuration, hop, Purpose.ROW_ORDER)))
    return np.stack([generator.permutation(rows).astype(np.int32) for _ in range(epochs)])


def layer_states(seed: int, configuration: int, hop: int, count: int) -> npt.NDArray[np.int64]:
    """Return the states of a model's `count` Keras seed generators at the start of a hop, shape (count, 2)."""
    words = _words(seed, configuration, hop, Purpose.LAYERS, max(count, 1))[:count]
    return np.stack([(words >> 1).astype(np.int64), np.zeros(count, np.int64)], axis=1)


def _sequence(seed: int, configuration: int, hop: int, purpose: Purpose) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, configuration, hop, purpose])


def _words(seed: int, configuration: int, hop: int, purpose: Purpose, count: int) -> npt.NDArray[np.uint32]:
    return _sequence(seed, configuration, hop, purpose).generate_state(count, np.uint32).astype(np.uint32)
