"""A saved model from elsewhere, made to fit: any `.keras` or `.h5` becomes a run like ours.

The saved network is put between layers of Keras' own: in front, what turns grey pixels of 0-255 into
what it expects; behind, what turns its output into P(normal), P(pneumonia). Nothing is guessed: what the
layers of the file tell is taken from them, the rest has to be said, and a contradiction is an error.
"""

from pathlib import Path

import numpy as np

from .. import backend, metrics, model, predict, runs, saved_models
from ..backend import keras
from ..data import cache, images, manifest
from ..saved_models import ModelError
from ..training import finish
from . import evaluation

layers = keras.layers
AS_SAVED = "as saved"
PIXELS = {"0-255": (1.0, 0.0), "0-1": (1 / 255, 0.0), "-1 to 1": (1 / 127.5, -1.0)}  # scale, offset
OUTPUTS = {  # how many numbers a network returns, after which activation
    "one probability": [(1, "sigmoid")],
    "one logit": [(1, "linear")],
    "two probabilities": [(2, "softmax"), (2, "sigmoid")],
    "two logits": [(2, "linear")],
}
# Layers behind an input and before an output that leave the range of the values as it is.
IN_FRONT = ("InputLayer", "Resizing", "CenterCrop", "ZeroPadding2D", "Concatenate", "Reshape", "Random")
BEHIND = ("Dropout", "Flatten", "Reshape")
LARGEST = 4e9  # bytes that a network may need for one picture
UNTOLD = {
    "PIXELS": "'0-1' if the pixels were divided by 255 before the training, as with "
    "ImageDataGenerator(rescale=1/255); '-1 to 1'; or '0-255' if they were left as they are",
    "OUTPUT": f"what the model returns: {', '.join(map(repr, OUTPUTS))}",
}


def pixels_of(network):
    """The key of PIXELS that the first layers of a network are made for, or None if they do not tell."""
    scale, offset = 1.0, 0.0
    for part in model.parts(network):
        kind = type(part).__name__
        if part.name == "standardise":  # of our own networks: any range gives the same
            return "0-255"
        if kind == "Rescaling" and np.ndim(part.scale) == np.ndim(part.offset) == 0:
            scale, offset = scale * part.scale, offset * part.scale + part.offset
            fitting = []
            for name, (step, start) in PIXELS.items():
                ends = np.array([start, 255 * step + start]) * scale + offset
                if any(np.allclose(ends, usual, 0, 0.02) for usual in ((0, 1), (-1, 1), (0, 255))):
                    fitting.append(name)
            if len(fitting) == 1:
                return fitting[0]
        elif not kind.startswith(IN_FRONT):
            return None
    return None


def output_of(network):
    """The key of OUTPUTS that the last layers of a network tell, or None if they do not."""
    for part in reversed(list(model.parts(network))):
        kind = type(part).__name__
        name = getattr(getattr(part, "activation", None), "__name__", kind.lower())
        if not kind.startswith(BEHIND) and (kind, name) != ("Activation", "linear"):
            end = network.output_shape[-1], name
            return next((key for key, usual in OUTPUTS.items() if end in usual), None)
    return None


def settle(network, pixels, output):
    """The settings for a network, from its layers where they are AS_SAVED: (pixels, output).

    Raises ModelError where the layers do not tell, or contradict a setting.
    """
    return (
        _settle("PIXELS", pixels, PIXELS, pixels_of(network)),
        _settle("OUTPUT", output, OUTPUTS, output_of(network)),
    )


def _settle(name, value, choices, told):
    if value not in (AS_SAVED, *choices):
        raise ModelError(f"{name} is {value!r}. Choose {', '.join(map(repr, (AS_SAVED, *choices)))}.")
    if value == AS_SAVED and not told:
        raise ModelError(f"The layers of the file do not tell {name}. Set {name} to {UNTOLD[name]}.")
    if told and value not in (AS_SAVED, told):
        raise ModelError(
            f"{name} is {value!r}, but the layers of the file say {told!r}. Set {name} to {told!r}."
        )
    return told or value


def adapt(network, pixels, output, positive=1, side=0):
    """A network that takes grey pictures of 0-255 and returns P(normal), P(pneumonia).

    pixels: a key of PIXELS, what the network was trained on. output: one of OUTPUTS. Either may be AS_SAVED,
    where the layers tell it. positive: which of two outputs means pneumonia, or what one output near 1 means
    (1 pneumonia, 0 normal). side: input height and width in pixels, for a network that takes any. Raises
    ModelError if the network or the settings cannot fit.
    """
    height, channels = _input_of(network, side)
    pixels, output = settle(network, pixels, output)
    wanted = OUTPUTS[output][0][0]
    if network.output_shape != (None, wanted) or positive not in (0, 1):
        raise ModelError(
            f"The model returns {network.output_shape}, which does not fit OUTPUT {output!r}; or POSITIVE, "
            f"{positive}, is not 0 or 1."
        )
    scale, offset = PIXELS[pixels]
    inputs = keras.Input((height, height, 1), name="radiograph")
    precise = {"dtype": "float32"}  # whatever a training before this has set
    x = layers.Rescaling(scale, offset, **precise)(inputs)
    x = network(layers.Concatenate(**precise)([x, x, x]) if channels == 3 else x)
    if output == "one logit":
        x = layers.Activation("sigmoid", **precise)(x)
    if output == "two logits":
        x = layers.Softmax(**precise)(x)
    if output == "two probabilities":
        x = x / keras.ops.sum(x, -1, keepdims=True)  # two sigmoids need not sum to 1
    if wanted == 1:
        other = layers.Rescaling(-1.0, 1.0, **precise)(x)
        x = layers.Concatenate(**precise)([other, x] if positive else [x, other])
    elif not positive:
        x = layers.Rescaling(-1.0, 1.0, **precise)(x)  # two probabilities that sum to 1 change places
    adapted = keras.Model(inputs, x, name="adapted")
    if predict.memory(adapted) > LARGEST:
        raise ModelError(f"The model needs {predict.memory(adapted) / 1e9:.1f} GB for one picture, too much.")
    return adapted


def _input_of(network, side):
    """Height and channels of the pictures that a network takes; ModelError if it takes anything else."""
    if not isinstance(network.input_shape, tuple) or len(network.input_shape) != 4:
        raise ModelError(f"The model wants {network.input_shape}, not one picture [height, width, channels].")
    if not isinstance(network.output_shape, tuple) or network.output_shape not in ((None, 1), (None, 2)):
        raise ModelError(f"The model returns {network.output_shape}. Possible are (None, 1) and (None, 2).")
    _, height, width, channels = network.input_shape
    if any(isinstance(part, layers.Resizing) for part in model.parts(network)):
        side = side or images.SIDE  # it takes any size, and makes of it what it needs
    height, width = height or side, width or side
    if height != width or not height:
        raise ModelError(
            f"The model takes pictures of {height or 'any'} x {width or 'any'} pixels. Squares are needed; "
            "for a model that takes any size, add side=... to adapt.adopt, the size it was trained on."
        )
    if channels not in (1, 3):
        raise ModelError(f"The model takes {channels} channels. Possible are 1 and 3.")
    return height, channels


def adopt(path, ws, radiographs, pixels=AS_SAVED, output=AS_SAVED, positive=1, side=0):
    """Make a finished run of a saved model: its scores of the validation images, threshold and card.

    path: a `.keras` or `.h5` file. The other settings are those of `adapt`. A run that was made of the
    same file with the same settings is used again. Returns the Run; raises ModelError in words, also
    where only the synthetic phantom is at hand.
    """
    if radiographs.synthetic:
        raise ModelError(
            "A saved model is scored on real radiographs only, and here is the synthetic phantom. Get the "
            "radiographs with notebook 01, or say as DATA where they lie."
        )
    path = Path(path).expanduser()
    backend.prepare(0)
    theirs = saved_models.load(path)
    network = adapt(theirs, pixels, output, positive, side)
    left, (pixels, output) = AS_SAVED in (pixels, output), settle(theirs, pixels, output)
    print(f"{path.name}: PIXELS {pixels!r}, OUTPUT {output!r}{', as its layers say' if left else ''}.")
    choices = {"file": runs.file_digest(path), "pixels": pixels, "output": output}
    choices |= {"positive": positive, "side": network.input_shape[1]}
    for run in runs.own_runs(ws):
        card = run.card
        if card["finished"] and (card.get("adapted"), card["manifest"]) == (choices, radiographs.digest):
            return run
    validation = manifest.select(radiographs.table, "val")
    scores = predict.score_table(network, radiographs.pixels, validation)
    for sentence in _doubts(scores):
        print(sentence)
    recipe = {"name": path.stem, "network": path.name, "side": network.input_shape[1], "epochs": 0}
    recipe["remark"] = (
        f"A saved model from elsewhere, applied as it is: pixels {pixels}, output {output}, positive "
        f"{positive}. How it was trained is not known here. Whether test images influenced this model is not "
        "known; if they or the validation images did, its numbers and its threshold are too good."
    )
    if network.input_shape[1] > images.SIDE:
        recipe["remark"] += f" Its pictures are enlarged from {images.SIDE} x {images.SIDE} pixels."
    about = runs.describe_data(radiographs, val=validation)
    about["counts"]["parameters"] = network.count_params()
    card = about | {
        "recipe": recipe,
        "adapted": choices,
        "preprocessing": cache.PREPROCESSING,
    }
    run = runs.create(ws, card | runs.describe_machine("float32"))
    finish.finish(run, network, radiographs, validation)
    return run


def _doubts(scores):
    """What a wrong setting looks like, in words; raises ModelError where scores are no probabilities."""
    low, high = scores.score.min(), scores.score.max()
    if not np.isfinite(scores.score).all() or low < -1e-6 or high > 1 + 1e-6:
        raise ModelError(
            f"The scores go from {low:.2f} to {high:.2f}; probabilities lie between 0 and 1. Is the output "
            "a logit?"
        )
    found = evaluation.check(scores)
    auc = metrics.measure(scores, 0.5).auc
    if 0.3 <= auc < 0.7:
        found.append(f"The validation AUC is {auc:.2f}, near guessing. Are PIXELS and OUTPUT right?")
    return found
