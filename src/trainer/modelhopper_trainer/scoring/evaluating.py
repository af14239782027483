"""A part's share of an evaluation, and the whole from all shares: exact sums and counts, in any order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from modelhopper_contract.manifest import Output
from modelhopper_contract.records import ShardMetrics
from modelhopper_contract.scoring import Counts, Job, Merged, ModelEvaluation, PartEvaluation
from modelhopper_trainer.scoring import counting
from modelhopper_trainer.scoring.answers import chosen_classes, class_values, is_classed
from modelhopper_trainer.scoring.counting import Tally
from modelhopper_trainer.scoring.loading import Loaded
from modelhopper_trainer.scoring.reading import Rows

Array = npt.NDArray[Any]

MOST_CURVES = 100  # classes of one output; of more only the confusion matrix is counted


def evaluate(job: Job, loaded: Loaded, rows: Rows) -> ModelEvaluation:
    """Return what rows add to the evaluation of a model."""
    fields = {name: tf.constant(np.ascontiguousarray(array)) for name, array in {**rows.inputs, **rows.outputs}.items()}
    metrics = loaded.evaluator.evaluate([fields])
    classed = [output for output in job.outputs if is_classed(job, output)]
    given = loaded.predict(rows.inputs, job.batch_size) if classed else {}
    counts = {one.name: _counts(job, one, given[one.name], rows.outputs[one.name]) for one in classed}
    return ModelEvaluation(metrics=metrics, counts=counts)


def merge(models: Sequence[Loaded], parts: Iterable[PartEvaluation]) -> Merged:
    """Return the numbers of all parts together; memory does not grow with their rows."""
    metrics: list[list[ShardMetrics]] = [[] for _ in models]
    tallies: list[dict[str, Tally]] = [{} for _ in models]
    for part in parts:
        for at, one in enumerate(part.models):
            metrics[at].append(one.metrics)
            for output, counts in one.counts.items():
                tallies[at].setdefault(output, Tally()).add(counts)
    return Merged(
        metrics=tuple(model.evaluator.merge(own) for model, own in zip(models, metrics, strict=True)),
        counts=tuple({output: tally.total() for output, tally in own.items()} for own in tallies),
    )


def curved(job: Job, output: Output) -> Sequence[int]:
    """Return the classes whose scores are counted: of two the positive one, of many none."""
    width = len(class_values(output))
    if width == 2:
        return [job.positive.get(output.name, 1)]
    return range(width) if width <= MOST_CURVES else ()


def _counts(job: Job, output: Output, given: Array, stored: Array) -> Counts:
    probabilities = given[:, : len(class_values(output))]
    actual = stored.reshape(len(stored), -1).argmax(axis=1) if output.kind == "encoded" else stored
    chosen = chosen_classes(job, output, probabilities)
    return counting.count(probabilities, actual.astype(np.int64), chosen, curves=curved(job, output))
