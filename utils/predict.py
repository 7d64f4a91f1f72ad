"""Pictures in, scores out: P(pneumonia) in [0, 1].

Keras is imported only where a network is used, so that stored scores are evaluated without it.
"""

import math

import numpy as np
from tqdm.auto import tqdm

from . import runs
from .data import manifest

BATCH = 256  # images in memory at a time, at most
MEMORY = 2e9  # bytes that what a network computes of a batch may take


def memory(network):
    """Bytes that everything a network computes of one picture takes; Keras keeps it to the end."""
    from .backend import keras
    from .model import parts

    side = network.input_shape[1]
    outputs = keras.tree.flatten([part.output for part in parts(network)])
    return 4 * sum(math.prod(size or side for size in output.shape[1:]) for output in outputs)


def batches(network, pictures):
    """Pictures as a network takes them, a batch at a time.

    uint8 [n, 224, 224] -> float32 [up to BATCH, side, side, 1] in 0-255, fewer where memory is short.
    """
    from .resample import resize

    size = max(1, min(BATCH, int(MEMORY / memory(network))))
    for first in range(0, len(pictures), size):
        yield resize(pictures[first : first + size], network.input_shape[1])


def score_pictures(network, pictures):
    """Scores of squashed pictures: uint8 [n, 224, 224] -> float32 [n]."""
    scores = [np.empty(0, np.float32)]
    for inputs in batches(network, pictures):
        scores.append(np.asarray(network(inputs, training=False), np.float32)[:, 1])
    return np.concatenate(scores)


def score_table(network, pixels, table):
    """Scores of manifest rows, in the contract of `scores_*.csv`: path, patient, label, subtype, score.

    pixels: uint8 [rows, 224, 224], memory-mapped. table: its index is the row in `pixels`.
    """
    shown = ["path", "patient", "label", "subtype"] + ["positive"] * ("positive" in table)
    rows = table.index.to_numpy()
    starts = tqdm(range(0, len(rows), BATCH), "Scoring", unit_scale=BATCH, unit=" images", delay=2)
    parts = [score_pictures(network, pixels[rows[at : at + BATCH]]) for at in starts]
    return table[shown].reset_index(drop=True).assign(score=np.concatenate(parts))


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
    from . import saved_models

    scores = score_table(saved_models.load(run.path / "model.keras"), radiographs.pixels, test)
    listed = len(manifest.select(radiographs.listed, "test"))
    if len(test) < listed:
        return scores, f"Only {len(test):,} of {listed:,} test images are there: these scores are not kept."
    try:
        run.write_scores("test", scores)
    except OSError as error:
        return scores, f"Scored {len(test):,} test images; they are not kept: {run.path}, {error}."
    return run.scores("test"), f"Scored {len(test):,} test images, once; the scores are kept with the run."
