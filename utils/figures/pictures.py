"""Figures that show radiographs. No function here or beside it shows or saves; `style.save` does.

Every function takes `note`, a short text for the lower edge, which marks figures made from the
synthetic phantom.
"""

import math

import numpy as np
from matplotlib.patches import Patch

from ..data import manifest
from . import style
from .style import COLOURS, GREY, TWO_COLUMNS

BARE = {"frame_on": False, "xticks": [], "yticks": []}  # axes of which only the picture is seen


def show(axis, picture, heat=None, title="", colour="black"):
    """Draw a radiograph, uint8 [height, width], and over it a map, float [height, width] in 0-1."""
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
    if heat is not None:
        axis.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.45)
    axis.set_title(title, color=colour, fontsize=6, parse_math=False)  # file names may hold dollar signs


def _cells(rows, columns, height):
    """A figure, `height` in mm, and its rows and columns of bare axes."""
    return style.axes_mm(TWO_COLUMNS, height, rows, columns, squeeze=False, subplot_kw=BARE)


@style.styled
def grid(arrays, titles, columns=4, colours=None):
    """A grid of radiographs: uint8 [n, height, width], one title each, optionally coloured."""
    rows = max(1, math.ceil(len(arrays) / columns))
    figure, axes = _cells(rows, columns, 46 * rows)
    colours = colours or ["black"] * len(arrays)
    for axis, picture, title, colour in zip(axes.flat, arrays, titles, colours, strict=False):
        show(axis, picture, title=title, colour=colour)
    return figure


@style.styled
def with_maps(arrays, maps, titles, columns=4):
    """Radiographs, each above the same one with its map: float [n, height, width] in 0-1; None: no maps."""
    if maps is None:
        return grid(arrays, titles, columns)
    rows = max(1, math.ceil(len(arrays) / columns))
    figure, axes = _cells(2 * rows, columns, min(85 * rows, 170))
    for place, (picture, heat, title) in enumerate(zip(arrays, maps, titles, strict=True)):
        row, column = divmod(place, columns)
        show(axes[2 * row, column], picture, title=title)
        show(axes[2 * row + 1, column], picture, heat)
    return figure


@style.styled
def feature_maps(picture, maps):
    """One radiograph on its way through the network. maps: {name: float [height, width, filters]}."""
    shown = 7
    figure, axes = _cells(1 + len(maps), shown, 25 * (1 + len(maps)))
    show(axes[0, 0], picture)
    axes[0, 0].set_title(f"input, {picture.shape[0]} x {picture.shape[1]}", loc="left")
    for row, (name, block) in zip(axes[1:], maps.items(), strict=True):
        strongest = np.argsort(-block.std((0, 1)))[:shown]
        for axis, channel in zip(row, strongest, strict=False):
            axis.imshow(block[..., channel], cmap="viridis")
        row[0].set_title(f"{name}: {block.shape[2]} maps of {block.shape[0]} x {block.shape[1]}", loc="left")
    return figure


def _label(answer, most):
    """A row of `classify.answer` by its number in the table and at most so many last characters of its name.

    The number tells files apart whose names end in the same way, or in letters that no font here has.
    """
    name = answer.file.encode("latin-1", "replace").decode("latin-1")
    return f"{answer.Index + 1}: {name if len(name) <= most else '...' + name[-most:]}"


@style.styled
def answer_cards(arrays, maps, answers, validation):
    """One card per new image: the picture, where the network looks, and the score among validation scores.

    maps: float [n, height, width] in 0-1 (`explain.grad_cam`), or None. answers: rows of
    `classify.answer`, in the order of arrays, with the index they have there. validation: the run's
    validation scores. At most 6.
    """
    columns = 3 if maps is None else 2
    rows = max(1, math.ceil(len(arrays) / columns))
    figure = style.figure_mm(TWO_COLUMNS, 56 * rows)
    cards = figure.subfigures(rows, columns, squeeze=False).flat
    for place, (card, answer) in enumerate(zip(cards, answers.itertuples(), strict=False)):
        heats = [None] if maps is None else [None, maps[place]]
        above, below = card.add_gridspec(2, 1, height_ratios=[4, 1])
        places = above.subgridspec(1, len(heats))  # on its own, so that it is centred under the title
        for shown, heat in zip(places, heats, strict=True):
            show(card.add_subplot(shown, **BARE), arrays[place], heat)
        words = [_label(answer, 50), *_verdict(answer, validation)]
        card.suptitle("\n".join(words), fontsize=6, parse_math=False)
        _among(card.add_subplot(below), answer, validation)
    if len(answers):
        figure.supxlabel(answers.scope.iloc[0], fontsize=6, color=GREY)
    return figure


def _verdict(answer, validation):
    """The words of a card: what the answer is, and how usual it would be in either class."""
    if answer.unlike:
        return "NOT LIKE THE TRAINING IMAGES:", answer.unlike
    normal, ill = (name.lower() for name, _ in manifest.classes(validation))
    higher, lower = answer.normals_scoring_higher, answer.pneumonias_scoring_lower
    usual = f"{higher:.1%} of known {normal} images score higher, {lower:.1%} of {ill} lower"
    return f"score {answer.score:.3f}: {answer.side} the threshold", usual


def _among(axis, answer, validation):
    """The scale of a card: where the validation images of both classes lie, the threshold and the score."""
    labels = manifest.classes(validation)
    for level, (_, rows) in enumerate(labels):
        others = validation.score[rows]
        axis.plot(others, np.full(len(others), level), "|", ms=5, mew=0.4, alpha=0.4, color=COLOURS[level])
    axis.axvline(answer.threshold, color=GREY, lw=0.8, ls="--")
    if not answer.unlike:
        axis.axvline(answer.score, color="black", lw=1.6)
    names = [label.lower() for label, _ in labels]
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.8, 1.8), yticks=(0, 1), yticklabels=names)


@style.styled
def contact_sheet(arrays, answers, columns=10):
    """Many new images at a glance, framed by side of the threshold; grey where the gate calls them unlike.

    answers: rows of `classify.answer`, in the order of arrays, with the index they have there.
    """
    rows = max(1, math.ceil(len(arrays) / columns))
    figure, axes = _cells(rows, columns, 24 * rows + 10)
    colours = {"below": COLOURS[0], "above": COLOURS[1]}
    for axis, picture, answer in zip(axes.flat, arrays, answers.itertuples(), strict=False):
        score = "unlike" if answer.unlike else f"{answer.score:.3f}"
        show(axis, picture, title=f"{_label(answer, 10)}\n{score}")
        axis.title.set_fontsize(5)
        axis.set_frame_on(True)
        axis.spines[:].set(visible=True, lw=2, color=colours.get(answer.side, GREY))
    names = "below the threshold", "above the threshold", "not like the training images"
    frames = [Patch(fill=False, lw=2, edgecolor=colour) for colour in (*COLOURS, GREY)]
    figure.legend(frames, names, loc="outside lower center", ncols=3)
    return figure
