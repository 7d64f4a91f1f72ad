"""Figures of a training and of an evaluation: scores and tables in, Figure out.

Those of an evaluation have as their label (`Figure.get_label`) what is to be seen: the alternative text.
"""

import numpy as np
from sklearn.metrics import roc_curve

from .. import intervals, metrics
from ..data import manifest
from . import style
from .style import ACCENT, COLOURS, GREY, GUESSING, ONE_COLUMN, TWO_COLUMNS

SCALE = np.array([0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999])  # of scores, labelled


@style.styled
def learning_curves(history, counts, epochs=None):
    """Loss, and validation AUC, sensitivity and specificity, over the epochs of one run.

    history: `Run.history()`. counts: those of the card. epochs: how far the axis goes, for a training that
    is not at its end.
    """
    figure, (left, right) = style.axes_mm(TWO_COLUMNS, 55, 1, 2)
    for part, column, name, colour in (
        ("train", "loss", "training, augmented", GREY),
        ("val", "val_loss", "validation", ACCENT),
    ):
        n = style.sample_size(counts[part], counts[f"{part}_patients"])
        left.plot(history.epoch, history[column], color=colour, label=f"{name}, {n}")
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
    """Where the scores of both classes lie, on the logit scale, with the fixed threshold.

    Wrong answers are filled, and each has a line of its own below. What lies beyond SCALE stands at its ends.
    """
    figure, axes = style.axes_mm(ONE_COLUMN, 75, 2, 1, sharex=True)
    ticks, at = metrics.log_odds(SCALE), metrics.log_odds(threshold)
    odds = np.clip(metrics.log_odds(scores.score), ticks[0], ticks[-1])
    ends = min(odds.min(), at, ticks[3]), max(odds.max(), at, ticks[5])  # 0.1 and 0.9 are always seen
    step = np.ptp(ends) / 40
    bins = np.arange(np.floor((ends[0] - at) / step), np.ceil((ends[1] - at) / step) + 2) * step + at
    called, found = metrics.called(scores.score, threshold), []
    for axis, (label, rows), colour, positive in zip(
        axes, manifest.classes(scores), COLOURS, (False, True), strict=True
    ):
        wrong = rows & (called != positive)
        axis.hist(odds[rows], bins, histtype="stepfilled", color=colour, alpha=0.35)
        axis.hist(odds[wrong], bins, histtype="stepfilled", color=colour)
        lines = {"ms": 5, "mew": 0.6, "color": "black", "clip_on": False, "in_layout": False}
        axis.plot(odds[wrong], np.zeros(wrong.sum()), "|", **lines)
        axis.axvline(at, color="black", lw=0.8, ls="--")
        found.append(f"{wrong.sum():,} of {rows.sum():,} {label.lower()} images")
        axis.set_title(f"{label.lower()}: {style.size_of(scores[rows])}, {wrong.sum():,} wrong", loc="left")
        axis.set(ylabel="images", ylim=(0, None))
        axis.yaxis.get_major_locator().set_params(integer=True)
    axes[1].set_xticks(ticks, [f"{share:g}" for share in SCALE])
    axes[1].set_xlim(bins[0], bins[-1])
    axes[1].set_xlabel(f"score: P({label.lower()}), logit scale (dashed: threshold {threshold:.2f})")
    style.describe(
        figure,
        f"Two histograms of scores on the logit scale. On the wrong side of the threshold {threshold:.2f} "
        f"are {' and '.join(found)}.",
    )
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
    axis.set(xlabel=f"called, at threshold {threshold:.2f}", ylabel="label", title=style.size_of(scores))
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    style.describe(
        figure,
        f"Two by two table. Of {table[0].sum():,} {names[0]} images {table[0, 1]:,} are called {names[1]}, "
        f"of {table[1].sum():,} {names[1]} images {table[1, 0]:,} are called {names[0]}.",
    )
    return figure


@style.styled
def roc(scores, result, threshold):
    """ROC curve with the AUC's interval; the circle marks 0.5, the square the fixed threshold.

    scores: the scores table. result: `intervals.evaluate` of it.
    """
    figure, axis = style.axes_mm(ONE_COLUMN, 80)
    auc = f"AUC {intervals.text(result.loc['auc'])}"
    curve(axis, scores, color=ACCENT, label=auc)
    texts = []
    for marker, name, at in (("o", "threshold", 0.5), ("s", "validation threshold", threshold)):
        found = metrics.measure(scores, at)
        looks = {"mfc": "none", "mec": "black", "ms": 4, "clip_on": False}
        axis.plot(1 - found.specificity, found.sensitivity, marker, **looks, label=f"{name} {at:.2f}")
        texts.append(
            f"at {name} {at:.2f} sensitivity {found.sensitivity:.3f} and specificity {found.specificity:.3f}"
        )
    axis.legend(loc="lower right", title=style.size_of(scores), title_fontsize=6)
    style.describe(figure, f"ROC curve with {auc}; {'; '.join(texts)}.")
    return figure


def curve(axis, scores, **settings):
    """Draw a ROC curve, empty without both classes, and the line of guessing."""
    positive, points = manifest.positives(scores), ([], [])
    if len(np.unique(positive)) == 2:
        points = roc_curve(positive, scores.score, drop_intermediate=False)[:2]
    axis.plot(*points, **settings)  # oblique where scores are tied
    axis.plot([0, 1], [0, 1], **GUESSING)
    axis.set(xlabel="1 − specificity (false alarms)", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01))
    axis.set_aspect("equal")


@style.styled
def calibration(curves, decision, prevalence, scores):
    """Reliability: does a score of 0.8 mean 80 %? And the net benefit of acting on the scores.

    curves: {name: `evaluation.reliability` table}. decision: `evaluation.decision_curves` at `prevalence`,
    with columns of the same names. scores: the table that all are of.
    """
    figure, (left, right) = style.axes_mm(TWO_COLUMNS, 75, 1, 2)
    left.plot([0, 1], [0, 1], **GUESSING, label="what it should be")
    right.plot(decision.threshold, decision.everyone, color=COLOURS[1], lw=0.8, label="act on everyone")
    right.axhline(0, color=COLOURS[0], lw=0.8, label="act on nobody")
    missed, benefits, middle = [], [], (decision.threshold - 0.5).abs().idxmin()
    for (name, table), (marker, colour) in zip(curves.items(), style.LOOKS[::2], strict=False):
        reach = np.clip([table.value - table.low, table.high - table.value], 0, None)
        looks = {"ms": 2.5, "lw": 0.6, "capsize": 1.5, "color": colour, "mfc": "white"}
        left.errorbar(table.score, table.value, yerr=reach, fmt=marker, **looks, label=name)
        right.plot(decision.threshold, decision[name], color=colour, label=f"act on the scores, {name}")
        beside = ((table.score < table.low) | (table.score > table.high)).sum()
        missed.append(f"{name}, {beside} of {len(table)} intervals miss the line of what it should be")
        benefits.append(f"{decision[name][middle]:.3f} {name}")
    left.set(xlabel="mean score", ylabel="share that is positive", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    left.set_aspect("equal")
    right.set(xlabel="probability from which one would act", ylabel="net benefit")
    right.set(ylim=(-0.1 * prevalence, 1.35 * prevalence), xlim=(0, decision.threshold.max()))
    fewest, most = table.images.min(), table.images.max()
    points = f"{fewest} a point" if fewest == most else f"{fewest}-{most} a point"
    left.legend(title=f"{style.size_of(scores)},\n{points}", title_fontsize=6)
    right.legend(loc="upper right", title=f"at a prevalence of {prevalence:.3g}", title_fontsize=6)
    style.letters((left, right))
    style.describe(
        figure,
        f"Left, share that is positive against mean score: {'; '.join(missed)}. Right, net benefit of acting "
        f"from a probability of {decision.threshold[middle]:.2f}: {', '.join(benefits)}, "
        f"{decision.everyone[middle]:.3f} by acting on everyone.",
    )
    return figure


@style.styled
def map_checks(likenesses, curves):
    """Do the maps depend on what was learned, and do they show what the answer rests on?

    likenesses: {name: float [n]}, correlation with the maps of an untrained network. curves: {name:
    `explain.deletion` table}.
    """
    figure, (left, right) = style.axes_mm(TWO_COLUMNS, 70, 1, 2)
    texts = []
    for (name, values), (marker, colour) in zip(likenesses.items(), style.LOOKS, strict=False):
        found, table, short = values[np.isfinite(values)], curves[name], style.short(name)
        label = f"{short}, n = {len(found)}"
        left.hist(found, np.linspace(-1, 1, 41), histtype="step", color=colour, label=label)
        right.plot(table.share, table["by map"], marker + "-", ms=3, color=colour, label=short)
        right.plot(table.share, table["at random"], ":", color=colour, label="the same, at random")
        gap = (table["at random"] - table["by map"]).max()
        texts.append(f"{name}: median correlation {np.median(found):.2f}, largest gap {gap:.2f}")
    left.set(xlabel="rank correlation with the map of an untrained network", ylabel="images", xlim=(-1, 1))
    right.set(xlabel="share of the picture blanked", ylabel="probability of the answer", ylim=(0, 1.02))
    left.yaxis.get_major_locator().set_params(integer=True)
    for axis in (left, right):
        style.legend_above(axis, columns=1)
    style.letters((left, right))
    style.describe(
        figure,
        "Left, histograms of correlations with the map of an untrained network. Right, probability of the "
        f"answer as more of the picture is blanked, by the map and at random. {'; '.join(texts)}.",
    )
    return figure
