"""Making an ensemble of its members; where it stacks, by what they predict for rows with labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from modelhopper_contract.errors import DataError, UserError
from modelhopper_contract.manifest import Manifest
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.ensembles.blending import Blend, blend
from modelhopper_trainer.ensembles.joining import Combine, Joint, Member, assembled, join
from modelhopper_trainer.ensembles.rows import Rows
from modelhopper_trainer.feeding import EVALUATION_ROWS

Array = npt.NDArray[Any]
Found = dict[str, tuple[Array, Array]]  # by output: scores of shape (rows, seats, columns), targets (rows, columns)


def ensemble(
    seats: Sequence[Sequence[Member]], manifest: Manifest, combine: Combine, blends: Mapping[str, Blend] | None = None
) -> Assembly:
    """Join members into one model, ready to be evaluated, used and saved like a configuration's.

    `seats`: what counts as one, see `Joint`. `blends`: what stacking has learned. Raises UserError where the members
    cannot be joined so.
    """
    joint = join(seats, manifest)
    if combine == "vote" and set(joint.agreement.readings.values()) == {"numbers"}:
        named = ", ".join(joint.agreement.readings)
        raise UserError(f"`vote` is for classes, and the models give numbers ({named}): take `average` or `stack`.")
    return assembled(joint, joint.model(combine, blends), manifest)


def learned(seats: Sequence[Sequence[Member]], manifest: Manifest, lessons: Sequence[Rows]) -> dict[str, Blend]:
    """Return, by output, what stacking learns from rows: whom to trust for which class. The same rows, the same bytes.

    Of rows of a fold only those members say something that were not trained on it.
    """
    joint = join(seats, manifest)
    parts: list[Found] = []
    for fold in dict.fromkeys(rows.fold for rows in lessons):
        apart = joint if fold is None else join([_outside(seat, fold) for seat in joint.seats], manifest)
        scored = _scored(apart, manifest)
        parts += [part for rows in lessons if rows.fold == fold for part in scored(rows)]
    if not parts:
        raise DataError("stacking has no rows to learn from: the data given is empty.")
    found: dict[str, Blend] = {}
    for output, reading in joint.agreement.readings.items():
        scores, targets = (np.concatenate([part[output][at] for part in parts]) for at in (0, 1))
        found[output] = blend(scores, targets, reading)
    return found


def _outside(seat: Sequence[Member], fold: int) -> list[Member]:
    """Return the member of a seat that was not trained on a fold."""
    return [member for member in seat if member.fold == fold]


def _scored(joint: Joint, manifest: Manifest) -> Callable[[Rows], Iterator[Found]]:
    """Return a function from rows to what the members say of them, and what is right, batch by batch."""
    encoding = assembled(joint, joint.model("average"), manifest).encoding
    model, names = joint.scores(), list(joint.inputs)

    def scores(fields: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        x = encoding.encode_inputs(fields)
        given = model(x if len(names) > 1 else {names[0]: x}, training=False)
        return given, encoding.encode_outputs(fields)

    compiled = tf.function(scores, autograph=False, reduce_retracing=True)

    def found(rows: Rows) -> Iterator[Found]:
        for start in range(0, rows.count, EVALUATION_ROWS):
            batch = {name: tf.constant(array[start : start + EVALUATION_ROWS]) for name, array in rows.fields.items()}
            given, targets = compiled(batch)
            yield {name: _flat(given[name].numpy(), targets[name].numpy()) for name in given}

    return found


def _flat(scores: Array, targets: Array) -> tuple[Array, Array]:
    """Return scores and targets as wide as each other, with a row for every position of a label."""
    columns = scores.shape[-1]
    if targets.dtype.kind == "i":  # indices of classes
        targets = np.eye(columns, dtype=np.float32)[targets]
    return scores.reshape(-1, *scores.shape[-2:]), targets.reshape(-1, columns)
