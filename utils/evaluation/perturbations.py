"""Changes to radiographs that leave the illness as it is, and two that leave little of the picture.

A change takes and returns squashed pictures, uint8 [n, 224, 224]. `stress` measures what they do to answers.
"""

import io
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ..data import images
from ..data.images import SIDE

KEPT = 0.8  # of the area, by every change of the framing
MIDDLE = 0.7  # of the area: the middle, where nearly all of the lungs lie
LEFT = "what is left"  # the kind of those changes that take away most of the picture


def crop(pictures, height=1.0, width=1.0):
    """Keep the middle `height` and `width` (shares, 0 to 1), squashed back: lost content, zoom, stretch."""
    inside = _middle(height, width)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return _each(lambda picture: images.squash(picture[window]), pictures)


def squeeze(pictures, height=1.0, width=1.0, fill="edge"):
    """Squeeze to these shares of height and width; nothing is lost. fill: edges, see `np.pad`'s mode."""
    rows, columns = (round(SIDE * kept) for kept in (height, width))
    top, left = (SIDE - rows) // 2, (SIDE - columns) // 2
    edges = ((top, SIDE - rows - top), (left, SIDE - columns - left))
    return _each(lambda picture: np.pad(resized(picture, columns, rows), edges, mode=fill), pictures)


def blank(pictures, height=1.0, width=1.0, inside=False):
    """Fill all but the middle `height` and `width` with each picture's mean grey.

    inside=True: fill that middle, with the mean of what is left, so that nothing tells what was there.
    """
    filled = _middle(height, width) == inside
    known = ~filled | (not inside)
    mean = pictures[:, known].mean(1).astype(np.uint8)
    return np.where(filled, mean[:, None, None], pictures)


def _middle(height, width):
    """The middle `height` and `width` (shares): bool [224, 224]."""
    inside = np.zeros((SIDE, SIDE), bool)
    top, left = (round(SIDE * (1 - kept) / 2) for kept in (height, width))
    inside[top : SIDE - top, left : SIDE - left] = True
    return inside


def curve(pictures, function):
    """Replace each grey level. function: of float [256] in 0-1, to the same; what leaves 0-1 is cut off."""
    levels = np.clip(function(np.linspace(0, 1, 256)), 0, 1)
    return (255 * levels).round().astype(np.uint8)[pictures]


def uneven(pictures, strength):
    """Darken the left edge and lighten the right one by this share, gradually in between."""
    field = 1 + strength * np.linspace(-1, 1, SIDE, dtype=np.float32)
    return np.clip((pictures * field).round(), 0, 255).astype(np.uint8)


def filtered(pictures, kind):
    """Apply one of Pillow's filters."""
    return _each(lambda picture: np.asarray(Image.fromarray(picture).filter(kind)), pictures)


def write(pictures, text, size, at):
    """Burn in white letters. size: of the font in pixels. at: left and top of the text in pixels."""
    letters = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(letters).text(at, text, fill=255, font=ImageFont.load_default(size))
    return np.maximum(pictures, np.asarray(letters))


def rotate(pictures, degrees):
    """Turn counter-clockwise about the centre; corners are filled with black."""
    method = Image.Resampling.BILINEAR
    return _each(lambda picture: np.asarray(Image.fromarray(picture).rotate(degrees, method)), pictures)


def reencode(pictures, quality):
    """Save as JPEG of this quality (1 to 95) and read again."""
    return _each(lambda picture: as_jpeg(picture, quality), pictures)


def as_jpeg(grey, quality):
    """uint8 [height, width], saved as JPEG of this quality (1 to 95) and read again."""
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def through(pictures, side, antialias):
    """Shrink to `side` pixels, with or without antialiasing, and enlarge again."""
    method = Image.Resampling.BILINEAR if antialias else Image.Resampling.NEAREST
    return _each(lambda picture: images.squash(resized(picture, side, side, method)), pictures)


def resized(grey, width=SIDE, height=SIDE, method=Image.Resampling.BILINEAR):
    """uint8 [height, width] of any size at another; BILINEAR is antialiased, NEAREST is not."""
    return np.asarray(Image.fromarray(grey).resize((width, height), method))


def _each(change, pictures):
    return np.array([change(picture) for picture in pictures], np.uint8).reshape(-1, SIDE, SIDE)


def framings(kept):
    """{what is done to a picture: function of pictures}: changes of the framing that keep this share of the
    area, so that they can be compared.
    """
    side = kept**0.5
    return {
        "cropped in height": partial(crop, height=kept),  # content, zoom and stretch
        "cropped in width": partial(crop, width=kept),
        "zoomed in": partial(crop, height=side, width=side),  # content and zoom
        "squeezed in width": partial(squeeze, width=kept),  # stretch alone
        "blanked at top and bottom": partial(blank, height=kept),  # content alone
    }


def without_and_with(middle):
    """{what is done to a picture: function of pictures}: without the middle, a share of the area, or it alone."""
    side = middle**0.5
    return {
        "blanked in the middle": partial(blank, height=side, width=side, inside=True),
        "blanked around the middle": partial(blank, height=side, width=side),
    }


_side = KEPT**0.5
CHANGES = {  # {kind: {what is done to a picture: function of pictures}}; each fits behind "when"
    "framing": framings(KEPT),
    "tone": {
        "darkened (gamma 1.5)": partial(curve, function=lambda grey: grey**1.5),
        "lightened (gamma 0.67)": partial(curve, function=lambda grey: grey**0.67),
        "given a steeper curve": partial(curve, function=lambda grey: grey - 0.1 * np.sin(2 * np.pi * grey)),
        "sharpened": partial(filtered, kind=ImageFilter.UnsharpMask(2, 150, 0)),
        "softened": partial(filtered, kind=ImageFilter.GaussianBlur(1.5)),
        "lighter on one side": partial(uneven, strength=0.3),
        "brightened by 15 %": partial(curve, function=lambda grey: grey + 0.15),
        "lowered in contrast by 30 %": partial(curve, function=lambda grey: 0.5 + 0.7 * (grey - 0.5)),
        "inverted": partial(curve, function=lambda grey: 1 - grey),
    },
    "marks": {
        "marked with a letter R": partial(write, text="R", size=40, at=(10, 14)),
        "marked with small text": partial(write, text="kV 59   10:42", size=12, at=(146, 206)),
        "framed in black": partial(squeeze, height=_side, width=_side, fill="constant"),
    },
    "position and file": {
        "mirrored": lambda pictures: pictures[:, :, ::-1],
        "turned by 10 degrees": partial(rotate, degrees=10),
        "saved as JPEG of quality 30": partial(reencode, quality=30),
        "shrunk to 112 pixels": partial(through, side=112, antialias=False),
    },
    LEFT: without_and_with(MIDDLE),
}
