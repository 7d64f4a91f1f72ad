"""A saved model from elsewhere, made to fit: any `.keras` or `.h5` becomes a run like ours.

The saved network is put between layers of Keras' own: in front, what turns grey pixels of 0-255 into
what it expects; behind, what turns its output into P(normal), P(pneumonia). Nothing is guessed: the
settings say it, and what cannot be is said in words.
"""

from pathlib import Path

import numpy as np

from .. import backend, metrics, predict, runs, saved_models
from ..backend import keras
from ..data import cache, manifest
from ..saved_models import ModelError
from ..training import finish
from . import evaluation

layers = keras.layers
PIXELS = {"0-255": (1.0, 0.0), "0-1": (1 / 255, 0.0), "-1 to 1": (1 / 127.5, -1.0)}  # scale, offset
OUTPUTS = ("one probability", "one logit", "two probabilities", "two logits")


def adapt(network, pixels, output, positive=1, side=0):
    """A network that takes grey pictures of 0-255 and returns P(normal), P(pneumonia).

    pixels: a key of PIXELS, what the network was trained on. output: one of OUTPUTS. positive: which
    of two outputs means pneumonia, or what one output near 1 means (1 pneumonia, 0 normal). side: input
    height and width in pixels, for a network that takes any. Raises ModelError if that cannot fit.
    """
    if pixels not in PIXELS or output not in OUTPUTS or positive not in (0, 1):
        raise ModelError(
            f"Choose PIXELS from {', '.join(PIXELS)}; OUTPUT from {', '.join(OUTPUTS)}; POSITIVE 0 or 1."
        )
    if isinstance(network.input_shape, list) or len(network.input_shape) != 4:
        raise ModelError(f"The model wants {network.input_shape}, not one picture [height, width, channels].")
    _, height, width, channels = network.input_shape
    height, width = height or side, width or side
    if height != width or not height:
        raise ModelError(
            f"The model takes pictures of {height or 'any'} x {width or 'any'} pixels. Squares are needed; "
            "for a model that takes any size, add side=... to external.adopt, the size it was trained on."
        )
    wanted = 1 if output.startswith("one") else 2
    if channels not in (1, 3) or network.output_shape != (None, wanted):
        raise ModelError(
            f"The model takes {channels} channels and returns {network.output_shape}. Possible are 1 or 3 "
            f"channels, and, with OUTPUT = {output!r}, (None, {wanted})."
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
    if wanted == 1:
        other = layers.Rescaling(-1.0, 1.0, **precise)(x)
        x = layers.Concatenate(**precise)([other, x] if positive else [x, other])
    elif not positive:
        x = layers.Rescaling(-1.0, 1.0, **precise)(x)  # two probabilities that sum to 1 change places
    return keras.Model(inputs, x, name="adapted")


def adopt(path, ws, radiographs, pixels="0-255", output="two probabilities", positive=1, side=0):
    """Make a finished run of a saved model: its scores of the validation images, threshold and card.

    path: a `.keras` or `.h5` file. The other settings are those of `adapt`. A run that was made of the
    same file with the same settings is used again. Returns the Run; raises ModelError in words.
    """
    path = Path(path).expanduser()
    backend.prepare(0)
    network = adapt(saved_models.load(path), pixels, output, positive, side)
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
        f"{positive}. How it was trained is not known here; if validation or test images were among its "
        "training images, its numbers and its threshold are too good."
    )
    about = runs.describe_data(radiographs, val=validation)
    about["counts"]["parameters"] = network.count_params()
    card = about | {
        "recipe": recipe,
        "adapted": choices,
        "changed": {},
        "seed": "not known",
        "class_weights": None,
        "preprocessing": cache.PREPROCESSING,
        "kept": "the saved model as it is",
        "epochs_done": 0,
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
