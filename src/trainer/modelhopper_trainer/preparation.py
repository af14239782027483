"""Building every configuration once before any training, so that a mistake is told at the start."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import tensorflow as tf

from modelhopper_contract import checkpoint
from modelhopper_contract.checkpoint import Checkpoint
from modelhopper_contract.errors import SpecError, StoreError, UserError
from modelhopper_contract.manifest import Input, Manifest, Output
from modelhopper_contract.messages import Built, Measured
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_trainer.assembly import Assembly, assemble_for
from modelhopper_trainer.class_weights import class_weights
from modelhopper_trainer.keras_internals import layer_sizes
from modelhopper_trainer.origin import first_checkpoint
from modelhopper_trainer.workshop import Tools, Workshop

if TYPE_CHECKING:
    from modelhopper_trainer.measurement import Patience

T = TypeVar("T")

# What one optimizer step costs beside its arithmetic, in multiplications: about 0.2 ms at 1e9 a second.
_STEP_MULTIPLICATIONS = 200_000


def measured(
    specification: Specification,
    configurations: Sequence[Configuration],
    workshop: Workshop,
    patience: Patience | None = None,
) -> Measured:
    """Measure configurations before they are prepared; or say what is wrong with one that cannot be built."""
    from modelhopper_trainer.measurement import measure  # noqa: PLC0415 -- few runs measure

    found = _tried(lambda: measure(specification, configurations, workshop, patience), configurations[0])
    return Measured(problem=found) if isinstance(found, Built) else Measured(measurement=found)


def prepare(specification: Specification, configuration: Configuration, workshop: Workshop, store: Store) -> Built:
    """Build a configuration, put its checkpoint 0, and say what it will cost; or say what is wrong with it."""

    def begun() -> tuple[Assembly, Checkpoint]:
        assembly = build(specification, configuration, workshop)
        return assembly, first_checkpoint(specification, configuration, assembly.variables.read(), store)

    found = _tried(begun, configuration)
    if isinstance(found, Built):
        return found
    assembly, (state, record) = found
    name = Names(specification.experiment.name).checkpoint(configuration.number, 0)
    store.put(name, checkpoint.to_bytes(state, record))
    weights = int(assembly.model.count_params())
    cost, note = _cost(assembly, workshop.manifest), None if assembly.transfer is None else str(assembly.transfer)
    return Built(configuration=configuration.number, weights=weights, cost=cost, note=note)


def build(specification: Specification, configuration: Configuration, workshop: Workshop) -> Assembly:
    """Build and compile a configuration with its own initial state; the first of a kind is tried, and kept.

    Raises SpecError for anything that does not fit.
    """
    assembly = assemble_for(specification, configuration, workshop.manifest)
    class_weights(configuration.fit["class_weight"], workshop.manifest)
    if workshop.keep(configuration, assembly):
        _try_evaluation(workshop.tools(configuration), workshop.manifest)
    return assembly


def _tried(make: Callable[[], T], configuration: Configuration) -> T | Built:
    """Return what is made of a configuration; or, where that raises, what is wrong with it."""
    try:
        return make()
    except UserError as error:
        return Built(configuration=configuration.number, problem=str(error), path=getattr(error, "path", ()))
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 -- the user's model function may raise anything
        problem = f"building the model raised {type(error).__name__}: {error}"
        return Built(configuration=configuration.number, problem=problem, traceback=traceback.format_exc())


def _try_evaluation(tools: Tools, manifest: Manifest) -> None:
    """Evaluate two rows of zeros, so that a loss or metric that does not fit is found; what is traced is used later."""
    entries: tuple[Input | Output, ...] = (*manifest.inputs, *manifest.outputs)
    fields = {entry.name: np.zeros((2, *entry.shape), entry.dtype) for entry in entries}
    try:
        found = tools.evaluator.evaluate([{name: tf.constant(array) for name, array in fields.items()}])
        tools.evaluator.merge([found])
    except Exception as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise SpecError(
            f"the loss and metrics cannot be computed for this model and data: {type(error).__name__}: {first[:300]}",
            ("metrics",),
        ) from error


def _cost(assembly: Assembly, manifest: Manifest) -> float:
    fit = assembly.configuration.fit
    rows = manifest.rows / len(manifest.shards)
    steps = np.ceil(rows / fit["batch_size"])
    # Each weight is multiplied once per output position forward, and where it is trained about twice backward.
    sizes = layer_sizes(assembly.model)
    per_row = sum((3.0 if trained else 1.0) * numbers * positions for numbers, positions, trained in sizes)
    # Lanes share what a step costs beside its arithmetic. This is the share of one of them when all are taken.
    step = _STEP_MULTIPLICATIONS / assembly.configuration.program.lanes
    return float(fit["epochs"] * (rows * per_row + steps * step))
