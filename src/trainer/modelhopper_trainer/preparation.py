"""Building every configuration once before any training, so that a mistake is told at the start."""

from __future__ import annotations

import traceback

import keras
import numpy as np
from modelhopper_contract import checkpoint
from modelhopper_contract.errors import UserError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.messages import Built
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, HopRecord
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store

from modelhopper_trainer.assembly import Assembly, assemble
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.feeding import class_vector

# What one optimizer step costs beside its arithmetic, in multiplications: about 0.2 ms at 1e9 a second.
_STEP_MULTIPLICATIONS = 200_000


def prepare(
    specification: Specification, configuration: Configuration, manifest: Manifest, store: Store
) -> tuple[Built, Assembly | None]:
    """Build a configuration, put its checkpoint 0, and say what it will cost; or say what is wrong with it."""
    try:
        assembly = assemble_for(specification, configuration, manifest)
        if configuration.fit.get("class_weight") is not None:
            class_vector(manifest.outputs, configuration.fit["class_weight"])
        Evaluator(assembly)
    except UserError as error:
        path = getattr(error, "path", ())
        return Built(configuration=configuration.number, problem=str(error), path=path), None
    except Exception as error:  # the user's model function may raise anything
        problem = f"building the model raised {type(error).__name__}: {error}"
        found = Built(configuration=configuration.number, problem=problem, traceback=traceback.format_exc())
        return found, None
    record = HopRecord(configuration=configuration.number, hop=-1, shard=None, steps=0, loss=None)
    name = Names(specification.experiment.name).checkpoint(configuration.number, 0)
    store.put(name, checkpoint.to_bytes(assembly.variables.read(), record))
    weights = int(assembly.model.count_params())
    return Built(configuration=configuration.number, weights=weights, cost=_cost(assembly, manifest)), assembly


def assemble_for(specification: Specification, configuration: Configuration, manifest: Manifest) -> Assembly:
    """Build and compile a configuration of a run."""
    experiment = specification.experiment
    model = experiment.models[configuration.model]
    return assemble(configuration, model, manifest, experiment.seed, specification.path("."))


def _cost(assembly: Assembly, manifest: Manifest) -> float:
    fit = assembly.configuration.fit
    rows = manifest.rows / len(manifest.shards)
    steps = np.ceil(rows / fit["batch_size"])
    return float(fit["epochs"] * (rows * _multiplications(assembly.model) + steps * _STEP_MULTIPLICATIONS))


def _multiplications(model: keras.Model) -> float:
    """Estimate the multiplications of one row's forward and backward pass: three times the forward pass."""
    total = 0.0
    for layer in model._flatten_layers(include_self=False):
        sizes = [np.prod(variable.shape) for variable in layer._trainable_variables]
        output = getattr(layer, "output", None) if getattr(layer, "_inbound_nodes", None) else None
        positions = np.prod([n or 1 for n in output.shape[1:-1]]) if hasattr(output, "shape") else 1
        total += 3.0 * float(sum(sizes)) * float(positions)
    return total
