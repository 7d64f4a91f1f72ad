"""Pictures -> scores: P(pneumonia) in [0, 1].

Keras is imported only where a network is used, so that stored scores are evaluated without it.
"""

import numpy as np

from . import manifest, runs

BATCH = 256  # images in memory at a time


def score_pictures(network, pictures):
    """Scores of squashed pictures: uint8 [n, 224, 224] -> float32 [n]."""
    from .augment import Augment

    resize = Augment(network.input_shape[1])
    parts = [
        np.asarray(network(resize(pictures[first : first + BATCH]), training=False), np.float32)[:, 1]
        for first in range(0, len(pictures), BATCH)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def score_table(network, pixels, table):
    """Scores of manifest rows, in the contract of `scores_*.csv`: path, patient, label, subtype, score.

    pixels: uint8 [rows, 224, 224], memory-mapped. table: its index is the row in `pixels`.
    """
    shown = ["path", "patient", "label", "subtype"] + ["positive"] * ("positive" in table)
    scores = table[shown].reset_index(drop=True)
    rows = table.index.to_numpy()
    parts = [score_pictures(network, pixels[rows[at : at + BATCH]]) for at in range(0, len(rows), BATCH)]
    return scores.assign(score=np.concatenate(parts))


def test_scores(run, radiographs=None):
    """The run's scores of the official test images: (scores, sentence saying where they are from).

    A finished run is scored once; stored scores are used again, without loading the network.
    Scores of an incomplete test set are returned but not kept. Raises runs.RunError rather than
    score a run on images of another manifest.
    """
    stored = run.scores("test")
    unfit = runs.faults(run, radiographs)
    if stored is not None:
        return stored, " ".join([f"Using the {len(stored):,} test scores stored with the run.", *unfit])
    if unfit:
        raise runs.RunError(
            " ".join([*unfit, "It is not scored on them. Choose another run or other images."])
        )
    test = manifest.select(radiographs.table, "test") if radiographs else ()
    if not len(test):
        raise runs.RunError(
            f"{run.name} has no stored test scores, and no test images are at hand. Run notebook 01."
        )
    from . import model

    scores = score_table(model.load(run.path / "model.keras"), radiographs.pixels, test)
    listed = len(manifest.select(radiographs.listed, "test"))
    if len(test) < listed:
        return (
            scores,
            f"Only {len(test):,} of {listed:,} test images are there, so these scores are not kept.",
        )
    run.write_scores("test", scores)
    return run.scores("test"), f"Scored {len(test):,} test images, once; the scores are kept with the run."


def feature_maps(network, picture):
    """What the blocks of a network make of one picture: {layer name: float [height, width, maps]}.

    picture: uint8 [224, 224]. Taken at the end of each block.
    """
    from .augment import Augment
    from .quiet import keras

    ends = ("pool",) if network.name == "published" else ("stem_relu", "relu")
    shown = [layer for layer in network.layers if layer.name.startswith(ends)]
    taps = keras.Model(network.input, [layer.output for layer in shown])
    outputs = taps(Augment(network.input_shape[1])(picture[None]), training=False)
    return {
        layer.name: np.asarray(output[0], np.float32) for layer, output in zip(shown, outputs, strict=True)
    }
