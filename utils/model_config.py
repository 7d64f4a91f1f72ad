"""The stored configuration of a network: refused where it is more than data, and put in today's words.

A configuration says which layers Keras builds, with which settings, and how they are connected. It comes
from a file, so from anybody; it is read here as plain dictionaries, before anything is built.
"""

import graphlib
import inspect

from .backend import keras
from .workspace import ExplainedError

CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
VOCABULARIES = {"StringLookup", "IntegerLookup", "TextVectorization"}  # they read files
MODELS = {"Model", "Functional", "Sequential"}
VALUES = {"__tensor__", "__numpy__"}
KNOWN = {"__keras_tensor__", "__slice__", "__tuple__", "__ellipsis__", *MODELS, *dir(keras.layers)}
KNOWN -= CODE | VOCABULARIES
ACTIVATIONS = {"relu": "relu", "sigmoid": "sigmoid", "softmax_v2": "softmax"}  # given as tf.nn.softmax
FOR_TRAINING = (
    "_initializer",
    "_regularizer",
    "_constraint",
    "_momentum",
    "compile_config",
    "registered_name",
)


class ModelError(ExplainedError):
    """A saved model that cannot be used; the message says why and what to do."""


def cleaned(config):
    """The configuration of a network that Keras may build. Raises ModelError if it is no data, or no network.

    Left out is what only a training needs. The network computes in float32 and has one output where it
    has one, not a list of one. Names and numbers of Keras 2 become those of Keras 3.
    """
    refused = set()
    config = _cleaned(config, refused)
    if refused:
        names = sorted(name for name in refused if name != "__lambda__") or ["__lambda__"]
        raise ModelError(
            "contains parts that are not Keras' own layers, or may run code of their own: "
            f"{', '.join(names)}. Where it was made, build the network again with layers of Keras "
            "in their place (Rescaling for arithmetic with pixels), copy the weights with "
            "new.set_weights(old.get_weights()), and save it with new.save('model.keras')."
        )
    if not isinstance(config, dict) or config.get("class_name") not in MODELS:
        raise ModelError("holds no network of Keras. Save the whole model with model.save('model.keras').")
    return config


def _cleaned(part, refused):
    """A part of a configuration, cleaned. refused: a set that takes the names of what is no data."""
    if isinstance(part, str):
        return part.replace("/", "_")  # Keras 3 allows none in a name
    if isinstance(part, list):
        return [_cleaned(value, refused) for value in part]
    if not isinstance(part, dict):
        return part
    if part.get("class_name") in ("Policy", "DTypePolicy"):  # such as that of mixed precision
        return "float32"
    if part.get("class_name") == "function" and str(part.get("config")) in ACTIVATIONS:
        return ACTIVATIONS[part["config"]]
    part = {key: _cleaned(value, refused) for key, value in part.items() if not key.endswith(FOR_TRAINING)}
    if "class_name" in part:
        if not _is_data(part):
            refused.add(_known_as(part))
        elif part["class_name"] in MODELS:
            if "module" in part and part["class_name"] == "Functional":  # which lies elsewhere in each Keras
                part |= {"module": "keras", "class_name": "Model"}
            _settle_graph(part["config"])
        else:
            part["config"] = _settings(part)
    return part


def _is_data(part):
    name, package = str(part["class_name"]), str(part.get("module", "keras"))  # Keras 2 had none
    if name in VALUES:
        return str(part["config"]["dtype"]).rstrip("0123456789") in ("float", "bfloat", "int", "uint", "bool")
    operation = package.startswith(("keras.ops", "keras.src.ops")) and name[:1].isupper()
    return operation or (name in KNOWN and package.partition(".")[0] == "keras")


def _known_as(part):
    """What a user knows a refused part as."""
    name = str(part["class_name"])
    if name in ("TFOpLambda", "SlicingOpLambda"):
        return "arithmetic of TensorFlow between the layers (TFOpLambda)"
    return f"function {part.get('config')}" if name == "function" else name


def _settings(part):
    """The settings of a layer without those that this Keras does not know and that change nothing here."""
    layer, config = getattr(keras.layers, part["class_name"], None), part.get("config")
    if not isinstance(layer, type) or not isinstance(config, dict):
        return config
    known = {name for base in layer.__mro__ for name in inspect.signature(base.__init__).parameters}
    if part["class_name"] == "BatchNormalization" and isinstance(config.get("axis"), list):
        config["axis"] = config["axis"][0]  # Keras 2.15 listed it
    if "module" in part and part["class_name"] != "InputLayer":
        config.pop("batch_input_shape", None)  # Keras 2.15 repeated it
    augments = part["class_name"].startswith("Random")  # so it does nothing here

    def changes_nothing(name, value):
        return augments or value is None or value is False or (name, value) == ("groups", 1)

    return {
        name: value for name, value in config.items() if name in known or not changes_nothing(name, value)
    }


def _settle_graph(config):
    """Connect the layers of a network as Keras 3 does; ModelError if they are not connected to an end.

    Each call of a layer is a node; its inputs are nodes of other layers, [layer, number of the node,
    number of the output]. Keras 2 counted the nodes of models inside a model from 1.
    """
    if not isinstance(config, dict) or "input_layers" not in config:
        return
    calls = {layer["name"]: layer["inbound_nodes"] for layer in config["layers"]}
    inner = {layer["name"] for layer in config["layers"] if layer["class_name"] == "Sequential"}
    for key in ("input_layers", "output_layers"):
        if isinstance(config[key], list) and len(config[key]) == 1:
            config[key] = config[key][0]
    found = [reference for nodes in calls.values() for node in nodes for reference in _references(node)]
    outputs = [reference for reference in _references(config["output_layers"]) if reference[0] in inner]
    for name, nodes in calls.items():
        own = [reference for reference in [*found, *outputs] if reference[0] == name]
        too_many = max([reference[1] + 1 for reference in own], default=0) - max(len(nodes), 1)
        for reference in own:
            reference[1] -= max(too_many, 0)
    graph = {
        (name, number): {tuple(reference[:2]) for reference in _references(node)}
        for name, nodes in calls.items()
        for number, node in enumerate(nodes or [[]])
    }
    try:
        ends = set(graphlib.TopologicalSorter(graph).static_order()) - graph.keys()
    except graphlib.CycleError:
        ends = {"a circle"}
    if ends:
        raise ModelError(f"has layers that are not connected ({next(iter(ends))}). Copy it again.")


def _references(node):
    """The lists [layer, number of the node, number of the output, ...] in a stored call of a layer."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            return [node["config"]["keras_history"]]
        node = list(node.values())
    if not isinstance(node, list):
        return []
    if len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int):
        return [node, *_references(node[3:])]
    return [reference for value in node for reference in _references(value)]
