"""The experiments behind the released results; `python -m study NAME` runs one, or goes on with it."""

import dataclasses
import itertools
import json
import time
from functools import partial

import numpy as np
import pandas as pd

from utils import metrics, predict, runs, sources, workspace
from utils.backend import keras
from utils.data import manifest
from utils.training import fit, recipes

from . import candidates, probing, tables

SCHEDULES = (2, 4, 8, 24)  # epochs
SEEDS = range(5)
KEPT = ("card.json", "history.csv", "scores_val.csv", "scores_test.csv")  # of a studied run
SHORT = {"epochs": 8, "cosine": True}
USUAL = recipes.MILD | {"per_image": False, "class_weights": False, "label_smoothing": 0.0}
TWO_BY_TWO = {
    "published, usual": recipes.recipe("published", **SHORT),
    "published, ours": recipes.recipe("robust", **SHORT),
    "compact, usual": recipes.recipe("compact", **SHORT, **USUAL),
    "compact, ours": recipes.recipe("compact", **SHORT),
}
LEFT_OUT = {
    "nothing": {},
    "random aspect": {"aspect": (1.0, 1.0)},
    "zoom": {"area": (1.0, 1.0)},
    "blur and noise": {"blur": 0.0, "noise": 0.0},
    "brightness and contrast": {"brightness": 0.0, "contrast": 0.0},
    "standardised images": {"per_image": False},
    "class weights": {"class_weights": False},
    "label smoothing": {"label_smoothing": 0.0},
    "falling learning rate": {"cosine": False},
}
COMPARED = {  # {experiment: (cells, seeds)}
    "record": ({"compact": recipes.recipe("best")}, SEEDS),
    "record-published": ({"published": recipes.recipe("best_published")}, SEEDS),
    "2x2": (TWO_BY_TWO, SEEDS),
    "leave-one-out": (
        {name: recipes.recipe("fast", **changed) for name, changed in LEFT_OUT.items()},
        range(3),
    ),
}


class TestTrace(keras.callbacks.Callback):
    """Score the official test images every few epochs into `test_trace.csv`.

    An illustration of how much chance is in a figure read off the test set. Nothing that chooses an
    epoch, a threshold or a setting may read this file.
    """

    def __init__(self, run, radiographs, every=5):
        super().__init__()
        self.run, self.pixels, self.every = run, radiographs.pixels, every
        self.test = manifest.select(radiographs.table, "test")

    def on_train_begin(self, logs=None):
        self.run.update_card(
            test_trace=f"For illustration only, the official test images were scored every {self.every} "
            "epochs (test_trace.csv). Nothing was chosen by it."
        )

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        network = self.model.layers[-1]  # behind the augmentation layer
        result = metrics.measure(predict.score_table(network, self.pixels, self.test), 0.5)
        row = {"epoch": epoch + 1, "accuracy": result.accuracy, "auc": result.auc}
        row |= {"sensitivity": result.sensitivity, "specificity": result.specificity}
        path = self.run.path / "test_trace.csv"
        rows = pd.DataFrame([row])
        if path.exists():
            earlier = pd.read_csv(path)  # after a break, later rows would be of epochs that are repeated
            rows = pd.concat([earlier[earlier.epoch <= epoch], rows])
        workspace.write_whole(path, rows.to_csv(index=False, float_format="%.6g"))


class Compiling(keras.callbacks.Callback):
    """Note in the card how many seconds went into compiling: what the first step took beyond a usual one."""

    def __init__(self, run):
        super().__init__()
        self.run, self.ends = run, [time.perf_counter()]

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())

    def on_train_end(self, logs=None):
        if len(self.ends) > 2:
            first, *others = np.diff(self.ends)
            before = self.run.card.get("compile_seconds", 0)  # of sessions before a break
            self.run.update_card(compile_seconds=round(before + first - float(np.median(others)), 1))


def published():
    """The published recipe to its end, 300 epochs, with a trace of the test accuracy on the way."""
    ws = workspace.open_workspace()
    radiographs = sources.load(ws)
    run = trained(
        recipes.recipe("published"), radiographs, ws, callbacks=lambda run: [TestTrace(run, radiographs)]
    )
    print(predict.test_scores(run, radiographs)[1])


def schedules():
    """The recipe `fast` for numbers of epochs fixed beforehand, several seeds each, scored on test once.

    Goes on where it stopped. Writes one row per training to models/schedules.csv.
    """
    ws = workspace.open_workspace()
    radiographs = sources.load(ws)
    rows = []
    for epochs, seed in itertools.product(SCHEDULES, SEEDS):
        chosen = recipes.recipe("fast", epochs=epochs)
        run = trained(chosen, radiographs, ws, seed, callbacks=lambda run: [Compiling(run)])
        result = metrics.measure(predict.test_scores(run, radiographs)[0], 0.5)
        card = run.card
        row = {"recipe": chosen.name, "epochs": epochs, "seed": seed}
        row |= {
            "seconds": card["seconds"] - card["compile_seconds"],
            "compile_seconds": card["compile_seconds"],
        }
        row |= result[tables.MEASURES].to_dict()
        row |= {name: card[name] for name in ("device", "precision", "code")}
        rows.append(row)
        workspace.write_whole(tables.SCHEDULES, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))


def trained(chosen, radiographs, ws, seed=0, **kwargs):
    """The finished run of a recipe and a seed, trained now if there is none."""
    wanted = json.loads(json.dumps(dataclasses.asdict(chosen)))  # tuples are lists in a card
    for run in runs.own_runs(ws):
        card = run.card
        if card["finished"] and (card["recipe"], card["seed"]) == (wanted, seed):
            return run
    return fit.train(chosen, radiographs, ws, seed, **kwargs)


def compare_candidates():
    """Candidates for the record, compared on development images only: `development.compare`."""
    ws = workspace.open_workspace()
    candidates.compare(sources.load(ws), ws, trained)


def compared(experiment):
    """Train the cells of an experiment, score each on test once, and keep all but the weights.

    Goes on where it stopped; the cells of one seed come before those of the next.
    """
    ws = workspace.open_workspace()
    radiographs = sources.load(ws)
    cells, seeds = COMPARED[experiment]
    for seed, (cell, chosen) in itertools.product(seeds, cells.items()):
        run = trained(chosen, radiographs, ws, seed)
        predict.test_scores(run, radiographs)
        kept = tables.STUDY / run.name
        for name in KEPT:
            workspace.write_whole(kept / name, (run.path / name).read_bytes())
        runs.Run(kept).update_card(study={"experiment": experiment, "cell": cell})
        tables.tabulate_study()


EXPERIMENTS = {"published": published, "schedules": schedules, "candidates": compare_candidates}
EXPERIMENTS |= {name: partial(compared, name) for name in COMPARED} | {
    "beside": probing.beside,
    "counterfactual": probing.counterfactual,
}
