"""Setting TensorFlow up for a station: threads, GPU memory, determinism. Before the first operation runs."""

from __future__ import annotations

import tensorflow as tf

from modelhopper_contract.errors import ConflictError, UserError


def configure(*, threads: int, gpu: bool, deterministic: bool) -> None:
    """Prepare this process to be a station.

    The thread count is set for operations and between them, because last bits of a convolution's gradient depend on
    it. Raises ConflictError when TensorFlow already runs in this process with other settings, and UserError when it
    sees none of the GPUs that this station was given.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        if not gpu:
            tf.config.set_visible_devices([], "GPU")
        for device in tf.config.get_visible_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, enable=True)
    except RuntimeError as error:
        if tf.config.threading.get_intra_op_parallelism_threads() != threads:
            raise ConflictError(
                f"TensorFlow already runs in this process, not with {threads} threads ({error}). Use the local engine, "
                "or run the experiment before anything else uses TensorFlow."
            ) from error
    if gpu and not tf.config.get_visible_devices("GPU"):
        raise UserError(
            "This machine shows a GPU, and TensorFlow cannot use it: pip install 'modelhopper[gpu]', or set "
            "`devices.kind` to cpu."
        )
    if gpu and deterministic:
        tf.config.experimental.enable_op_determinism()


def has_gpu() -> bool:
    """Say whether TensorFlow sees a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))
