"""One measurement of benchmarks/fused.py, in a process of its own."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from measure import interleaved
from works_fused import WORKS

from modelhopper_contract.experiment import Model
from modelhopper_contract.manifest import Input, Manifest, Output, Shard
from modelhopper_contract.records import Configuration
from modelhopper_trainer.assembly import assemble
from modelhopper_trainer.blueprint import blueprint
from modelhopper_trainer.device import configure
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.fused import FusedProgram
from modelhopper_trainer.hop import HopTask, run_hop, run_hops
from modelhopper_trainer.program import Program

BLOCK = 3  # passes of one way before the other has its turn


def timed(name, repeats):
    """Return the seconds of a pass over all configurations, alone and fused, in this process."""
    configure(threads=1, gpu=False, deterministic=True)
    network, shape, classes, count, batch, size, _ = WORKS[name]
    draw = np.random.default_rng(0)
    arrays = {"x": draw.normal(size=(size, *shape)).astype(np.float32), "y": draw.integers(0, max(classes, 2), size)}
    feed, described = Feed(arrays, size), manifest(arrays, max(classes, 2))
    loss = "binary_crossentropy" if classes == 1 else "sparse_categorical_crossentropy"

    def configuration(number):
        return Configuration(
            number=number,
            name="",
            model="model",
            parameters={},
            compile={"optimizer": {"name": "Adam", "learning_rate": 0.001 * number}, "loss": loss},
            fit={"batch_size": batch, "epochs": 1, "shuffle": True, "class_weight": None},
        )

    configurations = [configuration(number) for number in range(1, count + 1)]
    model = Model(build=f"models.py:{network}")
    assembly = assemble(configurations[0], model, described, 1, Path(__file__).parent)
    single, fused = Program(assembly), FusedProgram(assembly, count)
    state, numbers = single.read(), blueprint(assembly).numbers
    tasks = [HopTask(1, configuration, 0, 0) for configuration in configurations]
    fused.load([state] * count, [numbers] * count)
    found = {}
    for what, first in (
        ("compiled alone", lambda: run_hop(single, feed, tasks[0], 0)),
        ("compiled fused", lambda: run_hops(fused, feed, tasks, [0] * count)),
    ):
        start = time.perf_counter()
        first()
        found[what] = time.perf_counter() - start
    passes = interleaved(
        repeats * 5,
        BLOCK,
        alone=lambda: [run_hop(single, feed, task, 0) for task in tasks],
        fused=lambda: run_hops(fused, feed, tasks, [0] * count),
    )
    return found | passes


def manifest(arrays, classes):
    """Describe rows in memory as a packed data set would."""
    x, y = arrays["x"], arrays["y"]
    known = tuple(range(classes))
    label = Output(name="y", kind="classes", shape=(), dtype=str(y.dtype), classes=known, num_classes=classes)
    return Manifest(
        inputs=(Input(name="x", shape=x.shape[1:], dtype=str(x.dtype)),),
        outputs=(label,),
        normalize=1.0,
        seed=0,
        rows=len(x),
        class_rows={"y": (0,) * classes},
        shards=(Shard(rows=len(x), files={}),),
    )


if __name__ == "__main__":
    print(json.dumps(timed(sys.argv[1], int(sys.argv[2]))))
