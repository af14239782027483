"""A warm pass over a shard: modelhopper's compiled program against `model.fit`, one thread each, in one process."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from measure import interleaved

from modelhopper_contract.experiment import Model
from modelhopper_contract.manifest import Input, Manifest, Output
from modelhopper_contract.records import Configuration
from modelhopper_trainer.assembly import assemble
from modelhopper_trainer.device import configure
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.hop import HopTask, run_hop
from modelhopper_trainer.program import make_program

HERE = Path(__file__).parent
WORK = {  # model: rows of the shard, shape of a row, dtype, classes, batch size, loss, repeats
    "iris_mlp": (30, (4,), "float32", 3, 4, "categorical_crossentropy", 30),
    "table_mlp": (12_500, (28,), "float32", 2, 32, "binary_crossentropy", 5),
    "image_cnn": (2_500, (32, 32, 3), "uint8", 10, 32, "categorical_crossentropy", 5),
}


def main(name):
    configure(threads=1, gpu=False, deterministic=True)
    rows, shape, dtype, classes, batch_size, _, repeats = WORK[name]
    x, y = made_up(rows, shape, dtype, classes)
    run_ours = ours(name, x, y)
    model = assembled(name).model
    scaled = x.astype("float32") / (255.0 if dtype == "uint8" else 1.0)
    targets = y[:, None].astype("float32") if classes == 2 else keras.utils.to_categorical(y, classes)

    def run_keras():
        model.fit(scaled, targets, batch_size=batch_size, epochs=1, verbose=0)

    run_ours(), run_keras()  # both warm
    print(json.dumps(interleaved(repeats, block=3, ours=run_ours, keras=run_keras)))


def made_up(rows, shape, dtype, classes):
    generator = np.random.default_rng(0)
    images = dtype == "uint8"
    x = generator.integers(0, 256, (rows, *shape)).astype(dtype) if images else generator.normal(size=(rows, *shape))
    return x.astype(dtype), generator.integers(0, classes, rows).astype("uint8")


def assembled(name, **settings):
    _, shape, dtype, classes, batch_size, loss, _ = WORK[name]
    manifest = Manifest(
        inputs=(Input(name="x", shape=shape, dtype=dtype),),
        outputs=(
            Output(
                name="y", kind="classes", shape=(), dtype="uint8", classes=tuple(range(classes)), num_classes=classes
            ),
        ),
        normalize=255.0 if dtype == "uint8" else 1.0,
        seed=0,
        rows=1,
        shards=(),
    )
    compiled = {"optimizer": {"name": "Adam", "learning_rate": 0.001}, "loss": loss, "metrics": [], **settings}
    fit = {"batch_size": batch_size, "epochs": 1, "shuffle": True, "class_weight": None}
    configuration = Configuration(number=1, name=name, model=name, parameters={}, compile=compiled, fit=fit)
    return assemble(configuration, Model(build=f"models.py:{name}"), manifest, 0, HERE)


def ours(name, x, y):
    assembly = assembled(name)
    program, feed = make_program(assembly), Feed({"x": x, "y": y}, len(x))
    state = assembly.variables.read()

    def run():
        # State goes in and out, as in a hop.
        program.load(state)
        run_hop(program, feed, HopTask(0, assembly.configuration, 0, 0), 0)
        program.read()

    return run


if __name__ == "__main__":
    main(sys.argv[1])
