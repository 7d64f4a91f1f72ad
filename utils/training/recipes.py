"""Recipes: named, frozen, everything that decides a training in one place."""

import dataclasses
import inspect
import json
import re
from dataclasses import dataclass, replace

from ..workspace import ExplainedError


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training, one field a choice."""

    name: str
    title: str  # what figures and tables call the network that comes out
    network: str  # a key of model.NETWORKS
    side: int = 150  # input height and width in pixels
    per_image: bool = True  # standardise each image; otherwise scale pixels to 0-1
    epochs: int = 24  # passes over the training images
    batch_size: int = 64  # images per step
    learning_rate: float = 3e-3  # of Adam (Kingma and Ba 2015); the peak, if cosine
    cosine: bool = True  # warm up for one epoch or a quarter, then decay to 0 along a cosine
    weight_decay: float = 2e-2  # decoupled (Loshchilov and Hutter 2019); 0 is plain Adam
    label_smoothing: float = 0.1  # share of the target spread over both classes
    class_weights: bool = True  # both classes weigh the same in the loss
    area: tuple = (0.3, 1.0)  # the crop's share of the picture
    aspect: tuple = (2 / 3, 3 / 2)  # the crop's width over height, before it is squashed
    shift: float = 0.0  # further displacement, share of the side, edges repeated
    rotation: float = 0.0  # degrees, either way
    blur: float = 1.0  # the resampling kernel is widened by up to this factor, plus 1
    noise: float = 6.0  # largest standard deviation, in grey levels of 255
    contrast: float = 0.3  # largest relative change
    brightness: float = 0.15  # largest change, share of the full range
    exchange: float = 0.0  # largest share of the way to the tones of another picture of the batch
    unevenness: float = 0.0  # largest deviation of a slowly changing exposure, share of the full range
    sharpening: float = 0.0  # largest amount of unsharp masking, how often the lost detail is added
    start_from: str = ""  # a run whose first half is kept and the rest trained on; imagenet; empty: random
    remark: str = (  # what a reader of the results has to know
        "The data handling was suggested by earlier looks at the official test set, listed in "
        "models/test_looks.csv."
    )


# The usual augmentation: turned by up to 10 degrees, shifted and zoomed by up to 10 %.
MILD = {"area": (0.81, 1.21), "aspect": (1.0, 1.0), "shift": 0.1, "rotation": 10.0}
MILD |= {"blur": 0.0, "noise": 0.0, "contrast": 0.0, "brightness": 0.0}

# The published starting point: 150x150 grey input, Adam, categorical cross-entropy, augmentation,
# 300 epochs, batches of 80.
published = Recipe(
    name="published",
    title="published network, as published",
    network="published",
    per_image=False,
    epochs=300,
    batch_size=80,
    learning_rate=1e-3,
    cosine=False,
    weight_decay=0.0,
    label_smoothing=0.0,
    class_weights=False,
    **MILD,
    remark="Left open by the publication and chosen by us: 32, 64, 128 and 128 filters of 3x3 without "
    "padding, ReLU, dropout of 0.5, scaling of pixels to 0-1, a learning rate of 0.001, and the kind of "
    "augmentation (rotation by up to 10 degrees, shift and zoom by up to 10 %).",
)

# The published network with our data handling.
robust = Recipe("robust", "published network, random framing", "published", learning_rate=1e-3)

# Our small network with our data handling.
compact = Recipe("compact", "compact network, random framing", "compact")

# `compact` for a first try or a lesson: small pictures, small batches, few epochs.
fast = Recipe(
    "fast", "compact network, short training", "compact", side=96, epochs=8, batch_size=32, learning_rate=2e-3
)

# For comparison: `compact`, but with the usual mild augmentation of `published`.
compact_usual = Recipe(
    name="compact_usual",
    title="compact network, usual augmentation",
    network="compact",
    **MILD,
    remark="For comparison with `compact`: the same in everything but the augmentation, which is the "
    "mild one of `published`.",
)

# The record, with the data handling that the study chose on development images (study/protocol.md):
# the small network on small pictures, twice as long as `compact`.
CHOSEN = {"area": (0.5, 1.0), "aspect": (1 / 2, 2.0), "contrast": 0.5, "brightness": 0.25, "noise": 12.0}
best = replace(fast, name="best", title="compact network, our handling", epochs=48, **CHOSEN)

# The published network with the same data handling.
best_published = replace(robust, name="best_published", title="published network, our handling", **CHOSEN)

# A network that has learned from the photographs of ImageNet, on small pictures, for small data.
pretrained = Recipe(
    name="pretrained",
    title="MobileNetV2 from ImageNet, our handling",
    network="mobilenet",
    side=160,
    batch_size=32,
    learning_rate=1e-3,
    start_from="imagenet",
    **CHOSEN,
)

# What the second round added: tones that the standardisation of each image does not cancel.
TONES = {"unevenness": 0.3, "sharpening": 2.5, "exchange": 1.0}
tones = replace(best, name="tones", title="compact network, our handling with tones", **TONES)
tones_published = replace(
    best_published, name="tones_published", title="published network, our handling with tones", **TONES
)

BEFORE_THE_STUDY = published, robust, compact, fast, compact_usual
SINCE = best, best_published, pretrained, tones, tones_published
RECIPES = {each.name: each for each in (*BEFORE_THE_STUDY, *SINCE)}


def recipe(name, quick=False, **changes):
    """A recipe by name, with changed fields; quick=True trains 2 epochs and keeps everything else.

    Raises ExplainedError if there is no such recipe or field.
    """
    if name not in RECIPES:
        raise ExplainedError(f"There is no recipe {name!r}; choose one of {', '.join(RECIPES)}.")
    if unknown := changes.keys() - vars(RECIPES[name]).keys():
        fields = ", ".join(vars(RECIPES[name]))
        raise ExplainedError(f"A recipe has no field {', '.join(unknown)}. Its fields are {fields}.")
    if quick:
        changes = {"epochs": 2} | changes
    return replace(RECIPES[name], **changes)


def changed_fields(recipe):
    """Fields that differ from the named recipe: {field: [named, used]}."""
    named, used = vars(RECIPES[recipe.name]), vars(recipe)
    return {field: [named[field], used[field]] for field in named if named[field] != used[field]}


def completed(stored):
    """The recipe in a card, with today's fields: new ones at their defaults, those that are gone left out.

    stored: the card's entry, a dictionary. Returns a dictionary of the same form.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(Recipe)[3:]}
    known = {name: stored[name] for name in stored if name in Recipe.__dataclass_fields__}
    if stored["name"] in RECIPES:
        known["title"] = RECIPES[stored["name"]].title  # older runs have none, or another one
    return json.loads(json.dumps(defaults | known))  # tuples are lists in a card


def title(card):
    """What figures call a network, from its card: the title of its recipe, and what was changed in that."""
    name, changed = card["recipe"]["name"], card.get("changed", {})
    if "adapted" in card:  # whatever its file is called
        return "model from elsewhere"
    title = f"recipe {name}" if "network" in changed else completed(card["recipe"]).get("title", name)
    return ", ".join([title, *(f"{field} {used}" for field, (_, used) in changed.items())])


def describe(recipe):
    """A recipe as text, one line a field: value and meaning, as the comments above give it."""
    meanings = dict(re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(Recipe), re.MULTILINE))
    values = {name: value for name, value in vars(recipe).items() if name not in ("title", "remark")}
    values = {name: re.sub(r"(\d\.\d{3})\d+", r"\1", str(value)) for name, value in values.items()}
    lines = [f"{name:16} {value:38.38} {meanings.get(name, '')}" for name, value in values.items()]
    return "\n".join([*lines, recipe.remark])
