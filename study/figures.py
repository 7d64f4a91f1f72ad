"""Figures of the study: tables in, Figure out."""

import itertools
import textwrap

import numpy as np
from matplotlib.ticker import MaxNLocator

from utils.figures import style
from utils.figures.style import ACCENT, COLOURS, GREY, ONE_COLUMN, TWO_COLUMNS, axes_mm, letters, styled

PUBLISHED = 482 / 624  # the published starting point
MEASURES = {
    "accuracy": "accuracy at 0.5",
    "val_accuracy": "accuracy at 0.5 on validation images",
    "specificity": "specificity at 0.5",
    "auc": "AUC",
}
PUBLISHED_KINDS = {  # by what stands in the remark: marker, face and label
    "neither": ("o", GREY, "published"),
    "pretrained": ("o", "none", "published, pretrained on other pictures"),
    "chosen on test": ("x", "none", "published, chosen on the test set"),
}
NETWORKS = ("published", "compact")
HANDLING = {  # marker, colour and label
    "usual": ("o", GREY, "usual handling"),
    "ours": ("s", ACCENT, "our handling"),
    "tones": ("^", "black", "our handling with tones"),
}
FRAMINGS = {  # changes of the counterfactual, and what is in each
    "cropped in height": "content, zoom, stretch",
    "cropped in width": "content, zoom, stretch",
    "zoomed in": "content and zoom",
    "squeezed in width": "stretch alone",
    "blanked at top and bottom": "content alone",
}


@styled
def trace(test, history):
    """Validation and test accuracy of one training. test: as scored on the way. history: its history.csv."""
    figure, axis = axes_mm(ONE_COLUMN, 60)
    axis.plot(history.epoch, history.val_accuracy, color=GREY, lw=0.8, label="validation")
    axis.plot(test.epoch, test.accuracy, "o-", ms=2, lw=0.8, color=COLOURS[1], label="official test set")
    axis.axhline(PUBLISHED, color="black", lw=0.8, ls="--", label="published, 77.24 %")
    axis.set(xlabel="epoch", ylabel="accuracy at 0.5 (axis starts at 0.7)")
    axis.set(xlim=(0, history.epoch.max()), ylim=(0.7, 1.005))
    style.legend_above(axis, columns=3, columnspacing=1)
    return figure


@styled
def two_by_two(table):
    """Network against data handling: each seed a mark, the mean a line. table: the trainings of '2x2'."""
    figure, axes = axes_mm(TWO_COLUMNS, 65, 1, len(MEASURES))
    axes[1].sharey(axes[0])
    for axis, (name, title) in zip(axes, MEASURES.items(), strict=True):
        for (handling, aside), place in itertools.product((("usual", -0.15), ("ours", 0.15)), (0, 1)):
            marker, colour, label = HANDLING[handling]
            values = table[name][table.cell == f"{NETWORKS[place]}, {handling}"]
            spread = np.linspace(-0.06, 0.06, len(values))
            label = label if place == 0 else None
            axis.plot(place + aside + spread, values, marker, ms=3, mfc="none", color=colour, label=label)
            axis.hlines(values.mean(), place + aside - 0.11, place + aside + 0.11, color=colour, lw=2)
        axis.set(ylabel=title, xticks=(0, 1), xticklabels=NETWORKS, xlim=(-0.5, 1.5))
        axis.grid(axis="y")
    axes[0].axhline(PUBLISHED, color="black", lw=0.8, ls="--", label="published accuracy, 77.24 %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    letters(axes)
    return figure


@styled
def counterfactual(table, label):
    """Share of radiographs called pneumonia under changes of the framing that keep the same area.

    table: 'counterfactual' of the results. label: of the radiographs. Upper row: validation; lower: test.
    Each line is the mean over the seeds of a cell, the band goes from the lowest to the highest.
    """
    figure, axes = axes_mm(TWO_COLUMNS, 105, 2, len(FRAMINGS), sharex=True, sharey=True)
    areas = [1, *sorted(table.area.dropna().unique(), reverse=True)]
    percent = np.multiply(areas, 100)
    for (part, shown), row in zip((("val", "validation"), ("test", "test")), axes, strict=True):
        chosen = table[(table.part == part) & (table.label == label)]
        row[0].set_ylabel(f"{shown}, {label.lower()}:\ncalled pneumonia (%)")
        for axis, change in zip(row, FRAMINGS, strict=True):
            drawn = chosen[chosen.change.isin(["unchanged", change])].fillna({"area": 1})
            for cell, rows in drawn.groupby("cell"):
                network, handling = cell.split(", ")
                marker, colour, title = HANDLING[handling]
                look = {"marker": marker, "color": colour, "ls": "-" if network == "compact" else "--"}
                called = rows.pivot_table(index="seed", columns="area", values="called")[areas] * 100
                axis.plot(percent, called.mean(), ms=3, label=f"{network}, {title}", **look)
                axis.fill_between(percent, called.min(), called.max(), color=colour, alpha=0.15, lw=0)
    for upper, lower, (change, inside) in zip(*axes, FRAMINGS.items(), strict=True):
        upper.set_title(f"{textwrap.fill(change, 17)}\n({inside})")
        lower.set(xlabel="area kept (%)", xticks=percent, xlim=(102, 68))
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, handlelength=4
    )
    return figure


@styled
def left_out(table):
    """What leaving out one ingredient changes, seed by seed. table: the trainings of 'leave-one-out'."""
    figure, axes = axes_mm(TWO_COLUMNS, 65, 1, 2, sharey=True)
    full = table[table.cell == "nothing"].set_index("seed")
    cells = table.cell[table.cell != "nothing"].unique()
    for axis, name in zip(axes, ("accuracy", "auc"), strict=True):
        for place, cell in enumerate(cells):
            rows = table[table.cell == cell].set_index("seed")[name]
            difference = rows - full[name][rows.index]
            axis.plot(difference, np.full(len(rows), place), "o", ms=3, mfc="none", color="black")
            axis.plot(difference.mean(), place, "|", ms=9, mew=2, color=ACCENT)
        axis.axvline(0, **style.GUESSING)
        axis.set(yticks=range(len(cells)), yticklabels=[f"without {cell}" for cell in cells])
        axis.set(ylim=(len(cells) - 0.5, -0.5), xlabel=f"change of {MEASURES[name]}")
        axis.xaxis.set_major_locator(MaxNLocator(5))
    letters(axes)
    return figure


@styled
def record(published, ours):
    """Accuracy on the official 624 test images. published: 'published_record'. ours: {name: of its seeds}."""
    names = [*published.result, *ours]
    figure, axis = axes_mm(TWO_COLUMNS, 15 + 5 * len(names))
    kinds = published.remark.str.extract("(chosen on test|pretrained)")[0].fillna("neither")
    for kind, (marker, face, label) in PUBLISHED_KINDS.items():
        at = np.flatnonzero(kinds == kind)
        axis.plot(published.accuracy.iloc[at], at, marker, ms=3.5, color=GREY, mfc=face, label=label)
    for place, values in enumerate(ours.values(), start=len(published)):
        label = "ours: each seed, and the mean" if place == len(published) else None
        axis.plot(values, np.full(len(values), place), "s", ms=3, mfc="none", color=ACCENT, label=label)
        axis.plot(np.mean(values), place, "|", ms=10, mew=2, color=ACCENT)
    axis.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    axis.set(xlabel="accuracy on the official test set (axis starts at 0.76)", xlim=(0.76, 1))
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.grid(axis="x")
    axis.legend(loc="lower left")
    return figure
