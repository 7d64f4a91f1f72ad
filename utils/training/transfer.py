"""Transfer learning: a training that starts from a trained network, for small data."""

import itertools

from .. import model, runs, saved_models
from ..backend import keras
from ..workspace import ExplainedError

IMAGENET = "imagenet"


def start_from(name, network, ws):
    """Give an untrained network the weights of a trained one, and keep the first half of its layers so.

    name: of a run, of a recipe with a released run, or IMAGENET, for the network `mobilenet`. network: is
    changed. Its last layer stays random, for it answers another question. The first half of its layers is not
    trained any more; the others start from the given weights and learn on (Yosinski et al. 2014, "How
    transferable are features in deep neural networks?"). Layers are matched by their order, because Keras
    gives them new names in each session. Returns where the weights are from, for the card. Raises
    ExplainedError if they cannot be had, or are not those of such a network.
    """
    trained, source = _imagenet(network.input_shape[1]) if name == IMAGENET else _of_run(name, ws)
    *first, _ = _with_weights(network)
    for layer, other in itertools.zip_longest(first, _with_weights(trained)[: len(first)]):
        weights = other.get_weights() if other else []
        if [value.shape for value in weights] != [value.shape for value in layer.get_weights()]:
            raise ExplainedError(
                f"The training cannot start from {name!r}: its network is not the {network.name!r} of this "
                f"recipe for pictures of {network.input_shape[1]} pixels (the weights of layer {layer.name} "
                "have another shape). Choose a recipe with the same network, or leave START_FROM empty."
            )
        layer.set_weights(weights)
    for layer in first[: len(first) // 2]:
        layer.trainable = False
    return source


def _with_weights(network):
    """The layers of a network that have weights, in the order of the computation."""
    return [part for part in model.parts(network) if getattr(part, "weights", None)]


def _imagenet(side):
    """MobileNetV2 with the weights from ImageNet, about 9 MB, which Keras downloads once."""
    try:
        base = keras.applications.MobileNetV2(include_top=False, input_shape=(side, side, 3))
    except Exception as error:  # Keras has no class of its own for it
        raise ExplainedError(
            f"The weights from ImageNet could not be downloaded ({str(error)[:100]}). Connect this computer "
            "to the internet and run this cell again, or choose another recipe."
        ) from None
    return base, "MobileNetV2 of keras.applications, trained on ImageNet"


def _of_run(name, ws):
    """The network of a run, and what names it."""
    run = runs.released(name) or runs.find(ws, name)
    path = run.path / "model.keras"
    return saved_models.load(path), f"run {run.name}, network {runs.file_digest(path)}"
