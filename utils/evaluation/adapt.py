"""A saved model from elsewhere becomes a run like ours, whatever pixels it takes and whatever it returns.

Layers are put around the saved network: in front, what turns grey pixels of 0-255 into what it expects;
behind, what turns its output into P(normal), P(pneumonia). Nothing is guessed: what the layers of the file
tell is taken from them, the rest has to be said, and a contradiction is an error.
"""

from pathlib import Path

import numpy as np

from .. import metrics, model, predict, runs, saved_models
from ..backend import keras
from ..data import cache, images, manifest
from ..training import fit
from ..workspace import ExplainedError
from . import evaluation

AS_SAVED = "as saved"
PIXELS = {"0-255": (1.0, 0.0), "0-1": (1 / 255, 0.0), "-1 to 1": (1 / 127.5, -1.0)}  # scale, offset
USUAL_RANGES = ((0, 1), (-1, 1), (0, 255))  # what networks compute with
OUTPUTS = {"one probability": 1, "one logit": 1, "two probabilities": 2, "two logits": 2}  # how many numbers
ENDS = {  # of networks: how many numbers behind which activation
    (1, "sigmoid"): "one probability",
    (1, "linear"): "one logit",
    (2, "softmax"): "two probabilities",
    (2, "sigmoid"): "two probabilities",
    (2, "linear"): "two logits",
}
# Layers behind an input and before an output that leave the range of the values as it is.
IN_FRONT = ("InputLayer", "Resizing", "CenterCrop", "ZeroPadding2D", "Concatenate", "Reshape", "Random")
BEHIND = ("Dropout", "Flatten", "Reshape")


def pixels_of(network):
    """The key of PIXELS that the first layers of a network are made for, or None if they do not tell."""
    for part in model.parts(network):
        kind = type(part).__name__
        if part.name == "standardise":  # of our own networks: any range gives the same
            return "0-255"
        if kind == "Rescaling" and np.ndim(part.scale) == np.ndim(part.offset) == 0:
            fitting = []
            for name, (scale, offset) in PIXELS.items():
                ends = np.array([0, 255]) * scale + offset  # the range of the pixels
                ends = ends * part.scale + part.offset  # and of what this layer makes of them
                if any(np.allclose(ends, usual, 0, 0.02) for usual in USUAL_RANGES):
                    fitting.append(name)
            return fitting[0] if len(fitting) == 1 else None
        if not kind.startswith(IN_FRONT):
            return None
    return None


def output_of(network):
    """The key of OUTPUTS that the last layers of a network tell, or None if they do not."""
    return ENDS.get((network.output_shape[-1], _last_activation(network)))


def _last_activation(network):
    """The name of the last activation of a network, such as sigmoid."""
    for part in reversed(list(model.parts(network))):
        kind = type(part).__name__
        name = getattr(getattr(part, "activation", None), "__name__", kind.lower())
        if not kind.startswith(BEHIND) and (kind, name) != ("Activation", "linear"):
            return name
    return None


def settle(network, pixels, output):
    """The settings for a network, from its layers where they are AS_SAVED: (pixels, output).

    Raises ExplainedError where the layers do not tell, or contradict a setting.
    """
    return (
        _settle("PIXELS", pixels, PIXELS, pixels_of(network)),
        _settle("OUTPUT", output, OUTPUTS, output_of(network)),
    )


def _settle(name, value, choices, told):
    """One setting; told: the choice that the layers of the network tell, or None."""
    known = ", ".join(map(repr, choices))
    if value not in (AS_SAVED, *choices):
        raise ExplainedError(f"{name} is {value!r}. Choose {AS_SAVED!r}, {known}.")
    if value == AS_SAVED and not told:
        raise ExplainedError(
            f"The layers of the file do not tell {name}. Set it to one of {known}. PIXELS is the range of "
            "the pixels in the training, '0-1' where they were divided by 255 in front of the model; OUTPUT "
            "is what the model returns."
        )
    if told and value not in (AS_SAVED, told):
        raise ExplainedError(
            f"{name} is {value!r}, but the layers of the file say {told!r}. Set {name} to {told!r}."
        )
    return told or value


def wrap(network, pixels=AS_SAVED, output=AS_SAVED, positive=1):
    """The network that scores as this one does, but takes and returns what ours take and return.

    It goes from float32 [n, side, side, 1] in 0-255 to [n, 2]. pixels: a key of PIXELS, what the network was
    trained on. output: one of OUTPUTS. Either may be AS_SAVED, where the layers tell it. positive: which of
    two outputs means pneumonia, or what one output near 1 means (1 pneumonia, 0 normal). Raises
    ExplainedError if the network or the settings cannot fit.
    """
    side, channels = _input_of(network)
    pixels, output = settle(network, pixels, output)
    if network.output_shape[1] != OUTPUTS[output] or positive not in (0, 1):
        raise ExplainedError(
            f"The model returns {network.output_shape}, which does not fit OUTPUT {output!r}; or POSITIVE, "
            f"{positive}, is not 0 or 1."
        )
    keras.config.set_dtype_policy("float32")  # a training before this may have set another
    library = saved_models.library_of(network)
    layers = library.layers

    def one_minus(x):
        return layers.Rescaling(-1.0, 1.0)(x)

    def column(x, number):  # [n, 2] -> [n, 1]
        return layers.Flatten()(layers.Cropping1D((number, 1 - number))(layers.Reshape((2, 1))(x)))

    inputs = library.Input((side, side, 1), name="radiograph")
    x = layers.Rescaling(*PIXELS[pixels])(inputs)
    x = network(layers.Concatenate()([x, x, x]) if channels == 3 else x)  # [n, 1] or [n, 2]
    if output == "one logit":
        x = layers.Activation("sigmoid")(x)
    elif output == "two logits":
        x = layers.Softmax()(x)
    if OUTPUTS[output] == 1:
        score = x if positive else one_minus(x)
    elif _last_activation(network) == "sigmoid":  # two that need not sum to 1
        score = layers.Average()([column(x, positive), one_minus(column(x, 1 - positive))])
    else:
        score = column(x, positive)
    return library.Model(inputs, layers.Concatenate()([one_minus(score), score]), name="adapted")


def _input_of(network):
    """Height and channels of the pictures that a network takes; ExplainedError if it takes anything else."""
    shape, returned = network.input_shape, network.output_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[0] is not None or shape[3] not in (1, 3):
        raise ExplainedError(
            f"The model takes {shape}. It must take (None, height, width, 1 or 3): any number of pictures."
        )
    if returned not in ((None, 1), (None, 2)):
        raise ExplainedError(f"The model returns {returned}. Possible are (None, 1) and (None, 2).")
    height, width = (size or images.SIDE for size in shape[1:3])  # where it takes any size
    if height != width:
        raise ExplainedError(f"The model takes pictures of {height} x {width} pixels. Squares are needed.")
    return height, shape[3]


def run_of_file(path, ws, radiographs, pixels=AS_SAVED, output=AS_SAVED, positive=1):
    """A finished run made of a saved model: its scores of the validation images, threshold and card.

    path: a `.keras` or `.h5` file. The other settings are those of `wrap`. A run that was made of the same
    file with the same settings is used again. Returns the Run; raises ExplainedError, also where only the
    synthetic phantom is at hand.
    """
    if radiographs.synthetic:
        raise ExplainedError(
            "A saved model is scored on real radiographs only, and here is the synthetic phantom. Get the "
            "radiographs with notebook 01, or say as DATA where they lie."
        )
    path = Path(path).expanduser()
    theirs = saved_models.load(path)
    network = wrap(theirs, pixels, output, positive)
    pixels, output = settle(theirs, pixels, output)
    side = network.input_shape[1]
    print(
        f"{path.name} is used with PIXELS {pixels!r}, OUTPUT {output!r}, POSITIVE {positive}, on pictures of "
        f"{side} x {side} pixels."
    )
    settings = {"file": runs.file_digest(path), "pixels": pixels, "output": output}
    settings |= {"positive": positive, "side": side}
    for run in runs.own_runs(ws):
        card = run.card
        if card["finished"] and (card.get("adapted"), card["manifest"]) == (settings, radiographs.digest):
            return run
    validation = manifest.select(radiographs.table, "val")
    scores = predict.score_table(network, radiographs.pixels, validation)
    for sentence in evaluation.check(scores):
        print(sentence)
    if 0.3 <= (auc := metrics.measure(scores, 0.5).auc) < 0.7:
        print(f"The validation AUC is {auc:.2f}, near guessing. Are PIXELS and OUTPUT right?")
    remark = (
        f"A saved model from elsewhere, applied as it is: pixels {pixels}, output {output}, positive "
        f"{positive}. How it was trained is not known here. Whether test images influenced this model is not "
        "known; if they or the validation images did, its numbers and its threshold are too good."
    )
    if side > images.SIDE:
        remark += f" Its pictures are enlarged from {images.SIDE} x {images.SIDE} pixels."
    recipe = {"name": path.stem, "network": path.name, "side": side, "epochs": 0, "remark": remark}
    card = {"recipe": recipe, "adapted": settings, "preprocessing": cache.PREPROCESSING}
    card |= runs.describe_data(radiographs, val=validation) | runs.describe_machine("float32")
    card["counts"]["parameters"] = network.count_params()
    run = runs.create(ws, card)
    fit.finish(run, network, radiographs, validation)
    return run
