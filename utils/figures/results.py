"""Figures of a training and of an evaluation: scores and tables in, Figure out."""

import numpy as np
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from .. import metrics
from ..data import manifest
from . import style
from .style import ACCENT, COLOURS, GREY, GUESSING, ONE_COLUMN, TWO_COLUMNS

LOOKS = (("o", "black"), ("s", GREY), ("^", ACCENT))  # marker and colour of up to three results in one figure
MEASURES = metrics.AT_THRESHOLD | metrics.RANKING  # {name: title}, as they are drawn below each other


def _dots(axis, y, value, low, high, marker="o", **settings):
    """A dot for each value, at height y, with a line over its interval where there is one."""
    reach = np.nan_to_num(np.clip([value - low, high - value], 0, None))
    axis.errorbar(value, y, xerr=reach, fmt=marker, **{"ms": 3.5, "lw": 1, "color": "black"} | settings)


def _shares(axis, lowest, label):
    """The lower axis for shares: up to 1, from 0 or a little below the lowest share, which it says."""
    start = max(0, np.floor(lowest * 20 - 0.5) / 20)
    axis.set_xlim(start, 1.005)
    axis.set_xlabel(label + (f"\n(axis starts at {start:.2f})" if start else ""))
    axis.grid(axis="x", **style.GRID)


@style.styled
def learning_curves(history, counts, epochs=None):
    """Loss, and validation AUC, sensitivity and specificity, over the epochs of one run.

    history: `Run.history()`. counts: the card's counts of training and validation images.
    epochs: how far the axis goes, for a training that is not at its end.
    """
    figure, (left, right) = style.axes_mm(TWO_COLUMNS, 55, 1, 2)
    left.plot(history.epoch, history.loss, color=GREY, label=f"training, augmented, n = {counts['train']:,}")
    left.plot(history.epoch, history.val_loss, color=ACCENT, label=f"validation, n = {counts['val']:,}")
    left.set(ylabel="loss (cross-entropy)", ylim=(0, None))
    right.plot(history.epoch, history.val_auc, color=ACCENT, label="AUC")
    for name, colour in zip(("specificity", "sensitivity"), COLOURS, strict=True):
        right.plot(history.epoch, history[f"val_{name}"], color=colour, label=name, lw=0.8)
    right.set(ylabel="validation, at 0.5", ylim=(0, 1.02))
    for axis in (left, right):
        axis.legend()
        axis.set_xlabel("epoch")
        axis.set_xlim(0, (epochs or history.epoch.max()) + 0.5)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if len(history) == 1:  # a line needs two points
            for line in axis.lines:
                line.set_marker(".")
    style.letters((left, right))
    return figure


@style.styled
def score_distributions(scores, threshold):
    """Where the scores of both classes lie, with the fixed threshold."""
    figure, axis = style.axes_mm(ONE_COLUMN, 55)
    bins = np.linspace(0, 1, 41)
    for (label, rows), colour in zip(manifest.classes(scores), COLOURS, strict=True):
        chosen = scores.score[rows]
        axis.hist(chosen, bins, histtype="stepfilled", alpha=0.35, color=colour)
        axis.hist(chosen, bins, histtype="step", color=colour, label=f"{label.lower()}, n = {len(chosen):,}")
    axis.axvline(threshold, color="black", lw=0.8, ls="--", label=f"threshold {threshold:.2f}")
    axis.set(xlabel=f"score: P({label.lower()})", ylabel="images", xlim=(0, 1))
    style.legend_above(axis, columns=3, columnspacing=1)
    return figure


@style.styled
def metric_intervals(scores, results):
    """Each metric with its 95 % interval. results: {name: `intervals.evaluate` table of these scores}."""
    figure, axis = style.axes_mm(ONE_COLUMN, 75)
    for place, (name, table) in enumerate(results.items()):
        rows = table.loc[list(MEASURES)]
        y = np.arange(len(rows)) + 0.22 * (place - (len(results) - 1) / 2)
        marker, colour = LOOKS[place]
        _dots(axis, y, rows.value, rows.low, rows.high, marker, color=colour, label=name)
    lowest = np.nanmin([0.9, *(table.low[list(MEASURES)].min() for table in results.values())])
    _shares(axis, lowest, f"value with 95 % interval, n = {len(scores):,} images")
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.set(yticks=range(len(MEASURES)), yticklabels=MEASURES.values())
    axis.invert_yaxis()
    style.legend_above(axis, at=0.25)
    return figure


@style.styled
def confusion(scores, threshold):
    """Confusion matrix: counts, and shares of each true class, which also set the shade."""
    counts = metrics.confusion(scores, threshold)
    table = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    figure, axis = style.axes_mm(ONE_COLUMN, 70)
    axis.imshow(share, cmap="Greys", vmin=0, vmax=1.3)
    for row, column in np.ndindex(2, 2):
        text = f"{table[row, column]:,}\n{share[row, column]:.1%}"
        colour = "white" if share[row, column] > 0.6 else "black"
        axis.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    names = [name.lower() for name, _ in manifest.classes(scores)]
    axis.set(xticks=(0, 1), xticklabels=names, yticks=(0, 1), yticklabels=names)
    axis.set(xlabel=f"called, at threshold {threshold:.2f}", ylabel="label", title=_sample_size(scores))
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


@style.styled
def subgroups(table, threshold):
    """Sensitivity or specificity of each subtype, with intervals. table: `evaluation.subgroups`."""
    figure, axis = style.axes_mm(ONE_COLUMN, 20 + 10 * len(table))
    for metric, colour in zip(("specificity", "sensitivity"), COLOURS, strict=True):
        y = np.flatnonzero(table.metric == metric)
        rows = table.iloc[y]
        _dots(axis, y, rows.value, rows.low, rows.high, color=colour, label=metric)
    names = [f"{row.group}\n{row.images:,} images, {row.patients:,} patients" for row in table.itertuples()]
    axis.set(yticks=range(len(table)), yticklabels=names, ylim=(len(table) - 0.5, -0.5))
    _shares(axis, np.nanmin([0.95, *table.low]), f"95 % interval, at threshold {threshold:.2f}")
    style.legend_above(axis, at=0.4)
    return figure


@style.styled
def roc(scores, result, threshold):
    """ROC curve with the AUC's interval; the circle marks 0.5, the square the fixed threshold.

    scores: the scores table. result: `intervals.evaluate` of it.
    """
    positive = manifest.positives(scores)
    figure, axis = style.axes_mm(ONE_COLUMN, 80)
    auc = result.loc["auc"]
    text = f"AUC {auc.value:.3f} (95 % interval {auc.low:.3f}-{auc.high:.3f})"
    if len(np.unique(positive)) == 2:
        false_alarms, hits, _ = roc_curve(positive, scores.score, drop_intermediate=False)
        axis.plot(false_alarms, hits, color=ACCENT, label=text, drawstyle="steps-post")
    axis.plot([0, 1], [0, 1], **GUESSING, label="guessing, AUC 0.5")
    marked = (("o", "threshold 0.5", 0.5), ("s", f"validation threshold {threshold:.2f}", threshold))
    for marker, name, at in marked:
        at = metrics.measure(scores, at)
        axis.plot(1 - at.specificity, at.sensitivity, marker, mfc="white", mec="black", ms=4, label=name)
    axis.set(xlabel="1 − specificity (false alarms)", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01))
    axis.set_aspect("equal")
    box = {"frameon": True, "framealpha": 0.9, "edgecolor": "none"}
    axis.legend(loc="lower right", title=_sample_size(scores), title_fontsize=6, **box)
    return figure


@style.styled
def calibration(curves, decision, prevalence):
    """Reliability: does a score of 0.8 mean 80 %? And the net benefit of acting on the scores.

    curves: {name: `evaluation.reliability` table}. decision: `evaluation.decision_curve` at `prevalence`.
    """
    figure, (left, right) = style.axes_mm(TWO_COLUMNS, 75, 1, 2)
    left.plot([0, 1], [0, 1], **GUESSING, label="what it should be")
    for place, (name, table) in enumerate(curves.items()):
        marker, colour = LOOKS[place]
        label = f"{name}, {table.images.iloc[0]} images a point"
        left.plot(table.score, table.share, marker + "-", ms=3, lw=0.8, color=colour, label=label)
    left.set(xlabel="mean score", ylabel="share that is positive", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    left.set_aspect("equal")
    right.plot(decision.threshold, decision.network, color=ACCENT, label="act on the network")
    right.plot(decision.threshold, decision.everyone, color=COLOURS[1], lw=0.8, label="act on everyone")
    right.axhline(0, color=COLOURS[0], lw=0.8, label="act on nobody")
    right.set(xlabel="probability from which one would act", ylabel="net benefit")
    right.set(ylim=(-0.1 * prevalence, 1.15 * prevalence), xlim=(0, decision.threshold.max()))
    right.legend(loc="upper right", title=f"at a prevalence of {prevalence:.0%}", title_fontsize=6)
    left.legend(loc="upper left")
    style.letters((left, right))
    return figure


@style.styled
def map_checks(likenesses, curves):
    """Do the maps depend on what was learned, and do they show what the answer rests on?

    likenesses: {name: float [n]}, correlation with the maps of an untrained network. curves: {name:
    `explain.deletion` table}.
    """
    figure, (left, right) = style.axes_mm(TWO_COLUMNS, 60, 1, 2)
    for place, (name, values) in enumerate(likenesses.items()):
        found = values[np.isfinite(values)]
        left.hist(found, np.linspace(-1, 1, 41), histtype="step", color=LOOKS[place][1], label=name)
    left.set(xlabel="rank correlation with the map of an untrained network", ylabel="images", xlim=(-1, 1))
    for place, (name, table) in enumerate(curves.items()):
        marker, colour = LOOKS[place]
        right.plot(table.share, table["by map"], marker + "-", ms=3, color=colour, label=name)
        right.plot(table.share, table["at random"], ":", color=colour, label="the same, at random")
    right.set(xlabel="share of the picture blanked", ylabel="probability of the answer", ylim=(0, 1.02))
    for axis in (left, right):
        axis.legend()
    style.letters((left, right))
    return figure


@style.styled
def differences(table, names):
    """What the second of two recipes gains or loses, with paired intervals.

    table: `compare.paired`. names: of the two.
    """
    rows = table.loc[list(MEASURES)]
    figure, axis = style.axes_mm(ONE_COLUMN, 75)
    _dots(axis, np.arange(len(rows)), rows.difference, rows.low, rows.high)
    axis.axvline(0, **GUESSING)
    axis.set(yticks=range(len(rows)), yticklabels=MEASURES.values())
    axis.set_xlabel(f"{names[1]} minus {names[0]}, with 95 % interval\n(left of 0: {names[0]} is better)")
    axis.invert_yaxis()
    axis.grid(axis="x", **style.GRID)
    return figure


def _sample_size(scores):
    return f"n = {len(scores):,} images of {scores.patient.nunique():,} patients"
