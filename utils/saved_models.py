"""Opening a saved network, ours or anybody's: `.keras` or `.h5`, of Keras 3 or Keras 2.

Keras opens what Keras 3 has saved. What Keras 2 has saved is opened by tf_keras, which is Keras 2 for today's
TensorFlow. Both are given a copy whose configuration was cleaned; code that a file brings along never runs.
"""

import contextlib
import functools
import inspect
import json
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np

from .backend import keras
from .workspace import ExplainedError

MODELS = (".keras", ".h5", ".hdf5", "saved_model.pb")  # how their names end
SCORES = """Keras cannot open this format. Make a table of scores where the model runs: a line for each
radiograph, with its file and its score from 0 (normal) to 1 (pneumonia).

import pandas as pd
table = pd.DataFrame({"file": files, "score": scores})
table.to_csv("scores.csv", index=False)

Then set SCORES = "scores.csv" in notebook 04."""
NOT_MODELS = {  # how a file begins, or its suffix: what to do
    b"version https://git-lfs": "It is a Git LFS pointer. Get the model with git lfs pull, or from its page.",
    b"<": "It is a web page. Download the file itself (on GitHub: Download raw file).",
    b"\x80": SCORES,  # a pickle
    b".pb": (
        "It is a SavedModel. Convert it: import tf_keras; tf_keras.models.load_model(folder).save('model.h5')"
        ". If that fails, it comes from model.export: where it was made, use model.save('model.keras')."
    ),
} | dict.fromkeys(b".pth .pt .ckpt .onnx .tflite .pkl .joblib .safetensors".split(), SCORES)
CODE = {"Lambda", "__lambda__", "TFOpLambda", "SlicingOpLambda", "TFSMLayer", "TorchModuleWrapper"}
CODE |= {"JaxLayer", "FlaxLayer", "TensorFlowOpLayer"}
HOLDS_CODE = (
    "It holds code, or layers that are not Keras' own ({}), which are not run here. Where it was made, build "
    "the network again with Keras' own layers, copy the weights with new.set_weights(old.get_weights()), and "
    "save it with new.save('model.keras')."
)
UNLISTED = {  # what .h5 files of Keras 3 name so that Keras does not find it
    "LayerScale": keras.src.applications.convnext.LayerScale,
    "CustomScaleLayer": keras.src.applications.inception_resnet_v2.CustomScaleLayer,
    "TrueDivide": keras.src.ops.numpy.TrueDivide,
    "GetItem": keras.src.ops.numpy.GetItem,
    "Add()": keras.src.ops.numpy.Add,  # x + y, which is no layer Add
    "Subtract()": keras.src.ops.numpy.Subtract,
    "Multiply()": keras.src.ops.numpy.Multiply,
}
_signature = functools.cache(inspect.signature)  # which takes long for hundreds of layers
FOR_TRAINING = ("_initializer", "_regularizer", "_constraint", "_momentum", "compile_config")


def load(path):
    """The network in a saved file, computing in float32, not compiled. path: whatever `find` takes.

    Returns a keras.Model, or a tf_keras.Model for a file of Keras 2. Raises ExplainedError if there is no
    such file, or if it is damaged, holds code, or cannot be opened here.
    """
    path = find(path)
    with tempfile.TemporaryDirectory() as folder:
        try:
            network = _opened(path, Path(folder))
            if not all(np.isfinite(values).all() for values in network.get_weights()):
                raise ExplainedError("Some of its weights are not numbers (NaN): its training failed.")
            return network
        except ExplainedError as error:
            raise ExplainedError(f"{path.name} is not opened. {error}") from None
        except Exception as error:  # Keras, h5py and zipfile have many kinds
            if layer := re.match(r"Unknown layer:? '?([\w>]+)", str(error)):
                raise ExplainedError(f"{path.name} is not opened. {HOLDS_CODE.format(layer[1])}") from None
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
            raise ExplainedError(
                f"{path.name} cannot be opened: {reason}. Copy it again, or save it anew where it opens, "
                f"with model.save('model.keras') and, if possible, Keras {keras.__version__}."
            ) from None


def find(path):
    """The file of a saved model, or of its weights: a Path.

    path: the file, also with ~ or in quotation marks; a folder or zip with one model, such as an unzipped
    `.keras` file; the architecture in JSON, beside the weights; or a link to the file on Google Drive, which
    is fetched. Raises ExplainedError, which tells what lies near.
    """
    text = str(path).strip(" \n'\"“”‘’")
    if "drive.google.com" in text:
        from .sources import drive

        return drive.fetch(text, Path(tempfile.gettempdir(), f"model_{drive.file_id(text)}"))
    place = Path(text).expanduser()
    if place.is_file() and place.suffix != ".json":
        return place
    folder = next(folder for folder in (place, *place.absolute().parents) if folder.is_dir())
    near = [file for depth in ("*", "*/*", "*/*/*") for file in folder.glob(depth)]
    near = [file for file in near if file.name.lower().endswith(MODELS) and file.is_file()]
    if place.exists() and len(near) == 1:
        return near[0]
    names = ", ".join(str(file.relative_to(folder)) for file in near[:9]) or "none"
    raise ExplainedError(
        f"No saved model at {place}. A saved model is one .keras or .h5 file, written by "
        f"model.save('model.keras'); notebook 03 writes one. In {folder} lie: {names}. (Colab sees its disk "
        "and your Drive, not your computer.)"
    )


def library_of(network):
    """The library that a network is made with: keras, or tf_keras where Keras 2 saved it."""
    return keras if isinstance(network, keras.Model) else sys.modules["tf_keras"]


def _opened(path, folder):
    """The network in a file; what is opened is a copy in `folder`."""
    with open(path, "rb") as file:
        start = file.read(64).lstrip(b"\xef\xbb\xbf \r\n")
    for mark, sentence in NOT_MODELS.items():
        if start.startswith(mark) or path.suffix.lower().encode() == mark:
            raise ExplainedError(sentence)
    if start.startswith(b"PK"):  # a .keras file, too, is an architecture in JSON and weights
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.lower().endswith((".json", *MODELS)) and not name.startswith("__MACOSX"):
                    archive.extract(name, folder / f"unpacked_{path.name}")
        return _opened(find(folder / f"unpacked_{path.name}"), folder)
    if not start:
        raise EOFError("it is empty")
    copy = shutil.copyfile(path, folder / "model.h5")
    with h5py.File(copy, "r+") as file:
        _refuse_links(file)
        config, version = _architecture(file, path.parent)
        library = _library(version)
        config = _safe_config(config, library)
        if whole := "model_config" in file.attrs:
            file.attrs["model_config"] = config
        elif not {"layer_names", "layer_names0"} & set(file.attrs):  # as in a .keras file
            copy = copy.rename(folder / "model.weights.h5")
            if library is not keras:
                _rename_weights(file)
    if whole:
        return library.models.load_model(copy, UNLISTED, compile=False)
    network = library.models.model_from_json(config, UNLISTED)
    network.load_weights(copy)
    return network


def _architecture(file, folder):
    """The configuration (JSON) in an open HDF5 file, else in its folder, and the version of Keras."""
    if "model_config" in file.attrs:
        return file.attrs["model_config"], file.attrs.get("keras_version", "2")
    found, version = [], "3"  # which Keras 3 does not say in to_json()
    for path in folder.glob("*.json"):
        with contextlib.suppress(ValueError, AttributeError):
            part = json.loads(path.read_text())
            part = json.loads(part) if isinstance(part, str) else part  # json.dump(model.to_json())
            version = part.get("keras_version", version)
            found += [json.dumps(part)] * ("class_name" in part)
    if len(found) != 1:
        raise ExplainedError(
            "It holds weights only. Save the model with model.save('model.keras'), or put its architecture, "
            f"the JSON of model.to_json(), into the same folder; there are {len(found)} now."
        )
    return found[0], version


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

    def name_outside(name, part):
        return name if isinstance(part, h5py.Dataset) and (part.external or part.is_virtual) else None

    name = file.visititems_links(lambda name, link: None if isinstance(link, h5py.HardLink) else name)
    if name := name or file.visititems(name_outside):
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
        raise ExplainedError(HOLDS_CODE.format(", ".join(names)))
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
    names = [inside["config"].get("name") for inside in part.get("layers", []) if "config" in inside]
    if twice := {name for name in names if names.count(name) > 1}:  # Keras 3.13 would hang
        raise ExplainedError(
            f"Two of its layers have one name ({', '.join(twice)}). Build it with two names."
        )
    operation = f"{part.get('class_name')}()"
    if library is keras and operation in UNLISTED and "module" not in part:
        of_layer = isinstance(part["inbound_nodes"][0]["args"][0], list)
        part["class_name"] = part["class_name"] if of_layer else operation
    layer = getattr(library.layers, str(part.get("class_name")), None)
    if isinstance(layer, type) and isinstance(part.get("config"), dict):
        # Settings that this version does not know do not matter where they are off.
        known = {name for base in layer.__mro__ for name in _signature(base.__init__).parameters}
        part["config"] = {name: value for name, value in part["config"].items() if value or name in known}
    return part
