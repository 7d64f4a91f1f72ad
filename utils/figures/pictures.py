"""Figures that show radiographs. No function here or beside it shows or saves; `style.save` does.

Every function takes `note`, a short text for the lower edge, which marks figures made from the
synthetic phantom.
"""

import numpy as np
from matplotlib.patches import Patch

from ..data import manifest
from .style import COLOURS, GREY, TWO_COLUMNS, axes_mm, styled


@styled
def grid(arrays, titles, columns=4, colours=None):
    """A grid of radiographs: uint8 [n, height, width], one title each, optionally coloured."""
    rows = -(-len(arrays) // columns)
    figure, axes = axes_mm(TWO_COLUMNS, 46 * rows, rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for place, (axis, picture, title) in enumerate(zip(axes.flat, arrays, titles, strict=False)):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, color=colours[place] if colours else "black", fontsize=6)
    return figure


@styled
def with_maps(arrays, maps, titles, columns=4):
    """Radiographs, each above the same one with its map: float [n, height, width] in 0-1; None: no maps."""
    if maps is None:
        return grid.__wrapped__(arrays, titles, columns)
    rows = -(-len(arrays) // columns)
    figure, axes = axes_mm(TWO_COLUMNS, min(85 * rows, 170), 2 * rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for place, (picture, heat, title) in enumerate(zip(arrays, maps, titles, strict=True)):
        row, column = divmod(place, columns)
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        above.set_title(title, fontsize=6)
        for axis in (above, below):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        below.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.45)
    return figure


@styled
def feature_maps(picture, maps):
    """One radiograph on its way through the network. maps: {name: float [height, width, filters]}."""
    shown = 7
    figure, axes = axes_mm(TWO_COLUMNS, 25 * (1 + len(maps)), 1 + len(maps), shown, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    axes[0, 0].imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes[0, 0].set_title(f"input, {picture.shape[0]} x {picture.shape[1]}", loc="left")
    for row, (name, block) in zip(axes[1:], maps.items(), strict=True):
        strongest = np.argsort(-block.std((0, 1)))[:shown]
        for axis, channel in zip(row, strongest, strict=False):
            axis.imshow(block[..., channel], cmap="viridis")
        row[0].set_title(f"{name}: {block.shape[2]} maps of {block.shape[0]} x {block.shape[1]}", loc="left")
    return figure


@styled
def answer_cards(arrays, maps, answers, validation):
    """One card per new image: the picture, where the network looks, and the score among validation scores.

    maps: float [n, height, width] in 0-1 (`explain.grad_cam`), or None. answers: rows of
    `classify.answer`, in the order of arrays. validation: the run's validation scores. At most 6.
    """
    columns = 3 if maps is None else 2
    rows = max(1, -(-len(arrays) // columns))
    figure = axes_mm(TWO_COLUMNS, 56 * rows)[0]
    figure.clear()
    cards = figure.subfigures(rows, columns, squeeze=False).flat
    for place, (card, answer) in enumerate(zip(cards, answers.itertuples(), strict=False)):
        grid = card.add_gridspec(2, 1 if maps is None else 2, height_ratios=[4, 1])
        for column, shown in enumerate(grid[0, :].subgridspec(1, grid.ncols)):
            axis = card.add_subplot(shown)
            axis.imshow(arrays[place], cmap="gray", vmin=0, vmax=255)
            if column:
                axis.imshow(maps[place], cmap="inferno", vmin=0, vmax=1, alpha=0.45)
            axis.axis("off")
        verdict = "NOT LIKE THE TRAINING IMAGES" if answer.unlike else f"{answer.side} the threshold"
        card.suptitle(f"{answer.file[-50:]}\nscore {answer.score:.3f}: {verdict}", fontsize=6)
        _among(card.add_subplot(grid[1, :]), answer, validation)
    if len(answers):
        figure.supxlabel(answers.scope.iloc[0], fontsize=6, color=GREY)
    return figure


def _among(axis, answer, validation):
    """The scale of a card: where the validation images of both classes lie, the threshold and the score."""
    labels = manifest.classes(validation)
    for level, (_, rows) in enumerate(labels):
        others = validation.score[rows]
        axis.plot(others, np.full(len(others), level), "|", ms=5, mew=0.4, alpha=0.4, color=COLOURS[level])
    axis.axvline(answer.threshold, color=GREY, lw=0.8, ls="--")
    axis.axvline(answer.score, color="black", lw=1.6)
    names = [label.lower() for label, _ in labels]
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.8, 1.8), yticks=(0, 1), yticklabels=names)


@styled
def contact_sheet(arrays, answers, columns=10):
    """Many new images at a glance, framed by side of the threshold; grey where the gate calls them unlike.

    answers: rows of `classify.answer`, in the order of arrays.
    """
    rows = max(1, -(-len(arrays) // columns))
    figure, axes = axes_mm(TWO_COLUMNS, 24 * rows + 10, rows, columns, squeeze=False)
    colours = {"below": COLOURS[0], "above": COLOURS[1]}
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture, answer in zip(axes.flat, arrays, answers.itertuples(), strict=False):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axis.axis("on")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set(visible=True, lw=2, color=GREY if answer.unlike else colours[answer.side])
        axis.set_title(f"{answer.file[-12:]}\n{answer.score:.3f}", fontsize=5)
    names = "below the threshold", "above the threshold", "not like the training images"
    frames = [Patch(fill=False, lw=2, edgecolor=colour) for colour in (*COLOURS, GREY)]
    figure.legend(frames, names, loc="outside lower center", ncols=3)
    return figure
