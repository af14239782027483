"""A workshop where there are no shards: programs are built, compiled and tried on rows that are made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from modelhopper_contract.manifest import Input, Manifest, Output
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.workshop import Workshop


class WorkshopWithoutShards(Workshop):
    """A workshop on a machine that reaches the manifests and no shard."""

    def sample(self, rows: int) -> Feed:
        """Return so many rows that look like those of the training data, the same each time."""
        return Feed(made_up(self.manifest, rows), rows)


def made_up(manifest: Manifest, rows: int) -> dict[str, npt.NDArray[Any]]:
    """Return rows of a data set's form: numbers about 0, small integers, and every class in turn."""
    generator = np.random.default_rng(0)
    inputs = {entry.name: _input(entry, rows, generator) for entry in manifest.inputs}
    return inputs | {entry.name: _output(entry, rows, generator) for entry in manifest.outputs}


def _input(entry: Input, rows: int, generator: np.random.Generator) -> npt.NDArray[Any]:
    shape, dtype = (rows, *entry.shape), np.dtype(entry.dtype)
    if dtype.kind == "f":
        return generator.normal(size=shape).astype(dtype)
    return generator.integers(0, 2, size=shape).astype(dtype)  # nobody knows how large they may be


def _output(entry: Output, rows: int, generator: np.random.Generator) -> npt.NDArray[Any]:
    if entry.kind == "classes":
        return (np.arange(rows) % max(1, len(entry.classes))).astype(entry.dtype)
    if entry.kind == "encoded" and len(entry.shape) == 1:
        return np.eye(entry.shape[0], dtype=entry.dtype)[np.arange(rows) % entry.shape[0]]
    return generator.normal(size=(rows, *entry.shape)).astype(entry.dtype)
