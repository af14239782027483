"""The compiled program that trains: one `tf.function` runs a whole pass over a shard, for all configurations of a kind.

State goes in and out as arrays, so configurations of one architecture share a program: weights, optimizer state
(with it the learning rate) and seeds are swapped, the batch size is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from modelhopper_contract.errors import CorruptObject, HopError
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.encoding import WEIGHT_FIELD, Fields, by_output
from modelhopper_trainer.keras_internals import call_model, compute_loss, outside_seed_state, use_outside_generator
from modelhopper_trainer.state import Array

# Their draws depend on what the process did before, so a hop would not be a function of its checkpoint.
_STATEFUL_RANDOM = {
    *("RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal", "ParameterizedTruncatedNormal"),
    *("RandomShuffle", "RandomGamma", "RandomPoisson", "RandomPoissonV2", "Multinomial", "RandomCrop"),
}


class Program:
    """A model on this device, and the compiled pass over rows."""

    def __init__(self, assembly: Assembly) -> None:
        self.assembly = assembly
        self.model = assembly.model
        self._variables = assembly.variables.all
        self._values = {name: variable.value for name, variable in self._variables.items()}
        # XLA needs fixed shapes, so it compiles the step, once for each size of batch, and not the loop around it.
        step = self._trained_step
        self._step = tf.function(step, autograph=False, jit_compile=True) if assembly.jit_compile else step
        self._pass: Callable[..., tf.Tensor] | None = None  # traced on first use
        self._seeds: list[Any] = []

    def load(self, state: Mapping[str, Array]) -> None:
        """Take over a configuration's state, or only its `model/` part.

        Raises CorruptObject when it is another model's state.
        """
        for name, array in state.items():
            value = self._values.get(name)
            if value is None or tuple(value.shape) != array.shape:
                raise CorruptObject(f"a checkpoint holds {name} of shape {array.shape}, which the model does not have.")
            # The bare operation: what tf.Variable.assign adds to it takes longer than a small model's training.
            tf.raw_ops.AssignVariableOp(resource=value.handle, value=array)

    def read(self) -> dict[str, Array]:
        """Return the state as arrays that do not change when training goes on."""
        # On a CPU not even copied: a variable that is updated while somebody holds what was read gets a new buffer.
        return {
            name: np.asarray(tf.raw_ops.ReadVariableOp(resource=value.handle, dtype=value.dtype))
            for name, value in self._values.items()
        }

    def train(
        self, fields: Fields, order: npt.NDArray[np.int32], batch_size: int, seeds: npt.NDArray[np.int64] | None
    ) -> tuple[float, int]:
        """Train on rows in the given order, in batches of `batch_size`; the last may be smaller, as in Keras' fit.

        `seeds` are set into the model's seed generators first, unless None. Returns the sum over rows of their
        batch's loss, and the number of optimizer steps.
        """
        if len(order) == 0:
            return 0.0, 0
        if self._pass is None:
            self._pass = self._traced_pass(fields)
        if seeds is not None:
            for variable, value in zip(self._seeds, seeds, strict=False):
                variable.assign(value.astype(variable.dtype))
        total = self._pass(dict(fields), tf.constant(order), tf.constant(batch_size, tf.int32))
        return float(total), -(-len(order) // batch_size)

    @property
    def seed_count(self) -> int:
        """How many seed generators a hop may have to set; at most one is outside the model."""
        return len(self.assembly.variables.seeds()) + 1

    def _trained_pass(self, fields: Fields, order: tf.Tensor, batch_size: tf.Tensor) -> tf.Tensor:
        rows = tf.size(order)

        def train_batch(start: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            end = tf.minimum(start + batch_size, rows)
            chosen = order[start:end]
            loss = self._step({name: tf.gather(field, chosen) for name, field in fields.items()})
            return end, total + tf.cast(loss, tf.float64) * tf.cast(end - start, tf.float64)

        start = (tf.constant(0), tf.constant(0.0, tf.float64))
        return tf.while_loop(lambda at, _: at < rows, train_batch, start, parallel_iterations=1)[1]

    def _trained_step(self, batch: Fields) -> tf.Tensor:
        # Keras' own train_step (keras.src.backend.tensorflow.trainer), less the metrics.
        encoding, model = self.assembly.encoding, self.model
        x, targets = encoding.encode_inputs(batch), encoding.encode_outputs(batch)
        with tf.GradientTape() as tape:
            predictions = call_model(model, x, training=True)
            y = like(model, self.assembly.outputs, targets, predictions)
            loss = compute_loss(model, x, y, predictions, batch.get(WEIGHT_FIELD), training=True)
            scaled = model.optimizer.scale_loss(loss)
        weights = model.trainable_weights
        if weights:
            model.optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights, strict=True))
        return loss

    def _traced_pass(self, fields: Fields) -> Callable[..., tf.Tensor]:
        """Trace the pass once, for any number of rows and any batch size."""
        traced = tf.function(self._trained_pass, autograph=False).get_concrete_function(
            any_rows(fields), tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)
        )
        refuse_stateful_random(traced.graph)
        outside, own = outside_seed_state(), self.assembly.variables.seeds()
        is_new = outside is not None and all(variable is not outside for variable in own)
        self._seeds = [*own, outside] if is_new else own
        return cast("Callable[..., tf.Tensor]", traced)


def any_rows(fields: Fields) -> dict[str, tf.TensorSpec]:
    """Return what fields look like with any number of rows."""
    return {name: tf.TensorSpec([None, *field.shape[1:]], field.dtype) for name, field in fields.items()}


def has_own_train_step(model: keras.Model) -> bool:
    """Say whether a model brings its own `train_step`, which only Keras' own loop can run."""
    method = type(model).train_step
    return not str(getattr(method, "__module__", "")).startswith("keras.")


class KerasLoop(Program):
    """A model with its own `train_step`: Keras' own loop, with the same rows, batches and seeds."""

    def __init__(self, assembly: Assembly) -> None:
        super().__init__(assembly)
        self._outside = keras.random.SeedGenerator(0)
        self._seeds = [*assembly.variables.seeds(), self._outside.state]

    def train(
        self, fields: Fields, order: npt.NDArray[np.int32], batch_size: int, seeds: npt.NDArray[np.int64] | None
    ) -> tuple[float, int]:
        """Train as `Program.train` does; the loss is what the model's `train_step` reports as `loss`."""
        # Keras traces anew whenever it likes, and each time takes the generator of that moment.
        use_outside_generator(self._outside)
        for variable, value in zip(self._seeds, [] if seeds is None else seeds, strict=False):
            variable.assign(value.astype(variable.dtype))
        total, steps = 0.0, 0
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            self.model.reset_metrics()
            logs = self._batch({name: tf.gather(field, chosen) for name, field in fields.items()})
            if "loss" not in logs:
                raise HopError("the model's own train_step reports no `loss`: return it in its dictionary")
            total += float(logs["loss"]) * len(chosen)
            steps += 1
        return total, steps

    def _batch(self, batch: Fields) -> dict[str, Any]:
        encoding = self.assembly.encoding
        targets = encoding.encode_outputs(batch)
        y = targets if len(targets) > 1 else next(iter(targets.values()))
        weight = batch.get(WEIGHT_FIELD)
        logs: dict[str, Any] = self.model.train_on_batch(
            encoding.encode_inputs(batch), y, sample_weight=weight, return_dict=True
        )
        return logs


def make_program(assembly: Assembly) -> Program:
    """Return the program for a model: compiled, or Keras' own loop when the model has its own `train_step`."""
    return KerasLoop(assembly) if has_own_train_step(assembly.model) else Program(assembly)


def like(model: keras.Model, names: tuple[str, ...], targets: Mapping[str, tf.Tensor], predictions: Any) -> Any:
    """Return targets by output name in the structure in which the model returns its predictions."""
    if isinstance(predictions, Mapping):
        return dict(targets)
    if isinstance(predictions, list | tuple):
        order = by_output(model, names, list(range(len(predictions))))
        return [targets[name] for name in sorted(names, key=lambda name: order[name])]
    return targets[names[0]]


def refuse_stateful_random(graph: Any) -> None:
    """Raise HopError when a graph draws random numbers that a hop cannot repeat."""
    functions = [graph.as_graph_def(), *graph.as_graph_def().library.function]
    nodes = [node for part in functions for node in (part.node if hasattr(part, "node") else part.node_def)]
    found = sorted({node.op for node in nodes} & _STATEFUL_RANDOM)
    if found:
        raise HopError(
            f"the model draws random numbers with TensorFlow's own state ({', '.join(found)}), which a hop cannot "
            "repeat: draw with keras.random and a keras.random.SeedGenerator instead"
        )
