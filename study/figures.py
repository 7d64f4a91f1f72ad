"""Figures of the study: tables in, Figure out."""

import textwrap

import numpy as np
from matplotlib.ticker import MaxNLocator

from utils.figures import style
from utils.figures.style import ACCENT, COLOURS, GREY, GUESSING, ONE_COLUMN, TWO_COLUMNS

from .kept import NAMES

PUBLISHED = {"color": "black", "lw": 0.8, "ls": "--"}  # the line of the published starting point
ACCURACY = 482 / 624  # of it
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
CELLS = {  # marker, colour and line of each: the handling gives marker and colour, the network the line
    "compact, tones": ("^", "black", "-"),
    "compact, usual": ("o", GREY, "-"),
    "published, ours": ("s", ACCENT, "--"),
    "published, usual": ("o", GREY, "--"),
    "compact, ours": ("s", ACCENT, "-"),
}
FRAMINGS = {  # changes of the counterfactual, and what is in each
    "cropped in height": "content, zoom, stretch",
    "cropped in width": "content, zoom, stretch",
    "zoomed in": "content and zoom",
    "squeezed in width": "stretch alone",
    "blanked at top and bottom": "content alone",
}


@style.styled
def trace(test, history):
    """Validation and test accuracy of one training. test: as scored on the way. history: its history.csv."""
    figure, axis = style.axes_mm(ONE_COLUMN, 60)
    axis.plot(history.epoch, history.val_accuracy, color=GREY, lw=0.8, label="validation")
    axis.plot(test.epoch, test.accuracy, "o-", ms=2, lw=0.8, color=COLOURS[1], label="official test set")
    axis.axhline(ACCURACY, **PUBLISHED, label="published, 77.24 %")
    axis.set(xlabel="epoch", ylabel="accuracy at 0.5 (axis starts at 0.7)")
    axis.set(xlim=(0, history.epoch.max()), ylim=(0.7, 1.005))
    style.legend_above(axis, columns=3, columnspacing=1)
    return figure


@style.styled
def two_by_two(table):
    """Network against data handling: each seed a mark, the mean a line. table: the trainings of '2x2'."""
    figure, axes = style.axes_mm(TWO_COLUMNS, 65, 1, len(MEASURES))
    axes[1].sharey(axes[0])
    places = {
        "published, usual": -0.15,
        "published, ours": 0.15,
        "compact, usual": 0.85,
        "compact, ours": 1.15,
    }
    for axis, (name, title) in zip(axes, MEASURES.items(), strict=True):
        for cell, place in places.items():
            marker, colour, _ = CELLS[cell]
            values = table[name][table.cell == cell]
            x = place + np.linspace(-0.06, 0.06, len(values))
            axis.plot(x, values, marker, mfc="none", color=colour)
            axis.hlines(values.mean(), place - 0.11, place + 0.11, color=colour, lw=2)
        axis.set(ylabel=title, xticks=(0, 1), xticklabels=("published", "compact"), xlim=(-0.5, 1.5))
        axis.grid(axis="y")
    line = axes[0].axhline(ACCURACY, **PUBLISHED)
    names = "usual handling", "our handling", "published accuracy, 77.24 %"
    figure.legend([*axes[0].lines[:2], line], names, loc="outside upper center", ncols=3)
    style.letters(axes)
    return figure


@style.styled
def counterfactual(table, label):
    """Share of radiographs called pneumonia under changes of the framing that keep the same area.

    table: 'counterfactual'. label: the class that is drawn. Lines: mean of the seeds; bands: lowest to
    highest.
    """
    figure, axes = style.axes_mm(TWO_COLUMNS, 105, 2, len(FRAMINGS), sharex=True, sharey=True)
    areas = [1, *sorted(table.area.dropna().unique(), reverse=True)]
    percent = np.multiply(areas, 100)
    for (part, name), row in zip((("val", "validation"), ("test", "test")), axes, strict=True):
        of_class = table[(table.part == part) & (table.label == label)]
        row[0].set_ylabel(f"{name}, {label.lower()}:\ncalled pneumonia (%)")
        for axis, change in zip(row, FRAMINGS, strict=True):
            rows = of_class[of_class.change.isin(["unchanged", change])].fillna({"area": 1})
            for cell, seeds in rows.groupby("cell"):
                marker, colour, line = CELLS[cell]
                called = 100 * seeds.pivot_table(index="seed", columns="area", values="called")[areas]
                look = {"marker": marker, "color": colour, "ls": line, "label": NAMES[cell]}
                axis.plot(percent, called.mean(), **look)
                axis.fill_between(percent, called.min(), called.max(), color=colour, alpha=0.15, lw=0)
    for upper, lower, (change, inside) in zip(*axes, FRAMINGS.items(), strict=True):
        upper.set_title(f"{textwrap.fill(change, 17)}\n({inside})")
        lower.set(xlabel="area kept (%)", xticks=percent, xlim=(102, 68))
    lines = axes[0, 0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside upper center", ncols=2, handlelength=4)
    return figure


@style.styled
def left_out(table):
    """What leaving out one ingredient changes, seed by seed. table: the trainings of 'leave-one-out'."""
    figure, axes = style.axes_mm(TWO_COLUMNS, 65, 1, 2, sharey=True)
    for axis, name in zip(axes, ("accuracy", "auc"), strict=True):
        seeds = table.pivot(index="seed", columns="cell", values=name)
        change = seeds.drop(columns="nothing").sub(seeds.nothing, axis=0)
        for place, values in enumerate(change.T.to_numpy()):
            axis.plot(values, np.full(len(values), place), "o", mfc="none", color="black")
            axis.plot(values.mean(), place, "|", ms=9, mew=2, color=ACCENT)
        axis.axvline(0, **GUESSING)
        style.name_rows(axis, [f"without {cell}" for cell in change])
        axis.set_xlabel(f"change of {MEASURES[name]}")
        axis.xaxis.set_major_locator(MaxNLocator(5))
    style.letters(axes)
    return figure


@style.styled
def record(published, ours):
    """Accuracy on the official 624 test images. published: 'published_record'. ours: {name: of its seeds}."""
    names = [*published.result, *ours]
    figure, axis = style.axes_mm(TWO_COLUMNS, 15 + 5 * len(names))
    kinds = published.remark.str.extract("(chosen on test|pretrained)")[0].fillna("neither")
    for kind, (marker, face, label) in PUBLISHED_KINDS.items():
        y = np.flatnonzero(kinds == kind)
        axis.plot(published.accuracy.iloc[y], y, marker, ms=3.5, color=GREY, mfc=face, label=label)
    for place, values in enumerate(ours.values(), start=len(published)):
        label = "ours: each seed, and the mean" if place == len(published) else None
        axis.plot(values, np.full(len(values), place), "s", mfc="none", color=ACCENT, label=label)
        axis.plot(np.mean(values), place, "|", ms=10, mew=2, color=ACCENT)
    style.name_rows(axis, names)
    axis.set(xlabel="accuracy on the official test set (axis starts at 0.76)", xlim=(0.76, 1))
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.grid(axis="x")
    axis.legend(loc="lower left")
    return figure
