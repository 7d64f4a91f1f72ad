"""Opening a saved model safely: the file is inspected before Keras sees it, and nothing in it is executed."""

import json
import zipfile
from pathlib import Path

import h5py

from . import model
from .backend import keras
from .workspace import ExplainedError

# What a stored configuration may name: Keras' own parts that are data, not code.
CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
KNOWN = {"Model", "Functional", "Sequential", "Policy", "DTypePolicy", "__keras_tensor__", "__slice__"}
KNOWN |= {"__tuple__", "__ellipsis__", *dir(keras.layers), *dir(keras.initializers), *dir(keras.regularizers)}
KNOWN = (KNOWN | set(dir(keras.constraints))) - CODE


class ModelError(ExplainedError):
    """A saved model that cannot be used; the message says why and what to do."""


def load(path):
    """Load a network saved as `.keras`, or as `.h5` by older versions. Nothing stored in it is executed.

    Raises ModelError if the file is missing, damaged, of another format, or contains layers
    that are not Keras' own.
    """
    path = Path(path)
    if path.is_dir() or path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ModelError(
            f"{path} is no .keras or .h5 file. Load it where it was made and save it with "
            "model.save('model.keras')."
        )
    if not path.exists():
        raise ModelError(f"No saved model at {path}. Notebook 03 trains one.")
    try:
        config = _stored_config(path)
    except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
        raise ModelError(f"{path} is not a complete {path.suffix} file ({error}). Copy it again.") from None
    foreign = sorted(set(_foreign_layers(config)))
    if foreign:
        raise ModelError(f"{path.name} contains layers that may run code of their own: {', '.join(foreign)}.")
    try:
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except (TypeError, ValueError):
            if config["config"].get("name") not in model.NETWORKS:
                raise
            # an older Keras does not know the newest settings of its layers; the weights still fit
            return _rebuild(config["config"], path)
    except (TypeError, ValueError, OSError) as error:
        raise ModelError(f"{path} cannot be opened with Keras {keras.__version__}: {error}") from None


def _stored_config(path):
    """The configuration of a saved network, as dictionaries, read without building anything."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    with h5py.File(path) as file:
        if "model_config" not in file.attrs:
            raise ModelError(
                f"{path.name} holds weights only. Save the whole model where it was made, with "
                "model.save('model.keras')."
            )
        return json.loads(file.attrs["model_config"])


def _rebuild(config, path):
    """One of our own networks from its stored configuration, with the stored weights."""
    shape = config["layers"][0]["config"]["batch_shape"]
    per_image = any(layer["name"] == "standardise" for layer in config["layers"])
    network = model.in_float32(model.NETWORKS[config["name"]](shape[1], per_image))
    network.load_weights(path)
    return network


def _foreign_layers(config):
    """Class names in a stored configuration that are not Keras' own, or that hold code."""
    if isinstance(config, dict):
        module, name = config.get("module"), config.get("class_name")
        package = str(module or "keras")
        part = name in KNOWN and package.partition(".")[0] == "keras"
        operation = package.startswith(("keras.ops", "keras.src.ops")) and str(name)[:1].isupper()
        if name and not (part or operation):
            yield str(name)
        config = config.values()
    if not isinstance(config, str) and hasattr(config, "__iter__"):
        for part in config:
            yield from _foreign_layers(part)
