"""The random draws of packing: which shard a row is dealt to, and the key by which a shard's rows are put in order."""

from __future__ import annotations

import numpy as np

from modelhopper_trainer.packing.columns import Array


class Dealer:
    """Deals rows to shards; row n's shard depends on the seed, the stream of draws, and n only."""

    def __init__(self, seed: int, shards: int, stream: tuple[int, ...] = (0,)) -> None:
        self._bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=stream))
        self._shards = shards
        self._left = np.empty(0, np.int64)

    def deal(self, rows: int) -> Array:
        """Return the shards of the next rows."""
        rounds = -(-max(rows - len(self._left), 0) // self._shards)
        draws = self._bits.random_raw(rounds * self._shards).reshape(rounds, self._shards)
        dealt = np.concatenate([self._left, in_order(draws).reshape(-1)])
        self._left = dealt[rows:]
        return dealt[:rows]


class Keys:
    """Draws a 64-bit key for each row; row n's depends on the seed and n only."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(1,)))

    def draw(self, rows: int) -> Array:
        """Return the keys of the next rows."""
        return self._bits.random_raw(rows)


def in_order(draws: Array) -> Array:
    """Return the stable order of 64-bit draws along the last axis: the same in every release, and on every machine."""
    count = draws.shape[-1]
    # Numbers are sorted in half of the time that sorting their places takes, so the lowest bits make way for the place.
    low = np.uint64((1 << count.bit_length()) - 1)
    found = np.sort((draws & ~low) | np.arange(count, dtype=np.uint64))
    order = (found & low).astype(np.int64)
    if ((found[..., 1:] ^ found[..., :-1]) <= low).any():  # all the other bits are equal, which is rare
        again = np.argsort(np.take_along_axis(draws, order, -1), kind="stable")
        order = np.take_along_axis(order, again, -1)
    return order
