"""Changes to radiographs that leave the illness as it is, and how far they move a network's score.

The changes take and return squashed pictures, uint8 [n, 224, 224].
"""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from .. import intervals, metrics, predict, runs, saved_models, sources, workspace
from ..data import images, manifest
from ..data.images import SIDE
from ..sources import files


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
        return np.pad(resized(picture, width, SIDE), edges, mode="edge")

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


def expose(pictures, contrast=1.0, brightness=0.0):
    """Multiply the contrast about middle grey, then add `brightness`, a share of the full range."""
    changed = (pictures.astype(np.float32) - 127.5) * contrast + 127.5 + 255 * brightness
    return np.clip(changed.round(), 0, 255).astype(np.uint8)


def rotate(pictures, degrees):
    """Turn counter-clockwise about the centre; corners are filled with black."""
    method = Image.Resampling.BILINEAR
    return _each(lambda picture: np.asarray(Image.fromarray(picture).rotate(degrees, method)), pictures)


ROBUSTNESS = {  # what happens to radiographs on their way: {name: function of pictures}
    **{f"JPEG quality {quality}": partial(reencode, quality=quality) for quality in (95, 75, 50, 30)},
    "shrunk to 112, antialiased": partial(through, side=112, antialias=True),
    "shrunk to 112, not antialiased": partial(through, side=112, antialias=False),
    **{f"{kept:.0%} of the height kept": partial(crop, height=kept) for kept in (0.9, 0.8)},
    **{f"{kept:.0%} of the width kept": partial(crop, width=kept) for kept in (0.9, 0.8)},
    "90% of both kept": partial(crop, height=0.9, width=0.9),
    "squeezed to 80% of the width": partial(narrow, kept=0.8),
    **{f"brightness {step:+.0%}": partial(expose, brightness=step) for step in (-0.2, -0.1, 0.1, 0.2)},
    **{f"contrast {factor:.0%}": partial(expose, contrast=factor) for factor in (0.6, 0.8, 1.2, 1.4)},
    **{f"turned by {degrees}°": partial(rotate, degrees=degrees) for degrees in (-10, -5, 5, 10)},
}


def effects(score, pictures, table, threshold, changes=ROBUSTNESS, resamples=2000):
    """How far scores move, and how many answers flip, under each change.

    score: function of pictures to scores, float [n]. pictures: uint8 [n, 224, 224]. table: their
    manifest rows. Returns one row per change: change, images; with 95 % intervals (`metrics.bootstrap`,
    patients drawn anew) the mean shift of the score, the share of answers that flip, that is change
    sides of the threshold, and the share called positive; the median and the largest absolute shift.
    """
    before = score(pictures)
    rows = [
        shift(before, score(change(pictures)), table, threshold, resamples) for change in changes.values()
    ]
    return pd.concat([pd.Series(list(changes), name="change"), pd.DataFrame(rows)], axis=1)


def shift(before, after, table, threshold, resamples=2000):
    """One row of `effects`, for scores before and after a change, float [n]; rows as in `table`."""
    called = metrics.called(after, threshold)
    flipped = called != metrics.called(before, threshold)
    moved = np.stack([after - before, flipped, called], axis=1)
    found = intervals.bootstrap(table, lambda weights: weights @ moved / weights.sum(1)[:, None], resamples)
    row = {"images": len(table)}
    for name, values in zip(("shift", "flips", "called"), found.itertuples(), strict=True):
        row |= {name: values.value, f"{name}_low": values.low, f"{name}_high": values.high}
    return row | {"median": np.median(np.abs(moved[:, 0])), "largest": np.abs(moved[:, 0]).max()}


def resized(grey, width=SIDE, height=SIDE, method=Image.Resampling.BILINEAR):
    """uint8 [height, width] of any size at another; BILINEAR is antialiased, NEAREST is not."""
    return np.asarray(Image.fromarray(grey).resize((width, height), method))


def _each(change, pictures):
    return np.array([change(picture) for picture in pictures], np.uint8).reshape(-1, SIDE, SIDE)


def robustness(run_name="", originals=None):
    """How far a run's scores move when radiographs are changed, into robustness.csv of its folder.

    On the validation images, at the run's threshold: ROBUSTNESS. originals: a folder with
    full-size files of some of the radiographs in use; those of development patients are compared with
    the copies in use. The test images are left alone. Returns the table.
    """
    ws = workspace.open_workspace()
    radiographs = sources.load(ws)
    run = runs.find(ws, run_name, radiographs)
    if unfit := runs.faults(run, radiographs):
        raise runs.RunError(" ".join(unfit))
    network, threshold = saved_models.load(run.path / "model.keras"), run.card["threshold"]["value"]
    score = partial(predict.score_pictures, network)
    validation = manifest.select(radiographs.table, "val")
    pictures = radiographs.pixels[validation.index.to_numpy()]
    table = effects(score, pictures, validation, threshold)
    if originals:
        development = radiographs.table[radiographs.table.split != "test"]
        rows, shown = full_size(Path(originals), development)
        copies = radiographs.pixels[rows.index.to_numpy()]
        table = pd.concat([table, effects(score, copies, rows, threshold, shown)])
    path = run.path / "robustness.csv"
    workspace.write_whole(path, table.to_csv(index=False, float_format="%.5g"))
    print(f"{table.round(3).to_string(index=False)}\n{path}")
    return table


def full_size(folder, table):
    """Full-size files of some of the table's radiographs, read in three ways.

    Returns the rows whose files lie in `folder`, and {way: function that puts the full-size pictures in
    place of the copies in use}, as `effects` takes it.
    """
    readers = {name.rpartition("/")[2]: reader for name, reader in files.gather(folder)[0].items()}
    names = table.path.str.rpartition("/")[2]
    rows = table[names.isin(readers)]
    full = [images.read(readers[name]()) for name in names[rows.index]]
    ways = {
        "read from the full-size file": images.squash,
        "full-size, shrunk without antialiasing": partial(resized, method=Image.Resampling.NEAREST),
        "full-size, saved again as JPEG quality 75": lambda grey: images.squash(as_jpeg(grey, 75)),
    }
    shown = {name: np.stack([way(grey) for grey in full]) for name, way in ways.items()}
    return rows, fixed(shown)


def fixed(shown):
    """Changes, as `effects` takes them, that were made before. shown: {name: pictures}."""
    return {name: lambda _, pictures=pictures: pictures for name, pictures in shown.items()}
