"""Small data: bacterial against viral pneumonia, from scratch and from a network trained for another task.

The released network `best` has learned normal from pneumonia. It knows the training radiographs used here,
but not their kind. All settings were fixed before the first training; nothing is chosen on test.
"""

import dataclasses
import itertools

import pandas as pd

from utils import metrics, predict, sources
from utils.data import manifest
from utils.sources import own_data
from utils.training import recipes

from . import experiments, kept, tables

SIZES = (100, 300, 1000)  # training radiographs of each class; about, for patients stay whole
VALIDATION = 50  # of each class
SEEDS = range(3)  # of the draw of patients and of the training
STARTS = {"from scratch": "", "from best": "best"}
SETTINGS = {"epochs": 24, "batch_size": 16}


def compare(radiographs, ws):
    """Train every size, seed and start, and score each on test once: the table 'small_data'."""
    packed = own_data.bacterial_or_viral(radiographs, ws.home / "bacterial_or_viral.zip")
    own = sources.load(dataclasses.replace(ws, data=packed))
    validation, test = manifest.draw(manifest.select(own.table, "val"), VALIDATION), own.table.fold < 0
    for size, seed, (cell, start) in itertools.product(SIZES, SEEDS, STARTS.items()):
        if kept.has("small_data", per_class=size, seed=seed, cell=cell):
            continue
        training = manifest.draw(manifest.select(own.table, "train"), size, seed)
        small = dataclasses.replace(own, table=pd.concat([training, validation, own.table[test]]))
        remark = f"Bacterial against viral pneumonia, about {size} training radiographs of each."
        chosen = recipes.recipe("best", **SETTINGS, start_from=start, remark=remark)
        run = experiments.trained(chosen, small, ws, seed)
        found = metrics.measure(predict.test_scores(run, small)[0], 0.5)
        card = run.card
        row = {"per_class": size, "cell": cell, "seed": seed, "epochs": chosen.epochs}
        row |= {name: card["counts"][name] for name in ("train", "train_patients")}
        row |= {"seconds": card["seconds"]} | found[tables.MEASURES].to_dict()
        row |= {name: card[name] for name in ("device", "precision", "code")}
        kept.append("small_data", [row])
