"""Building every configuration once before any training, so that a mistake is told at the start."""

from __future__ import annotations

import traceback

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
from modelhopper_trainer.class_weights import class_weights
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.keras_internals import layer_sizes

# What one optimizer step costs beside its arithmetic, in multiplications: about 0.2 ms at 1e9 a second.
_STEP_MULTIPLICATIONS = 200_000


def prepare(
    specification: Specification, configuration: Configuration, manifest: Manifest, store: Store
) -> tuple[Built, Assembly | None]:
    """Build a configuration, put its checkpoint 0, and say what it will cost; or say what is wrong with it."""
    try:
        assembly = assemble_for(specification, configuration, manifest)
        class_weights(configuration.fit["class_weight"], manifest)
        Evaluator(assembly)  # makes the metrics
    except UserError as error:
        path = getattr(error, "path", ())
        return Built(configuration=configuration.number, problem=str(error), path=path), None
    except Exception as error:  # noqa: BLE001 -- the user's model function may raise anything
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
    # Each trainable number is multiplied once per output position forward, and about twice backward.
    per_row = 3.0 * sum(numbers * positions for numbers, positions in layer_sizes(assembly.model))
    return float(fit["epochs"] * (rows * per_row + steps * _STEP_MULTIPLICATIONS))
