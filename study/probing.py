"""Networks probed with changed pictures: to choose a candidate without the test set, as protocol.md says; to
learn what moves the answers of trained networks; and to average over crops.
"""

import dataclasses
import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from utils import metrics, predict, runs, saved_models
from utils.data import images, manifest
from utils.evaluation import perturbations, stress
from utils.sources import files
from utils.training import recipes

from . import experiments, kept, tables

EPOCHS = 12  # of a candidate
FINALISTS = 3  # candidates that are trained with a second seed, beside the base
NEXT = 0.08  # share of the images of a collection: patients with the numbers closest to test
STRETCHED = 0.15  # share of the healthy patients left whose radiographs are most like squashed wide ones
FRAMINGS = [(1, 1), (0.85, 1), (0.7, 1), (1, 0.85), (1, 0.7)]  # height and width kept
VIEWS = [(1, 1), (0.85, 1), (1, 0.85), (0.85, 0.85)]  # averaged, where a network is scored by views
BASE = "base"
COMBINED = "the three best together"
CANDIDATES = {
    BASE: {},
    "side 128": {"side": 128},
    "wider crops": {"area": (0.15, 1.0)},
    "narrower crops": {"area": (0.5, 1.0)},
    "wider aspect": {"aspect": (1 / 2, 2.0)},
    "stronger tones": {"contrast": 0.5, "brightness": 0.25, "noise": 12.0},
    "no label smoothing": {"label_smoothing": 0.0},
    "no class weights": {"class_weights": False},
    "batches of 64": {"batch_size": 64, "learning_rate": 3e-3},
    COMBINED: recipes.CHOSEN,
}
COUNTERFACTUAL = {"none": np.copy}  # what of a narrower framing counts?
for _kept in (0.9, 0.8, 0.7):
    COUNTERFACTUAL |= {
        f"height cropped to {_kept:.0%}": partial(perturbations.crop, height=_kept),  # content, zoom, stretch
        f"both cropped to {_kept:.0%}": partial(perturbations.crop, height=_kept, width=_kept),  # not stretch
        f"squeezed to {_kept:.0%} of the width": partial(perturbations.squeeze, width=_kept),  # stretch alone
        f"masked to {_kept:.0%} of the height": partial(perturbations.blank, height=_kept),  # content alone
    }
for _quality in (75, 30):
    COUNTERFACTUAL[f"JPEG quality {_quality}"] = partial(perturbations.reencode, quality=_quality)
for _how in ("antialiased", "not antialiased"):
    COUNTERFACTUAL[f"shrunk to 112, {_how}"] = partial(
        perturbations.through, side=112, antialias=_how == "antialiased"
    )
MOVED = ["change", "images"]  # columns of the table 'counterfactual'
MOVED += [f"{name}{end}" for name in ("shift", "flips", "called") for end in ("", "_low", "_high")]
MOVED += ["median", "largest", "cell", "seed", "part", "label"]


def held_out(radiographs):
    """Which development images are held out, and why: a Series of '', 'fold 0', 'next to test', 'stretched'.

    next to test: of each collection, the patients whose numbers are closest to a number in test. stretched:
    of the healthy others, the patients whose squashed radiographs look taken widest, as those of ill
    children were (`images.stretch`). Whole patients only.
    """
    table = radiographs.table
    number = table.patient.str.extract(r"(\d+)$")[0].astype(int)
    group = pd.Series("", table.index).mask(table.fold == 0, "fold 0")
    for _, rows in table.groupby("subtype"):
        tests = np.sort(number[rows.index][rows.split == "test"].unique())
        left = rows.index[(rows.split != "test") & (group[rows.index] == "")]
        away = np.abs(number[left].to_numpy()[:, None] - tests).min(1)
        group[left[away <= np.quantile(away, NEXT)]] = "next to test"
    healthy = table[(table.label == "NORMAL") & (table.split != "test") & (group == "")]
    looks = pd.Series(images.stretch([radiographs.pixels[row] for row in healthy.index]), healthy.index)
    looks = looks.groupby(healthy.patient).transform("mean")
    group[healthy.index[looks >= looks.quantile(1 - STRETCHED)]] = "stretched"
    return group


def compare(radiographs, ws):
    """Train and score every candidate, or go on with it: what is in the table 'candidates' is kept."""
    group = held_out(radiographs)
    table = radiographs.table.assign(fold=radiographs.table.fold.mask(group != "", 0))  # all out of training
    reduced = dataclasses.replace(radiographs, table=table)

    def add(names, seed):
        for name in names:
            rows = kept.table("candidates")
            if ((rows.candidate == name) & (rows.seed == seed)).any():
                continue
            remark = f"Development, {name}: more than a fold held out, never scored on test."
            chosen = recipes.recipe("fast", **{"epochs": EPOCHS, "remark": remark} | CANDIDATES[name])
            run = experiments.trained(chosen, reduced, ws, seed)
            about = {"candidate": name, "seed": seed, "epochs": chosen.epochs, "seconds": run.card["seconds"]}
            new = pd.DataFrame([about | row for row in score(run, radiographs.pixels, table, group)])
            kept.write("candidates", pd.concat([rows, new]), digits=5)

    add(CANDIDATES, 0)
    rows = kept.table("candidates")
    best = tables.ranking(rows[(rows.seed == 0) & ~rows.candidate.isin([BASE, COMBINED])]).index
    add([BASE, *best[:FINALISTS]], 1)


def score(run, pixels, table, group):
    """Rows of one network: for each way of scoring and each held-out group, how well it tells the classes.

    auc: on the radiographs as they are. pooled_auc, and balanced accuracy at 0.5: over all FRAMINGS, each
    radiograph in each, with one threshold for all.
    """
    rows = np.flatnonzero(group != "")
    group, ill = group.to_numpy()[rows], manifest.positives(table.iloc[rows])
    parts = {name: group == name for name in ("fold 0", "next to test", "stretched")}
    parts["stretched"] |= ill == 1
    pictures = pixels[table.index[rows]]
    framed = [perturbations.crop(pictures, *framing) for framing in FRAMINGS]
    network = saved_models.load(run.path / "model.keras")
    for views in (VIEWS[:1], VIEWS):
        scores = np.stack([by_views(network, shown, views) for shown in framed])
        for name, part in parts.items():
            row = {"views": len(views), "group": name, "auc": roc_auc_score(ill[part], scores[0, part])}
            truth, found = np.tile(ill[part], len(FRAMINGS)), scores[:, part].ravel()
            row["pooled_auc"] = roc_auc_score(truth, found)
            yield row | {"balanced_accuracy": balanced_accuracy_score(truth, metrics.called(found, 0.5))}


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
    members, rows = list(networks(ws, "record")), []
    for what, views in (("as they are", VIEWS[:1]), ("mean of four crops", VIEWS)):
        scores = {run.name: by_views(network, pictures, views) for run, network, _ in members}
        odds = [metrics.log_odds(each) for each in scores.values()]
        scores["all"] = metrics.from_log_odds(np.mean(odds, axis=0))
        for name, each in scores.items():
            found = metrics.measure(test.assign(score=each), 0.5)
            rows.append({"scored": what, "network": name} | found[tables.MEASURES].to_dict())
    kept.write("beside", rows)


def counterfactual(radiographs, ws, originals=None):
    """The table 'counterfactual': what moves the answers of each network of the 2 x 2, by part and class.

    originals: a folder with full-size files of some of the radiographs in use; without it, the changes
    that need them are left out. Under "val" stand those of all development patients.
    """
    groups, rows = [], []
    for part, (label, _) in itertools.product(("val", "test"), manifest.classes(radiographs.listed)):
        table = manifest.select(radiographs.table, part)
        table = table[table.label == label]
        pictures = radiographs.pixels[table.index.to_numpy()]
        shown = {name: change(pictures) for name, change in COUNTERFACTUAL.items()}
        groups.append((part, label, table, shown))  # once for all networks
        if originals:
            table = radiographs.table[(radiographs.table.split == "test") == (part == "test")]
            groups.append((part, label, *full_size(Path(originals), table[table.label == label])))
    for run, network, cell in networks(ws, "2x2"):
        scoring = partial(predict.score_pictures, network)
        for part, label, table, shown in groups:
            before = {stress.UNCHANGED: scoring(radiographs.pixels[table.index.to_numpy()])}
            after = {name: scoring(pictures) for name, pictures in shown.items()}
            found = stress.effects(before | after, table, 0.5, resamples=1000).iloc[1:]
            rows.append(found.assign(cell=cell, seed=run.card["seed"], part=part, label=label))
    kept.write("counterfactual", pd.concat(rows)[MOVED], digits=5)


def full_size(folder, table):
    """Full-size files of some of the table's radiographs, read in three ways.

    Returns the rows whose files lie in `folder`, and {way: pictures, uint8 [n, 224, 224]}.
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
    return rows, {name: np.stack([way(grey) for grey in full]) for name, way in ways.items()}


def networks(ws, experiment):
    """The trained networks of an experiment that are in the workspace, one by one: run, network, cell."""
    studied = {run.name: run.card["study"] for run in kept.read()}
    for run in runs.own_runs(ws):
        if run.name in studied and studied[run.name]["experiment"] == experiment:
            yield run, saved_models.load(run.path / "model.keras"), studied[run.name]["cell"]
