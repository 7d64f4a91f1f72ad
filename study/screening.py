"""Round two: candidates compared on development images under other framings and other tones.

protocol.md, "Round two", says how and why. The images of the official test set are never looked at.
"""

import dataclasses

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from utils import metrics, predict, saved_models
from utils.data import manifest
from utils.evaluation import perturbations
from utils.training import recipes

from . import experiments, kept

EPOCHS = 16  # of a candidate
FRAMINGS = [(1, 1), (0.85, 1), (0.7, 1), (1, 0.85), (1, 0.7)]  # height and width kept
TONED = {"NORMAL": 0.15, "PNEUMONIA": 0.08}  # share of a class's patients that is held out for their tone
PHOTO = {"unevenness": 0.3, "sharpening": 2.5}
CANDIDATES = {
    "base": {},
    "uneven and sharp": PHOTO,
    "tones exchanged": {"exchange": 1.0},
    "all tones": PHOTO | {"exchange": 1.0},
    "local contrast": {"local": True},
    "all tones, local contrast": PHOTO | {"exchange": 1.0, "local": True},
    "uneven": {"unevenness": 0.3},
    "sharp": {"sharpening": 2.5},
    "mixstyle": {"mixstyle": 0.1},
    "curves": {"curve": 0.9},
    "marks": {"marks": 0.5},
    "borders": {"borders": 0.15},
    "mixup": {"mixup": 0.2},
    "averaged weights": {"ema": 0.995},
    "stronger framing": {"area": (0.35, 1.0), "aspect": (0.4, 2.5)},
}
CHECKS = {  # cells of round one, whose rank on test is known: does the criterion see the same?
    f"check: {cell}": chosen
    for cells, names in (
        (experiments.ONE_LEFT_OUT, ("nothing", "random aspect", "zoom", "falling learning rate")),
        (experiments.TWO_BY_TWO, ("compact, ours", "compact, usual")),
    )
    for cell, chosen in cells.items()
    if cell in names
}
PUBLISHED = {  # does what the compact network took over help the published one? A short trial.
    "published network, base": recipes.recipe("best_published", epochs=8),
    "published network, all tones": recipes.recipe("tones_published", epochs=8),
}
QUEUE = [  # (candidate, seed), in the order of training; what is in the table already is passed over
    *((name, seed) for seed in range(3) for name in ("base", "uneven and sharp", "all tones")),
    *((name, seed) for seed in range(3) for name in PUBLISHED),
    *((name, 0) for name in [*CHECKS, *CANDIDATES]),
]


def screen(radiographs, ws):
    """Train and score every candidate of QUEUE, or go on with it: the table 'screening'."""
    table = radiographs.table[radiographs.table.split != "test"]  # nothing below can reach a test image
    group = held_out(radiographs.pixels, table)
    table = table.assign(fold=table.fold.mask(group != "", 0))  # all out of training
    reduced = dataclasses.replace(radiographs, table=table)
    for name, seed in QUEUE:
        if kept.has("screening", candidate=name, seed=seed):
            continue
        remark = f"Development, {name}: more than a fold held out, never scored on test."
        chosen = (CHECKS | PUBLISHED).get(name) or recipes.recipe("best", epochs=EPOCHS, **CANDIDATES[name])
        run = experiments.trained(dataclasses.replace(chosen, remark=remark), reduced, ws, seed)
        about = {"candidate": name, "seed": seed, "epochs": chosen.epochs}
        about |= {entry: run.card[entry] for entry in ("seconds", "code")} | {"run": run.name}
        network = saved_models.load(run.path / "model.keras")
        rows = [about | row for row in score(network, radiographs.pixels, table, group)]
        kept.append("screening", rows, digits=5)


def held_out(pixels, table):
    """Which development images are held out: a Series of '', 'fold 0' and 'toned'. Whole patients only.

    toned: healthy patients whose tone looks most ill, and ill patients whose tone looks most healthy.
    """
    looks, ill = np.array([tone(pixels[row]) for row in table.index]), manifest.positives(table)
    group = pd.Series("", table.index).mask(table.fold == 0, "fold 0")
    known = (group == "").to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    odds = pd.Series(model.fit(looks[known], ill[known]).decision_function(looks), table.index)
    odds = odds.groupby(table.patient).transform("mean")
    for (label, share), sign in zip(TONED.items(), (1, -1), strict=True):
        rows = table.index[known & (table.label == label)]
        strange = sign * odds[rows]
        group[rows[strange >= strange.quantile(1 - share)]] = "toned"
    return group


def tone(picture):
    """What is left of a picture's tone when brightness and contrast are taken out: uint8 [h, w] -> [13].

    Quantiles, skewness, kurtosis, and sharpness: the logarithm of the mean step between neighbours.
    """
    grey = picture.astype(np.float32)
    mean, deviation = grey.mean(), grey.std()
    quantiles = (np.percentile(picture, range(5, 100, 10)) - mean) / deviation
    values = (np.arange(256) - mean) / deviation
    shares = np.bincount(picture.ravel(), minlength=256) / picture.size
    steps = sum(np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1))
    return [*quantiles, shares @ values**3, shares @ values**4, np.log(steps / deviation)]


def score(network, pixels, table, group):
    """Rows of one network, one for each pair of held-out groups, healthy against ill.

    auc: of the radiographs as they are. pooled_auc, and sensitivity and specificity at 0.5: over all
    FRAMINGS, each radiograph in each, with one ranking and one threshold for all.
    """
    rows = np.flatnonzero(group != "")
    group, ill = group.to_numpy()[rows], manifest.positives(table.iloc[rows])
    pictures = pixels[table.index[rows]]
    shown = [predict.score_pictures(network, perturbations.crop(pictures, *framing)) for framing in FRAMINGS]
    scores = np.stack(shown, axis=1)  # [images, framings]
    for healthy_from in ("fold 0", "toned"):
        for ill_from in ("fold 0", "toned"):
            healthy = scores[(ill == 0) & (group == healthy_from)]
            others = scores[(ill == 1) & (group == ill_from)]
            yield {
                "healthy": healthy_from,
                "ill": ill_from,
                "auc": _auc(healthy[:, 0], others[:, 0]),
                "pooled_auc": _auc(healthy.ravel(), others.ravel()),
                "specificity": 1 - metrics.called(healthy, 0.5).mean(),
                "sensitivity": metrics.called(others, 0.5).mean(),
            }


def _auc(healthy, ill):
    return roc_auc_score(np.repeat([0, 1], [len(healthy), len(ill)]), np.concatenate([healthy, ill]))
