"""Is this picture like the radiographs that a run was trained on?

A network answers any picture, a photograph or a black one, too. The gate knows what training radiographs
look like: the main patterns of their thumbnails (principal components) and how bright, contrasty and sharp
they are, and on which side the heart lies. A picture that lies outside what nearly all of them show is called
unlike, with a reason. It knows nothing about illness and does not use the network.
"""

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression

from .. import workspace
from . import images

FILE = "gate.npz"
THUMBNAIL = 16  # pixels a side
PATTERNS = 16  # principal components
# Limits: quantiles of each measure of training radiographs the gate has not seen.
QUANTILES = (0.999, 0.999, 0.999, 0.999, 0.992)
FEWEST = 30  # images in each half; with fewer there is no gate
BATCH = 16  # pictures at a time, as many as a processor's cache holds
UNLIKE = "light and dark lie unlike those of the training radiographs"
TONES = "its brightness, contrast or sharpness is unlike that of the training radiographs"
HINTS = (  # what to try on a picture that does not fit, and what it means if that fits
    (lambda pictures: 255 - pictures, "it looks inverted: bones should be bright"),
    (lambda pictures: np.rot90(pictures, 1, (1, 2)), "it looks turned by 90 degrees"),
    (lambda pictures: np.rot90(pictures, 3, (1, 2)), "it looks turned by 90 degrees"),
    (lambda pictures: np.rot90(pictures, 2, (1, 2)), "it seems to stand on its head"),
    (lambda pictures: pictures[:, :, ::-1], "it looks mirrored, left and right exchanged"),
)


@dataclass(frozen=True)
class Gate:
    """What training radiographs look like; a few kilobytes, kept with the run.

    mean: float [256], patterns: float [n, 256], spread: float [n], of standardised thumbnails; rest: what the
    patterns leave over, typically. tone_mean: float [11], tone_inverse: float [11, 11], the inverse
    covariance of brightness, contrast and sharpness. mirror: float [256], weights of a thumbnail's pixels;
    in a mirrored one they add up to less. limits: float [5], see `measures`.
    """

    mean: np.ndarray
    patterns: np.ndarray
    spread: np.ndarray
    rest: np.ndarray
    tone_mean: np.ndarray
    tone_inverse: np.ndarray
    mirror: np.ndarray
    limits: np.ndarray

    def measures(self, pictures):
        """How far pictures are from training radiographs: uint8 [n, 224, 224] -> float [n, 5].

        In the main patterns and in tone (Mahalanobis distances per dimension), in what the patterns
        leave over, that again relative to the picture standing on its head, and log odds of being mirrored.
        """
        thumbnails, tones = describe(pictures, np.arange(len(pictures)))
        near, rest = self._patterns(thumbnails)
        _, rest_turned = self._patterns(thumbnails[:, ::-1])  # reversed: turned by 180 degrees
        off = tones - self.tone_mean
        tone = np.sqrt(np.einsum("ij,jk,ik->i", off, self.tone_inverse, off).clip(0) / off.shape[1])
        turned = rest / np.maximum(rest_turned, 1e-6)
        return np.stack([near, tone, rest, turned, -thumbnails @ self.mirror], axis=1)

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
        texts = [TONES if row[1] and row.sum() == 1 else UNLIKE if row.any() else "" for row in over]
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
        parts = dict(stored)
    if "mirror" not in parts:  # runs before version 0.2.0
        parts |= {"mirror": np.zeros(THUMBNAIL**2), "limits": np.append(parts["limits"], np.inf)}
    return Gate(**parts)


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
        mirror=_mirror(thumbnails).astype(np.float16),
        limits=np.full(5, np.inf),
    )
    measured = np.concatenate([gate.measures(pixels[batch]) for batch in _batches(others)])
    limits = [np.quantile(values, share) for values, share in zip(measured.T, QUANTILES, strict=True)]
    return replace(gate, limits=np.array(limits))


def _mirror(thumbnails):
    """Weights that tell thumbnails [n, 256] from mirrored ones: float [256], by logistic regression."""
    square = thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL)
    left = (square - square[:, :, ::-1])[:, :, : THUMBNAIL // 2]  # all that differs: [n, 16, 8]
    left = left.reshape(len(left), -1)
    fit = LogisticRegression(C=0.1, fit_intercept=False, max_iter=2000)
    fit.fit(np.concatenate([left, -left]), np.repeat([1, 0], len(left)))
    weights = fit.coef_.reshape(THUMBNAIL, -1)
    return np.concatenate([weights, -weights[:, ::-1]], axis=1).ravel()


def rates(gate, pictures):
    """Shares of pictures called unlike: radiographs as they are (false alarms), changed ones, photographs.

    pictures: uint8 [n, 224, 224], radiographs that `fit` has not seen. The photographs are 100 random
    crops of the two that come with scikit-learn; photographs of a screen are simulated.
    """
    shown = {
        "radiographs": pictures,
        "inverted": 255 - pictures,
        "turned by 90 degrees": np.rot90(pictures, 1, (1, 2)),
        "turned by 180 degrees": np.rot90(pictures, 2, (1, 2)),
        "mirrored": pictures[:, :, ::-1],
        "photographed from a screen": _on_screen(pictures),
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


def _on_screen(pictures):
    """Radiographs as a telephone sees them on a screen: uint8 [n, 224, 224] -> the same.

    Seen a little from the side, with a dark rim, the fine stripes that two grids of pixels make (moire), and
    a reflection.
    """
    across, down = np.meshgrid(np.linspace(0, 1, images.SIDE), np.linspace(0, 1, images.SIDE))
    stripes = 8 * np.sin(2 * np.pi * (40 * across + 6 * down))
    reflection = 60 * np.exp(-((across - 0.7) ** 2 + (down - 0.3) ** 2) / 0.05)
    corners = (-8, -14, -16, images.SIDE + 12, images.SIDE + 10, images.SIDE + 6, images.SIDE + 14, -6)
    seen = []
    for picture in pictures:
        tilted = Image.fromarray(picture).transform(
            (images.SIDE, images.SIDE), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR, fillcolor=12
        )
        seen.append(np.clip(0.8 * np.asarray(tilted, float) + stripes + reflection, 0, 255).astype(np.uint8))
    return np.stack(seen)


def project(thumbnails, mean, patterns):
    """Weights of the patterns in thumbnails, and what they leave over: float [n, 16], float [n, 256]."""
    off = thumbnails - mean
    weights = off @ patterns.T
    return weights, off - weights @ patterns


def describe(pixels, rows, doing=""):
    """Thumbnails standardised to mean 0 and deviation 1, and tones: float [n, 256], float [n, 11].

    pixels: uint8 [any, 224, 224]. rows: n of them, described in their order in `pixels`. Tones: mean
    grey-level difference from left to right, from top to bottom, and to the neighbours; five quantiles;
    contrast; shares of black and of white. doing: what the bar says, for many rows; without it there is none.
    """
    portions = workspace.progress(_batches(rows), doing, BATCH) if doing else _batches(rows)
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
