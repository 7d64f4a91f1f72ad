"""What a network makes of a picture: feature maps, Grad-CAM, and the checks that such a map has to pass."""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from .. import metrics, model, predict, saved_models
from ..backend import keras
from ..data import images
from ..resample import resize

BLOCK = 16  # pixels; what is blanked at a time, for a single pixel shows nothing
SHARES = (0, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the picture blanked


def network_of(run):
    """The network of a run, or None, with a sentence, if there is nothing to look at."""
    path = run.path / "model.keras"
    network = saved_models.load(path) if path.exists() else None
    if network and _last_maps(network):
        return network
    why = "it has no convolution whose maps could be shown" if network else "its weights are not here"
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
    """What the blocks of a network make of a picture: {layer name: float [height, width, maps]}.

    picture: uint8 [224, 224]. Taken where blocks end, in front of the next convolution and after the last;
    of maps of the same size, the last. Empty, with a sentence, if the network has no such maps.
    """
    side, last = network.input_shape[1], _last_maps(network)
    made = {id(layer.output): layer for layer in network.layers if not isinstance(layer, keras.Model)}
    ends = [made.get(id(layer.input)) for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    ends = [layer for layer in [*ends, last] if layer in made.values()]
    ends = [layer for layer in ends if layer.output.shape[1] < side or layer is last]
    shown = {layer.output.shape[1]: layer for layer in ends}.values()
    if not shown:
        print(f"No feature maps: the network {network.name} has no convolution whose maps could be shown.")
        return {}
    taps = keras.Model(network.input, [layer.output for layer in shown])
    outputs = keras.tree.flatten(taps(resize(picture[None], side), training=False))
    return {layer.name: np.asarray(maps[0], np.float32) for layer, maps in zip(shown, outputs, strict=True)}


def grad_cam(network, pictures):
    """What speaks for the answer that the network gives: float32 [n, 224, 224] in 0-1 per picture.

    pictures: uint8 [n, 224, 224]. The maps that the last convolutional block ends in, each weighted by
    how much the log odds of the answer grow with it, summed, and cut off at 0 (Selvaraju et al. 2017).
    """
    batches = predict.batches(network, pictures)
    return np.concatenate([_heat(network, inputs) for inputs in batches])


def _heat(network, inputs):
    """The maps of one batch: float32 [n, side, side, 1] -> [n, 224, 224]."""
    import tensorflow as tf

    layer, maps = _last_maps(network), []
    with tf.GradientTape(watch_accessed_variables=False) as tape:  # from the maps on, not through all layers

        def record(*args, **kwargs):  # the layer may lie in a model inside, where Keras gives no access
            maps.append(type(layer).call(layer, *args, **kwargs))
            tape.watch(maps[-1])
            return maps[-1]

        layer.call = record
        try:
            output = network(inputs, training=False)
        finally:
            del layer.call
        odds = tf.math.log(output[:, 1] + 1e-9) - tf.math.log(output[:, 0] + 1e-9)
        answer = odds * tf.sign(odds)
    weights = tf.reduce_mean(tape.gradient(answer, maps[-1]), (1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * maps[-1], -1, keepdims=True))
    heat = tf.image.resize(heat, (images.SIDE, images.SIDE))[..., 0].numpy()
    return heat / np.maximum(heat.max((1, 2), keepdims=True), 1e-9)


def untrained(network, seed=0):
    """The same network with new random weights."""
    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(network)


def likeness(maps, others):
    """Rank correlation of two maps of each picture, float [n]; NaN where a map is empty."""
    small = [np.asarray(part)[:, ::BLOCK, ::BLOCK].reshape(len(part), -1) for part in (maps, others)]
    return np.array(
        [spearmanr(a, b)[0] if np.ptp(a) and np.ptp(b) else np.nan for a, b in zip(*small, strict=True)]
    )


def deletion(network, pictures, maps):
    """How the probability of the answer falls as parts are blanked (Petsiuk et al. 2018).

    Blocks are replaced by the mean of the picture: in the order of the map, or at random, as a
    yardstick. Returns columns share, by map, at random: means over the pictures.
    """
    rng = np.random.default_rng(0)
    side = images.SIDE // BLOCK
    blocks = maps.reshape(len(maps), side, BLOCK, side, BLOCK).mean((2, 4)).reshape(len(maps), -1)
    orders = {
        "by map": np.argsort(-blocks, axis=1),
        "at random": rng.permuted(np.indices(blocks.shape)[1], axis=1),
    }
    answer = metrics.called(predict.score_pictures(network, pictures), 0.5)
    rows = []
    for share in SHARES:
        row = {"share": share}
        for name, order in orders.items():
            blank = np.zeros(blocks.shape, bool)
            np.put_along_axis(blank, order[:, : round(share * blocks.shape[1])], True, axis=1)
            blank = blank.reshape(-1, side, side).repeat(BLOCK, 1).repeat(BLOCK, 2)
            mean = pictures.mean((1, 2), keepdims=True).astype(np.uint8)
            scores = predict.score_pictures(network, np.where(blank, mean, pictures))
            row[name] = np.where(answer, scores, 1 - scores).mean()
        rows.append(row)
    return pd.DataFrame(rows)
