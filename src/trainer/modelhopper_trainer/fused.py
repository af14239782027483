"""The fused program: one compiled step that trains several configurations of a kind side by side, a lane each.

State, seeds and the numbers that differ are stacked, [lanes, ...]; Keras' step for one lane is a function of values,
and `tf.vectorized_map` makes it one for all of them. What a lane computes does not depend on what is in the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from modelhopper_contract.errors import CorruptObject, HopError
from modelhopper_trainer.assembly import Assembly
from modelhopper_trainer.blueprint import numbers_of, with_numbers
from modelhopper_trainer.encoding import WEIGHT_FIELD, Fields
from modelhopper_trainer.keras_internals import call_model, compute_loss, outside_generator, values_in
from modelhopper_trainer.program import any_rows, like, refuse_stateful_random
from modelhopper_trainer.state import SEED_STATE, Array
from modelhopper_trainer.stateless import stateless
from modelhopper_trainer.tensorflow_internals import unrolled

# A CPU works on this many numbers at once, and on what is left over at the end of a tensor one by one, with other last
# bits. A multiple of it leaves nothing over, so that a lane's position does not matter.
_PACKET = 8

_OUTSIDE = "outside"  # the state of the generator that draws where a layer gives no seed

# Lanes that go different ways are sorted by way, so what one computes would depend on the others; and lanes cannot call
# Python each for itself.
_REFUSED = {
    "DynamicPartition": "goes different ways in its graph, by what it has computed,",
    **dict.fromkeys(("PyFunc", "PyFuncStateless", "EagerPyFunc"), "calls Python from its graph"),
}

Stacked = dict[str, tf.Tensor]


class FusedProgram:
    """A model on this device, and the compiled pass over rows of up to `lanes` configurations of its kind.

    Raises HopError, saying why, from `train` on first use, when TensorFlow cannot compile the model so.
    """

    def __init__(self, assembly: Assembly, lanes: int) -> None:
        self.assembly = assembly
        self.lanes = lanes
        self._given = 0
        self._width = lanes if tf.config.get_visible_devices("GPU") else -(-lanes // _PACKET) * _PACKET
        self._variables = assembly.variables.all
        self._seeds = [name for name, variable in assembly.variables.model.items() if variable.name == SEED_STATE]
        self._outside = keras.random.SeedGenerator(0)
        self._draws_outside = True  # until it is known
        self._numbers = numbers_of(assembly)
        self._state = {name: self._stacked(one.shape, one.dtype) for name, one in self._variables.items()}
        self._state[_OUTSIDE] = self._stacked(self._outside.state.shape, self._outside.state.dtype)
        self._values = {name: self._stacked((), "float64") for name in self._numbers}
        self._pass: Callable[..., tf.Tensor] | None = None  # traced on first use

    @property
    def seed_count(self) -> int:
        """How many seed generators a hop has to set; at most one is outside the model."""
        return len(self._seeds) + self._draws_outside

    def load(self, states: Sequence[Mapping[str, Array]], numbers: Sequence[Mapping[str, float]]) -> None:
        """Take over the states of at most `lanes` configurations, and the numbers of their blueprints.

        Raises CorruptObject when one is another model's state.
        """
        for state in states:
            self._check(state)
        self._given = len(states)
        for name in self._variables:
            self._set(self._state[name], [state[name] for state in states])
        for name, variable in self._values.items():
            self._set(variable, [np.float64(one[name]) for one in numbers])

    def read(self) -> list[dict[str, Array]]:
        """Return the states as arrays that do not change when training goes on, in the order in which they came."""
        # As in Program.read: a variable that is updated while somebody holds what was read gets a buffer of its own.
        arrays = {
            name: tf.raw_ops.ReadVariableOp(resource=self._state[name].handle, dtype=self._state[name].dtype).numpy()
            for name in self._variables
        }
        return [{name: array[lane] for name, array in arrays.items()} for lane in range(self._given)]

    def train(
        self,
        fields: Fields,
        orders: npt.NDArray[np.int32],
        batch_size: int,
        seeds: Sequence[npt.NDArray[np.int64]] | None,
    ) -> tuple[npt.NDArray[np.float64], int]:
        """Train each lane on rows in its own order, shape (lanes, rows), as `Program.train` trains one.

        `seeds` are set into the lanes' seed generators first, shape (seed_count, 2) each, unless None. Returns each
        lane's sum over rows of their batch's loss, and the number of optimizer steps, which is the same for all.
        """
        rows = orders.shape[1]
        if rows == 0:
            return np.zeros(self._given), 0
        if self._pass is None:
            self._pass = self._traced_pass(fields)
        if seeds is not None:
            for position, name in enumerate([*self._seeds, _OUTSIDE][: self.seed_count]):
                self._set(self._state[name], [one[position] for one in seeds])
        totals = self._pass(dict(fields), tf.constant(self._filled(orders)), tf.constant(batch_size, tf.int32))
        return totals.numpy()[: self._given], -(-rows // batch_size)

    def _stacked(self, shape: Sequence[int], dtype: str) -> tf.Variable:
        return tf.Variable(tf.zeros((self._width, *shape), dtype), trainable=False)

    def _set(self, variable: tf.Variable, given: Sequence[Any]) -> None:
        value = tf.constant(self._filled(given), variable.dtype)
        tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)

    def _filled(self, given: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Stack one value for each lane, and repeat the first for lanes that nobody looks at."""
        return np.stack([*given, *[given[0]] * (self._width - len(given))])

    def _check(self, state: Mapping[str, Array]) -> None:
        for name, variable in self._variables.items():
            if name not in state or state[name].shape != tuple(variable.shape):
                raise CorruptObject(
                    f"a checkpoint holds no {name} of shape {tuple(variable.shape)}, as the model does."
                )
        for name in state.keys() - self._variables.keys():
            raise CorruptObject(f"a checkpoint holds {name}, which the model does not have.")

    def _traced_pass(self, fields: Fields) -> Callable[..., tf.Tensor]:
        """Trace the pass once, for any number of rows and any batch size."""
        own = self.assembly.variables.seeds()
        shapes = any_rows(fields), tf.TensorSpec([self._width, None], tf.int32), tf.TensorSpec([], tf.int32)
        try:
            with (
                _quiet(),
                stateless(),
                outside_generator(self._outside, own),
                unrolled(self.lanes, self._width),
            ):
                traced = tf.function(self._trained_pass, autograph=False).get_concrete_function(*shapes)
        except Exception as error:  # whatever TensorFlow meets in a user's model
            raise HopError(f"TensorFlow cannot train the model side by side with others ({error!r})") from error
        refuse_stateful_random(traced.graph)
        _refuse_hidden(traced.graph, [*self._state.values(), *self._values.values()])
        return cast("Callable[..., tf.Tensor]", traced)

    def _trained_pass(self, fields: Fields, orders: tf.Tensor, batch_size: tf.Tensor) -> tf.Tensor:
        # XLA needs fixed shapes, so it compiles the step, once for each size of batch, and not the loop around it.
        step = tf.function(self._step, autograph=False, jit_compile=True) if self.assembly.jit_compile else self._step
        numbers = {name: variable.read_value() for name, variable in self._values.items()}
        rows = tf.shape(orders)[1]

        def train_batch(start: tf.Tensor, before: Stacked, totals: tf.Tensor) -> tuple[tf.Tensor, Stacked, tf.Tensor]:
            end = tf.minimum(start + batch_size, rows)
            chosen = orders[:, start:end]
            after, losses = step(before, numbers, {name: tf.gather(field, chosen) for name, field in fields.items()})
            return end, after, totals + tf.cast(losses, tf.float64) * tf.cast(end - start, tf.float64)

        # The loop carries values: to read and write variables at each step takes longer than a small model's training.
        state = {name: variable.read_value() for name, variable in self._state.items()}
        begin = (tf.constant(0), state, tf.zeros(self._width, tf.float64))
        _, after, totals = tf.while_loop(lambda at, *_: at < rows, train_batch, begin, parallel_iterations=1)
        for name, variable in self._state.items():
            variable.assign(after[name], read_value=False)
        return totals

    def _step(self, state: Stacked, numbers: Stacked, batch: Stacked) -> tuple[Stacked, tf.Tensor]:
        mapped: tuple[Stacked, tf.Tensor] = tf.vectorized_map(
            lambda lane: self._trained_step(*lane), (state, numbers, batch), warn=False
        )
        return mapped

    def _trained_step(self, state: Stacked, numbers: Stacked, batch: Fields) -> tuple[Stacked, tf.Tensor]:
        # Program._trained_step as a function of values, for one lane.
        model, variables = self.assembly.model, {**self._variables, _OUTSIDE: self._outside.state}
        given = [(variable, state[name]) for name, variable in variables.items()]
        given += [(variable, tf.zeros(variable.shape, variable.dtype)) for variable in model.metrics_variables]
        with keras.StatelessScope(given, collect_losses=True) as scope, with_numbers(self._numbers, numbers):
            now = values_in(scope)
            weights = model.trainable_weights
            tensors = [now[id(variable)] for variable in weights]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(tensors)
                loss, scaled = self._losses(batch)
            if weights:
                gradients = tape.gradient(scaled, tensors)
                model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
            after = {name: now[id(variable)] for name, variable in variables.items()}
            self._draws_outside = after[_OUTSIDE] is not state[_OUTSIDE]
            return after, loss

    def _losses(self, batch: Fields) -> tuple[tf.Tensor, tf.Tensor]:
        encoding, model = self.assembly.encoding, self.assembly.model
        x, targets = encoding.encode_inputs(batch), encoding.encode_outputs(batch)
        predictions = call_model(model, x, training=True)
        y = like(model, self.assembly.outputs, targets, predictions)
        loss = compute_loss(model, x, y, predictions, batch.get(WEIGHT_FIELD), training=True)
        return loss, model.optimizer.scale_loss(loss)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep from users what TensorFlow says about operations that it does lane by lane."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _refuse_hidden(graph: Any, known: Sequence[tf.Variable]) -> None:
    handles = {id(variable.handle) for variable in known}
    if any(tensor.dtype == tf.resource and id(tensor) not in handles for tensor in graph.external_captures):
        raise HopError("the model keeps state that is not among its variables, which lanes would share")
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    for node in nodes:
        if node.op in _REFUSED:
            raise HopError(f"the model {_REFUSED[node.op]} ({node.op}), which lanes cannot do side by side")
