"""Packing: cuts a data set once into shards that stations can map into memory.

What lives here: reading sources (arrays, `.npz`, `.npy`, CSV, Parquet), one-hot classes, scattering rows to shards in
bounded memory, and describing the result. What never happens here: importing TensorFlow or Keras, loading pickled
objects, or holding a data set in memory. pyarrow is imported only when a table is read.
"""

from __future__ import annotations

from modelhopper_trainer.packing.dataset import pack
from modelhopper_trainer.packing.description import describe

__all__ = ["describe", "pack"]
