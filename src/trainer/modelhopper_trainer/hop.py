"""The hop: (checkpoint n, shard) to checkpoint n+1, a pure function of the experiment, the configuration and n."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modelhopper_contract.errors import HopError
from modelhopper_contract.records import Configuration, HopRecord
from modelhopper_trainer import seeds
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.program import Program


class HopTask(NamedTuple):
    """What identifies a hop."""

    experiment_seed: int
    configuration: Configuration
    hop: int
    shard: int
    class_weights: npt.NDArray[np.float32] | None = None  # by class index


def run_hop(program: Program, feed: Feed, task: HopTask, steps_before: int) -> HopRecord:
    """Train the state that is loaded in `program` on one shard, in place, and return the hop's record.

    Rows are shuffled anew for each of the hop's epochs, by seeds that depend on the task only. Raises HopError when
    the loss is not a number any more.
    """
    fit = task.configuration.fit
    identity = (task.experiment_seed, task.configuration.number, task.hop)
    layer_seeds = seeds.layer_states(*identity, program.seed_count)
    orders = seeds.row_order(*identity, feed.rows, fit["epochs"], shuffle=fit["shuffle"])
    weights = feed.sample_weights(program.assembly.outputs[0], task.class_weights)
    total, steps = 0.0, 0
    for order in orders:
        for fields, within in feed.ordered(order, fit["batch_size"], weights):
            loss, done = program.train(fields, within, fit["batch_size"], layer_seeds if steps == 0 else None)
            total, steps = total + loss, steps + done
            _check_finite(total)
    mean = total / (feed.rows * fit["epochs"])
    return HopRecord(
        configuration=task.configuration.number, hop=task.hop, shard=task.shard, steps=steps_before + steps, loss=mean
    )


def _check_finite(loss: float) -> None:
    if not math.isfinite(loss):
        raise HopError(f"loss is {'NaN' if math.isnan(loss) else 'infinite'}")
