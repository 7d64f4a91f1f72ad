"""The trainings behind the record, the 2 x 2 and the leave-one-out, to be run anew."""

import dataclasses
import itertools
import json

from utils import metrics, predict, runs
from utils.training import fit, recipes

from . import tables

SHORT = {"epochs": 8, "cosine": True}
USUAL = recipes.MILD | {"per_image": False, "class_weights": False, "label_smoothing": 0.0}
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
EXPERIMENTS = {  # {name: ({cell: recipe}, seeds)}
    "record": ({"compact": recipes.recipe("best")}, range(5)),
    "record-published": ({"published": recipes.recipe("best_published")}, range(5)),
    "record-tones": ({"compact": recipes.recipe("tones")}, range(5)),
    "record-tones-published": ({"published": recipes.recipe("tones_published")}, range(5)),
    "2x2": (
        {
            "published, usual": recipes.recipe("published", **SHORT),
            "published, ours": recipes.recipe("robust", **SHORT),
            "compact, usual": recipes.recipe("compact", **SHORT, **USUAL),
            "compact, ours": recipes.recipe("compact", **SHORT),
        },
        range(5),
    ),
    "leave-one-out": (
        {name: recipes.recipe("fast", **changed) for name, changed in LEFT_OUT.items()},
        range(3),
    ),
}


def run(name, radiographs, ws):
    """Train the cells of an experiment seed by seed, score each on test once, and print each seed's metrics.

    The networks stay in the results folder; finished ones are not trained again. What is kept of the study
    is not changed.
    """
    cells, seeds = EXPERIMENTS[name]
    for seed, (cell, recipe) in itertools.product(seeds, cells.items()):
        scores, _ = predict.test_scores(_trained(recipe, radiographs, ws, seed), radiographs)
        measured = metrics.measure(scores, 0.5)[tables.MEASURES]
        print(f"{cell}, seed {seed}:", ", ".join(f"{name} {value:.4f}" for name, value in measured.items()))


def _trained(recipe, radiographs, ws, seed):
    """The finished run of a recipe and a seed, trained now if there is none."""
    wanted = json.loads(json.dumps(dataclasses.asdict(recipe)))  # tuples are lists in a card
    for own in runs.own_runs(ws):
        if own.finished and own.card["seed"] == seed and recipes.completed(own.card["recipe"]) == wanted:
            return own
    return fit.train(recipe, radiographs, ws, seed)
