"""The random draws of packing: which shard a row is dealt to, and the key by which a shard's rows are put in order."""

from __future__ import annotations

import numpy as np

from modelhopper_trainer.packing.columns import Array


class Dealer:
    """Deals rows to shards; row n's shard depends on the seed and n only."""

    def __init__(self, seed: int, shards: int) -> None:
        self._bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(0,)))
        self._shards = shards
        self._left = np.empty(0, np.int64)

    def deal(self, rows: int) -> Array:
        """Return the shards of the next rows."""
        rounds = -(-max(rows - len(self._left), 0) // self._shards)
        draws = self._bits.random_raw(rounds * self._shards).reshape(rounds, self._shards)
        # Raw bits and a stable sort: both are the same in every release of numpy and on every machine.
        dealt = np.concatenate([self._left, np.argsort(draws, axis=1, kind="stable").reshape(-1)])
        self._left = dealt[rows:]
        return dealt[:rows]


class Keys:
    """Draws a 64-bit key for each row; row n's depends on the seed and n only."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(1,)))

    def draw(self, rows: int) -> Array:
        """Return the keys of the next rows."""
        return self._bits.random_raw(rows)


def in_order(keys: Array) -> Array:
    """Return the stable order of keys: the same in every release of numpy, and on every machine."""
    keys = np.ascontiguousarray(keys)
    order = np.argsort(keys)
    found = keys[order]
    # Only equal keys leave a choice. Of 64-bit draws next to never two are, and a stable sort takes 7 times as long.
    if (found[1:] == found[:-1]).any():
        return np.argsort(keys, kind="stable")
    return order
