"""Candidates compared without the test set: on held-out development images that differ as test does.

`models/protocol.md` says what is held out and by which number a candidate is chosen.
"""

import dataclasses

import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from utils import metrics, predict, runs, saved_models
from utils.data import images, manifest
from utils.evaluation import stress
from utils.training import recipes
from utils.workspace import write_whole

TABLE = runs.RELEASED / "development.csv"
EPOCHS = 12
FINALISTS = 3  # candidates that are trained with a second seed, beside the base
NEXT = 0.08  # share of the images of a collection: patients with the numbers closest to test
STRETCHED = 0.15  # share of the healthy patients left whose radiographs are most like squashed wide ones
FRAMINGS = [(1, 1), (0.85, 1), (0.7, 1), (1, 0.85), (1, 0.7)]  # height and width kept
VIEWS = [(1, 1), (0.85, 1), (1, 0.85), (0.85, 0.85)]  # averaged, where a candidate is scored by views
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
    COMBINED: {
        "area": (0.5, 1.0),
        "aspect": (1 / 2, 2.0),
        "contrast": 0.5,
        "brightness": 0.25,
        "noise": 12.0,
    },
}


def held_out(radiographs):
    """Which development images are held out, and why: a Series of '', 'fold 0', 'next to test', 'stretched'.

    next to test: of each collection, the patients whose numbers are closest to a number in test.
    stretched: of the healthy others, the patients whose squashed radiographs look taken widest, as
    those of ill children were (`images.stretch`). Whole patients only.
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


def compare(radiographs, ws, trained):
    """Train and score every candidate, or go on with it; one row per candidate, seed, scoring and group.

    trained: as `study.trained`. Writes models/development.csv; rows that are there are kept.
    """
    group = held_out(radiographs)
    table = radiographs.table.assign(fold=radiographs.table.fold.mask(group != "", 0))  # all out of training
    reduced = dataclasses.replace(radiographs, table=table)

    def add(names, seed):
        for name in names:
            rows = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame(columns=["candidate", "seed"])
            if ((rows.candidate == name) & (rows.seed == seed)).any():
                continue
            remark = f"Development, {name}: more than a fold held out, never scored on test."
            chosen = recipes.recipe("fast", **{"epochs": EPOCHS, "remark": remark} | CANDIDATES[name])
            run = trained(chosen, reduced, ws, seed)
            about = {"candidate": name, "seed": seed, "epochs": chosen.epochs, "seconds": run.card["seconds"]}
            new = pd.DataFrame([about | row for row in score(run, radiographs.pixels, table, group)])
            write_whole(TABLE, pd.concat([rows, new]).to_csv(index=False, float_format="%.5g"))

    add(CANDIDATES, 0)
    rows = pd.read_csv(TABLE)
    best = ranking(rows[(rows.seed == 0) & ~rows.candidate.isin([BASE, COMBINED])]).index
    add([BASE, *best[:FINALISTS]], 1)


def ranking(rows):
    """Candidates scored by one view, best first: means over the held-out groups."""
    means = rows[rows.views == 1].groupby("candidate")[["pooled_auc", "balanced_accuracy", "auc"]].mean()
    return means.sort_values("pooled_auc", ascending=False)


def score(run, pixels, table, group):
    """Rows of one network: for each way of scoring and each held-out group, how well it tells the classes.

    auc: on the radiographs as they are. Over all FRAMINGS, each radiograph in each, with one threshold
    for all: pooled_auc, and balanced accuracy at 0.5.
    """
    rows = np.flatnonzero(group != "")
    group, ill = group.to_numpy()[rows], manifest.positives(table.iloc[rows])
    parts = {"fold 0": group == "fold 0", "next to test": group == "next to test"}
    parts["stretched"] = (group == "stretched") | (ill == 1)
    pictures = pixels[table.index[rows]]
    framed = [stress.crop(pictures, *framing) for framing in FRAMINGS]
    network = saved_models.load(run.path / "model.keras")
    for views in (VIEWS[:1], VIEWS):
        scores = np.stack([by_views(network, shown, views) for shown in framed])
        for name, part in parts.items():
            truth, found = np.tile(ill[part], len(FRAMINGS)), scores[:, part].ravel()
            yield {
                "views": len(views),
                "group": name,
                "auc": roc_auc_score(ill[part], scores[0, part]),
                "pooled_auc": roc_auc_score(truth, found),
                "balanced_accuracy": balanced_accuracy_score(truth, metrics.called(found, 0.5)),
            }


def by_views(network, pictures, views):
    """Scores, the log odds averaged over crops of each picture."""
    odds = [metrics.log_odds(predict.score_pictures(network, stress.crop(pictures, *view))) for view in views]
    return metrics.from_log_odds(np.mean(odds, axis=0))
