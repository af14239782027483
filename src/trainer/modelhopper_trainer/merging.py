"""Merging replicas: what several states of one model come to. Pure, and the same bytes for the same replicas.

Sums are made in float64 in the order in which replicas are given, so whoever gives them in the order of their shards
gets the same bytes, wherever and whenever that is. Optimizer state is treated like weights. Whole numbers, such as step
counts and the states of seed generators (which every hop sets anew), have no mean: the largest is taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from modelhopper_contract.checkpoint import Checkpoint, State

Array = npt.NDArray[Any]

_WHOLE = "biu"  # kinds of dtypes: bool, signed, unsigned


def mean(replicas: Iterable[tuple[Checkpoint, int]]) -> Checkpoint:
    """Return the mean of replicas, each with the rows that it was trained on, by which it counts; at least one.

    They are taken one by one, so that only one need be in memory. The record is that of the last one, for all of them:
    of no single shard, with the most steps, and the mean loss over all rows.
    """
    sums: dict[str, Array] = {}
    dtypes: dict[str, np.dtype[Any]] = {}
    rows, steps, loss, last = 0, 0, 0.0, None
    for replica, count in replicas:
        for name, array in replica.state.items():
            sums[name] = _added(sums.get(name), array, count)
            dtypes[name] = array.dtype
        last = replica.record
        rows, steps, loss = rows + count, max(steps, last.steps), loss + count * (last.loss or 0.0)
    assert last is not None  # noqa: S101 -- for the type; there is at least one
    with np.errstate(over="ignore", invalid="ignore"):  # weights that are no numbers show at the next loss
        state = {name: one if _is_whole(one) else _shared(one, rows, dtypes[name]) for name, one in sums.items()}
    return Checkpoint(state, last.model_copy(update={"shard": None, "steps": steps, "loss": loss / rows}))


def moved(center: State, target: Checkpoint, step: float) -> Checkpoint:
    """Return the common state after it moved the part `step` of the way to the replicas' mean; 1 is the mean itself."""
    if step == 1:
        return target
    return Checkpoint(_mixed(center, target.state, step, whole=target.state), target.record)


def pulled(center: Checkpoint, own: State, kept: float) -> Checkpoint:
    """Return what a replica starts with: the common state, but for the part `kept` of its own end; 0 is all common."""
    if kept == 0:
        return center
    return Checkpoint(_mixed(center.state, own, kept, whole=center.state), center.record)


def _added(before: Array | None, array: Array, count: int) -> Array:
    if _is_whole(array):
        return array if before is None else np.asarray(np.maximum(before, array))
    weighted = _weighted(array, count)
    if before is None:
        return weighted
    with np.errstate(invalid="ignore"):
        before += weighted
    return before


def _shared(total: Array, rows: int, dtype: np.dtype[Any]) -> Array:
    total /= rows
    return total.astype(dtype)


def _mixed(first: State, second: State, share: float, *, whole: State) -> dict[str, Array]:
    """Return two states mixed; of whole numbers those of `whole`."""
    found: dict[str, Array] = {}
    for name, array in first.items():
        if _is_whole(array):
            found[name] = whole[name]
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            mixed = _weighted(array, 1 - share)
            mixed += _weighted(second[name], share)
            found[name] = mixed.astype(array.dtype)
    return found


def _weighted(array: Array, weight: float) -> Array:
    # Not by numpy's own hierarchy of kinds, in which bfloat16 is no float. In place, which scalars need to stay arrays.
    wide = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        wide *= weight
    return wide


def _is_whole(array: Array) -> bool:
    return array.dtype.kind in _WHOLE
