"""Keras, imported without TensorFlow's start-up chatter, which beginners take for errors.

The lines are written below Python, before TensorFlow reads its own log settings; so the
process's stderr is set aside for the import. Python's own errors and warnings still appear.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # and nothing but errors afterwards
_stderr, _nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 2)
try:
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.list_physical_devices()  # looking for a GPU is chatty, too
finally:
    os.dup2(_stderr, 2)
    os.close(_stderr)
    os.close(_nowhere)

__all__ = ["keras"]
