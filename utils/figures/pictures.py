"""Figures that show radiographs. No function here or beside it shows or saves; `style.save` does."""

import math

import numpy as np

from .. import metrics
from ..data import manifest
from . import style
from .style import COLOURS, GREY, TWO_COLUMNS

BARE = {"frame_on": False, "xticks": [], "yticks": []}  # axes of which only the picture is seen


def show(axis, picture, heat=None, title="", colour=None, size=6):
    """Draw a radiograph, uint8 [height, width], and over it a map, float [height, width] in 0-1.

    colour: of the title, and of a frame. size: of the title's letters in points.
    """
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
    if heat is not None:
        axis.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.45)
    axis.set_title(title, color=colour or "black", fontsize=size)
    if colour:
        axis.set_frame_on(True)
        axis.spines[:].set(visible=True, lw=2, color=colour)


def _cells(rows, columns, height):
    """A figure, `height` in mm, and its rows and columns of bare axes."""
    return style.axes_mm(TWO_COLUMNS, height, rows, columns, squeeze=False, subplot_kw=BARE)


@style.styled
def grid(arrays, titles, columns=4, colours=None, maps=None):
    """A grid of radiographs, each with a title, and with its map below it if there are maps.

    arrays: uint8 [n, height, width]. colours: of titles and frames. maps: float [n, height, width] in 0-1.
    """
    rows, height = math.ceil(len(arrays) / columns), min(46, TWO_COLUMNS / columns + 6)
    if maps is None:
        figure, axes = _cells(rows, columns, height * rows)
    else:
        figure, axes = _cells(2 * rows, columns, min(2 * height * rows, 170))
        for axis, picture, heat in zip(axes[1::2].flat, arrays, maps, strict=False):
            show(axis, picture, heat)
        axes = axes[::2]
    colours = colours or [None] * len(arrays)
    for axis, picture, title, colour in zip(axes.flat, arrays, titles, colours, strict=False):
        show(axis, picture, title=title, colour=colour, size=min(6, 50 / columns))
    return figure


@style.styled
def feature_maps(picture, maps):
    """One radiograph on its way through the network. maps: {name: float [height, width, filters]}."""
    columns = 7
    figure, axes = _cells(1 + len(maps), columns, 25 * (1 + len(maps)))
    show(axes[0, 0], picture)
    axes[0, 0].set_title(f"input, {picture.shape[0]} x {picture.shape[1]}", loc="left")
    for row, (name, block) in zip(axes[1:], maps.items(), strict=True):
        strongest = np.argsort(-block.std((0, 1)))[:columns]
        for axis, channel in zip(row, strongest, strict=False):
            axis.imshow(block[..., channel], cmap="viridis")
        row[0].set_title(f"{name}: {block.shape[2]} maps of {block.shape[0]} x {block.shape[1]}", loc="left")
    return figure


@style.styled
def answer_cards(arrays, maps, answers, validation):
    """New radiographs, at most six: each with its map, its answer, and its score among validation scores.

    arrays: uint8 [n, height, width]. maps: float [n, height, width] in 0-1 (`explain.grad_cam`), or None.
    answers: their rows of the table of `classify`. validation: scores table of the run's validation images.
    """
    columns = 3 if maps is None else 2
    rows = math.ceil(len(arrays) / columns)
    figure = style.figure_mm(TWO_COLUMNS, 56 * rows)
    parts = figure.subfigures(rows, columns, squeeze=False).flat
    for place, (part, answer) in enumerate(zip(parts, answers.itertuples(), strict=False)):
        above, below = part.add_gridspec(2, 1, height_ratios=[4, 1])
        heats = [None] if maps is None else [None, maps[place]]
        spaces = above.subgridspec(1, len(heats))  # on its own, so that it is centred under the title
        for space, heat in zip(spaces, heats, strict=True):
            show(part.add_subplot(space, **BARE), arrays[place], heat)
        part.suptitle("\n".join([_numbered(answer, 45), *_verdict(answer, validation)]), fontsize=6)
        _among(part.add_subplot(below), answer, validation)
    figure.supxlabel(answers.scope.iloc[0], fontsize=6, color=GREY)
    return figure


def _numbered(answer, most):
    """The number of an answer's row in its table, and the end of its file's name."""
    name = answer.file if len(answer.file) <= most else f"...{answer.file[-most:]}"
    return f"{answer.Index + 1}: {name}"


def _verdict(answer, validation):
    """Lines of text: the answer, and how many validation images have a more extreme score."""
    if answer.unlike:
        return "NOT LIKE THE TRAINING IMAGES:", answer.unlike
    (normal, negatives), (ill, positives) = manifest.classes(validation)
    higher = (validation.score[negatives] > answer.score).mean()
    lower = (validation.score[positives] < answer.score).mean()
    return (
        f"score {answer.score:.3f}: called {answer.answer}",
        f"{higher:.1%} of known {normal.lower()} images score higher,",
        f"{lower:.1%} of known {ill.lower()} images score lower",
    )


def _among(axis, answer, validation):
    """The scale of a card: where the validation images of both classes lie, the threshold and the score."""
    classes = manifest.classes(validation)
    for level, (_, rows) in enumerate(classes):
        others = validation.score[rows]
        axis.plot(others, np.full(len(others), level), "|", ms=5, mew=0.4, alpha=0.4, color=COLOURS[level])
    axis.axvline(answer.threshold, color=GREY, lw=0.8, ls="--")
    if not answer.unlike:
        axis.axvline(answer.score, color="black", lw=1.6)
    axis.set_yticks((0, 1), [name.lower() for name, _ in classes])
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.8, 1.8))


def contact_sheet(arrays, answers, note=""):
    """Many new radiographs at a glance, in the colour of the class that they are called; grey if unlike.

    arrays, answers: as in `answer_cards`.
    """
    titles, colours = [], []
    for answer in answers.itertuples():
        text = "unlike" if answer.unlike else f"{answer.score:.3f}, {answer.answer}"
        titles.append(f"{_numbered(answer, 10)}\n{text}")
        positive = metrics.called(answer.score, answer.threshold)
        colours.append(GREY if answer.unlike else COLOURS[int(positive)])
    return grid(arrays, titles, 10, colours, note=note)
