"""The hop: (checkpoint n, shard) to checkpoint n+1, a pure function of the experiment, the configuration and n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modelhopper_contract.errors import HopError
from modelhopper_contract.records import Configuration, HopRecord
from modelhopper_trainer import seeds
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.fused import FusedProgram
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
    identity = _identity(task)
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


def run_hops(
    program: FusedProgram, feed: Feed, tasks: Sequence[HopTask], steps_before: Sequence[int]
) -> list[HopRecord | HopError]:
    """Train the states that are loaded in `program` on one shard, side by side, as `run_hop` trains one.

    The tasks are of one kind, with equal fit parameters and one shard. A lane whose loss is not a number any more gets
    a HopError, and the others go on.
    """
    fit, identities = tasks[0].configuration.fit, [_identity(task) for task in tasks]
    count = program.seed_count
    layer_seeds = [seeds.layer_states(*identity, count) for identity in identities] if count else None
    orders = [seeds.row_order(*identity, feed.rows, fit["epochs"], shuffle=fit["shuffle"]) for identity in identities]
    weights = feed.sample_weights(program.assembly.outputs[0], tasks[0].class_weights)
    totals, steps = np.zeros(len(tasks)), 0
    # As many orders as lanes, so that the shard is cut up the same whoever is there.
    orders += [orders[0]] * (program.lanes - len(tasks))
    for epoch in np.stack(orders, axis=1):
        for fields, within in feed.ordered(epoch, fit["batch_size"], weights):
            losses, done = program.train(fields, within, fit["batch_size"], layer_seeds if steps == 0 else None)
            # A lane keeps the first sum that is no number, so that its reason does not depend on who else is there.
            totals, steps = np.where(np.isfinite(totals), totals + losses, totals), steps + done
            if not np.isfinite(totals).any():
                break
    means = totals / (feed.rows * fit["epochs"])
    return [
        _ended(task, before + steps, float(mean)) for task, before, mean in zip(tasks, steps_before, means, strict=True)
    ]


def _ended(task: HopTask, steps: int, loss: float) -> HopRecord | HopError:
    try:
        _check_finite(loss)
    except HopError as error:
        return error
    return HopRecord(configuration=task.configuration.number, hop=task.hop, shard=task.shard, steps=steps, loss=loss)


def _identity(task: HopTask) -> tuple[int, int, int]:
    return task.experiment_seed, task.configuration.number, task.hop


def _check_finite(loss: float) -> None:
    if not math.isfinite(loss):
        raise HopError(f"loss is {'NaN' if math.isnan(loss) else 'infinite'}")
