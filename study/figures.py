"""Figures of the study in models/: tables in, Figure out."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

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
HANDLING = {"usual": ("o", GREY), "ours": ("s", ACCENT)}  # marker and colour


@styled
def trace(test, history):
    """One training of the published recipe: validation against test accuracy, epoch by epoch.

    test: the trace of the run, scored on test every few epochs. history: its history.csv.
    """
    figure, axis = axes_mm(ONE_COLUMN, 60)
    axis.plot(history.epoch, history.val_accuracy, color=GREY, lw=0.8, label="validation")
    axis.plot(test.epoch, test.accuracy, "o-", ms=2, lw=0.8, color=COLOURS[1], label="official test set")
    axis.axhline(PUBLISHED, color="black", lw=0.8, ls="--", label="published, 77.24 %")
    axis.set(xlabel="epoch", ylabel="accuracy at 0.5 (axis starts at 0.7)", ylim=(0.7, 1.005))
    axis.set_xlim(0, history.epoch.max())
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1)
    return figure


@styled
def two_by_two(table):
    """Network against data handling: each seed a mark, the mean a line. table: rows '2x2' of study.csv."""
    figure, axes = axes_mm(TWO_COLUMNS, 65, 1, len(MEASURES))
    axes[1].sharey(axes[0])
    networks = ("published", "compact")
    for axis, (name, title) in zip(axes, MEASURES.items(), strict=True):
        for handling, (marker, colour) in HANDLING.items():
            for place, network in enumerate(networks):
                values = table[name][table.cell == f"{network}, {handling}"]
                at = place + (0.15 if handling == "ours" else -0.15)
                spread = np.linspace(-0.06, 0.06, len(values))
                axis.plot(at + spread, values, marker, ms=3, mfc="none", color=colour)
                axis.hlines(values.mean(), at - 0.11, at + 0.11, color=colour, lw=2)
        axis.set(xticks=range(len(networks)), xticklabels=networks, xlim=(-0.5, len(networks) - 0.5))
        axis.set_ylabel(title)
        axis.grid(axis="y", lw=0.3, color="#DDDDDD")
    axes[0].axhline(PUBLISHED, color="black", lw=0.8, ls="--")
    handles = [
        Line2D([], [], ls="", marker=marker, ms=3, mfc="none", color=colour)
        for marker, colour in HANDLING.values()
    ] + [Line2D([], [], lw=0.8, ls="--", color="black")]
    names = ("usual data handling", "our data handling", "published accuracy, 77.24 %")
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    letters(axes)
    return figure


@styled
def counterfactual(table, label):
    """Share of radiographs called pneumonia under four changes of the framing, for each cell of the 2 x 2.

    table: counterfactual.csv. label: of the radiographs. Upper row: validation; lower row: test. Each
    line is the mean over the seeds, the band goes from the lowest to the highest.
    """
    kinds = {
        "height cropped to {}": "height cropped\n(content, zoom and stretch)",
        "both cropped to {}": "both cropped\n(content and zoom)",
        "squeezed to {} of the width": "squeezed\n(stretch alone)",
        "masked to {} of the height": "bands masked\n(content alone)",
    }
    parts = {"val": "validation", "test": "test"}
    kept = (100, 90, 80, 70)
    figure, axes = axes_mm(TWO_COLUMNS, 105, len(parts), len(kinds), sharex=True, sharey=True)
    for (part, shown), row in zip(parts.items(), axes, strict=True):
        chosen = table[(table.part == part) & (table.label == label)]
        row[0].set_ylabel(f"{shown}, {label.lower()}:\ncalled pneumonia (%)")
        for axis, kind in zip(row, kinds, strict=True):
            names = ["none", *(kind.format(f"{share}%") for share in kept[1:])]
            for cell, rows in chosen.groupby("cell"):
                network, handling = cell.split(", ")
                marker, colour = HANDLING[handling]
                style = "-" if network == "compact" else "--"
                lines = rows.pivot_table(index="seed", columns="change", values="called")[names] * 100
                axis.plot(
                    kept,
                    lines.mean(),
                    style,
                    marker=marker,
                    ms=3,
                    color=colour,
                    label=f"{network}, {handling} handling",
                )
                axis.fill_between(kept, lines.min(), lines.max(), color=colour, alpha=0.15, lw=0)
    for axis, title in zip(axes[0], kinds.values(), strict=True):
        axis.set_title(title)
    for axis in axes[1]:
        axis.set(xlabel="kept (%)", xticks=kept, xlim=(102, 68))
    handles, cells = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, cells, loc="outside upper center", ncols=len(cells))
    return figure


@styled
def left_out(table):
    """What leaving out one ingredient changes, seed by seed. table: rows 'leave-one-out' of study.csv."""
    figure, axes = axes_mm(TWO_COLUMNS, 65, 1, 2, sharey=True)
    full = table[table.cell == "nothing"].set_index("seed")
    cells = [cell for cell in dict.fromkeys(table.cell) if cell != "nothing"]
    for axis, name in zip(axes, ("accuracy", "auc"), strict=True):
        reference = full[name]
        for place, cell in enumerate(cells):
            rows = table[table.cell == cell].set_index("seed")[name]
            difference = rows - reference[rows.index]
            axis.plot(difference, np.full(len(rows), place), "o", ms=3, mfc="none", color="black")
            axis.plot(difference.mean(), place, "|", ms=9, mew=2, color=ACCENT)
        axis.axvline(0, color=GREY, lw=0.6, ls=":")
        axis.set(xlabel=f"change of {MEASURES[name]}", yticks=range(len(cells)))
        axis.set_yticklabels([f"without {cell}" for cell in cells])
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.set_ylim(len(cells) - 0.5, -0.5)
    letters(axes)
    return figure


@styled
def record(published, ours):
    """Accuracy on the official 624 test images: as published, and means over seeds with their range.

    published: published_record.csv. ours: {name: accuracies of its seeds}.
    """
    names = [*published.result, *ours]
    figure, axis = axes_mm(TWO_COLUMNS, 15 + 5 * len(names))
    y = np.arange(len(names))
    kinds = published.remark.str.extract("(chosen on test|pretrained)")[0].fillna("neither")
    for kind, (marker, face, label) in PUBLISHED_KINDS.items():
        at = np.flatnonzero(kinds == kind)
        axis.plot(published.accuracy.iloc[at], at, marker, ms=3.5, color=GREY, mfc=face, label=label)
    for place, values in zip(y[len(published) :], ours.values(), strict=True):
        label = "ours: each seed, and the mean" if place == len(published) else None
        axis.plot(values, np.full(len(values), place), "s", ms=3, mfc="none", color=ACCENT, label=label)
        axis.plot(np.mean(values), place, "|", ms=10, mew=2, color=ACCENT)
    axis.set(yticks=y, yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    axis.set_xlabel("accuracy on the official test set (axis starts at 0.76)")
    axis.set_xlim(0.76, 1)
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.grid(axis="x", lw=0.3, color="#DDDDDD")
    axis.legend(loc="lower left")
    return figure
