"""What the models of an ensemble give, made comparable: logits become probabilities, one sigmoid unit two columns.

From it follows how the ensemble is evaluated: by the loss and the metrics of its first member, of probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import ops

from modelhopper_contract.manifest import Manifest
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.compilation import make_loss
from modelhopper_trainer.encoding import Form, by_output
from modelhopper_trainer.keras_internals import declared_outputs

# How an output is read: probabilities of classes, of which the columns hold one each; a chance in each column by
# itself, such as of a sigmoid; or plain numbers.
Reading = Literal["classes", "chances", "numbers"]

_OF_CHANCES = (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)
_OF_CLASSES = (
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
    keras.losses.KLDivergence,
)


@dataclass(frozen=True)
class Given:
    """What one member gives for one output."""

    reading: Reading
    width: int  # columns
    is_logits: bool


@dataclass(frozen=True)
class Agreement:
    """How all members' outputs are read, and what the ensemble is evaluated by."""

    readings: dict[str, Reading]  # by output
    widths: dict[str, int]
    losses: dict[str, Any]  # by output, as a user writes them
    metrics: dict[str, list[Any]]
    _given: Mapping[tuple[str, str], Given]  # by member and output

    def read(self, member: str, output: str, tensor: Any) -> Any:
        """Return a member's output as the ensemble reads it: probabilities, as wide as all others', or numbers."""
        given = self._given[member, output]
        if given.is_logits:
            tensor = ops.softmax(tensor) if given.reading == "classes" else ops.sigmoid(tensor)
        if given.width < self.widths[output]:
            return ops.concatenate([1.0 - tensor, tensor], axis=-1)
        return tensor


def agree(members: Sequence[tuple[str, Assembly]], manifest: Manifest) -> Agreement:
    """Find how members, given by name, are read together. All were trained on data of this manifest."""
    names = [output.name for output in manifest.outputs]
    given = {(name, output): _given(assembly, output) for name, assembly in members for output in names}
    readings: dict[str, Reading] = {}
    widths, losses, metrics = {}, {}, {}
    for output in names:
        each = [given[name, output] for name, _ in members]
        readings[output], widths[output] = _common(each), max(one.width for one in each)
        # The first whose loss is of what the ensemble gives.
        at = next(
            (at for at, one in enumerate(each) if (one.reading, one.width) == (readings[output], widths[output])), 0
        )
        lead = members[at][1]
        losses[output] = without_logits(lead.losses[output])
        metrics[output] = [_of_probabilities(one, is_logits=each[at].is_logits) for one in lead.metrics[output]]
    return Agreement(readings, widths, losses, metrics, given)


def without_logits(given: Any) -> Any:
    """Return a loss or metric, as the user wrote it, of probabilities."""
    if not isinstance(given, Mapping) or "from_logits" not in given:
        return given
    return {key: value for key, value in given.items() if key != "from_logits"}


def _given(assembly: Assembly, output: str) -> Given:
    at = assembly.outputs.index(output)
    form, written = assembly.encoding.forms[at], assembly.losses[output]
    loss = make_loss(written, assembly.folder)
    reading: Reading = "numbers"
    if form is Form.BINARY or isinstance(loss, _OF_CHANCES):
        reading = "chances"
    elif form is not Form.AS_STORED or isinstance(loss, _OF_CLASSES):
        reading = "classes"
    tensors = by_output(assembly.model, assembly.outputs, declared_outputs(assembly.model))
    is_logits = isinstance(written, Mapping) and bool(written.get("from_logits"))
    return Given(reading, int(tensors[output].shape[-1]), is_logits)


def _common(each: Sequence[Given]) -> Reading:
    found = {one.reading for one in each}
    if "numbers" in found:
        return "numbers"
    # A column for each class; where all are chances, each column is one.
    return "classes" if "classes" in found or len({one.width for one in each}) > 1 else "chances"


def _of_probabilities(metric: Any, *, is_logits: bool) -> Any:
    if not isinstance(metric, Mapping):
        return metric
    if metric.get("from_logits"):
        return without_logits(metric)
    if not is_logits:
        return metric
    # A metric that knows nothing of logits has thresholds among them, such as 0.
    thresholds = {key: _chance(metric[key]) for key in ("threshold", "thresholds") if metric.get(key) is not None}
    return {**metric, **thresholds}


def _chance(logit: Any) -> Any:
    return [_chance(one) for one in logit] if isinstance(logit, list | tuple) else 1 / (1 + math.exp(-logit))
