"""Figures of the results of one network: of its training, of its scores, of their metrics.

The label of each but `learning_curves` is its alternative text: what is to be seen.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from .. import intervals, metrics
from ..data import manifest
from . import style
from .style import ACCENT, COLOURS, GREY, GUESSING, LOOKS, ONE_COLUMN, TWO_COLUMNS

MEASURES = metrics.AT_THRESHOLD | metrics.RANKING  # {name: title}, as they are drawn below each other
SCALE = np.array([0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999])  # of scores, labelled
DOTS = {"lw": 0.8, "capthick": 0.8, "clip_on": False}  # of dots with lines over their intervals


@style.styled
def learning_curves(history, counts, epochs=None):
    """Loss, and validation AUC, sensitivity and specificity, over the epochs of one run.

    history: `Run.history()`. counts: those of the card. epochs: planned, of a training that goes on.
    """
    figure, (left, right) = style.axes_mm(TWO_COLUMNS, 55, 1, 2)
    n = {part: style.sample_size(counts[part], counts[f"{part}_patients"]) for part in ("train", "val")}
    left.plot(history.epoch, history.loss, color=GREY, label=f"training, augmented, {n['train']}")
    left.plot(history.epoch, history.val_loss, color=ACCENT, label=f"validation, {n['val']}")
    left.set(ylabel="loss (cross-entropy)", ylim=(0, None))
    right.plot(history.epoch, history.val_auc, color=ACCENT, label="AUC")
    for name, colour in zip(("specificity", "sensitivity"), COLOURS, strict=True):
        right.plot(history.epoch, history[f"val_{name}"], color=colour, label=name, lw=0.8)
    right.set(ylabel="validation, at 0.5", ylim=(0, 1.02))
    for axis in (left, right):
        if len(history) == 1:  # a line needs two points
            plt.setp(axis.lines, marker=".")
        axis.legend()
        axis.set(xlabel="epoch", xlim=(0, (epochs or history.epoch.max()) + 0.5))
        axis.xaxis.get_major_locator().set_params(integer=True)
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
    first, last = min(odds.min(), at, ticks[3]), max(odds.max(), at, ticks[5])  # 0.1 and 0.9 are always seen
    step = (last - first) / 40
    bins = at + step * np.arange(np.floor((first - at) / step), np.ceil((last - at) / step) + 2)
    wrong = metrics.called(scores.score, threshold) != manifest.positives(scores)
    texts = []
    for axis, (name, rows), colour in zip(axes, manifest.classes(scores), COLOURS, strict=True):
        name, errors = name.lower(), odds[rows & wrong]
        axis.hist(odds[rows], bins, histtype="stepfilled", color=colour, alpha=0.35)
        axis.hist(errors, bins, histtype="stepfilled", color=colour)
        look = {"ms": 5, "mew": 0.6, "color": "black", "clip_on": False, "in_layout": False}
        axis.plot(errors, np.zeros(len(errors)), "|", **look)
        axis.axvline(at, color="black", lw=0.8, ls="--")
        axis.set_title(f"{name}: {style.size_of(scores[rows])}, {len(errors):,} wrong", loc="left")
        axis.set(ylabel="images", ylim=(0, None))
        axis.yaxis.get_major_locator().set_params(integer=True)
        texts.append(f"{len(errors):,} of {rows.sum():,} {name} images")
    axis.set_xticks(ticks, [f"{share:g}" for share in SCALE])
    axis.set_xlim(bins[0], bins[-1])
    axis.set_xlabel(f"score: P({name}), logit scale (dashed: threshold {threshold:.2f})")
    figure.set_label(f"Histograms of scores. Wrong at threshold {threshold:.2f}: {' and '.join(texts)}.")
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
    wrong = [f"{table[row, 1 - row]:,} of {table[row].sum():,} {names[row]} images" for row in (0, 1)]
    figure.set_label(f"Confusion matrix. Wrong: {' and '.join(wrong)}.")
    return figure


@style.styled
def roc(scores, result, threshold):
    """ROC curve with the AUC's interval, 0.5 and the threshold. result: `intervals.evaluate` of scores."""
    figure, axis = style.axes_mm(ONE_COLUMN, 80)
    auc = f"AUC {intervals.text(result.loc['auc'])}"
    draw_roc(axis, scores, color=ACCENT, label=auc)
    marks = dict.fromkeys((0.5, threshold))  # one without validation scores
    for marker, name, at in zip("os", ("threshold", "validation threshold"), marks, strict=False):
        point = metrics.measure(scores, at)
        look = {"mfc": "none", "mec": "black", "ms": 4, "clip_on": False}
        axis.plot(1 - point.specificity, point.sensitivity, marker, **look, label=f"{name} {at:.2f}")
    axis.legend(loc="lower right", title=style.size_of(scores))
    figure.set_label(f"ROC curve, {auc}, marked at {' and '.join(f'{at:.2f}' for at in marks)}.")
    return figure


@style.styled
def metric_intervals(results, parts):
    """Each metric with its 95 % interval, those without a threshold once for each part of the data.

    results: {name: `intervals.evaluate` table}, at most three. parts: the scores tables that they are of.
    """
    figure, axis = style.axes_mm(ONE_COLUMN, 85)
    for place, ((name, table), scores) in enumerate(zip(results.items(), parts, strict=True)):
        again = any(scores is earlier for earlier in parts[:place])
        rows = table.loc[list(metrics.AT_THRESHOLD if again else MEASURES)]
        y = np.arange(len(rows)) + 0.24 * (place - (len(results) - 1) / 2)
        marker, colour = LOOKS[place]
        dots(axis, y, rows, colour, fmt=marker, label=f"{name}: {style.size_of(scores)}")
    lowest = min(table.loc[list(MEASURES)].min().min() for table in results.values())
    _share_axis(axis, min(0.9, lowest), "value with 95 % interval")
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.axhline(len(metrics.AT_THRESHOLD) - 0.5, **GUESSING)  # below it, no threshold is needed
    style.name_rows(axis, MEASURES.values())
    style.legend_above(axis, columns=1, at=0.25)
    name, table = next(iter(results.items()))
    texts = [f"{title} {intervals.text(table.loc[key])}" for key, title in MEASURES.items()]
    figure.set_label(f"Measures {name}: {', '.join(texts)}.")
    return figure


@style.styled
def subgroups(table, threshold=None):
    """Sensitivity or specificity of each group, with intervals. table: `evaluation.subgroups`."""
    figure, axis = style.axes_mm(ONE_COLUMN, 20 + 10 * len(table))
    colours = dict(zip(("specificity", "sensitivity"), COLOURS, strict=True))
    for metric, rows in table.groupby("metric", sort=False):
        dots(axis, rows.index, rows, colours[metric], label=metric)
    rows = list(table.itertuples())
    style.name_rows(axis, [f"{row.group}\n{style.sample_size(row.images, row.patients)}" for row in rows])
    at = f", at threshold {threshold:.2f}" if threshold is not None else ""
    _share_axis(axis, min(0.95, table.low.min()), f"95 % interval{at}")
    style.legend_above(axis, at=0.4)
    texts = [f"{row.metric} of {row.group} {intervals.text(row)}" for row in rows]
    figure.set_label(f"Groups with intervals: {', '.join(texts)}.")
    return figure


@style.styled
def calibration(curves, decision, prevalence, scores):
    """Reliability: does a score of 0.8 mean 80 %? And the net benefit of acting on the scores.

    curves: {name: `evaluation.reliability` table}. decision: `evaluation.decision_curves` at `prevalence`,
    with columns of the same names, or None: no net benefit. scores: the table that all are of.
    """
    size = (ONE_COLUMN, 75) if decision is None else (TWO_COLUMNS, 75, 1, 2)
    figure, axes = style.axes_mm(*size)
    left, *right = np.ravel(axes)
    left.plot([0, 1], [0, 1], **GUESSING, label="what it should be")
    missed = []
    for (name, table), (marker, colour) in zip(curves.items(), LOOKS[::2], strict=False):
        look = {"fmt": marker, "color": colour, "mfc": "white"}
        left.errorbar(table.score, table.value, reach(table), **look, **DOTS, label=name)
        beside = ((table.score < table.low) | (table.score > table.high)).sum()
        missed.append(f"{name}, {beside} of {len(table)} intervals miss the diagonal")
    left.set(xlabel="mean score", ylabel="share that is positive", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    left.set_aspect("equal")
    left.legend(title=f"{style.size_of(scores)},\n{table.images.min()}-{table.images.max()} a point")
    for axis in right:
        axis.plot(decision.threshold, decision.everyone, color=COLOURS[1], lw=0.8, label="act on everyone")
        axis.axhline(0, color=COLOURS[0], lw=0.8, label="act on nobody")
        for name, (_, colour) in zip(curves, LOOKS[::2], strict=False):
            axis.plot(decision.threshold, decision[name], color=colour, label=f"act on the scores, {name}")
        axis.set(xlabel="probability from which one would act", ylabel="net benefit")
        axis.set(ylim=(-0.1 * prevalence, 1.35 * prevalence), xlim=(0, decision.threshold.max()))
        axis.legend(loc="upper right", title=f"at a prevalence of {prevalence:.3g}")
        style.letters(axes)
    beside = " Beside it, curves of net benefit." * len(right)
    figure.set_label(f"Calibration: {'; '.join(missed)}.{beside}")
    return figure


def draw_roc(axis, scores, **look):
    """Draw a ROC curve, empty without both classes, and the line of guessing."""
    positive, points = manifest.positives(scores), ([], [])
    if len(np.unique(positive)) == 2:
        points = roc_curve(positive, scores.score, drop_intermediate=False)[:2]
    axis.plot(*points, **look)  # oblique where scores are tied
    axis.plot([0, 1], [0, 1], **GUESSING)
    axis.set(xlabel="1 − specificity (false alarms)", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01))
    axis.set_aspect("equal")


def reach(rows):
    """How far the intervals reach below and above the values, [2, rows]; 0 where there is none."""
    return np.nan_to_num(np.clip([rows.value - rows.low, rows.high - rows.value], 0, None))


def dots(axis, y, rows, colour="black", fmt="o", label=None):
    """A dot for each row at height y, with a line over its interval. rows: columns value, low, high."""
    axis.errorbar(rows.value, y, xerr=reach(rows), fmt=fmt, color=colour, label=label, **DOTS)
    at_left = {"transform": axis.get_yaxis_transform(), "va": "center", "fontsize": 5, "color": colour}
    for height in np.asarray(y)[rows.value.isna()]:
        axis.text(0.01, height, "– not defined", **at_left)


def _share_axis(axis, lowest, label):
    """The lower axis for shares: up to 1, from 0 or a little below the lowest number, which it says."""
    start = max(np.floor(20 * lowest - 0.5) / 20, min(0, lowest))
    axis.set_xlim(start, 1.005)
    axis.set_xlabel(label + (f"\n(axis starts at {start:.2f})" if start else ""))
    axis.grid(axis="x")
