"""Opening a saved network, ours or anybody's: `.keras` or `.h5`, of Keras 3 or Keras 2.

Keras opens what Keras 3 has saved. What Keras 2 has saved is opened by tf_keras, which is Keras 2 for today's
TensorFlow. Both are given a copy whose configuration was cleaned; code that a file brings along never runs.
"""

import inspect
import io
import json
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import h5py

from .backend import keras
from .workspace import ExplainedError

CODE = {"Lambda", "__lambda__", "TFOpLambda", "SlicingOpLambda", "TFSMLayer", "TorchModuleWrapper"}
CODE |= {"JaxLayer", "FlaxLayer", "TensorFlowOpLayer"}
FOR_TRAINING = ("_initializer", "_regularizer", "_constraint", "_momentum", "compile_config")


def load(path):
    """The network in a saved file, computing in float32, not compiled.

    Returns a keras.Model, or a tf_keras.Model for a file of Keras 2. Raises ExplainedError if there is no
    such file, or if it is damaged, holds code, or cannot be opened here.
    """
    path = Path(path).expanduser()
    if not path.is_file() or path.suffix.lower() not in (".keras", ".h5", ".hdf5"):
        raise ExplainedError(
            f"No saved model at {path}. A saved model is one .keras or .h5 file, written by "
            "model.save('model.keras'); notebook 03 writes one."
        )
    with tempfile.TemporaryDirectory() as folder:
        try:
            copy, library = _copied(path, Path(folder))
            return library.models.load_model(copy, compile=False)
        except ExplainedError as error:
            raise ExplainedError(f"{path.name} is not opened. {error}") from None
        except Exception as error:  # Keras, h5py and zipfile have many kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
            raise ExplainedError(
                f"{path.name} cannot be opened: {reason}. Copy it again, or save it anew where it opens, "
                f"with model.save('model.keras') and, if possible, Keras {keras.__version__}."
            ) from None


def library_of(network):
    """The library that a network is made with: keras, or tf_keras where Keras 2 saved it."""
    return keras if isinstance(network, keras.Model) else sys.modules["tf_keras"]


def _copied(path, folder):
    """A copy of a saved model that may be opened, in `folder`, and the library to open it with."""
    with open(path, "rb") as file:
        start = file.read(2)
    if not start:
        raise EOFError("it is empty")
    if start != b"PK":  # HDF5; Keras wrote it into .keras files, too, up to version 2.12
        copy = shutil.copyfile(path, folder / "model.h5")
        with h5py.File(copy, "r+") as file:
            _refuse_links(file)
            if "model_config" not in file.attrs:
                raise ExplainedError("It holds weights only. Save the model with model.save('model.keras').")
            library = _library(file.attrs.get("keras_version", "2"))
            file.attrs["model_config"] = _safe_config(file.attrs["model_config"], library)
        return copy, library
    copy = folder / "model.keras"
    with zipfile.ZipFile(path) as theirs, zipfile.ZipFile(copy, "w") as ours:
        metadata, weights = theirs.read("metadata.json"), io.BytesIO(theirs.read("model.weights.h5"))
        library = _library(json.loads(metadata)["keras_version"])
        with h5py.File(weights, "r+") as file:
            _refuse_links(file)
            if library is not keras:
                _rename_weights(file)
        ours.writestr("metadata.json", metadata)
        ours.writestr("config.json", _safe_config(theirs.read("config.json"), library))
        ours.writestr("model.weights.h5", weights.getvalue())
    return copy, library


def _library(version):
    """The library that opens what this version of Keras has saved."""
    version = version.decode() if isinstance(version, bytes) else version
    if version >= "3":
        return keras
    try:
        import tf_keras
    except ImportError:
        raise ExplainedError(
            f"Keras {version} saved it, and the package for such files is missing. Install it with: "
            "pip install tf_keras (in a notebook: %pip install tf_keras), then run this again."
        ) from None
    return tf_keras


def _refuse_links(file):
    """Raise ExplainedError if an open HDF5 file takes weights from other files."""

    def is_link(name, link):
        return None if isinstance(link, h5py.HardLink) else name

    def is_outside(name, part):
        return name if isinstance(part, h5py.Dataset) and (part.external or part.is_virtual) else None

    if name := file.visititems_links(is_link) or file.visititems(is_outside):
        raise ExplainedError(f"It leads to another file ({name}). No network is saved so: do not use it.")


def _rename_weights(file):
    """Give the weights of a `.keras` file of TensorFlow 2.13 the names that tf_keras reads.

    It numbered the layers of a kind conv2d, conv2d_2, conv2d_4, and kept them under another name.
    """
    groups = [file]
    file.visititems(lambda name, part: groups.append(part) if isinstance(part, h5py.Group) else None)
    for group in groups:
        numbers = {}  # {kind of layer: the numbers it has}
        for name in group:
            kind, number = re.fullmatch(r"(.*?)(?:_(\d+))?", name).groups()
            numbers.setdefault(kind, []).append(int(number or 0))
        for kind, used in numbers.items():
            for right, number in enumerate(sorted(used)):
                if 0 < right < number:
                    group.move(f"{kind}_{number}", f"{kind}_{right}")
        if "_layer_checkpoint_dependencies" in group:
            group.move("_layer_checkpoint_dependencies", "layers")


def _safe_config(text, library):
    """The stored configuration of a network, JSON, cleaned. Raises ExplainedError if it holds code."""
    config = _cleaned(json.loads(text), library)
    if names := _refused(config):
        raise ExplainedError(
            f"It holds code, or layers that are not Keras' own ({', '.join(names)}), which are not run here. "
            "Where it was made, build the network again with Keras' own layers, copy the weights with "
            "new.set_weights(old.get_weights()), and save it with new.save('model.keras')."
        )
    return json.dumps(config)


def _refused(config):
    """Names of the parts of a configuration that are code, or not Keras' own; [] if there are none."""
    if isinstance(config, dict):
        name, package = config.get("class_name"), str(config.get("module", "keras")).partition(".")[0]
        if name == "function":  # an activation, given as a function
            known = package in ("keras", "tf_keras", "builtins")
            known = known and hasattr(keras.activations, str(config["config"]))
            return [] if known else [f"function {config['config']}"]
        if name in CODE or (name and package not in ("keras", "tf_keras")):
            return [name]
        config = list(config.values())
    if not isinstance(config, list):
        return []
    return sorted({name for part in config for name in _refused(part)})


def _cleaned(part, library):
    """A part of a configuration, in float32, without what only trainings need or only a newer Keras knows."""
    if isinstance(part, list):
        return [_cleaned(value, library) for value in part]
    if not isinstance(part, dict):
        return part
    if part.get("class_name") in ("Policy", "DTypePolicy"):  # such as that of mixed precision
        return "float32"
    part = {key: _cleaned(value, library) for key, value in part.items() if not key.endswith(FOR_TRAINING)}
    for ends in ("input_layers", "output_layers"):
        if library is keras and isinstance(part.get(ends), list) and len(part[ends]) == 1:
            part[ends] = part[ends][0]  # one output, not a list of one, which Keras 3.3 made of it
    layer = getattr(library.layers, str(part.get("class_name")), None)
    if isinstance(layer, type) and isinstance(part.get("config"), dict):
        known = {name for base in layer.__mro__ for name in inspect.signature(base.__init__).parameters}
        # Settings that this version does not know do not matter where they are off.
        part["config"] = {name: value for name, value in part["config"].items() if value or name in known}
    return part
