"""Keras, on what it computes, and in which precision. Everything that uses Keras gets it here.

Keras computes with TensorFlow, or with JAX where there is no TensorFlow, as in Colab's TPU runtimes.
TensorFlow's start-up lines, which beginners take for errors, are written below Python, before it
reads its own log settings. So they are caught where they leave the process, for the import only;
Python's own errors and warnings still appear.
"""

import contextlib
import importlib.util
import os
import re
from pathlib import Path

from . import workspace

_STDERR = 2  # the number of the process's error stream


@contextlib.contextmanager
def _without_chatter():
    """Send the process's error stream to nowhere for a moment."""
    with open(os.devnull, "w") as nowhere:
        kept = os.dup(_STDERR)
        os.dup2(nowhere.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # and nothing but errors afterwards
if not importlib.util.find_spec("tensorflow") and importlib.util.find_spec("jax"):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")  # or TPUs round float32 to 3 digits
try:
    with _without_chatter():
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow

            tensorflow.config.list_physical_devices()  # looking for a GPU is chatty, too
except ImportError as error:
    raise workspace.ExplainedError(
        f"A network needs Keras and TensorFlow, which are not here ({error}). In Colab: "
        f"{workspace.RUNTIME_MENU} > CPU or T4 GPU, then run the notebook again."
    ) from None


def on_tensorflow():
    """Whether Keras computes with TensorFlow, and not with JAX or PyTorch."""
    return keras.backend.backend() == "tensorflow"


def prepare(seed):
    """Seed everything and choose the precision; returns the name of the precision policy.

    mixed_bfloat16 where the processor, GPU or TPU computes in it, mixed_float16 on older GPUs, else float32.
    One operation at a time (each still uses all cores) makes a CPU training repeatable to the bit.
    """
    policy = "mixed_bfloat16" if _cpu_has_bfloat16() else "float32"
    if on_tensorflow():
        gpus = tensorflow.config.list_physical_devices("GPU")
        if not gpus:
            with contextlib.suppress(RuntimeError):  # TensorFlow runs already, as after rerunning a cell
                tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in gpus:
            major, _ = tensorflow.config.experimental.get_device_details(gpu)["compute_capability"]
            policy = "mixed_bfloat16" if major >= 8 else "mixed_float16"
    elif not workspace.device_name().startswith("CPU"):
        policy = "mixed_bfloat16"  # TPUs, and GPUs since 2020
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed)
    return policy


def _cpu_has_bfloat16():
    """Whether the processor multiplies in bfloat16; False where the system does not tell."""
    with contextlib.suppress(OSError):
        return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", Path("/proc/cpuinfo").read_text()))
    return False


def on_all_devices():
    """The context in which to build a network, so that several accelerators share each batch."""
    if on_tensorflow():
        devices = tensorflow.config.list_logical_devices("GPU")
        devices = devices or tensorflow.config.list_logical_devices("CPU")
        if len(devices) > 1:
            return tensorflow.distribute.MirroredStrategy([device.name for device in devices]).scope()
    return contextlib.nullcontext()
