"""What is told of rows: a table with a line for each row, or for each row and class, of each model and output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelhopper_contract.manifest import ClassValue, Output
from modelhopper_contract.record import canonical_json
from modelhopper_contract.scoring import Answer, Job
from modelhopper_trainer.scoring.reading import id_column

Array = npt.NDArray[Any]

CONFIGURATION, OUTPUT, CLASS, PROBABILITY, RANK, VALUE = (
    "configuration",
    "output",
    "class_value",
    "probability",
    "rank",
    "value",
)

_NONE = -1  # the class and the rank of a number


@dataclass(frozen=True)
class _Lines:
    """Lines of one model and output, in ascending order of rows."""

    rows: Array
    classes: Array
    probabilities: Array
    ranks: Array
    values: Array | None = None


def is_classed(job: Job, output: Output) -> bool:
    """Say whether an output is told by classes; an array label by positions, where the loss says it has some."""
    return job.card.gives[output.name] != "numbers"


def class_values(output: Output) -> tuple[ClassValue, ...]:
    """Return the classes by index; the positions of an array label."""
    return output.classes if output.kind == "classes" else tuple(range(int(np.prod(output.shape))))


def chosen_classes(job: Job, output: Output, probabilities: Array) -> Array:
    """Return the class index that is told of each row: the most probable, or by the threshold of two classes."""
    threshold = threshold_of(job.answer, output)
    if threshold is None or probabilities.shape[1] != 2:
        return np.asarray(probabilities.argmax(axis=1))
    positive = job.positive.get(output.name, 1)
    return np.where(probabilities[:, positive] > np.float32(threshold), positive, 1 - positive)


def threshold_of(answer: Answer, output: Output) -> float | None:
    """Return the threshold of an output, if there is one."""
    return answer.thresholds.get(output.name, answer.threshold)


def table(job: Job, ids: Any, found: Sequence[Mapping[str, Array]]) -> Any:
    """Return the lines of some rows as a pyarrow table: by row, then by model, output and rank.

    `found`: for each model what it gives by output, rows first, classes as probabilities.
    """
    pairs = [(model, at, output) for model in range(len(found)) for at, output in enumerate(job.outputs)]
    parts = [_lines(job, output, found[model][output.name]) for model, _, output in pairs]
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows, kind="stable") if len(parts) > 1 else np.arange(len(rows))
    columns = {id_column(job): ids.take(pa.array(rows[order]))}
    counts = [len(part.rows) for part in parts]
    if len(job.models) > 1:
        columns[CONFIGURATION] = _configurations(job, np.repeat([model for model, _, _ in pairs], counts)[order])
    names = pa.array([output.name for output in job.outputs], pa.string())
    columns[OUTPUT] = names.take(pa.array(np.repeat([at for _, at, _ in pairs], counts)[order]))
    columns |= _classes(job, [at for _, at, _ in pairs], parts, order)
    if any(part.values is not None for part in parts):
        columns[VALUE] = _values(parts, order)
    return pa.table(columns)


def _lines(job: Job, output: Output, given: Array) -> _Lines:
    rows = len(given)
    if not is_classed(job, output):
        nothing = np.full(rows, _NONE)
        return _Lines(np.arange(rows), nothing, np.zeros(rows, np.float32), nothing, given)
    probabilities = given[:, : len(class_values(output))]
    if job.answer.type == "response":
        classes = chosen_classes(job, output, probabilities)
        best = np.take_along_axis(probabilities, classes[:, None], axis=1)[:, 0]
        return _Lines(np.arange(rows), classes, best, np.ones(rows, np.int64))
    return _ranked(job.answer, output, probabilities)


def _ranked(answer: Answer, output: Output, probabilities: Array) -> _Lines:
    width = probabilities.shape[1]
    most = min(answer.top or width, width)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :most]
    told = np.take_along_axis(probabilities, order, axis=1)
    threshold = threshold_of(answer, output)
    keep = np.ones(told.shape, bool) if threshold is None else told > np.float32(threshold)
    row, rank = np.nonzero(keep)
    return _Lines(row, order[keep], told[keep], rank + 1)


def _configurations(job: Job, models: Array) -> Any:
    labels = [model.label for model in job.models]
    kind = pa.int64() if all(label.isdecimal() for label in labels) else pa.string()
    return pa.array([int(label) if kind == pa.int64() else label for label in labels], kind).take(pa.array(models))


def _classes(job: Job, outputs: Sequence[int], parts: Sequence[_Lines], order: Array) -> dict[str, Any]:
    """Return the columns of classes; none where all outputs are numbers."""
    lists = [class_values(output) if is_classed(job, output) else () for output in job.outputs]
    if not any(lists):
        return {}
    starts = np.cumsum([0, *(len(values) for values in lists[:-1])])
    codes = [np.where(part.classes < 0, -1, part.classes + starts[at]) for at, part in zip(outputs, parts, strict=True)]
    code = np.concatenate(codes)[order]
    absent = code < 0
    values = _typed([value for each in lists for value in each])
    columns = {
        CLASS: values.take(pa.array(np.maximum(code, 0), mask=absent)),
        PROBABILITY: pa.array(np.concatenate([part.probabilities for part in parts])[order], mask=absent),
    }
    if job.answer.type == "prob":
        ranks = np.concatenate([part.ranks for part in parts])[order]
        columns[RANK] = pa.array(ranks.astype(np.int32), mask=absent)
    return columns


def _typed(values: Sequence[ClassValue]) -> Any:
    """Return class values as a column of their own type; as text where they are of several."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if len(kinds) == 1:
        known = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
        return pa.array(list(values), known[kinds.pop()])
    return pa.array([v if v is None or isinstance(v, str) else canonical_json(v).decode() for v in values], pa.string())


def _values(parts: Sequence[_Lines], order: Array) -> Any:
    """Return the column of numbers: of single ones, or, where a label has several, of lists."""
    given = [None if part.values is None else part.values.reshape(len(part.rows), -1) for part in parts]
    widths = {each.shape[1] for each in given if each is not None}
    if widths == {1}:
        filled = [
            np.zeros(len(p.rows), np.float32) if g is None else g[:, 0] for p, g in zip(parts, given, strict=True)
        ]
        absent = np.concatenate([np.full(len(p.rows), g is None) for p, g in zip(parts, given, strict=True)])
        return pa.array(np.concatenate(filled)[order], mask=absent[order])
    kind = pa.list_(pa.float32())
    lists = [pa.nulls(len(p.rows), kind) if g is None else _lists(g, kind) for p, g in zip(parts, given, strict=True)]
    return pa.concat_arrays(lists).take(pa.array(order))


def _lists(values: Array, kind: Any) -> Any:
    offsets = pa.array(np.arange(0, values.size + 1, values.shape[1], dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1).astype(np.float32)), type=kind)
