"""Changes to radiographs that leave the illness as it is: what moves a network's score, and how far.

Every function takes and returns squashed pictures, uint8 [n, 224, 224].
"""

import io

import numpy as np
from PIL import Image

from . import images
from .images import SIDE


def crop(pictures, height=1.0, width=1.0):
    """Keep the middle `height` and `width` (shares, 0 to 1), squashed back: lost content, zoom, stretch."""
    top, left = (round(SIDE * (1 - kept) / 2) for kept in (height, width))
    return _each(lambda picture: images.squash(picture[top : SIDE - top, left : SIDE - left]), pictures)


def narrow(pictures, kept):
    """Squeeze to the share `kept` of the width and repeat the edges: stretched, but no content is lost."""
    width = round(SIDE * kept)
    left = (SIDE - width) // 2
    edges = ((0, 0), (left, SIDE - width - left))

    def squeeze(picture):
        return np.pad(np.asarray(_resized(picture, width, SIDE)), edges, mode="edge")

    return _each(squeeze, pictures)


def mask(pictures, kept):
    """Blank bands at top and bottom with each picture's mean, leaving the share `kept` of the height."""
    edge = round(SIDE * (1 - kept) / 2)
    masked = pictures.copy()
    mean = pictures.mean((1, 2), keepdims=True).astype(np.uint8)
    masked[:, :edge], masked[:, SIDE - edge :] = mean, mean
    return masked


def reencode(pictures, quality):
    """Save as JPEG of this quality (1 to 95) and read again."""

    def save(picture):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    return _each(save, pictures)


def through(pictures, side, antialias):
    """Shrink to `side` pixels, with or without antialiasing, and enlarge again."""
    method = Image.Resampling.BILINEAR if antialias else Image.Resampling.NEAREST
    return _each(lambda picture: images.squash(np.asarray(_resized(picture, side, side, method))), pictures)


def expose(pictures, contrast=1.0, brightness=0.0):
    """Multiply the contrast about middle grey, then add `brightness`, a share of the full range."""
    changed = (pictures.astype(np.float32) - 127.5) * contrast + 127.5 + 255 * brightness
    return np.clip(changed.round(), 0, 255).astype(np.uint8)


def rotate(pictures, degrees):
    """Turn counter-clockwise about the centre; corners are filled with black."""
    method = Image.Resampling.BILINEAR
    return _each(lambda picture: np.asarray(Image.fromarray(picture).rotate(degrees, method)), pictures)


def _resized(picture, width, height, method=Image.Resampling.BILINEAR):
    return Image.fromarray(picture).resize((width, height), method)


def _each(change, pictures):
    return np.array([change(picture) for picture in pictures], np.uint8).reshape(-1, SIDE, SIDE)
