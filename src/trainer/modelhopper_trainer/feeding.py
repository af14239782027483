"""Rows on their way to the device: a whole shard kept there when it is small, pieces fetched ahead when it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from modelhopper_trainer.encoding import WEIGHT_FIELD, Fields

RESIDENT_BYTES = 1 << 30  # shards up to this size stay on the device
PIECE_BYTES = 64 << 20  # larger ones come in pieces of about this size

Array = npt.NDArray[Any]


class Feed:
    """One shard's rows, for training in any order and for evaluation in stored order."""

    def __init__(self, fields: Mapping[str, Array], rows: int, resident_bytes: int = RESIDENT_BYTES) -> None:
        self.rows = rows
        self._fields = dict(fields)
        self._row_bytes = max(1, sum(array.nbytes for array in fields.values()) // max(rows, 1))
        self._is_resident = self._row_bytes * rows <= resident_bytes
        self._resident: Fields | None = None

    def ordered(
        self, order: npt.NDArray[np.int32], batch_size: int, weights: npt.NDArray[np.float32] | None
    ) -> Iterator[tuple[Fields, npt.NDArray[np.int32]]]:
        """Yield (fields, order within them) in pieces of whole batches, so that the batches are always the same."""
        extra = {} if weights is None else {WEIGHT_FIELD: weights}
        if self._is_resident:
            yield {**self.resident(), **{name: tf.constant(array) for name, array in extra.items()}}, order
            return
        piece_rows = max(1, PIECE_BYTES // self._row_bytes // batch_size) * batch_size
        pieces = [order[start : start + piece_rows] for start in range(0, len(order), piece_rows)]
        yield from _ahead([_gather({**self._fields, **extra}, chosen) for chosen in pieces])

    def stored(self) -> Iterator[Fields]:
        """Yield all rows in stored order."""
        if self._is_resident:
            yield self.resident()
            return
        piece_rows = max(1, PIECE_BYTES // self._row_bytes)
        starts = range(0, self.rows, piece_rows)
        orders = [np.arange(start, min(start + piece_rows, self.rows), dtype=np.int32) for start in starts]
        for fields, _ in _ahead([_gather(self._fields, chosen) for chosen in orders]):
            yield fields

    def resident(self) -> Fields:
        """Return the whole shard on the device, put there on first use."""
        if self._resident is None:
            self._resident = {name: tf.constant(array) for name, array in self._fields.items()}
        return self._resident

    def sample_weights(self, output: str, by_class: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | None:
        """Return each row's weight by the class of its label, as Keras does for `class_weight`."""
        if by_class is None:
            return None
        labels = np.asarray(self._fields[output])
        weights: npt.NDArray[np.float32] = by_class[np.argmax(labels, axis=-1) if labels.ndim > 1 else labels]
        return weights


Piece = tuple[Fields, npt.NDArray[np.int32]]


def _gather(fields: Mapping[str, Array], chosen: npt.NDArray[np.int32]) -> Callable[[], Piece]:
    def gather() -> Piece:
        return {name: tf.constant(array[chosen]) for name, array in fields.items()}, np.arange(
            len(chosen), dtype=np.int32
        )

    return gather


def _ahead(pieces: Sequence[Callable[[], Piece]]) -> Iterator[Piece]:
    # One piece is read while the device works on another.
    with ThreadPoolExecutor(1) as reader:
        upcoming = reader.submit(pieces[0])
        for following in [*pieces[1:], None]:
            piece = upcoming.result()
            if following is not None:
                upcoming = reader.submit(following)
            yield piece
