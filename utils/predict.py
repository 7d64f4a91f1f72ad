"""Pictures in, scores out: P(pneumonia) in [0, 1].

Keras is imported only where a network is used, so that stored scores are evaluated without it.
"""

from functools import partial

import numpy as np

from . import runs, workspace
from .data import manifest
from .workspace import ExplainedError

PIXELS = 256 * 96 * 96  # in a batch; Keras keeps all that a network computes of a batch until its end


def load(run):
    """The network of a run. Raises ExplainedError if it is not there, or not the one that the run saved."""
    from . import saved_models

    run.check("model.keras")
    return saved_models.load(run.path / "model.keras")


def batches(network, pictures):
    """Pictures as a network takes them, a batch at a time.

    uint8 [n, 224, 224] -> float32 [batch, height, width, 1] in 0-255; fewer where they are larger.
    """
    from .resample import resize

    height, width = network.input_shape[1:3]
    size = max(1, PIXELS // (height * width))
    for first in range(0, len(pictures), size):
        yield resize(pictures[first : first + size], (height, width))


def score_pictures(network, pictures):
    """Scores of squashed pictures: uint8 [n, 224, 224] -> float32 [n]."""
    from .backend import on_tensorflow

    # JAX has to compile a network, or it computes operation by operation, which is many times slower.
    answer = partial(network, training=False) if on_tensorflow() else network.predict_on_batch
    scores = [np.empty(0, np.float32)]
    for inputs in batches(network, pictures):
        scores.append(np.asarray(answer(inputs), np.float32)[:, 1])  # [batch, 2] -> [batch]
    return np.concatenate(scores)


def score_table(network, pixels, table):
    """Scores of manifest rows, in the contract of `scores_*.csv`: path, patient, label, subtype, score.

    pixels: uint8 [rows, 224, 224], memory-mapped. table: its index is the row in `pixels`.
    """
    columns = ["path", "patient", "label", "subtype"] + ["positive"] * ("positive" in table)
    rows = np.split(table.index.to_numpy(), range(256, len(table), 256))  # so that memory stays flat
    scores = [score_pictures(network, pixels[some]) for some in workspace.progress(rows, "Scoring", 256)]
    return table[columns].reset_index(drop=True).assign(score=np.concatenate(scores))


def test_scores(run, radiographs=None):
    """The run's scores of the official test images: (scores, sentence saying where they are from).

    A finished run is scored once; stored scores are used again, without loading the network.
    Scores of an incomplete test set are returned but not kept. Raises ExplainedError rather than
    score a run on images of another manifest.
    """
    stored = run.scores("test")
    unfit = runs.faults(run, radiographs)
    if stored is not None:
        return stored, " ".join([f"Using the {len(stored):,} test scores stored with the run.", *unfit])
    if unfit:
        unfit = " ".join(unfit)
        raise ExplainedError(f"{unfit} It is not scored on them. Choose another run or other images.")
    test = manifest.select(radiographs.table, "test") if radiographs else ()
    if not len(test):
        raise ExplainedError(
            f"{run.name} has no stored test scores, and no test images are at hand. Run notebook 01."
        )
    scores = score_table(load(run), radiographs.pixels, test)
    listed = len(manifest.select(radiographs.listed, "test"))
    if len(test) < listed:
        return scores, f"Only {len(test):,} of {listed:,} test images are there: these scores are not kept."
    try:
        run.write_scores("test", scores)
    except OSError as error:
        return scores, f"Scored {len(test):,} test images; they are not kept: {run.path}, {error}."
    return run.scores("test"), f"Scored {len(test):,} test images, once; the scores are kept with the run."
