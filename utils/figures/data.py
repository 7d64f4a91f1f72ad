"""Figures of the data: what is there, and what would fool a network."""

import numpy as np

from ..data import manifest
from . import style
from .pictures import BARE, show
from .style import ACCENT, COLOURS, GUESSING, NETWORKS, ONE_COLUMN, TWO_COLUMNS


@style.styled
def class_counts(table):
    """Images per split and class, with the number of patients. table: see `manifest.counts`."""
    figure, axis = style.axes_mm(ONE_COLUMN, 55)
    splits = list(table.split.unique())
    for offset, colour, (label, rows) in zip((-0.2, 0.2), COLOURS, manifest.classes(table), strict=True):
        counts = table[rows]
        x = [splits.index(split) + offset for split in counts.split]
        bars = axis.bar(x, counts.images, 0.38, color=colour, label=label.lower())
        texts = [f"{row.images:,}\n({row.patients:,})" for row in counts.itertuples()]
        axis.bar_label(bars, texts, fontsize=6)
    axis.set(xticks=range(len(splits)), xticklabels=splits)
    axis.set(ylabel="images (patients)", ylim=(0, table.images.max() * 1.2))
    axis.legend(loc="upper right")
    return figure


@style.styled
def distributions(values, table, xlabel):
    """Histograms of one number per radiograph, by class, of train and of test.

    values: float [n], in the order of the rows of `table`, a manifest.
    """
    figure, axes = style.axes_mm(TWO_COLUMNS, 50, 1, 2, sharex=True, sharey=True)
    bins = np.linspace(*np.percentile(values, (0.2, 99.8)), 40)  # a few outliers are cut off
    for axis, split in zip(axes, ("train", "test"), strict=True):
        for (label, rows), colour in zip(manifest.classes(table), COLOURS, strict=True):
            some = values[rows & (table.split == split)]
            name = f"{label.lower()}, n = {len(some):,}"
            axis.hist(some, bins, density=True, histtype="step", color=colour, label=name)
        axis.set_xlabel(f"{xlabel} ({split})")
        axis.legend()
    axes[0].set_ylabel("density")
    style.letters(axes)
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
    axis.plot(
        table.test, table.index, "o", color=ACCENT, mfc="white", mew=1.4, ms=5, label="official test set"
    )
    sizes = zip(table.clue, table["n train"], table["n test"], strict=True)
    names = [f"{clue}  (n = {train:,} / {test:,})" for clue, train, test in sizes]
    axis.set(yticks=table.index, yticklabels=names, xlim=(0.35, 1.01), ylim=(-0.6, len(table) - 0.4))
    axis.set_xlabel("AUC of the clue alone; 0.5 is guessing (axis starts at 0.35)")
    style.legend_above(axis, at=0.3)
    return figure


@style.styled
def cropping(pictures, kept, scores, shares, n):
    """A healthy radiograph whose top and bottom are cut off step by step, and what networks say.

    pictures: uint8 [steps, 224, 224]. kept: share of the height, float [steps]. scores: {title of a
    network: its scores of these pictures, float [steps]}. shares: {title: share of `n` healthy radiographs
    that it calls pneumonia, float [steps]}.
    """
    figure = style.figure_mm(TWO_COLUMNS, 85)
    above, below = figure.subfigures(2, height_ratios=[1, 2])
    upper, (left, right) = above.subplots(1, len(kept), subplot_kw=BARE), below.subplots(1, 2)
    for axis, picture, share in zip(upper, pictures, kept, strict=True):
        show(axis, picture, title=f"{share:.0%} of height")
    for axis, values in ((left, scores), (right, shares)):
        for title, line in values.items():
            axis.plot(100 * np.array(kept), line, "o-", color=NETWORKS.get(title), label=title)
        axis.set(xlabel="height kept (%)", ylim=(-0.02, 1.02))
        axis.invert_xaxis()
    left.axhline(0.5, **GUESSING)
    left.set_ylabel("score of this radiograph")
    right.set_ylabel(f"healthy called pneumonia (n = {n})")
    right.legend()
    style.letters((left, right))
    return figure
