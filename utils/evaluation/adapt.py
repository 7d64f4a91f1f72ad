"""A saved model from elsewhere becomes a run like ours, whatever pixels it takes and whatever it returns.

How it was trained need not be known: every usual preparation of the pixels, and every class as the normal
one, is tried on validation images, and the lowest log loss tells (`readings`). What the user says is used,
with a warning where something else fits better. Layers around the saved network then turn grey pixels of
0-255 into what it expects, and its output into P(normal), P(pneumonia): the run needs nothing else.
"""

import itertools

import numpy as np
import pandas as pd

from .. import metrics, model, predict, runs, saved_models
from ..backend import keras
from ..data import cache, images, manifest
from ..training import fit
from ..workspace import ExplainedError, progress

AUTOMATIC = "automatic"
PIXELS = {  # what networks are trained on: scale and offset, of all channels or of each, from grey 0-255
    "0-255": [(1.0, 0.0)],
    "0-1": [(1 / 255, 0.0)],
    "-1 to 1": [(1 / 127.5, -1.0)],
    "caffe": [(1.0, -103.939), (1.0, -116.779), (1.0, -123.68)],  # preprocess_input of VGG and ResNet
    "torch": [(1 / 58.395, -0.485 / 0.229), (1 / 57.12, -0.456 / 0.224), (1 / 57.375, -0.406 / 0.225)],
    "standardised": [(1.0, 0.0)],  # after each picture got mean 0 and standard deviation 1
}
RESIZE = ("antialiased", "nearest", "bilinear")  # ours; and Keras' own two, when it reads a folder
RANGES = {"0-255": (0, 255), "0-1": (0, 1), "-1 to 1": (-1, 1)}
MOST = 100  # validation images of a class on which readings are tried
SAME = 0.01  # mean difference of scores up to which two readings are one
GUESSING, POOR = 0.7, 0.45  # AUC below, log loss above which a model is of no use, or not understood


def run_of_file(path, ws, radiographs, pixels=AUTOMATIC, normal=AUTOMATIC, resize="antialiased"):
    """A run made of a saved model: its scores of the validation images, threshold and card.

    path: see `saved_models.find`. pixels, normal: see `readings`. resize: one of RESIZE. What was understood
    is printed. A run that was made of the same file with the same settings is used again. Raises
    ExplainedError where the model is not understood, also where only the synthetic phantom is at hand.
    """
    if radiographs.synthetic:
        raise ExplainedError(
            "A saved model is scored on real radiographs only, and here is the synthetic phantom. Get the "
            "radiographs with notebook 01, or say as DATA where they lie."
        )
    path = saved_models.find(path)
    asked = {"file": runs.file_digest(path), "asked": [pixels, str(normal), resize]}
    for run in runs.own_runs(ws):
        card = run.card
        same = asked.items() <= card.get("adapted", {}).items() and card["manifest"] == radiographs.digest
        if card["finished"] and same:
            table = pd.read_csv(run.path / "readings.csv", keep_default_na=False)
            print(f"How {path.name} was read before:\n{_shown(table)}")
            return run
    theirs = plain(saved_models.load(path))
    table = readings(theirs, radiographs, pixels, normal, resize)
    print(f"How {path.name} may be read, by validation images:\n{_shown(table)}")
    used, doubt = _settle(table, pixels, normal)
    network = wrap(theirs, used.PIXELS, used.NORMAL, used.OUTPUT, resize)
    height, width, _ = size_of(theirs)
    settings = {"pixels": used.PIXELS, "normal": int(used.NORMAL), "output": used.OUTPUT}
    settings |= asked | {"size": f"{height} x {width}"}
    remark = (
        f"A saved model from elsewhere, applied as it is: pixels {used.PIXELS}, normal class {used.NORMAL}, "
        f"output {used.OUTPUT}, decided by {used.says}. How it was trained is not known here; "
        f"of preparations only the usual ones were tried: {', '.join(dict.fromkeys(table.PIXELS))}. "
        "Whether test images influenced this model is not known; if they or the validation images did, its "
        "numbers and its threshold are too good."
    )
    if (height, width) != (images.SIDE, images.SIDE):
        remark += f" Its pictures are resized ({resize}) from copies of {images.SIDE} x {images.SIDE} pixels."
    if doubt:
        remark += f" It is in doubt: {doubt}"
    validation = manifest.select(radiographs.table, "val")
    recipe = {"name": f"elsewhere_{path.stem}", "network": path.name, "side": height, "epochs": 0}
    recipe["remark"] = remark
    card = {"recipe": recipe, "adapted": settings, "preprocessing": cache.PREPROCESSING}
    card |= runs.describe_data(radiographs, val=validation) | runs.describe_machine("float32")
    card["counts"]["parameters"] = network.count_params()
    run = runs.create(ws, card | ({"doubt": doubt} if doubt else {}))
    table.to_csv(run.path / "readings.csv", index=False)
    fit.finish(run, network, radiographs, validation)
    return run


def readings(network, radiographs, pixels=AUTOMATIC, normal=AUTOMATIC, resize="antialiased"):
    """What a network may expect and mean, tried on validation images: one row a reading.

    pixels, normal: what the user says: a key of PIXELS; the number of the normal class, 0 for the first (a
    single output is that of class 1); or AUTOMATIC. Columns: PIXELS, NORMAL, OUTPUT (probabilities; logits
    where any is outside 0-1), log loss, AUC, says (who speaks for it: you, the file, the log loss), used
    (bool; no row where nothing decides). The log loss speaks for its lowest, and for what gives the same
    answers or differs, by patients, by less than two standard errors. About 200 images are taken; where they
    do not tell, all, for what is left. Raises ExplainedError for what cannot be.
    """
    channels = size_of(network)[2]
    names = [name for name, scales in PIXELS.items() if len(scales) in (1, channels)]
    if pixels not in (AUTOMATIC, *names) or resize not in RESIZE:
        raise ExplainedError(
            f"PIXELS is {pixels!r} and RESIZE {resize!r}. For this model, which takes {channels} channels, "
            f"PIXELS may be {AUTOMATIC}, {', '.join(names)}; RESIZE {', '.join(RESIZE)}."
        )
    validation = manifest.select(radiographs.table, "val")
    for part in (manifest.few_patients(validation, MOST), validation):
        outputs = _outputs(network, radiographs.pixels[part.index], names, resize)
        table = _weighed(network, outputs, part, pixels, normal)
        if table.used.any():
            break
        names = [*dict.fromkeys(table.PIXELS[table.open])]
    return table.drop(columns="open")


def _weighed(network, outputs, part, pixels, normal):
    """The table of `readings` of what a network returned; open: bool, what is not clearly worse, or said."""
    ill, patients = manifest.positives(part) == 1, part.patient.to_numpy()
    values = np.stack(list(outputs.values()))  # [preparations, n, classes]
    output = "logits" if values.min() < -0.001 or values.max() > 1.001 else "probabilities"
    numbers = range(max(2, values.shape[2]))
    rows, scores = [], []
    for name, number in itertools.product(outputs, numbers):
        scores.append(np.asarray(_answer(outputs[name], number, output, network), float)[:, 1].clip(0, 1))
        auc = metrics.measure(part.assign(score=scores[-1]), 0.5).auc
        rows.append({"PIXELS": name, "NORMAL": number, "OUTPUT": output, "AUC": auc})
    table, scores = pd.DataFrame(rows), np.stack(scores)  # float [rows, n]
    if np.ptp(scores, axis=1).max() < 1e-6:
        raise ExplainedError(
            "The model gives every picture the same answer. (A softmax over a single output does: it is "
            "always 1. Such a network needs a sigmoid, and a new training.)"
        )
    losses = -np.log(np.where(ill, scores, 1 - scores).clip(1e-6))
    table.insert(3, "log loss", losses.mean(1))

    def fits(rows):
        """Which of some rows, bool [all rows], fit as well as the best of them."""
        best = table["log loss"].where(rows).idxmin()
        worse = pd.DataFrame((losses - losses[best]).T).groupby(patients).mean()  # [patients, all rows]
        same = abs(scores - scores[best]).mean(1) < SAME
        return rows & (same | ~(worse.mean() > 2 * worse.sem()))

    yours = table.PIXELS.isin(list(outputs) if pixels == AUTOMATIC else [pixels])
    yours &= table.NORMAL.astype(str).isin(map(str, numbers) if normal == AUTOMATIC else [str(normal)])
    if not yours.any():
        raise ExplainedError(f"NORMAL is {normal!r}. Choose {AUTOMATIC!r}, or a class of 0 to {numbers[-1]}.")
    file, left, best = table.PIXELS.isin([pixels_of(network)]), fits(yours), fits(table.NORMAL >= 0)
    left = left & file if (left & file).any() else left
    voices = {"the log loss": best, "the file": file, "you": yours & ~yours.all()}
    table["says"] = [", ".join(name for name in voices if voices[name][row]) for row in table.index]
    first = left.idxmax()
    settled = (abs(scores[left] - scores[first]).mean(1) < SAME).all()
    return table.assign(open=left | best, used=settled & (table.index == first))


def _outputs(network, pictures, names, resize):
    """What a network returns of uint8 [n, 224, 224]: {key of PIXELS: float [n, classes]}, numbers only."""
    outputs = {}
    for name in progress(names, "Trying preparations of the pixels"):
        framed = _framed(network, name, resize)
        batches = [np.asarray(framed(x, training=False)) for x in predict.batches(framed, pictures)]
        if np.isfinite(values := np.concatenate(batches)).all():
            outputs[name] = values
    if not outputs:
        raise ExplainedError("The model returns values that are not numbers: its weights are damaged.")
    return outputs


def _settle(table, pixels, normal):
    """The row of `readings` to use, and what speaks against it; ExplainedError if the user has to say."""
    asked = ["PIXELS"] * (pixels == AUTOMATIC) + ["NORMAL"] * (normal == AUTOMATIC)
    ask = f"Set {' and '.join(asked)} to what its training had; it is then evaluated as you say."
    best = table.loc[table["log loss"].idxmin()]
    if not table.used.any():
        lowest = f"The lowest log loss has PIXELS {best.PIXELS!r} with NORMAL {best.NORMAL}."
        raise ExplainedError(f"How this model is to be read is not clear. {lowest} {ask}")
    used, doubt = table[table.used].iloc[0], ""
    if "the log loss" not in used.says:
        doubt = f"PIXELS {best.PIXELS!r} with NORMAL {best.NORMAL} fits the validation images clearly better."
    elif used.AUC < GUESSING or used["log loss"] > POOR:
        doubt = f"It fits badly: AUC {used.AUC:.2f}, log loss {used['log loss']:.2f} (guessing: 0.50, 0.69)."
    if doubt and len(asked) == 2:
        raise ExplainedError(f"No reading of this model was found. {doubt} {ask}")
    print(f"Used: PIXELS {used.PIXELS!r}, NORMAL {used.NORMAL}, decided by {used.says}. {doubt}".strip())
    return used, doubt


def _shown(table):
    """The table of readings as text: of each preparation the better order of classes, the best first."""
    table = table.sort_values("log loss", kind="stable")
    table = table[~table.PIXELS.duplicated() | table.used]
    return table.assign(used=np.where(table.used, "<-", "")).to_string(index=False, float_format="%.3f")


def wrap(network, pixels, normal, output, resize="antialiased"):
    """The network that scores as this one does, but takes and returns what ours take and return.

    It goes from float32 [n, height, width, 1] in 0-255 to [n, 2]; the other settings are a row of `readings`.
    """
    framed = _framed(network, pixels, resize)
    answer = _answer(framed.output, normal, output, network)
    return saved_models.library_of(network).Model(framed.input, answer, name="adapted")


def _framed(network, pixels, resize):
    """The network behind layers that prepare its pixels: float32 [n, height, width, 1] -> what it returns."""
    keras.config.set_dtype_policy("float32")  # a training before this may have set another
    library = saved_models.library_of(network)
    layers, (height, width, channels) = library.layers, size_of(network)
    given = (height, width) if resize == "antialiased" else (images.SIDE, images.SIDE)  # see predict.batches
    inputs = x = library.Input((*given, 1), name="radiograph")
    if given != (height, width):
        x = layers.Resizing(height, width, interpolation=resize)(x)
    if pixels == "standardised":
        x = layers.LayerNormalization(axis=[1, 2, 3], center=False, scale=False)(x)
    parts = [layers.Rescaling(*scale)(x) for scale in PIXELS[pixels]]
    parts = parts * channels if len(parts) == 1 else parts
    return library.Model(inputs, network(layers.Concatenate()(parts) if channels > 1 else parts[0]))


def _answer(x, normal, output, network):
    """What a network returns, [n, classes] -> [n, 2]: P(normal), P(pneumonia), which is all other classes."""
    layers, classes = saved_models.library_of(network).layers, x.shape[1]

    def one_minus(x):
        return layers.Rescaling(-1.0, 1.0)(x)

    def column(number):
        others = number, x.shape[1] - 1 - number
        return layers.Flatten()(layers.Cropping1D(others)(layers.Reshape((-1, 1))(x)))

    if output == "logits":
        x = layers.Activation("sigmoid" if classes == 1 else "softmax")(x)
    if classes == 1:
        x = layers.Concatenate()([one_minus(x), x])
    score = one_minus(column(normal))
    if classes <= 2:  # two that need not sum to 1
        score = layers.Average()([score, column(1 - normal)])
    return layers.Concatenate()([one_minus(score), score])


def pixels_of(network):
    """The key of PIXELS that the first Rescaling layer speaks for; None without one."""
    for part in model.parts(network):
        if type(part).__name__ == "Rescaling" and np.ndim(part.scale) == np.ndim(part.offset) == 0:
            made = {name: np.multiply(ends, part.scale) + part.offset for name, ends in RANGES.items()}
            usual = np.array(list(RANGES.values()))
            told = [name for name in made if np.isclose(made[name], usual, 0, 0.02).all(1).any()]
            return told[0] if len(told) == 1 else None
    return None


def size_of(network):
    """Height, width, channels of the pictures that a network takes; ExplainedError if it takes others."""
    shape, returned = network.input_shape, network.output_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] not in (1, 3):
        raise ExplainedError(f"The model takes {shape}. It must take pictures: (height, width, 1 or 3).")
    if not isinstance(returned, tuple) or len(returned) != 2 or returned[1] not in (1, 2, 3, 4):
        raise ExplainedError(f"The model returns {returned}. It must return 1 to 4 numbers for a picture.")
    return shape[1] or images.SIDE, shape[2] or images.SIDE, shape[3]  # where it takes any size


def plain(network):
    """The network for any number of pictures at once, and with its one output not in a dictionary."""
    library = saved_models.library_of(network)
    if isinstance(getattr(network, "output", None), dict) and len(network.outputs) == 1:
        network = library.Model(network.inputs[0], network.outputs[0])
    if not isinstance(network.input_shape, tuple) or network.input_shape[0] is None:
        return network
    copy = library.models.clone_model(network, library.Input(network.input_shape[1:]))
    copy.set_weights(network.get_weights())
    return copy
