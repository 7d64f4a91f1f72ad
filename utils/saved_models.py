"""Opening a saved model of any version of Keras safely: nothing stored in it is executed."""

import tempfile
import threading
from pathlib import Path

from . import model, model_files
from .backend import keras
from .model_config import ModelError


def load(path):
    """Load a network saved as `.keras`, or as `.h5` by older versions. Nothing stored in it is executed.

    It computes in float32, whatever it was trained in, and is not compiled. Raises ModelError if the file
    is missing, damaged, of another format, or holds anything but layers of Keras.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory() as folder:
        copy, config = model_files.inspect(path, Path(folder))
        try:
            _rehearse(copy, config)
            return _build(copy, config)
        except Exception as error:  # whatever Keras does not understand
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
            raise ModelError(
                f"{path} cannot be opened with Keras {keras.__version__}: {reason}. Save it anew where it "
                f"opens, with model.save('model.keras') and, if possible, Keras {keras.__version__}."
            ) from None


def _rehearse(copy, config):
    """Open a file without memory for weights; raises whatever Keras does if they are not those described.

    A configuration of a few bytes can ask for more memory than there is. In a StatelessScope Keras delays
    the making of weights until the thread goes on without it; this thread ends there.
    """
    failed = []

    def build():
        try:
            with keras.StatelessScope(initialize_variables=False):
                _build(copy, config)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _build(copy, config):
    try:
        return keras.saving.load_model(copy, compile=False, safe_mode=True)
    except (TypeError, ValueError):
        if config["config"].get("name") not in model.NETWORKS:
            raise
        # an older Keras does not know the newest settings of its layers; the weights still fit
        return _rebuild(config["config"], copy)


def _rebuild(config, path):
    """One of our own networks from its stored configuration, with the stored weights."""
    shape = config["layers"][0]["config"]["batch_shape"]
    per_image = any(layer["name"] == "standardise" for layer in config["layers"])
    network = model.in_float32(model.NETWORKS[config["name"]](shape[1], per_image))
    network.load_weights(path)
    return network
