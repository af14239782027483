"""Evaluating a configuration on a shard: metric states that merge exactly over shards.

A mean over rows is kept as an exact sum of the rows' values, any other Keras metric as exact sums of its variables,
which all of Keras' metrics add up over batches. So the merged value is the same for any number of shards and any order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modelhopper_contract import exact
from modelhopper_contract.records import MetricState, ShardMetrics
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.compilation import make_loss, make_metric, metric_name
from modelhopper_trainer.encoding import Encoding, Fields, Form, by_output, in_float32
from modelhopper_trainer.feeding import EVALUATION_ROWS
from modelhopper_trainer.keras_internals import call_model, compute_loss, row_values
from modelhopper_trainer.program import any_rows


class Evaluator:
    """The compiled evaluation of one program's model."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._model = assembly.model
        self._losses = {name: make_loss(given, assembly.folder, "none") for name, given in assembly.losses.items()}
        self._metrics = _make_metrics(assembly)
        self._batch: Any = None  # concrete functions, traced on first use
        self._batches: Any = None
        # A station's writing thread merges while its training thread evaluates, through the same Keras variables.
        self._variables = threading.Lock()

    def evaluate(self, pieces: Sequence[Fields] | Any) -> ShardMetrics:
        """Evaluate the loaded weights on rows that come in pieces of whole fields; an empty shard has no state."""
        values: dict[str, list[Any]] = {}
        rows = 0
        for fields in pieces:
            count = int(next(iter(fields.values())).shape[0])
            rows += count
            for found in self._found(dict(fields), count):
                for name, value in found.items():
                    values.setdefault(name, []).append(value)
        return ShardMetrics(metrics={name: _state(parts, rows) for name, parts in values.items()})

    def merge(self, shards: Sequence[ShardMetrics]) -> dict[str, float]:
        """Return the metrics over all shards' rows."""
        merged: dict[str, float] = {}
        for name in shards[0].metrics:
            states = [shard.metrics[name] for shard in shards]
            sums = [exact.merge([state.sums[i] for state in states]) for i in range(len(states[0].sums))]
            if states[0].kind == "mean":
                merged[name] = exact.value(sums[0], sum(state.rows for state in states))
            else:
                with self._variables:
                    merged |= _result(name, self._metrics[name][1], [exact.value(text) for text in sums])
        return merged

    def _found(self, fields: Fields, count: int) -> Iterator[dict[str, Any]]:
        """Yield what metrics need of the whole batches, and of the last, smaller one; each value has batches first.

        The whole ones are one call, so that a device need not wait for Python between them.
        """
        if self._batch is None:
            chosen = tf.TensorSpec([None], tf.int32)
            self._batch = _traced(self._evaluated, any_rows(fields), chosen)
        whole = count // EVALUATION_ROWS
        if whole:
            if self._batches is None:
                self._batches = _traced(self._all_evaluated, any_rows(fields), tf.TensorSpec([], tf.int32))
            with self._variables:
                found = self._batches(fields, tf.constant(whole))
            yield tf.nest.map_structure(np.asarray, found)
        if whole * EVALUATION_ROWS < count:
            with self._variables:
                found = self._batch(fields, tf.range(whole * EVALUATION_ROWS, count))
            yield tf.nest.map_structure(lambda value: np.asarray(value)[np.newaxis], found)

    def _all_evaluated(self, fields: Fields, batches: tf.Tensor) -> dict[str, Any]:
        """Evaluate whole batches from the first row on; each value of a batch becomes a row."""
        begin = tf.range(EVALUATION_ROWS)
        outputs = self._batch.structured_outputs
        arrays = [tf.TensorArray(one.dtype, batches) for one in tf.nest.flatten(outputs)]

        def evaluate(number: tf.Tensor, arrays: list[tf.TensorArray]) -> tuple[tf.Tensor, list[tf.TensorArray]]:
            found = tf.nest.flatten(self._batch(fields, begin + number * EVALUATION_ROWS))
            return number + 1, [array.write(number, one) for array, one in zip(arrays, found, strict=True)]

        _, arrays = tf.while_loop(
            lambda number, _: number < batches, evaluate, (tf.constant(0), arrays), parallel_iterations=1
        )
        stacked: dict[str, Any] = tf.nest.pack_sequence_as(outputs, [array.stack() for array in arrays])
        return stacked

    def _evaluated(self, fields: Fields, chosen: tf.Tensor) -> dict[str, Any]:
        encoding, model = self._assembly.encoding, self._model
        batch = {name: tf.gather(field, chosen) for name, field in fields.items()}
        x, targets = encoding.encode_inputs(batch), encoding.encode_outputs(batch)
        predictions = call_model(model, x, training=False)
        outputs = in_float32(by_output(model, self._assembly.outputs, predictions))
        found = self._loss_values(x, targets, predictions, outputs)
        for name, (output, metric) in self._metrics.items():
            found[name] = _metric_values(metric, targets[output], outputs[output])
        return found

    def _loss_values(
        self, x: Any, targets: Mapping[str, tf.Tensor], predictions: Any, outputs: Mapping[str, tf.Tensor]
    ) -> dict[str, Any]:
        rows = tf.shape(next(iter(targets.values())))[0]
        if _has_own_loss(self._model):
            y = dict(targets) if len(targets) > 1 else next(iter(targets.values()))
            loss = compute_loss(self._model, x, y, predictions, None, training=False)
            return {"loss": tf.fill([rows], tf.cast(loss, tf.float32))}
        each = {name: _per_row(loss(targets[name], outputs[name]), rows) for name, loss in self._losses.items()}
        weighted = [values * self._assembly.loss_weights[name] for name, values in each.items()]
        total = tf.add_n([*weighted, *[tf.fill([rows], tf.cast(extra, tf.float32)) for extra in self._model.losses]])
        return {"loss": total} | ({f"{name}_loss": values for name, values in each.items()} if len(each) > 1 else {})


def _make_metrics(assembly: Assembly) -> dict[str, tuple[str, keras.metrics.Metric]]:
    several = len(assembly.outputs) > 1
    found = {}
    for output, form in zip(assembly.outputs, _accuracy_forms(assembly.encoding), strict=True):
        for given in assembly.metrics[output]:
            name = f"{output}_{metric_name(given)}" if several else metric_name(given)
            found[name] = (output, make_metric(_resolved(given, form), assembly.folder))
    return found


def _accuracy_forms(encoding: Encoding) -> list[Form]:
    # One number per row is 0 or 1 to accuracy, however it was packed: of one category, every row would be right.
    return [
        Form.BINARY if form is Form.AS_STORED and output.shape in ((), (1,)) else form
        for output, form in zip(encoding.outputs, encoding.forms, strict=True)
    ]


def _resolved(given: Any, form: Form) -> Any:
    # Keras' compile reads the same names from the shapes of targets and predictions (CompileMetrics).
    prefix = {Form.ONE_HOT: "Categorical", Form.INDEX: "SparseCategorical", Form.BINARY: "Binary"}.get(form)
    if given in ("accuracy", "acc"):
        return f"{prefix}Accuracy" if prefix else "CategoricalAccuracy"
    if given in ("crossentropy", "ce"):
        return f"{prefix}Crossentropy" if prefix else "CategoricalCrossentropy"
    return given


def _metric_values(metric: keras.metrics.Metric, y: tf.Tensor, prediction: tf.Tensor) -> Any:
    if isinstance(metric, keras.metrics.MeanMetricWrapper):
        return _per_row(tf.cast(row_values(metric, y, prediction), tf.float32), tf.shape(y)[0])
    metric.reset_state()
    metric.update_state(y, prediction)
    return [tf.identity(variable.value) for variable in metric.variables]


def _per_row(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    values = tf.convert_to_tensor(values)
    if values.shape.rank == 0:
        return tf.fill([rows], values)  # a function that gives one value for the batch
    return tf.reduce_mean(values, axis=list(range(1, values.shape.rank))) if values.shape.rank > 1 else values


def _traced(function: Callable[..., Any], *shapes: Any) -> Any:
    return tf.function(function, autograph=False).get_concrete_function(*shapes)


def _state(parts: list[Any], rows: int) -> MetricState:
    """Make the state of a metric from parts with batches first: of values of rows, or of the metric's variables."""
    if isinstance(parts[0], np.ndarray):
        return MetricState(
            kind="mean", sums=(exact.exact_sum(np.concatenate([np.ravel(part) for part in parts])),), rows=rows
        )
    # One row of numbers per batch: the variables, flattened.
    tables = [np.concatenate([array.reshape(len(array), -1) for array in part], axis=1) for part in parts]
    table = np.concatenate(tables).astype(np.float64)
    return MetricState(kind="sum", sums=tuple(exact.column_sums(table)), rows=rows)


def _result(name: str, metric: keras.metrics.Metric, values: list[float]) -> dict[str, float]:
    at = 0
    for variable in metric.variables:
        size = int(np.prod(variable.shape))
        variable.assign(np.reshape(values[at : at + size], variable.shape))
        at += size
    result = metric.result()
    if isinstance(result, Mapping):
        return {f"{name}_{key}": float(value) for key, value in result.items()}
    array = np.asarray(result)
    return {name: float(array)} if array.ndim == 0 else {f"{name}_{i}": float(v) for i, v in enumerate(array.ravel())}


def _has_own_loss(model: keras.Model) -> bool:
    return not type(model).compute_loss.__module__.startswith("keras.")
