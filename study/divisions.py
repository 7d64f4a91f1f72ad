"""Why others report 96 to 98 %: the same recipe on the official division of the images, and on others.

protocol.md, "Why others report 96 to 98 %", says how and why.
"""

import dataclasses

import numpy as np
import pandas as pd

from utils import metrics, predict
from utils.data import manifest

from . import experiments, kept, tables

SEEDS = range(3)  # of the division and of the training
TEST = {"NORMAL": 234, "PNEUMONIA": 390}  # images of each class, as in the official test set
VALIDATION = 523  # images, as in fold 0
CELLS = {  # {recipe: (experiment, cell)}, where its trainings on the official division are kept
    "published network, usual handling": ("2x2", "published, usual"),
    "compact network, our handling": ("leave-one-out", "nothing"),
}
OFFICIAL = "official"
DIVISIONS = {  # {name: (what is drawn for testing, what for validation)}; None: as it is
    OFFICIAL: (None, None),
    "official, validation by image": (None, "path"),
    "pooled, by patient": ("patient", "patient"),
    "pooled, by image": ("path", "path"),
}


def compare(radiographs, ws):
    """Train both recipes on every division, and score each on its test once: the table 'divisions'."""
    trained = kept.read()
    for seed in SEEDS:
        for name, (testing, validation) in DIVISIONS.items():
            table = divided(radiographs.table, testing, validation, seed)
            reduced = dataclasses.replace(radiographs, table=table)
            for title, (experiment, cell) in CELLS.items():
                if kept.has("divisions", division=name, recipe=title, seed=seed):
                    continue
                if name == OFFICIAL:
                    studied = {"experiment": experiment, "cell": cell}, seed
                    run = next(run for run in trained if (run.card["study"], run.card["seed"]) == studied)
                    test = run.scores("test")
                else:
                    remark = f"Division of the images: {name}. For comparison of divisions only."
                    chosen = dataclasses.replace(experiments.COMPARED[experiment][0][cell], remark=remark)
                    run = experiments.trained(chosen, reduced, ws, seed)
                    test = predict.test_scores(run, reduced)[0]
                about = {"division": name, "recipe": title, "seed": seed}
                kept.append("divisions", [about | _measured(run, test, table)])


def divided(table, testing, validation, seed):
    """The table with split and fold (0: validation) drawn anew. testing, validation: see DIVISIONS."""
    rng = np.random.default_rng(seed)
    table = table.copy()
    if testing:
        table["split"] = "train"
        for label, size in TEST.items():
            table.loc[_drawn(table[table.label == label], testing, size, rng), "split"] = "test"
    development = table[table.split != "test"]
    if validation:
        table["fold"] = np.where(table.split == "test", -1, 1)
        table.loc[_drawn(development, validation, VALIDATION, rng), "fold"] = 0
    return table


def _drawn(rows, unit, size, rng):
    """Labels of about `size` rows, drawn at random by whole units, a column: path or patient."""
    units = rng.permutation(rows[unit].unique())
    order = rows[unit].map(pd.Series(range(len(units)), units))
    return rows.index[order.rank(method="max") <= size]


def _measured(run, test, table):
    """Metrics at 0.5 on test and validation images, and how many test images have a sibling in training."""
    training = manifest.select(table, "train").patient
    validation = run.scores("val")
    row = {"train": len(training), "test": len(test), "siblings": test.patient.isin(training).mean()}
    row |= metrics.measure(test, 0.5)[tables.MEASURES].to_dict()
    found = metrics.measure(validation, 0.5)
    row |= {"val_accuracy": found.accuracy, "val_auc": found.auc}
    row |= {"val_siblings": validation.patient.isin(training).mean()}
    return row | {name: run.card[name] for name in ("device", "precision", "code")}
