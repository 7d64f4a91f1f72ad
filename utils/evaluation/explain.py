"""What a network makes of a picture: feature maps, Grad-CAM, and the checks that such a map has to pass."""

import itertools

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from .. import metrics, model, predict, saved_models
from ..backend import keras, on_tensorflow
from ..data import images
from ..resample import resize

ops = keras.ops
BLOCK = 16  # pixels; what is blanked at a time, for a single pixel shows nothing
SHARES = (0, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the picture blanked


def network_of(run):
    """The network of a run; None, with a sentence, if it has no maps, or its weights are lost or damaged."""
    network = predict.load(run) if run.has("model.keras") else None
    if network and _last_maps(network):
        return network
    why = "it has no convolution whose maps could be shown" if network else "its weights are lost or damaged"
    print(f"No maps for {run.name}: {why}.")
    return None


def _last_maps(network):
    """The last layer of a network, or of a model inside it, that gives maps; None without convolutions."""
    maps = [
        part
        for part in model.parts(network)
        if len(part.output.shape) == 4 and part.output.shape[1] != 1  # not what is averaged already
    ]
    return maps[-1] if any("Conv" in type(part).__name__ for part in maps) else None


def feature_maps(network, picture):
    """What the blocks of a network make of a picture: {layer name: float32 [height, width, maps]}.

    picture: uint8 [224, 224]. A block ends in front of the next convolution, or with the last maps; of blocks
    whose maps have the same size, the last is taken. Empty, with a sentence, if the network has no such maps.
    """
    side, last = network.input_shape[1], _last_maps(network)
    pairs = itertools.pairwise(network.layers)
    ends = [before for before, layer in pairs if isinstance(layer, keras.layers.Conv2D)]
    ends = [layer for layer in ends if len(layer.output.shape) == 4 and layer.output.shape[1] < side]
    ends += [last] if last in network.layers else []
    blocks = {layer.output.shape[1]: layer for layer in ends}.values()
    if not blocks:
        print(f"No feature maps: the network {network.name} has no convolution whose maps could be shown.")
        return {}
    taps = keras.Model(network.input, {layer.name: layer.output for layer in blocks})
    outputs = taps(resize(picture[None], side), training=False)  # {layer name: [1, height, width, maps]}
    return {layer.name: np.asarray(outputs[layer.name][0], np.float32) for layer in blocks}


def grad_cam(network, pictures, threshold=0.5):
    """What speaks for the answer that the network gives: heat maps, float32 [n, 224, 224] in 0-1.

    pictures: uint8 [n, 224, 224]. threshold: pneumonia is the answer where its score reaches it. The maps of
    the last convolutional block, each weighted by how much the log odds of the answer grow with it, are
    summed and cut off at 0 (Selvaraju et al. 2017); a heat map is divided by its largest value.
    """
    front, back = _split(network, _last_maps(network))
    batches = predict.batches(network, pictures)
    return np.concatenate([_heat_maps(front, back, inputs, threshold) for inputs in batches])


def _split(network, layer):
    """A network cut behind one of its layers: the parts that lead there, and those that lead on.

    Two lists of models or layers, each to be called with what the one before it returned. Where the layer
    lies in a model inside the network, that model is cut, too.
    """
    library = saved_models.library_of(network)
    parts = list(getattr(network, "operations", network.layers))
    at = next(at for at, part in enumerate(parts) if layer in model.parts(part))
    front, back = ([layer], []) if parts[at] is layer else _split(parts[at], layer)
    if isinstance(network, library.Sequential):  # each part takes what the one before it returns
        return [*parts[:at], *front], [*back, *parts[at + 1 :]]
    if layer is parts[-1]:
        return [network], []
    if layer is parts[at]:
        return [library.Model(network.input, layer.output)], [library.Model(layer.output, network.output)]
    # A model inside keeps the tensors of its own first call, so that no cut can be made at its ends here.
    # Models that follow each other directly are called one by one; the cuts are made around their row.
    row_start, row_end = at, at + 1
    while hasattr(parts[row_start - 1], "layers"):
        row_start -= 1
    while parts[row_end:] and hasattr(parts[row_end], "layers"):
        row_end += 1
    before = [library.Model(network.input, parts[row_start - 1].output), *parts[row_start:at]]
    behind = [library.Model(parts[row_end].input, network.output)] if parts[row_end:] else []
    return before + front, back + parts[at + 1 : row_end] + behind


def _heat_maps(front, back, inputs, threshold):
    """The heat maps of one batch: float32 [n, side, side, 1] -> [n, 224, 224]."""

    def answer_of(maps):
        """How much speaks for the answers: the sum of their log odds, one number."""
        for part in back:
            maps = part(maps, training=False)
        odds = ops.log(maps[:, 1] + 1e-9) - ops.log(maps[:, 0] + 1e-9)  # [n]
        return ops.sum(ops.where(maps[:, 1] >= threshold, odds, -odds))  # as metrics.called, for tensors

    maps = inputs
    for part in front:
        maps = part(maps, training=False)  # [n, height, width, maps]
    weights = ops.mean(_gradient(answer_of, maps), (1, 2), keepdims=True)  # [n, 1, 1, maps]
    heat = ops.relu(ops.sum(weights * maps, -1, keepdims=True))  # [n, height, width, 1]
    heat = np.asarray(ops.image.resize(heat, (images.SIDE, images.SIDE)))[..., 0]
    return heat / np.maximum(heat.max((1, 2), keepdims=True), 1e-9)


def _gradient(function, values):
    """How much a function of a tensor, which returns one number, grows with each of the tensor's values."""
    if not on_tensorflow():
        import jax

        return jax.grad(function)(values)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(values)
        result = function(values)
    return tape.gradient(result, values)


def untrained(network, seed=0):
    """The same network with new random weights."""
    keras.utils.set_random_seed(seed)
    return saved_models.library_of(network).models.clone_model(network)


def likeness(maps, others):
    """Rank correlation of two heat maps of each picture, float [n]; NaN where one is empty."""
    pairs = zip(maps[:, ::BLOCK, ::BLOCK], others[:, ::BLOCK, ::BLOCK], strict=True)
    return np.array([spearmanr(a, b, axis=None)[0] if np.ptp(a) and np.ptp(b) else np.nan for a, b in pairs])


def deletion(network, pictures, maps):
    """How the probability of the answer falls as parts are blanked (Petsiuk et al. 2018).

    pictures: uint8 [n, 224, 224]. maps: heat maps, float [n, 224, 224]. Blocks are replaced by the mean of
    the picture: in the order of the map, or at random, as a yardstick. Returns columns share, by map, at
    random: means over the pictures.
    """
    side = images.SIDE // BLOCK  # 14 blocks along each edge
    blocks = maps.reshape(-1, side, BLOCK, side, BLOCK).mean((2, 4)).reshape(-1, side**2)  # [n, 196]
    orders = {
        "by map": np.argsort(-blocks, axis=1),
        "at random": np.random.default_rng(0).permuted(np.indices(blocks.shape)[1], axis=1),
    }
    ill = metrics.called(predict.score_pictures(network, pictures), 0.5)
    mean = pictures.mean((1, 2), keepdims=True).astype(np.uint8)
    rows = []
    for share in SHARES:
        row = {"share": share}
        for name, order in orders.items():
            blank = np.zeros(blocks.shape, bool)
            np.put_along_axis(blank, order[:, : round(share * side**2)], True, axis=1)
            blank = blank.reshape(-1, side, side).repeat(BLOCK, 1).repeat(BLOCK, 2)  # [n, 224, 224]
            scores = predict.score_pictures(network, np.where(blank, mean, pictures))
            row[name] = np.where(ill, scores, 1 - scores).mean()
        rows.append(row)
    return pd.DataFrame(rows)
