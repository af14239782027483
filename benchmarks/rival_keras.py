"""What a user writes without modelhopper: one configuration after another, with Keras' fit.

    python benchmarks/rival_keras.py WORK DATA.npz [SETTINGS as JSON]

Settings: `jit_compile` and `steps_per_execution` as in Keras' compile; `feed`: numpy, or tf.data as its guide has it;
`clear`: keras.utils.clear_session before each model; `training`: evaluate on training data, too, as modelhopper does.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import models
import numpy as np
import tensorflow as tf
from works import WORKS

EVALUATION_ROWS = 1024


def main(name, path, settings="{}"):
    work, chosen = WORKS[name], WORKS[name].keras | json.loads(settings)
    given = np.load(path)
    x, x_valid = (given[key].astype("float32") / np.float32(work.normalize) for key in ("x", "x_valid"))
    train, valid = (x, given["y"]), (x_valid, given["y_valid"])
    scores = []
    for number, configuration in enumerate(work.configurations):
        if chosen.get("clear"):
            keras.utils.clear_session()
        keras.utils.set_random_seed(number)
        model = compiled(work, configuration, chosen)
        feed = feeding(train, configuration["batch_size"], chosen.get("feed", "numpy"))
        for _ in range(work.iterations // work.evaluate_every):
            model.fit(**feed, epochs=work.evaluate_every, verbose=0)
            if chosen.get("training", True):
                model.evaluate(*train, batch_size=EVALUATION_ROWS, verbose=0)
            scores.append(model.evaluate(*valid, batch_size=EVALUATION_ROWS, verbose=0)[1])
    print(json.dumps({"accuracy": max(scores)}))


def built(work, configuration):
    kind = work.models[configuration["model"]]
    build = getattr(models, kind["build"])
    return build(**{key: value for key, value in kind.items() if key != "build"})


def compiled(work, configuration, chosen):
    model = built(work, configuration)
    model.compile(
        keras.optimizers.Adam(configuration["learning_rate"]),
        work.loss,
        metrics=["accuracy"],
        jit_compile=chosen.get("jit_compile", "auto"),
        steps_per_execution=chosen.get("steps_per_execution", 1),
    )
    return model


def feeding(train, batch_size, feed):
    if feed == "numpy":
        return {"x": train[0], "y": train[1], "batch_size": batch_size}
    rows = tf.data.Dataset.from_tensor_slices(train).cache().shuffle(len(train[0]))
    return {"x": rows.batch(batch_size, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)}


if __name__ == "__main__":
    main(*sys.argv[1:])
