"""Is this picture like the radiographs that a run was trained on?

A network answers any picture, a photograph or a black one, too. The gate knows how training radiographs look:
the main patterns of their thumbnails (principal components), their brightness, contrast and sharpness, and on
which side the heart lies. A picture outside what nearly all of them show is called unlike, with a reason. The
gate knows nothing about illness and does not use the network.
"""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from .. import workspace
from ..workspace import ExplainedError
from . import images

FILE = "gate.npz"
THUMBNAIL = 16  # pixels a side
PATTERNS = 16  # principal components
TONES = ["across", "down", "fine", "2 %", "25 %", "50 %", "75 %", "98 %", "contrast", "black", "white"]
# The limit of each of the five measures is this quantile over training radiographs that `fit` has not seen.
QUANTILES = (0.999, 0.999, 0.999, 0.999, 0.992)
FEWEST = 30  # images in each half; with fewer there is no gate
BATCH = 16  # pictures at a time, as many as a processor's cache holds
UNLIKE = "light and dark lie unlike those of the training radiographs"
UNLIKE_IN_TONE = "its brightness, contrast or sharpness is unlike that of the training radiographs"


def mistakes(pictures):
    """Pictures as they may arrive by mistake: {what happened: (uint8 [n, 224, 224], what to say)}."""
    return {
        "inverted": (255 - pictures, "it looks inverted: bones should be bright"),
        "turned by 90 degrees": (np.rot90(pictures, 1, (1, 2)), "it looks turned by 90 degrees"),
        "turned by 270 degrees": (np.rot90(pictures, 3, (1, 2)), "it looks turned by 90 degrees"),
        "turned by 180 degrees": (np.rot90(pictures, 2, (1, 2)), "it seems to stand on its head"),
        "mirrored": (pictures[:, :, ::-1], "it looks mirrored, left and right exchanged"),
    }


@dataclass(frozen=True)
class Gate:
    """What training radiographs look like, as `describe` sees them; a few kilobytes, kept with the run."""

    mean: np.ndarray  # float [256], of the thumbnails
    patterns: np.ndarray  # float [16, 256]
    spread: np.ndarray  # float [16], deviation of each pattern's weight
    rest: np.ndarray  # float, what the patterns leave over, typically
    tone_mean: np.ndarray  # float [11]
    tone_inverse: np.ndarray  # float [11, 11], inverse of the tones' covariance
    mirror: np.ndarray  # float [256], log odds of each pixel of a thumbnail that it is not mirrored
    limits: np.ndarray  # float [5], see `measures`

    def measures(self, pixels, rows=None):
        """How far pictures are from training radiographs: uint8 [n, 224, 224] -> float [n, 5].

        Columns: distance in the main patterns and in tone (Mahalanobis, per dimension), what the patterns
        leave over, that relative to the picture on its head, log odds of being mirrored.
        """
        thumbnails, tones = describe(pixels, rows)
        weights, rest = project(thumbnails, self.mean, self.patterns)
        # The pixels of a thumbnail stand in one row; in reverse order they are the picture on its head.
        _, rest_turned = project(thumbnails[:, ::-1], self.mean, self.patterns)
        near = np.sqrt(((weights / self.spread) ** 2).mean(1))
        off = tones - self.tone_mean
        tone = np.sqrt(np.einsum("ij,jk,ik->i", off, self.tone_inverse, off).clip(0) / off.shape[1])
        mirrored = -thumbnails @ self.mirror
        return np.stack([near, tone, rest / self.rest, rest / rest_turned, mirrored], axis=1)

    def unlike(self, pictures):
        """Whether pictures are unlike training radiographs: uint8 [n, 224, 224] -> bool [n]."""
        return (self.measures(pictures) > self.limits).any(1)

    def reasons(self, pictures):
        """Why pictures are unlike training radiographs, one text each; empty for those that are like them."""
        over = self.measures(pictures) > self.limits
        reasons = np.where(over.any(1), UNLIKE, "").astype(object)
        reasons[over[:, 1] & (over.sum(1) == 1)] = UNLIKE_IN_TONE
        unlike = np.flatnonzero(over.any(1))
        tried = mistakes(pictures[unlike]).values() if len(unlike) else ()
        # Where such a change makes the picture like the others, its reverse has happened to it. Backwards, so
        # that of several hints the first stays.
        for changed, hint in reversed(tried):
            reasons[unlike[~self.unlike(changed)]] = hint
        return list(reasons)

    def save(self, run):
        """Keep the gate in the folder of a run."""
        with workspace.whole(run.path / FILE) as partial:
            np.savez(partial, **vars(self))


def load(run):
    """The gate of a run, or None if it has none. Raises ExplainedError if it was lost or is damaged."""
    path = run.path / FILE
    if not path.exists() and "gate" not in run.card:
        return None
    try:
        with np.load(path) as stored:  # without pickle: nothing in the file is executed
            parts = dict(stored)
    except Exception as error:  # zip archives have many ways to be damaged
        raise ExplainedError(
            f"{path} is missing or damaged ({error}). Copy the run folder again, or choose another run."
        ) from None
    if "mirror" not in parts:  # runs before version 0.2.0
        parts |= {"mirror": np.zeros(THUMBNAIL**2), "limits": np.append(parts["limits"], np.inf)}
    return Gate(**parts)


def fit(pixels, training):
    """The gate for the images of a training, or None if they are too few.

    pixels: uint8 [rows, 224, 224]. training: manifest rows. The patterns come from the patients of
    every second fold, the limits from the others.
    """
    odd = training.fold % 2 == 1
    fitted, others = training.index[odd].to_numpy(), training.index[~odd].to_numpy()
    if min(len(fitted), len(others)) < FEWEST:
        return None
    thumbnails, tones = describe(pixels, fitted)
    mean = thumbnails.mean(0)
    patterns = np.linalg.svd(thumbnails - mean, full_matrices=False)[2][:PATTERNS].astype(np.float16)
    weights, rest = project(thumbnails, mean, patterns)
    covariance = np.cov(tones.T) + 1e-4 * np.eye(len(TONES))
    gate = Gate(
        mean=mean,
        patterns=patterns,
        spread=weights.std(0),
        rest=np.sqrt((rest**2).mean()),
        tone_mean=tones.mean(0),
        tone_inverse=np.linalg.inv(covariance),
        mirror=_mirror(thumbnails).astype(np.float16),
        limits=np.full(len(QUANTILES), np.inf),
    )
    measured = gate.measures(pixels, others)
    limits = [np.quantile(values, share) for values, share in zip(measured.T, QUANTILES, strict=True)]
    return replace(gate, limits=np.array(limits))


def _mirror(thumbnails):
    """Weights that tell thumbnails [n, 256] from mirrored ones: float [256], by logistic regression."""
    mirrored = thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :, ::-1].reshape(thumbnails.shape)
    model = LogisticRegression(C=0.2, fit_intercept=False, max_iter=2000)
    model.fit(np.concatenate([thumbnails, mirrored]), np.repeat([1, 0], len(thumbnails)))
    return model.coef_[0]


def rates(gate, pictures):
    """Share called unlike of radiographs (false alarms), and of the same after each of the `mistakes`.

    pictures: uint8 [n, 224, 224], radiographs that `fit` has not seen.
    """
    tried = {"radiographs": pictures} | {name: changed for name, (changed, _) in mistakes(pictures).items()}
    return {name: round(float(gate.unlike(some).mean()), 4) for name, some in tried.items()}


def project(thumbnails, mean, patterns):
    """Weights of the patterns in thumbnails, and what they leave over (root mean square): [n, 16], [n]."""
    off = thumbnails - mean
    weights = off @ patterns.T
    return weights, np.sqrt(((off - weights @ patterns) ** 2).mean(1))


def describe(pixels, rows=None):
    """Thumbnails standardised to mean 0 and deviation 1, and tones: float [n, 256], float [n, 11].

    pixels: uint8 [any, 224, 224], read a few at a time, so that packed files of any size need little memory.
    rows: which of them; all if None. The columns of tones are TONES: mean grey-level difference from left to
    right, from top to bottom, to the neighbours (logarithms); five quantiles, in units of 64 greys; deviation
    of a thumbnail's greys (logarithm); shares of black and of white (square roots).
    """
    rows = np.arange(len(pixels)) if rows is None else rows
    batches = np.split(rows, range(BATCH, len(rows), BATCH))
    if len(rows) > 1000:
        batches = workspace.progress(batches, "Measuring radiographs", BATCH)
    thumbnails, tones = zip(*(_describe(pixels[batch]) for batch in batches), strict=True)
    return np.concatenate(thumbnails), np.concatenate(tones)


def _describe(pictures):
    """As `describe`, of pictures in memory."""
    grey, block = pictures.astype(np.float32), images.SIDE // THUMBNAIL
    small = grey.reshape(-1, THUMBNAIL, block, THUMBNAIL, block).mean((2, 4)).reshape(len(grey), -1)
    contrast = small.std(1)
    thumbnails = (small - small.mean(1, keepdims=True)) / np.maximum(contrast, 1)[:, None]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    differences = np.diff(grey, axis=2), np.diff(grey, axis=1), 4 * grey[:, 1:-1, 1:-1] - around
    steps = [np.abs(difference).mean((1, 2)) for difference in differences]
    some = grey.reshape(len(grey), -1)[:, ::7]  # every seventh pixel tells the quantiles well enough
    quantiles = np.quantile(some, [0.02, 0.25, 0.5, 0.75, 0.98], axis=1) / 64
    black_and_white = np.sqrt([(some < 4).mean(1), (some > 251).mean(1)])
    tones = [*np.log(np.array(steps) + 0.1), *quantiles, np.log(contrast + 1), *black_and_white]
    return thumbnails, np.stack(tones, axis=1)
