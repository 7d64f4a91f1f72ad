"""Figures of measures with their 95 % intervals: of one network, of its subgroups, of two networks.

Each has as its label (`Figure.get_label`) what is to be seen: the alternative text.
"""

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from .. import intervals, metrics
from . import style
from .results import curve
from .style import ACCENT, COLOURS, GUESSING, LOOKS, ONE_COLUMN, TWO_COLUMNS

MEASURES = metrics.AT_THRESHOLD | metrics.RANKING  # {name: title}, as they are drawn below each other


def _dots(axis, y, value, low, high, marker="o", **settings):
    """A dot for each value, at height y, with a line over its interval where there is one, wider than it."""
    reach = np.nan_to_num(np.clip([value - low, high - value], 0, None))
    looks = {
        "ms": 2.5,
        "lw": 0.8,
        "capsize": 2,
        "capthick": 0.8,
        "color": "black",
        "clip_on": False,
    } | settings
    axis.errorbar(value, y, xerr=reach, fmt=marker, **looks)
    at_left = {"transform": axis.get_yaxis_transform(), "va": "center", "fontsize": 5}
    for place in np.asarray(y)[np.isnan(value)]:
        axis.text(0.01, place, "– not defined", color=looks["color"], **at_left)


def _shares(axis, lowest, label):
    """The lower axis for shares: up to 1, from 0 or a little below the lowest number, which it says."""
    start = np.floor(lowest * 20 - 0.5) / 20
    start = max(0, start) if lowest >= 0 else start
    axis.set_xlim(start, 1.005)
    axis.set_xlabel(label + (f"\n(axis starts at {start:.2f})" if start else ""))
    axis.grid(axis="x", **style.GRID)


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
        label = f"{name}: {style.size_of(scores)}"
        _dots(axis, y, rows.value, rows.low, rows.high, marker, color=colour, label=label)
    lowest = min([0.9, *(table.loc[list(MEASURES)].min().min() for table in results.values())])
    _shares(axis, lowest, "value with 95 % interval")
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.axhline(len(metrics.AT_THRESHOLD) - 0.5, **GUESSING)  # below it, no threshold is needed
    axis.set(yticks=range(len(MEASURES)), yticklabels=MEASURES.values(), ylim=(len(MEASURES) - 0.5, -0.5))
    style.legend_above(axis, columns=1, at=0.25)
    name, table = next(iter(results.items()))
    lowest = table.value[list(metrics.AT_THRESHOLD)].idxmin()
    texts = [f"{MEASURES[key]} {intervals.text(table.loc[key])}" for key in ("accuracy", lowest, "auc")]
    style.describe(
        figure,
        f"Dot plot of {len(MEASURES)} measures with intervals. For the first, {name}: {texts[0]}; "
        f"lowest at a threshold, {texts[1]}; {texts[2]}.",
    )
    return figure


@style.styled
def subgroups(table, threshold=None):
    """Sensitivity or specificity of each group, with intervals. table: `evaluation.subgroups`."""
    figure, axis = style.axes_mm(ONE_COLUMN, 20 + 10 * len(table))
    for metric, colour in zip(("specificity", "sensitivity"), COLOURS, strict=True):
        y = np.flatnonzero(table.metric == metric)
        rows = table.iloc[y]
        _dots(axis, y, rows.value, rows.low, rows.high, color=colour, label=metric)
    names = [f"{row.group}\n{style.sample_size(row.images, row.patients)}" for row in table.itertuples()]
    axis.set(yticks=range(len(table)), yticklabels=names, ylim=(len(table) - 0.5, -0.5))
    at = f", at threshold {threshold:.2f}" if threshold is not None else ""
    _shares(axis, min(0.95, table.low.min()), f"95 % interval{at}")
    style.legend_above(axis, at=0.4)
    texts = [f"{row.metric} of {row.group} {intervals.text(row)}" for row in table.itertuples()]
    style.describe(figure, f"Dot plot with intervals: {', '.join(texts)}.")
    return figure


@style.styled
def comparison(sides, table, names):
    """Two recipes on the same images: their ROC curves, a line a network, and the paired differences.

    sides: two lists of scores tables. table: `compare.paired` of them. names: of the two.
    """
    names, scores = [style.short(name) for name in names], sides[0][0]
    figure, (left, right) = style.axes_mm(TWO_COLUMNS, 85, 1, 2)
    for side, name, colour in zip(sides, names, ("black", ACCENT), strict=True):
        auc, several = pd.concat([intervals.aucs(one, one[["score"]]) for one in side]).mean(), len(side) > 1
        mean = auc[["value"]].reindex(auc.index)  # without an interval
        label = f"{name}:\nAUC {intervals.text(mean if several else auc)}"
        label += f", mean of {len(side)} networks" * several
        for one in side:
            curve(left, one, color=colour, lw=0.5 if several else 1.2, label=label)
            label = None  # once a side
    left.legend(loc="lower right", title=style.size_of(scores), title_fontsize=6)
    rows = table.loc[list(MEASURES)]
    _dots(right, np.arange(len(rows)), rows.difference, rows.low, rows.high)
    right.axvline(0, **GUESSING)
    right.set(yticks=range(len(rows)), yticklabels=MEASURES.values(), ylim=(len(rows) - 0.5, -0.5))
    better = f"← better: {names[0]}\nbetter: {names[1]} →"
    right.set_xlabel(f"paired difference with 95 % interval\n{better}")
    right.grid(axis="x", **style.GRID)
    style.letters((left, right))
    texts = [
        f"{MEASURES[key]} {row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
        for key, row in table.loc[["accuracy", "auc"]].iterrows()
    ]
    style.describe(
        figure,
        f"Left, ROC curves of {names[0]}, AUC {table['first'].auc:.3f}, and {names[1]}, "
        f"AUC {table['second'].auc:.3f}. Right, second minus first with intervals: {', '.join(texts)}.",
    )
    return figure
