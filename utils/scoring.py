"""Pictures -> scores: P(pneumonia) in [0, 1]."""

import numpy as np

from .augment import Augment


def score_pictures(network, pictures, batch_size=256):
    """Scores of squashed pictures: uint8 [n, 224, 224] -> float32 [n].

    pictures may be memory-mapped: only one batch is in memory at a time.
    """
    resize = Augment(network.input_shape[1])
    scores = [
        np.asarray(network(resize(np.asarray(pictures[first : first + batch_size])), training=False))[:, 1]
        for first in range(0, len(pictures), batch_size)
    ]
    return np.concatenate(scores) if scores else np.empty(0, np.float32)


def score_table(network, pixels, table):
    """Scores of manifest rows, in the contract of `scores_*.csv`: path, patient, label, subtype, score.

    pixels: uint8 [rows, 224, 224]; table: manifest rows whose index is the row in `pixels`.
    """
    scores = table[["path", "patient", "label", "subtype"]].copy()
    rows = table.index.to_numpy()
    parts = [score_pictures(network, pixels[rows[first : first + 256]]) for first in range(0, len(rows), 256)]
    scores["score"] = np.concatenate(parts)
    return scores.reset_index(drop=True)
