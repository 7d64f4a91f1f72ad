"""The stress test: what do changes that leave the illness as it is do to the answers of a network?

pictures: squashed radiographs, uint8 [n, 224, 224]. TensorFlow is imported only where networks are loaded.
"""

import io
from collections import namedtuple
from functools import partial

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from .. import intervals, metrics, predict, runs
from ..data import manifest
from ..data.images import SIDE
from ..training import recipes
from ..workspace import ExplainedError, progress

BILINEAR, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
MOST = 150  # radiographs of a class; enough for intervals of about 8 points either way
YARDSTICKS = ("best", "compact_usual")  # released recipes: our data handling, and the usual one
KEPT = 0.8  # of the area, by every change of the framing, so that they can be compared
SIDES = KEPT**0.5  # of height and width each
MIDDLE = 0.7**0.5  # of height and width: 70 % of the area, where nearly all of the lungs lie
UNCHANGED = "unchanged"
WITHOUT_LUNGS = "blanked in the middle"
PARTS = "parts alone"  # the kind of changes that leave a part of the picture and blank the rest
Change = namedtuple("Change", ("kind", "function"))  # under which it is drawn; of pictures


def beside(run, radiographs):
    """The run, and the released networks that serve as its yardsticks: {name: Run}.

    They are left out, with a sentence, where the radiographs in use are not those they learned from.
    """
    tested = {f"this model: {recipes.title(run.card)}": run}
    if not manifest.is_public(radiographs.digest):
        print("No released networks beside it: they learned from other radiographs.")
        return tested
    for released in map(runs.released, YARDSTICKS):
        if released.name != run.name:
            tested[f"released: {recipes.title(released.card)}"] = released
    return tested


def compare(tested, pictures, table):
    """The stress test of several networks: column network, then those of `effects`.

    tested: {name: Run}, each with its network and the threshold of its card. table: the rows of the pictures
    in the manifest.
    """
    results = {}
    for name, run in tested.items():
        network, scores = predict.load(run), {}
        for change, (_, changed) in progress(CHANGES.items(), "Changing radiographs"):
            scores[change] = predict.score_pictures(network, changed(pictures))
        results[name] = effects(scores, table, run.card["threshold"]["value"])
    return pd.concat(results, names=["network"]).droplevel(1).reset_index()


def effects(scores, table, threshold):
    """What changes do to the answers of one network: one row a change.

    scores: {change: float [n]}, UNCHANGED first. table: the rows of the pictures in the manifest. Returns
    change, kind, images, patients, negative, positive (images of each class), and with 95 % intervals, such
    as up, up_low, up_high:

    - specificity, sensitivity, auc: after the change
    - up: share of the negative radiographs whose answer the change turns positive; down: the reverse
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
    rows = pd.DataFrame({"change": list(scores), "kind": [CHANGES[change].kind for change in scores]})
    rows["images"], rows["patients"] = len(table), table.patient.nunique()
    rows["negative"], rows["positive"] = (~ill).sum(), ill.sum()
    for name, values in measured.items():
        rows[[name, f"{name}_low", f"{name}_high"]] = values.to_numpy()
    rows.loc[0, ["up_low", "up_high", "down_low", "down_high"]] = np.nan  # unchanged, nothing can turn
    return rows


def sentences(results, names):
    """Three sentences on the first network of `compare`. names: of the negative and the positive class."""
    rows = results[results.network == results.network.iloc[0]].set_index("change")
    before, without_lungs = rows.loc[UNCHANGED], rows.loc[WITHOUT_LUNGS]
    whole = rows[~rows.kind.isin(["", PARTS])]
    counts = before.negative, before.positive
    for measure, name, count in zip(("specificity", "sensitivity"), names, counts, strict=True):
        worst = whole.nsmallest(3, measure)
        listed = ", ".join(f"{_text(row, measure)} when {change}" for change, row in worst.iterrows())
        yield (
            f"{measure.capitalize()} ({count} {name.lower()} radiographs): {_text(before, measure)} "
            f"unchanged; lowest of {len(whole)} changes: {listed}."
        )
    yield (
        f"AUC: {_text(before, 'auc')} unchanged; {_text(without_lungs, 'auc')} when {WITHOUT_LUNGS}, where a "
        "network that reads nothing but lungs can only guess (0.5)."
    )


def _text(row, name):
    return intervals.text(row[[name, f"{name}_low", f"{name}_high"]].set_axis(["value", "low", "high"]))


# The changes. Each takes and returns pictures.


def each(change, pictures):
    """Change the pictures one by one, each as a Pillow image."""
    changed = [np.asarray(change(Image.fromarray(picture))) for picture in pictures]
    return np.array(changed, np.uint8).reshape(-1, SIDE, SIDE)


def _middle(height, width):
    """The middle `height` and `width` (shares) of a picture: two slices."""
    top, left = round(SIDE * (1 - height) / 2), round(SIDE * (1 - width) / 2)
    return slice(top, SIDE - top), slice(left, SIDE - left)


def crop(pictures, height=1.0, width=1.0):
    """Keep the middle `height` and `width`, squashed back: this loses content, zooms and stretches.

    Raises ExplainedError unless both are shares from 0.1 to 1.
    """
    if not (0.1 <= height <= 1 and 0.1 <= width <= 1):
        raise ExplainedError(
            f"A crop cannot keep {height} of the height and {width} of the width. "
            "Choose shares from 0.1 to 1; 0.8 is 80 %."
        )
    rows, columns = _middle(height, width)
    return each(lambda picture: picture.resize((SIDE, SIDE), BILINEAR), pictures[:, rows, columns])


def squeeze(pictures, height=1.0, width=1.0, edges="edge"):
    """Squeeze to these shares of height and width; nothing is lost. edges: what fills them, see `np.pad`."""
    rows, columns = round(SIDE * height), round(SIDE * width)
    top, left = (SIDE - rows) // 2, (SIDE - columns) // 2
    around = ((top, SIDE - rows - top), (left, SIDE - columns - left))
    return each(
        lambda picture: np.pad(picture.resize((columns, rows), BILINEAR), around, mode=edges), pictures
    )


def blank(pictures, height=1.0, width=1.0, inside=False):
    """Fill all but the middle `height` and `width` with each picture's mean grey.

    inside=True: fill that middle, with the mean of what is left, so that nothing tells what was there.
    """
    filled = np.full((SIDE, SIDE), not inside)
    filled[_middle(height, width)] = inside
    source = ~filled if inside else np.ones_like(filled)  # the pixels that the mean is taken of
    mean = pictures[:, source].mean(1).astype(np.uint8)
    return np.where(filled, mean[:, None, None], pictures)


def curve(function, pictures):
    """Replace each grey level. function: of float [256] in 0-1, to the same; what leaves 0-1 is cut off."""
    levels = np.clip(function(np.linspace(0, 1, 256)), 0, 1)
    return (255 * levels).round().astype(np.uint8)[pictures]


def uneven(pictures):
    """Darken the left edge by 30 % and lighten the right one, gradually in between."""
    field = 1 + 0.3 * np.linspace(-1, 1, SIDE, dtype=np.float32)
    return np.clip((pictures * field).round(), 0, 255).astype(np.uint8)


def write(pictures, text, size, at):
    """Burn in white letters. size: of the font in pixels. at: left and top of the text in pixels."""
    letters = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(letters).text(at, text, fill=255, font=ImageFont.load_default(size))
    return np.maximum(pictures, np.asarray(letters))


def shrunk(picture):
    """A Pillow image at 112 x 112 pixels, without antialiasing, enlarged again."""
    return picture.resize((112, 112), NEAREST).resize((SIDE, SIDE), BILINEAR)


def as_jpeg(picture):
    """A Pillow image saved as JPEG of quality 30, and read again."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=30)
    return Image.open(file)


CHANGES = {  # the names fit behind "when"
    UNCHANGED: Change("", lambda pictures: pictures),
    "cropped in height": Change("framing", partial(crop, height=KEPT)),  # content, zoom and stretch
    "cropped in width": Change("framing", partial(crop, width=KEPT)),
    "zoomed in": Change("framing", partial(crop, height=SIDES, width=SIDES)),  # content and zoom
    "squeezed in width": Change("framing", partial(squeeze, width=KEPT)),  # stretch alone
    "blanked at top and bottom": Change("framing", partial(blank, height=KEPT)),  # content alone
    "darkened (gamma 1.5)": Change("tone", partial(curve, lambda grey: grey**1.5)),
    "lightened (gamma 0.67)": Change("tone", partial(curve, lambda grey: grey**0.67)),
    "given a steeper curve": Change(
        "tone", partial(curve, lambda grey: grey - 0.1 * np.sin(2 * np.pi * grey))
    ),
    "sharpened": Change(
        "tone", partial(each, lambda picture: picture.filter(ImageFilter.UnsharpMask(2, 150, 0)))
    ),
    "softened": Change("tone", partial(each, lambda picture: picture.filter(ImageFilter.GaussianBlur(1.5)))),
    "lighter on one side": Change("tone", uneven),
    "brightened by 15 %": Change("tone", partial(curve, lambda grey: grey + 0.15)),
    "lowered in contrast by 30 %": Change("tone", partial(curve, lambda grey: 0.5 + 0.7 * (grey - 0.5))),
    "inverted": Change("tone", lambda pictures: 255 - pictures),
    "marked with a letter R": Change("marks", partial(write, text="R", size=40, at=(10, 14))),
    "marked with small text": Change("marks", partial(write, text="kV 59   10:42", size=12, at=(146, 206))),
    "framed in black": Change("marks", partial(squeeze, height=SIDES, width=SIDES, edges="constant")),
    "mirrored": Change("position and file", lambda pictures: pictures[:, :, ::-1]),
    "turned by 10 degrees": Change(
        "position and file", partial(each, lambda picture: picture.rotate(10, BILINEAR))
    ),
    "saved as JPEG of quality 30": Change("position and file", partial(each, as_jpeg)),
    "shrunk to 112 pixels": Change("position and file", partial(each, shrunk)),
    WITHOUT_LUNGS: Change(PARTS, partial(blank, height=MIDDLE, width=MIDDLE, inside=True)),
    "blanked around the middle": Change(PARTS, partial(blank, height=MIDDLE, width=MIDDLE)),
}
