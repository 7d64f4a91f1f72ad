"""Trained networks probed with changed pictures: what moves their answers, what they can tell without lungs,
and what averaging over crops brings.
"""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from utils import intervals, metrics, predict, saved_models
from utils.data import images, manifest
from utils.evaluation import perturbations, stress
from utils.sources import files

from . import experiments, kept, tables

AREAS = (0.9, 0.8, 0.7)  # kept by every change of the framing
MIDDLES = (0.5, 0.7)  # of the area, where nearly all of the lungs lie
PROBED = {"2x2": range(3), "record-tones": experiments.SEEDS}  # {experiment: seeds}
VIEWS = [(1, 1), (0.85, 1), (1, 0.85), (0.85, 0.85)]  # height and width kept; averaged in `beside`
COUNTERFACTUAL = {  # {(change, area kept or NaN): function of pictures}
    **{(name, area): make for area in AREAS for name, make in perturbations.framings(area).items()},
    **{
        (name, np.nan): make
        for kind in ("tone", "marks", "position and file")
        for name, make in perturbations.CHANGES[kind].items()
    },
    ("saved as JPEG of quality 75", np.nan): partial(perturbations.reencode, quality=75),
    ("shrunk to 112 pixels, antialiased", np.nan): partial(perturbations.through, side=112, antialias=True),
}
MOVED = [
    "cell",
    "seed",
    "part",
    "label",
    "change",
    "area",
    "images",
    "shift",
]  # of the table 'counterfactual'
MOVED += [f"{name}{end}" for name in ("flips", "called") for end in ("", "_low", "_high")]


def networks(radiographs, ws, table="", probed=None):
    """The networks of experiments, trained now where they are not in the workspace: cell, seed, network.

    table: one of the kept tables; what it has already is left out. probed: {experiment: seeds}, PROBED if
    not given.
    """
    for experiment, seeds in (probed or PROBED).items():
        for (cell, chosen), seed in itertools.product(experiments.COMPARED[experiment][0].items(), seeds):
            name = cell if ", " in cell else f"{cell}, {experiment.split('-')[1]}"
            if not kept.has(table, cell=name, seed=seed):
                run = experiments.trained(chosen, radiographs, ws, seed)
                yield name, seed, saved_models.load(run.path / "model.keras")


def counterfactual(radiographs, ws, originals=None):
    """The table 'counterfactual': what moves the answers of each network, by part and class.

    originals: a folder with full-size files of some of the radiographs in use; without it, the changes
    that need them are left out. Under "val" stand those of all development patients.
    """
    groups = []
    for part, (label, _) in itertools.product(("val", "test"), manifest.classes(radiographs.listed)):
        table = manifest.select(radiographs.table, part)
        groups.append((part, label, table[table.label == label], None))
        if originals:
            table = radiographs.table[(radiographs.table.split == "test") == (part == "test")]
            groups.append((part, label, *full_size(Path(originals), table[table.label == label])))
    for cell, seed, network in networks(radiographs, ws, "counterfactual"):
        rows = []
        for part, label, table, read_anew in groups:
            pictures = radiographs.pixels[table.index.to_numpy()]
            shown = {change: partial(make, pictures) for change, make in COUNTERFACTUAL.items()}
            shown = {("unchanged", np.nan): pictures.copy} | (read_anew or shown)
            scores = {change: predict.score_pictures(network, make()) for change, make in shown.items()}
            found = stress.effects(scores, table, 0.5, resamples=2)  # its interval of the shift is not kept
            found["change"], found["area"] = zip(*shown, strict=True)
            about = {"cell": cell, "seed": seed, "part": part, "label": label}
            rows.append(found.iloc[1 if read_anew else 0 :].assign(**about))
        kept.append("counterfactual", pd.concat(rows)[MOVED], digits=4)


def full_size(folder, table):
    """Full-size files of some of the table's radiographs, read in three ways.

    Returns the rows whose files lie in `folder`, and {(way, NaN): function of pictures, uint8 [n, 224, 224]}.
    """
    readers = {name.rpartition("/")[2]: reader for name, reader in files.gather(folder)[0].items()}
    names = table.path.str.rpartition("/")[2]
    rows = table[names.isin(readers)]
    full = [images.read(readers[name]()) for name in names[rows.index]]
    ways = {
        "read from the full-size file": images.squash,
        "full-size, shrunk without antialiasing": partial(
            perturbations.resized, method=Image.Resampling.NEAREST
        ),
        "full-size, saved again as JPEG quality 75": lambda grey: images.squash(
            perturbations.as_jpeg(grey, 75)
        ),
    }
    read = {(name, np.nan): np.stack([way(grey) for grey in full]) for name, way in ways.items()}
    return rows, {way: pictures.copy for way, pictures in read.items()}


def without_lungs(radiographs, ws):
    """The table 'without_lungs': the AUC of each network, of pictures without the middle and of it alone."""
    changes = {("unchanged", np.nan): np.copy}
    for middle in MIDDLES:
        changed = perturbations.without_and_with(middle)
        changes |= {(name, middle): make for name, make in changed.items()}
    tables_of = {part: manifest.select(radiographs.table, part) for part in ("val", "test")}
    for cell, seed, network in networks(radiographs, ws, "without_lungs"):
        rows = []
        for part, table in tables_of.items():
            pictures = radiographs.pixels[table.index.to_numpy()]
            scores = [predict.score_pictures(network, make(pictures)) for make in changes.values()]
            found = intervals.aucs(table, np.stack(scores, axis=1)).add_prefix("auc_")
            found["change"], found["middle"] = zip(*changes, strict=True)
            rows.append(found.assign(cell=cell, seed=seed, part=part, images=len(table)))
        kept.append("without_lungs", pd.concat(rows), digits=4)


def by_views(network, pictures, views):
    """Scores, the log odds averaged over crops of each picture."""
    odds = [
        metrics.log_odds(predict.score_pictures(network, perturbations.crop(pictures, *view)))
        for view in views
    ]
    return metrics.from_log_odds(np.mean(odds, axis=0))


def beside(radiographs, ws):
    """The networks of the record scored by the mean of four crops, and all together: the table 'beside'.

    Shown beside the record, never instead. An ensemble's log odds are the mean of its members'.
    """
    test = manifest.select(radiographs.table, "test")
    pictures = radiographs.pixels[test.index.to_numpy()]
    probed = {"record-tones": experiments.SEEDS}
    members, rows = {seed: network for _, seed, network in networks(radiographs, ws, probed=probed)}, []
    for what, views in (("as they are", VIEWS[:1]), ("mean of four crops", VIEWS)):
        scores = {seed: by_views(network, pictures, views) for seed, network in members.items()}
        odds = [metrics.log_odds(each) for each in scores.values()]
        scores["all"] = metrics.from_log_odds(np.mean(odds, axis=0))
        for seed, each in scores.items():
            found = metrics.measure(test.assign(score=each), 0.5)
            rows.append({"scored": what, "seed": seed} | found[tables.MEASURES].to_dict())
    kept.write("beside", rows)
