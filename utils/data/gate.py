"""Is this picture like the radiographs that a run was trained on?

A network answers any picture, a photograph or a black one, too. The gate knows what training radiographs
look like: the main patterns of their thumbnails (principal components) and how bright, contrasty and sharp
they are. A picture that lies outside what nearly all of them show is called unlike, with a reason. It
knows nothing about illness and does not use the network.
"""

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from .. import workspace
from . import images

FILE = "gate.npz"
THUMBNAIL = 16  # pixels a side
PATTERNS = 16  # principal components
QUANTILE = 0.9975  # of training radiographs the gate has not seen, for each of its four measures
FEWEST = 30  # images in each half; with fewer there is no gate
BATCH = 16  # pictures at a time, as many as a processor's cache holds
UNLIKE = "light and dark lie unlike those of the training radiographs"
TONES = "its brightness, contrast or sharpness is unlike that of the training radiographs"
HINTS = (  # what to try on a picture that does not fit, and what it means if that fits
    (lambda pictures: 255 - pictures, "it looks inverted: bones should be bright"),
    (lambda pictures: np.rot90(pictures, 1, (1, 2)), "it looks turned by 90 degrees"),
    (lambda pictures: np.rot90(pictures, 3, (1, 2)), "it looks turned by 90 degrees"),
    (lambda pictures: np.rot90(pictures, 2, (1, 2)), "it seems to stand on its head"),
)


@dataclass(frozen=True)
class Gate:
    """What training radiographs look like; a few kilobytes, kept with the run.

    mean: float [256], patterns: float [n, 256], spread: float [n], of standardised thumbnails; rest: what the
    patterns leave over, typically. tone_mean: float [11], tone_inverse: float [11, 11], the inverse
    covariance of brightness, contrast and sharpness. limits: float [4], see `measures`.
    """

    mean: np.ndarray
    patterns: np.ndarray
    spread: np.ndarray
    rest: np.ndarray
    tone_mean: np.ndarray
    tone_inverse: np.ndarray
    limits: np.ndarray

    def measures(self, pictures):
        """How far pictures are from training radiographs: uint8 [n, 224, 224] -> float [n, 4].

        In the main patterns and in tone (Mahalanobis distances per dimension), in what the patterns
        leave over, and that again relative to the picture standing on its head.
        """
        thumbnails, tones = describe(pictures, np.arange(len(pictures)))
        near, rest = self._patterns(thumbnails)
        _, rest_turned = self._patterns(thumbnails[:, ::-1])  # reversed: turned by 180 degrees
        off = tones - self.tone_mean
        tone = np.sqrt(np.einsum("ij,jk,ik->i", off, self.tone_inverse, off).clip(0) / off.shape[1])
        return np.stack([near, tone, rest, rest / np.maximum(rest_turned, 1e-6)], axis=1)

    def _patterns(self, thumbnails):
        weights, left_over = project(thumbnails, self.mean, self.patterns)
        near = np.sqrt(((weights / self.spread) ** 2).mean(1))
        return near, np.sqrt((left_over**2).mean(1)) / self.rest

    def unlike(self, pictures):
        """Whether pictures are outside the gate: uint8 [n, 224, 224] -> bool [n]."""
        return (self.measures(pictures) > self.limits).any(1)

    def reasons(self, pictures):
        """Why pictures are unlike training radiographs, one text each; empty for those that are like them."""
        over = self.measures(pictures) > self.limits
        texts = [UNLIKE if row[[0, 2, 3]].any() else TONES if row.any() else "" for row in over]
        rows = np.flatnonzero(over.any(1))
        for change, hint in HINTS:
            if len(rows):
                fits = ~self.unlike(change(pictures[rows]))
                for row in rows[fits]:
                    texts[row] = hint
                rows = rows[~fits]
        return texts

    def save(self, run):
        file = io.BytesIO()
        np.savez(file, **vars(self))
        workspace.write_whole(run.path / FILE, file.getvalue())


def load(run):
    """The gate of a run, or None if it has none."""
    path = run.path / FILE
    if not path.exists():
        return None
    with np.load(path) as stored:  # without pickle: nothing in the file is executed
        return Gate(**stored)


def fit(pixels, training):
    """The gate for the images of a training, or None if they are too few.

    pixels: uint8 [rows, 224, 224]. training: manifest rows. The patterns come from the patients of
    every second fold, the limits from the others.
    """
    odd = training.fold % 2 == 1
    shown, others = training.index[odd].to_numpy(), training.index[~odd].to_numpy()
    if min(len(shown), len(others)) < FEWEST:
        return None
    thumbnails, tones = describe(pixels, shown)
    mean = thumbnails.mean(0)
    patterns = np.linalg.svd(thumbnails - mean, full_matrices=False)[2][:PATTERNS]
    patterns = patterns.astype(np.float16).astype(np.float32)  # as they are stored
    weights, left_over = project(thumbnails, mean, patterns)
    covariance = np.cov(tones.T) + 1e-4 * np.eye(tones.shape[1])
    gate = Gate(
        mean=mean,
        patterns=patterns.astype(np.float16),
        spread=weights.std(0),
        rest=np.sqrt((left_over**2).mean()),
        tone_mean=tones.mean(0),
        tone_inverse=np.linalg.inv(covariance),
        limits=np.full(4, np.inf),
    )
    measured = np.concatenate([gate.measures(pixels[batch]) for batch in _batches(others)])
    return replace(gate, limits=np.quantile(measured, QUANTILE, axis=0))


def rates(gate, pictures):
    """Shares of pictures called unlike: radiographs as they are (false alarms), changed ones, photographs.

    pictures: uint8 [n, 224, 224], radiographs that `fit` has not seen. The photographs are 100 random
    crops of the two that come with scikit-learn.
    """
    shown = {
        "radiographs": pictures,
        "inverted": 255 - pictures,
        "turned by 90 degrees": np.rot90(pictures, 1, (1, 2)),
        "turned by 180 degrees": np.rot90(pictures, 2, (1, 2)),
        "photographs": _photographs(),
    }
    return {name: round(float(gate.unlike(some).mean()), 4) for name, some in shown.items()}


def _photographs():
    from sklearn.datasets import load_sample_images

    photographs = [np.asarray(Image.fromarray(each).convert("L")) for each in load_sample_images().images]
    chance, crops = np.random.default_rng(0), []
    for number in range(100):
        grey = photographs[number % 2]
        side = chance.integers(160, min(grey.shape))
        top, left = (chance.integers(0, size - side) for size in grey.shape)
        crops.append(images.squash(grey[top : top + side, left : left + side]))
    return np.stack(crops)


def project(thumbnails, mean, patterns):
    """Weights of the patterns in thumbnails, and what they leave over: float [n, 16], float [n, 256]."""
    off = thumbnails - mean
    weights = off @ patterns.T
    return weights, off - weights @ patterns


def describe(pixels, rows):
    """Thumbnails standardised to mean 0 and deviation 1, and tones: float [n, 256], float [n, 11].

    pixels: uint8 [any, 224, 224]. rows: n of them, described in their order in `pixels`. Tones: mean
    grey-level difference from left to right, from top to bottom, and to the neighbours; five quantiles;
    contrast; shares of black and of white.
    """
    portions = tqdm(_batches(rows), "Measuring radiographs", unit_scale=BATCH, unit=" images", delay=2)
    thumbnails, tones = zip(*[_describe(pixels[batch]) for batch in portions], strict=True)
    return np.concatenate(thumbnails), np.concatenate(tones)


def _batches(rows):
    """Rows in portions, sorted, so that a packed file of any size is read in flat memory."""
    return np.split(np.sort(rows), range(BATCH, len(rows), BATCH))


def _describe(pictures):
    grey, block = pictures.astype(np.float32), images.SIDE // THUMBNAIL
    small = grey.reshape(-1, THUMBNAIL, block, THUMBNAIL, block).mean((2, 4)).reshape(len(grey), -1)
    contrast = small.std(1)
    thumbnails = (small - small.mean(1, keepdims=True)) / np.maximum(contrast, 1)[:, None]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    changes = np.diff(grey, axis=2), np.diff(grey, axis=1), 4 * grey[:, 1:-1, 1:-1] - around
    steps = [np.abs(change).mean((1, 2)) for change in changes]
    some = grey.reshape(len(grey), -1)[:, ::7]  # every seventh pixel tells the quantiles well enough
    quantiles = np.quantile(some, [0.02, 0.25, 0.5, 0.75, 0.98], axis=1) / 64
    black_and_white = np.sqrt([(some < 4).mean(1), (some > 251).mean(1)])
    tones = [*np.log(np.array(steps) + 0.1), *quantiles, np.log(contrast + 1), *black_and_white]
    return thumbnails, np.stack(tones, axis=1)
