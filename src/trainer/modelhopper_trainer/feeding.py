"""Rows on their way to the device: whole shards kept there while there is room, else pieces that are fetched ahead.

Either way the cuts are the same, so a result never depends on how much memory there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from modelhopper_trainer.encoding import WEIGHT_FIELD, Fields
from modelhopper_trainer.room import Room, station_room

PIECE_BYTES = 64 << 20  # what does not stay on the device comes in pieces of about this size
EVALUATION_ROWS = 1024  # of one batch; a constant, so that no user's batch size changes a metric's last bit

_GROWTH = 4  # of the first pieces: the device waits for the first of all

T = TypeVar("T")
Array = npt.NDArray[Any]
Orders = npt.NDArray[np.int32]


class Feed:
    """One shard's rows, for training in any order and for evaluation in stored order."""

    def __init__(self, fields: Mapping[str, Array], rows: int, room: Room | None = None, *, made_up: int = 0) -> None:
        """Keep the shard in `room` of the device where there is some; by default in that of a station of its own.

        The last `made_up` rows are trained on only.
        """
        self.rows = rows
        self._real_rows = rows - made_up
        self._fields = dict(fields)
        self._size_bytes = sum(array.nbytes for array in fields.values())
        self._row_bytes = max(1, self._size_bytes // max(rows, 1))
        self._room = room or station_room()
        self._is_resident: bool | None = None  # found out on first use
        self._resident: Fields = {}

    def ordered(
        self, order: Orders, batch_size: int, weights: npt.NDArray[np.float32] | None
    ) -> Iterator[tuple[Fields, Orders]]:
        """Yield (fields, order within them) in pieces of whole batches, so that the batches are always the same.

        `order` may be several orders, shape (lanes, rows): then the orders within are, too.
        """
        extra = {} if weights is None else {WEIGHT_FIELD: weights}
        parts = [order[..., start:end] for start, end in self._cuts(order, batch_size)]
        if self._stays():
            fields = {**self.resident(), **{name: tf.constant(array) for name, array in extra.items()}}
            yield from ((fields, part) for part in parts)
            return
        yield from _ahead([_gather({**self._fields, **extra}, part) for part in parts])

    def stored(self) -> Iterator[Fields]:
        """Yield the real rows in stored order, in pieces of whole evaluation batches."""
        real = self._real_rows
        if self._stays():
            fields = self.resident()
            # The first rows of a tensor are no copy of it.
            yield fields if real == self.rows else {name: field[:real] for name, field in fields.items()}
            return
        piece_rows = max(1, PIECE_BYTES // self._row_bytes // EVALUATION_ROWS) * EVALUATION_ROWS
        starts = range(0, real, piece_rows)
        yield from _ahead([_slice(self._fields, start, min(start + piece_rows, real)) for start in starts])

    def resident(self) -> Fields:
        """Return the whole shard on the device, put there on first use."""
        if not self._resident:
            self._resident = {name: tf.constant(array) for name, array in self._fields.items()}
        return self._resident

    def sample_weights(self, output: str, by_class: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | None:
        """Return each row's weight by the class of its label, as Keras does for `class_weight`."""
        if by_class is None:
            return None
        labels = np.asarray(self._fields[output])
        weights: npt.NDArray[np.float32] = by_class[np.argmax(labels, axis=-1) if labels.ndim > 1 else labels]
        return weights

    def _stays(self) -> bool:
        if self._is_resident is None:
            self._is_resident = self._room.take(self._size_bytes)
        return self._is_resident

    def _cuts(self, order: Orders, batch_size: int) -> Iterator[tuple[int, int]]:
        """Yield where pieces of whole batches begin and end: small ones first, which are there sooner."""
        rows = order.shape[-1]
        lanes = order.size // max(rows, 1)
        start, piece_bytes = 0, PIECE_BYTES // _GROWTH**2
        while start < rows:
            piece_rows = max(1, piece_bytes // self._row_bytes // lanes // batch_size) * batch_size
            yield start, min(start + piece_rows, rows)
            start, piece_bytes = start + piece_rows, min(piece_bytes * _GROWTH, PIECE_BYTES)


def _gather(fields: Mapping[str, Array], chosen: Orders) -> Callable[[], tuple[Fields, Orders]]:
    def gather() -> tuple[Fields, Orders]:
        rows = chosen.ravel()
        # From the front to the back of the file: what is not in memory is read in one go, not row by row.
        forwards = np.argsort(rows)
        within = np.empty(rows.size, np.int32)
        within[forwards] = np.arange(rows.size, dtype=np.int32)
        ascending = rows[forwards]
        gathered = {name: tf.constant(array.take(ascending, axis=0)) for name, array in fields.items()}
        return gathered, within.reshape(chosen.shape)

    return gather


def _slice(fields: Mapping[str, Array], start: int, end: int) -> Callable[[], Fields]:
    return lambda: {name: tf.constant(array[start:end]) for name, array in fields.items()}


def _ahead(pieces: Sequence[Callable[[], T]]) -> Iterator[T]:
    if not pieces:
        return
    # One piece is read while the device works on another.
    with ThreadPoolExecutor(1, thread_name_prefix="feed") as reader:
        upcoming = reader.submit(pieces[0])
        for following in [*pieces[1:], None]:
            piece = upcoming.result()
            if following is not None:
                upcoming = reader.submit(following)
            yield piece
