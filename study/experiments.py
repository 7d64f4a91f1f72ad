"""The trainings behind the released results. Each experiment goes on where it stopped."""

import dataclasses
import itertools
import json
import time

import numpy as np
import pandas as pd

from utils import metrics, predict, runs, workspace
from utils.backend import keras
from utils.data import manifest
from utils.training import fit, recipes

from . import kept, tables

SCHEDULES = (2, 4, 8, 24)  # epochs
SEEDS = range(5)
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
ONE_LEFT_OUT = {name: recipes.recipe("fast", **changed) for name, changed in LEFT_OUT.items()}
COMPARED = {  # {experiment: (cells, seeds)}
    "record": ({"compact": recipes.recipe("best")}, SEEDS),
    "record-published": ({"published": recipes.recipe("best_published")}, SEEDS),
    "record-tones": ({"compact": recipes.recipe("tones")}, SEEDS),  # round two
    "record-tones-published": ({"published": recipes.recipe("tones_published")}, SEEDS),
    "2x2": (TWO_BY_TWO, SEEDS),
    "leave-one-out": (ONE_LEFT_OUT, range(3)),
}


class TestTrace(keras.callbacks.Callback):
    """Score the official test images every few epochs into `test_trace.csv`.

    It shows how much chance is in one such number. Nothing that chooses an epoch, a threshold or a
    setting may read this file.
    """

    def __init__(self, run, radiographs, every=5):
        super().__init__()
        self.run, self.radiographs, self.every = run, radiographs, every

    def on_train_begin(self, logs=None):
        often = f"For illustration only, the official test images were scored every {self.every} epochs"
        self.run.update_card(test_trace=f"{often} (test_trace.csv). Nothing was chosen by it.")

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        network = self.model.layers[-1]  # behind the augmentation layer
        test = manifest.select(self.radiographs.table, "test")
        found = metrics.measure(predict.score_table(network, self.radiographs.pixels, test), 0.5)
        row = {"epoch": epoch + 1} | found[tables.MEASURES].to_dict()
        path = self.run.path / "test_trace.csv"
        earlier = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(row))
        rows = earlier[earlier.epoch <= epoch].to_dict("records")  # after a break, later epochs are repeated
        table = pd.DataFrame([*rows, row])
        workspace.write_whole(path, table.to_csv(index=False, float_format="%.6g"))


def compiling(run):
    """A callback that notes the seconds of compiling: what the first step took beyond a usual one."""
    ends = [time.perf_counter()]

    def note(logs=None):
        if len(ends) > 2:
            first, *others = np.diff(ends)
            before = run.card.get("compile_seconds", 0)  # of sessions before a break
            run.update_card(compile_seconds=round(before + first - float(np.median(others)), 1))

    return keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()), on_train_end=note
    )


def trained(chosen, radiographs, ws, seed=0, **kwargs):
    """The finished run of a recipe and a seed, trained now if there is none. kwargs: of `fit.train`."""
    wanted = json.loads(json.dumps(dataclasses.asdict(chosen)))  # tuples are lists in a card
    for run in runs.own_runs(ws):
        card = run.card
        if card["finished"] and (recipes.completed(card["recipe"]), card["seed"]) == (wanted, seed):
            return run
    return fit.train(chosen, radiographs, ws, seed, **kwargs)


def published(radiographs, ws):
    """The published recipe to its end, 300 epochs, with a trace of the test accuracy on the way."""
    chosen = recipes.recipe("published")
    run = trained(chosen, radiographs, ws, callbacks=lambda run: [TestTrace(run, radiographs)])
    print(predict.test_scores(run, radiographs)[1])


def schedules(radiographs, ws):
    """`fast` for numbers of epochs fixed before, each seed scored on test once: the table 'schedules'."""
    for epochs, seed in itertools.product(SCHEDULES, SEEDS):
        if kept.has("schedules", epochs=epochs, seed=seed):
            continue
        chosen = recipes.recipe("fast", epochs=epochs)
        run = trained(chosen, radiographs, ws, seed, callbacks=lambda run: [compiling(run)])
        found = metrics.measure(predict.test_scores(run, radiographs)[0], 0.5)
        card = run.card
        row = {"recipe": chosen.name, "epochs": epochs, "seed": seed}
        row["seconds"] = card["seconds"] - card["compile_seconds"]
        row |= {"compile_seconds": card["compile_seconds"]} | found[tables.MEASURES].to_dict()
        row |= {name: card[name] for name in ("device", "precision", "code")}
        kept.append("schedules", [row])


def compared(experiment, radiographs, ws):
    """Train the cells of an experiment seed by seed, score each on test once, keep all but the weights."""
    cells, seeds = COMPARED[experiment]
    for seed, (cell, chosen) in itertools.product(seeds, cells.items()):
        run = trained(chosen, radiographs, ws, seed)
        predict.test_scores(run, radiographs)
        kept.add(run, experiment, cell)
