"""What TensorFlow sees of this machine, as one line of JSON: for `modelhopper doctor`, which never imports it."""

from __future__ import annotations

import json
import sys

import keras
import tensorflow as tf


def seen() -> dict[str, object]:
    """Return the versions of TensorFlow and Keras, what the build is for, and the GPUs that it can use."""
    build = tf.sysconfig.get_build_info()
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "is_cuda_build": bool(build.get("is_cuda_build")),
        "cuda": build.get("cuda_version"),
        "cudnn": build.get("cudnn_version"),
        "gpus": [str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in gpus],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(seen()) + "\n")
