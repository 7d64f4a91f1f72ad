"""On what and in which precision a network is computed."""

import contextlib

from . import workspace
from .quiet import keras


def on_tensorflow():
    return keras.backend.backend() == "tensorflow"


def prepare(seed):
    """Seed everything and choose the precision; returns the name of the precision policy.

    mixed_bfloat16 where the processor computes in it, mixed_float16 on older GPUs, else float32.
    One operation at a time (each still uses all cores) makes a CPU training repeatable to the bit.
    """
    policy = "float32"
    if on_tensorflow():
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError):  # TensorFlow runs already, as after rerunning a cell
                tf.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            major, _ = tf.config.experimental.get_device_details(gpu)["compute_capability"]
            policy = "mixed_bfloat16" if major >= 8 else "mixed_float16"
    if policy == "float32" and workspace.cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"}:
        policy = "mixed_bfloat16"
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed)
    return policy


def on_all():
    """The context in which to build a network, so that several accelerators share each batch."""
    if on_tensorflow():
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if len(devices) > 1:
            return tf.distribute.MirroredStrategy([device.name for device in devices]).scope()
    return contextlib.nullcontext()
