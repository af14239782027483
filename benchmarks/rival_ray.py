"""The same with Ray Tune: one trial per configuration, as many at a time as there are cores, in actors that are reused.

    python benchmarks/rival_ray.py WORK DATA.npz [SETTINGS as JSON]

Settings: those of rival_keras.py; `threads` of one actor's TensorFlow; `keep`: an actor keeps its compiled models, and
a new trial of the same architecture gets new weights, an empty optimizer and its own learning rate.
"""

import json
import os
import sys
import tempfile

# No logger files, no progress tables, and no warnings that these are off.
os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0", "RAY_USAGE_STATS_ENABLED": "0"}
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

import numpy as np
import ray
from ray import tune
from works import WORKS


class Training(tune.Trainable):
    """One configuration; a step is an iteration, which is reported."""

    def setup(self, config, work, chosen, data):
        import tensorflow as tf  # noqa: PLC0415 -- the driver needs none

        tf.config.threading.set_intra_op_parallelism_threads(chosen.get("threads", 1))
        tf.config.threading.set_inter_op_parallelism_threads(chosen.get("threads", 1))
        self.work, self.chosen, self.data, self.kept = WORKS[work], chosen, data, {}
        self.begin(config["trial"])

    def reset_config(self, new_config):
        self.begin(new_config["trial"])
        return True

    def begin(self, config):
        import keras  # noqa: PLC0415
        from rival_keras import compiled, feeding  # noqa: PLC0415

        self.best = 0.0
        keras.utils.set_random_seed(config["number"])
        self.model = self.kept.get(config["model"])
        if self.model is None:
            self.model = compiled(self.work, config, self.chosen)
        else:
            self.renew(config)
        if self.chosen.get("keep"):
            self.kept[config["model"]] = self.model
        self.feed = feeding(self.data[0], config["batch_size"], self.chosen.get("feed", "numpy"))

    def renew(self, config):
        from rival_keras import built  # noqa: PLC0415

        self.model.set_weights(built(self.work, config).get_weights())
        for variable in self.model.optimizer.variables:
            variable.assign(np.zeros(variable.shape))
        self.model.optimizer.learning_rate = config["learning_rate"]

    def step(self):
        trained = self.model.fit(**self.feed, epochs=1, verbose=0)
        found = {"loss": trained.history["loss"][-1]}
        if (self.iteration + 1) % self.work.evaluate_every == 0:
            train, valid = self.data
            if self.chosen.get("training", True):
                self.model.evaluate(*train, batch_size=1024, verbose=0)
            accuracy = self.model.evaluate(*valid, batch_size=1024, verbose=0)[1]
            found["accuracy"] = self.best = max(self.best, accuracy)
        return found


def main(name, path, settings="{}"):
    work, chosen = WORKS[name], WORKS[name].ray | json.loads(settings)
    given, cores = np.load(path), len(os.sched_getaffinity(0))
    x, x_valid = (given[key].astype("float32") / np.float32(work.normalize) for key in ("x", "x_valid"))
    data = ((x, given["y"]), (x_valid, given["y_valid"]))
    trials = [{"number": number, **one} for number, one in enumerate(work.configurations)]
    with tempfile.TemporaryDirectory() as folder:
        ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="error")
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(Training, work=name, chosen=chosen, data=data), resources={"cpu": 1}
            ),
            param_space={"trial": tune.grid_search(trials)},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=cores),
            run_config=tune.RunConfig(
                storage_path=folder,
                stop={"training_iteration": work.iterations},
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                verbose=0,
            ),
        )
        results = tuner.fit()
        if results.errors:
            raise SystemExit(str(results.errors[0]))
        print(json.dumps({"accuracy": max(result.metrics["accuracy"] for result in results)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
