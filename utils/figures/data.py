"""Figures of the data: what is there, and what would fool a network."""

import numpy as np

from ..data import manifest
from . import style
from .pictures import BARE, show
from .style import ACCENT, COLOURS, GUESSING, ONE_COLUMN, TWO_COLUMNS


@style.styled
def class_counts(table):
    """Images per split and class, with the number of patients. table: see `manifest.counts`."""
    figure, axis = style.axes_mm(ONE_COLUMN, 55)
    splits = list(dict.fromkeys(table.split))
    for offset, colour, (label, chosen) in zip((-0.2, 0.2), COLOURS, manifest.classes(table), strict=True):
        rows = table[chosen].set_index("split")
        at = [splits.index(split) + offset for split in rows.index]
        axis.bar(at, rows.images, 0.38, color=colour, label=label.lower())
        for place, images, patients in zip(at, rows.images, rows.patients, strict=True):
            axis.text(place, images, f"{images:,}\n({patients:,})", ha="center", va="bottom", fontsize=6)
    axis.set(xticks=range(len(splits)), xticklabels=splits, ylabel="images (patients)")
    axis.set_ylim(0, table.images.max() * 1.2)
    axis.legend(loc="upper right")
    return figure


@style.styled
def distributions(values, table, xlabel):
    """Histograms of one number per radiograph, by class, one panel per split; rows as in `table`."""
    splits = table.split.to_numpy()
    shown = [split for split in ("train", "test") if (splits == split).any()]
    figure, axes = style.axes_mm(TWO_COLUMNS, 50, 1, len(shown), squeeze=False, sharex=True, sharey=True)
    bins = np.linspace(*np.percentile(values, (0.2, 99.8)), 40)  # a few outliers are cut off
    for axis, split in zip(axes[0], shown, strict=True):
        for (label, rows), colour in zip(manifest.classes(table), COLOURS, strict=True):
            chosen = values[rows & (splits == split)]
            name = f"{label.lower()}, n = {len(chosen):,}"
            axis.hist(chosen, bins, density=True, histtype="step", color=colour, label=name)
        axis.set(xlabel=f"{xlabel} ({split})")
        axis.legend()
    axes[0, 0].set_ylabel("density")
    style.letters(axes[0])
    return figure


@style.styled
def clue_aucs(table):
    """How well each clue alone tells the classes apart, inside train and on test.

    table: `shortcuts.aucs`, possibly several below each other.
    """
    table = table.sort_values("train", ignore_index=True)
    figure, axis = style.axes_mm(TWO_COLUMNS, 20 + 7 * len(table))
    axis.axvline(0.5, **GUESSING)
    axis.hlines(table.index, table.test, table.train, color="#BBBBBB", lw=2)
    axis.plot(table.train, table.index, "o", color="black", ms=5, label="train, by patients left out")
    ring = {"color": ACCENT, "mfc": "white", "mew": 1.4, "ms": 5}
    axis.plot(table.test, table.index, "o", **ring, label="official test set")
    names = [f"{row[0]}  (n = {row[3]:,} / {row[4]:,})" for row in table.itertuples(index=False)]
    axis.set(yticks=table.index, yticklabels=names, xlim=(0.35, 1.01), ylim=(-0.6, len(table) - 0.4))
    axis.set_xlabel("AUC of the clue alone; 0.5 is guessing (axis starts at 0.35)")
    style.legend_above(axis, at=0.3)
    return figure


@style.styled
def cropping(pictures, kept, scores, shares, n):
    """A healthy radiograph whose top and bottom are cut off step by step, and what networks say.

    pictures: uint8 [steps, 224, 224]. kept: share of the height, float [steps]. scores: {network:
    scores of these pictures}. shares: {network: share of `n` healthy radiographs called
    pneumonia}.
    """
    steps = len(kept)
    colours = dict(zip(scores, ("#CC79A7", ACCENT), strict=False))
    figure = style.figure_mm(TWO_COLUMNS, 85)
    above, below = figure.subfigures(2, height_ratios=[1, 2])
    for axis, picture, share in zip(above.subplots(1, steps, subplot_kw=BARE), pictures, kept, strict=True):
        show(axis, picture, title=f"{share:.0%} of height")
    left, right = below.subplots(1, 2)
    for axis, values in ((left, scores), (right, shares)):
        for name, line in values.items():
            axis.plot(np.array(kept) * 100, line, "o-", ms=3, color=colours[name], label=name)
        axis.set(xlabel="height kept (%)", ylim=(-0.02, 1.02))
        axis.invert_xaxis()
    left.axhline(0.5, **GUESSING)
    left.set_ylabel("score of this radiograph")
    right.set_ylabel(f"healthy called pneumonia (n = {n})")
    right.legend(title="trained with")
    style.letters((left, right))
    return figure
