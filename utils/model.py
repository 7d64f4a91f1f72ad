"""The networks, each readable from top to bottom, and loading a saved one safely.

Every network takes grey pictures, float or uint8 [batch, side, side, 1] in 0-255, has its
normalisation inside, and returns float32 [batch, 2]: P(normal), P(pneumonia), summing to 1.
Built from Keras' own layers only, so a saved model opens without this project.
"""

import json
import zipfile
from pathlib import Path

import h5py

from .quiet import keras

layers = keras.layers


class ModelError(RuntimeError):
    """A saved model that cannot be used; the message says why and what to do."""


def published(side=150, per_image=False):
    """The published network: four convolutions with max-pooling, two dense layers of 512.

    Published: the 150x150 grey input, four convolutional layers of growing depth, each with
    max-pooling, two dense layers of 512 with dropout, softmax over two classes.
    Left open by the publication, chosen by us: 3x3 kernels without padding, 32, 64, 128 and
    128 filters, ReLU, dropout of 0.5 after each dense layer, pixels scaled to 0-1.
    """
    inputs = keras.Input((side, side, 1), name="radiograph")
    x = _normalise(inputs, per_image)
    for block, filters in enumerate((32, 64, 128, 128), start=1):
        x = layers.Conv2D(filters, 3, activation="relu", name=f"conv{block}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = layers.Flatten(name="flatten")(x)  # 7 x 7 x 128 at 150 pixels
    for block in (1, 2):
        x = layers.Dense(512, activation="relu", name=f"dense{block}")(x)
        x = layers.Dropout(0.5, name=f"dropout{block}")(x)
    return keras.Model(inputs, _two_classes(x), name="published")


def compact(side=150, per_image=True):
    """A small all-convolutional network, 0.52 million parameters, for training from scratch.

    A strided 5x5 stem, four blocks of 3x3 convolution, max-pooling, batch normalisation
    (Ioffe and Szegedy 2015) and ReLU, then global average pooling (Lin et al. 2014), which
    replaces the large dense layers and does not care where in the picture a sign lies.
    """
    inputs = keras.Input((side, side, 1), name="radiograph")
    x = _normalise(inputs, per_image)
    x = layers.Conv2D(24, 5, strides=2, padding="same", use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(momentum=0.9, name="stem_norm")(x)
    x = layers.ReLU(name="stem_relu")(x)  # 75 x 75 x 24 at 150 pixels
    for block, filters in enumerate((48, 96, 160, 224), start=1):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{block}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)  # before the norm: a quarter of the work
        x = layers.BatchNormalization(momentum=0.9, name=f"norm{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)  # 37, 18, 9, then 4 pixels wide
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dropout(0.3, name="dropout")(x)
    return keras.Model(inputs, _two_classes(x), name="compact")


NETWORKS = {"published": published, "compact": compact}


def _normalise(x, per_image):
    """Pixels to 0-1; or each image to mean 0 and standard deviation 1, whatever its exposure."""
    if per_image:
        # no learned parameters; float32 because a mean over 22,500 pixels needs the digits
        return layers.LayerNormalization(
            axis=(1, 2, 3), center=False, scale=False, dtype="float32", name="standardise"
        )(x)
    return layers.Rescaling(1 / 255, name="scale")(x)


def _two_classes(x):
    return layers.Dense(2, activation="softmax", dtype="float32", name="normal_or_pneumonia")(x)


def in_float32(network):
    """The same network with the same weights, computing in float32 whatever it was trained in.

    This is what is saved and scored, so that scores do not depend on the training hardware.
    """

    def in_float32(layer):
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"})

    copy = keras.models.clone_model(network, clone_function=in_float32)
    copy.set_weights(network.get_weights())
    return copy


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
            if config["config"].get("name") not in NETWORKS:
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
    network = in_float32(NETWORKS[config["name"]](shape[1], per_image))
    network.load_weights(path)
    return network


# What a stored configuration may name: Keras' own parts that are data, not code.
CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
KNOWN = {"Model", "Functional", "Sequential", "Policy", "DTypePolicy", "__keras_tensor__", "__slice__"}
KNOWN |= {"__tuple__", "__ellipsis__", *dir(layers), *dir(keras.initializers), *dir(keras.regularizers)}
KNOWN = (KNOWN | set(dir(keras.constraints))) - CODE


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
