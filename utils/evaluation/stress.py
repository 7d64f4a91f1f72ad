"""The stress test: what do changes that leave the illness as it is do to the answers of a network?

pictures: squashed radiographs, uint8 [n, 224, 224]. TensorFlow is imported only where networks are loaded.
"""

import io
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from .. import intervals, metrics, predict, runs
from ..data import images, manifest
from ..data.images import SIDE
from ..training import recipes
from ..workspace import ExplainedError, progress

MOST = 150  # radiographs of a class; enough for intervals of about 8 points either way
YARDSTICKS = ("best", "compact_usual")  # released recipes: our data handling, and the usual one
UNCHANGED = "unchanged"  # the first row of every table
WITHOUT_LUNGS = "blanked in the middle"  # one of CHANGES


def beside(run, radiographs):
    """The run, and the released networks that serve as its yardsticks: {name: Run}.

    They are left out, with a sentence, where the radiographs in use are not those they learned from.
    """
    tested = {f"this model: {recipes.title(run.card)}": run}
    if not manifest.is_public(radiographs.digest):
        print("No released networks beside it: they learned from other radiographs.")
        return tested
    for released in filter(None, map(runs.released, YARDSTICKS)):
        if released.name != run.name:
            tested[f"released: {recipes.title(released.card)}"] = released
    return tested


def compare(tested, pictures, table):
    """The stress test of several networks: column network, then those of `effects`.

    tested: {name: Run}, each with its network and the threshold of its card. table: the rows of the pictures
    in the manifest.
    """
    tables = []
    for name, run in tested.items():
        scores = changed_scores(predict.load(run), pictures)
        tables.append(effects(scores, table, run.card["threshold"]["value"]))
        tables[-1].insert(0, "network", name)
    return pd.concat(tables, ignore_index=True)


def changed_scores(network, pictures):
    """Scores of the pictures unchanged, then after each of CHANGES: {change: float [n]}."""
    scores = {UNCHANGED: predict.score_pictures(network, pictures)}
    for name, change in progress(CHANGES.items(), "Changing radiographs"):
        scores[name] = predict.score_pictures(network, change.function(pictures))
    return scores


def effects(scores, table, threshold):
    """What changes do to the answers of one network: one row a change.

    scores: {change: float [n]}, UNCHANGED first. table: the rows of the pictures in the manifest. Returns the
    columns change, kind, images, patients, negative, positive (images of each class), and with 95 % intervals
    (up, up_low, up_high):

    - specificity, sensitivity, auc: after the change
    - up: of the negative radiographs, the share whose answer the change turns positive
    - down: of the positive radiographs, the share whose answer the change turns negative
    """
    score = np.stack(list(scores.values()), axis=1)  # [n, changes]
    after = metrics.called(score, threshold)  # bool [n, changes]
    before, ill = after[:, :1], manifest.positives(table)[:, None] == 1  # bool [n, 1]
    measured = {
        "specificity": intervals.shares(table, ~after, ~ill),
        "sensitivity": intervals.shares(table, after, ill),
        "up": intervals.shares(table, after & ~before, ~ill),
        "down": intervals.shares(table, before & ~after, ill),
        "auc": intervals.aucs(table, score),
    }
    rows = pd.DataFrame({"change": list(scores)})
    rows["kind"] = [CHANGES[change].kind if change in CHANGES else "" for change in scores]
    rows["images"], rows["patients"] = len(table), table.patient.nunique()
    rows["negative"], rows["positive"] = (~ill).sum(), ill.sum()
    for name, values in measured.items():
        rows[[name, f"{name}_low", f"{name}_high"]] = values.to_numpy()
    rows.loc[0, ["up_low", "up_high", "down_low", "down_high"]] = np.nan  # unchanged, nothing can turn
    return rows


def sentences(results, names):
    """Three sentences on the first network of `compare`. names: of the negative and the positive class."""
    rows = results[results.network == results.network.iloc[0]].set_index("change")
    readable = rows.loc[[name for name, change in CHANGES.items() if change.readable]]
    before, without_lungs = rows.loc[UNCHANGED], rows.loc[WITHOUT_LUNGS]
    counts = before.negative, before.positive
    for measure, name, count in zip(("specificity", "sensitivity"), names, counts, strict=True):
        worst = readable.nsmallest(3, measure)
        listed = ", ".join(f"{_text(row, measure)} when {change}" for change, row in worst.iterrows())
        yield (
            f"{measure.capitalize()} ({count} {name.lower()} radiographs): {_text(before, measure)} "
            f"unchanged; lowest of {len(readable)} changes: {listed}."
        )
    yield (
        f"AUC: {_text(before, 'auc')} unchanged; {_text(without_lungs, 'auc')} when {WITHOUT_LUNGS}, where a "
        "network that reads nothing but lungs can only guess (0.5)."
    )


def _text(row, name):
    return intervals.text(row[[name, f"{name}_low", f"{name}_high"]].set_axis(["value", "low", "high"]))


# The changes. Each takes and returns pictures.


def crop(pictures, height=1.0, width=1.0):
    """Keep the middle `height` and `width`, squashed back: this loses content, zooms and stretches.

    Raises ExplainedError unless both are shares from 0.1 to 1.
    """
    if not (0.1 <= height <= 1 and 0.1 <= width <= 1):
        raise ExplainedError(
            f"A crop cannot keep {height} of the height and {width} of the width. "
            "Choose shares from 0.1 to 1; 0.8 is 80 %."
        )
    middle = _middle(height, width)
    return _each(lambda picture: images.squash(picture[middle]), pictures)


def squeeze(pictures, height=1.0, width=1.0, edges="edge"):
    """Squeeze to these shares of height and width; nothing is lost. edges: what fills them, see `np.pad`."""
    rows, columns = round(SIDE * height), round(SIDE * width)
    top, left = (SIDE - rows) // 2, (SIDE - columns) // 2
    around = ((top, SIDE - rows - top), (left, SIDE - columns - left))
    return _each(lambda picture: np.pad(_resize(picture, columns, rows), around, mode=edges), pictures)


def blank(pictures, height=1.0, width=1.0, inside=False):
    """Fill all but the middle `height` and `width` with each picture's mean grey.

    inside=True: fill that middle, with the mean of what is left, so that nothing tells what was there.
    """
    filled = np.full((SIDE, SIDE), not inside)
    filled[_middle(height, width)] = inside
    known = ~filled if inside else np.ones_like(filled)
    mean = pictures[:, known].mean(1).astype(np.uint8)
    return np.where(filled, mean[:, None, None], pictures)


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
    return _each(lambda picture: Image.fromarray(picture).filter(kind), pictures)


def write(pictures, text, size, at):
    """Burn in white letters. size: of the font in pixels. at: left and top of the text in pixels."""
    letters = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(letters).text(at, text, fill=255, font=ImageFont.load_default(size))
    return np.maximum(pictures, np.asarray(letters))


def rotate(pictures, degrees):
    """Turn counter-clockwise about the centre; corners are filled with black."""
    return _each(
        lambda picture: Image.fromarray(picture).rotate(degrees, Image.Resampling.BILINEAR), pictures
    )


def reencode(pictures, quality):
    """Save as JPEG of this quality (1 to 95) and read again."""

    def jpeg(picture):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _each(jpeg, pictures)


def shrink(pictures, side):
    """Shrink to `side` pixels, without antialiasing, and enlarge again."""
    nearest = Image.Resampling.NEAREST
    return _each(lambda picture: images.squash(_resize(picture, side, side, nearest)), pictures)


def _middle(height, width):
    """The middle `height` and `width` (shares) of a picture: two slices."""
    top, left = round(SIDE * (1 - height) / 2), round(SIDE * (1 - width) / 2)
    return slice(top, SIDE - top), slice(left, SIDE - left)


def _resize(picture, width, height, method=Image.Resampling.BILINEAR):
    return np.asarray(Image.fromarray(picture).resize((width, height), method))


def _each(change, pictures):
    """The pictures after a function of a single one."""
    return np.array([np.asarray(change(picture)) for picture in pictures], np.uint8).reshape(-1, SIDE, SIDE)


class Change(NamedTuple):
    """One change of the stress test."""

    kind: str  # under which it is drawn
    function: Callable  # of pictures
    readable: bool = True  # whether the illness can still be seen


KEPT = 0.8  # of the area, by every change of the framing, so that they can be compared
SIDES = KEPT**0.5  # of height and width each
MIDDLE = 0.7**0.5  # of height and width: 70 % of the area, where nearly all of the lungs lie
CHANGES = {  # the names fit behind "when"
    "cropped in height": Change("framing", partial(crop, height=KEPT)),  # content, zoom and stretch
    "cropped in width": Change("framing", partial(crop, width=KEPT)),
    "zoomed in": Change("framing", partial(crop, height=SIDES, width=SIDES)),  # content and zoom
    "squeezed in width": Change("framing", partial(squeeze, width=KEPT)),  # stretch alone
    "blanked at top and bottom": Change("framing", partial(blank, height=KEPT)),  # content alone
    "darkened (gamma 1.5)": Change("tone", partial(curve, function=lambda grey: grey**1.5)),
    "lightened (gamma 0.67)": Change("tone", partial(curve, function=lambda grey: grey**0.67)),
    "given a steeper curve": Change(
        "tone", partial(curve, function=lambda grey: grey - 0.1 * np.sin(2 * np.pi * grey))
    ),
    "sharpened": Change("tone", partial(filtered, kind=ImageFilter.UnsharpMask(2, 150, 0))),
    "softened": Change("tone", partial(filtered, kind=ImageFilter.GaussianBlur(1.5))),
    "lighter on one side": Change("tone", partial(uneven, strength=0.3)),
    "brightened by 15 %": Change("tone", partial(curve, function=lambda grey: grey + 0.15)),
    "lowered in contrast by 30 %": Change(
        "tone", partial(curve, function=lambda grey: 0.5 + 0.7 * (grey - 0.5))
    ),
    "inverted": Change("tone", partial(curve, function=lambda grey: 1 - grey)),
    "marked with a letter R": Change("marks", partial(write, text="R", size=40, at=(10, 14))),
    "marked with small text": Change("marks", partial(write, text="kV 59   10:42", size=12, at=(146, 206))),
    "framed in black": Change("marks", partial(squeeze, height=SIDES, width=SIDES, edges="constant")),
    "mirrored": Change("position and file", lambda pictures: pictures[:, :, ::-1]),
    "turned by 10 degrees": Change("position and file", partial(rotate, degrees=10)),
    "saved as JPEG of quality 30": Change("position and file", partial(reencode, quality=30)),
    "shrunk to 112 pixels": Change("position and file", partial(shrink, side=112)),
    WITHOUT_LUNGS: Change("what is left", partial(blank, height=MIDDLE, width=MIDDLE, inside=True), False),
    "blanked around the middle": Change("what is left", partial(blank, height=MIDDLE, width=MIDDLE), False),
}
