"""Figures of what is set beside each other: two networks, groups of radiographs, changed pictures, maps.

The label of each is its alternative text: what is to be seen.
"""

import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter

from .. import intervals
from . import style
from .results import DOTS, MEASURES, dots, draw_roc, reach
from .style import COLOURS, GREY, GUESSING, LOOKS, NETWORKS, TWO_COLUMNS


@style.styled
def comparison(networks, table, names):
    """Two recipes on the same images: a ROC curve for each network, and the paired differences.

    networks: two lists of scores tables, one table a network. table: `compare.paired` of them. names: of the
    two recipes.
    """
    figure, (left, right) = style.axes_mm(TWO_COLUMNS, 85, 1, 2)
    colours = [NETWORKS.get(name, other) for name, other in zip(names, ("black", GREY), strict=True)]
    names = [style.short(name) for name in names]
    means = table.loc["auc", ["first", "second"]]
    for of_recipe, name, colour, mean in zip(networks, names, colours, means, strict=True):
        width = 1.2 if len(of_recipe) == 1 else 0.5
        for scores in of_recipe:
            draw_roc(left, scores, color=colour, lw=width)
        if len(of_recipe) == 1:
            auc = intervals.text(intervals.aucs(scores, scores[["score"]]).iloc[0])
        else:
            auc = f"{mean:.3f}, mean of {len(of_recipe)} networks".replace("nan", "not defined")
        left.plot([], color=colour, lw=width, label=f"{name}:\nAUC {auc}")  # for the legend
    left.legend(loc="lower right", title=style.size_of(scores))
    rows = table.loc[list(MEASURES)].rename(columns={"difference": "value"})
    dots(right, np.arange(len(rows)), rows)
    right.axvline(0, **GUESSING)
    style.name_rows(right, MEASURES.values())
    better = f"← better: {names[0]}\nbetter: {names[1]} →"
    right.set_xlabel(f"paired difference with 95 % interval\n{better}")
    right.grid(axis="x")
    style.letters((left, right))
    texts = [f"{MEASURES[key]} {intervals.text(rows.loc[key])}" for key in ("accuracy", "auc")]
    figure.set_label(f"Two ROC curves, and {names[1]} minus {names[0]}: {', '.join(texts)}.")
    return figure


@style.styled
def error_rates(table):
    """Error rates of groups of radiographs, with intervals: a panel for each fact. table: `errors.rates`."""
    classes = table[table.kind == "class"].set_index("label")
    groups = table[~table.kind.isin(["class", "subtype"])]
    numbered = groups.kind == "number"
    facts = list(groups.fact[~numbered].unique())
    facts += [None] * (-len(facts) % 4) + list(groups.fact[numbered].unique())  # these begin a row
    rows = max(1, math.ceil(len(facts) / 4))
    figure, axes = style.axes_mm(TWO_COLUMNS, 15 + 45 * rows, rows, 4, sharey=True, squeeze=False)
    for axis, fact in itertools.zip_longest(axes.flat, facts):
        axis.set(title=fact, visible=fact is not None)
        if fact is not None:
            _error_rates(axis, groups[groups.fact == fact], classes.value)
    for axis in axes[:, 0]:
        axis.set_ylabel("wrong answers (%)")
    axes[0, 0].set_ylim(0, min(1, 0.05 + np.nanmax([0.1, *groups.high])))
    axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
    for row, colour in zip(classes.itertuples(), COLOURS, strict=False):
        name = f"{row.Index.lower()}: {style.sample_size(row.images, row.patients)}"
        axes[0, 0].plot([], "o", mfc="white", color=colour, label=name)
    axes[0, 0].plot([], "o", color="black", label="interval above the rate of the class")
    axes[0, 0].plot([], **GUESSING, label="rate of the class")
    figure.legend(loc="outside upper center", ncols=4)
    above = groups[groups.low > groups.label.map(classes.value)]
    texts = [f"{row.label.lower()}, {row.fact}, {100 * row.value:.0f} %" for row in above.itertuples()]
    figure.set_label(f"Error rates with intervals above that of the class: {'; '.join(texts) or 'none'}.")
    return figure


def _error_rates(axis, groups, whole):
    """The groups by one fact, both classes side by side. whole: {label: error rate of the class}."""
    apart = 0.2 if groups.label.nunique() > 1 else 0
    for offset, colour, (label, rate) in zip((-apart, apart), COLOURS, whole.items(), strict=False):
        rows = groups[groups.label == label]
        if rows.empty:
            continue
        for above, some in rows.groupby(rows.low > rate):
            look = {"fmt": "o", "color": colour, "mfc": colour if above else "white", "mew": 0.8}
            axis.errorbar(some.part + offset, some.value, reach(some), **look, **DOTS)
        axis.axhline(rate, **GUESSING | {"color": colour})
    parts = groups.drop_duplicates("part")
    if (groups.kind == "number").all():
        ranges = zip(parts["from"], parts["to"], strict=True)
        axis.set_xticks(parts.part, [f"{first:.0f}-{last:.0f}" for first, last in ranges], rotation=90)
    else:
        axis.set_xticks((parts.part.min(), parts.part.max()), ("lowest\nquarter", "highest\nquarter"))
    axis.set_xlim(-0.6, parts.part.max() + 0.6)
    axis.grid(axis="y")


@style.styled
def stress_test(table, names):
    """How many answers each change turns, and in which direction: a panel for each network.

    table: `stress.compare`. names: of the negative and of the positive class.
    """
    networks = dict(list(table[table.kind != ""].groupby("network", sort=False)))
    changes = next(iter(networks.values()))
    starts = ~changes.kind.duplicated().to_numpy()
    y = np.arange(len(changes)) + 1.4 * starts.cumsum()  # each kind has a line of its own above its changes
    shape = {"sharex": True, "sharey": True, "squeeze": False}
    figure, axes = style.axes_mm(TWO_COLUMNS, 24 + 4 * y[-1], 1, len(networks), **shape)
    negative, positive = (name.lower() for name in names)
    texts = []
    for axis, (title, rows) in zip(axes[0], networks.items(), strict=True):
        axis.set_title("\n".join(map(style.short, title.split(": "))))
        labels = f"{positive} turned {negative}", f"{negative} turned {positive}"
        for name, label, colour, direction in zip(("down", "up"), labels, COLOURS, (-1, 1), strict=True):
            value, low, high = (direction * rows[f"{name}{end}"] for end in ("", "_low", "_high"))
            axis.barh(y, value, 0.7, color=colour, alpha=0.45, label=label)
            axis.hlines(y, low, high, color=colour, lw=1)
        axis.axvline(0, color="black", lw=0.6)
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
        most = rows[["up", "down"]].max(axis=1)
        texts.append(f"{title}: most when {rows.change[most.idxmax()]}, {100 * most.max():.0f} % of a class.")
    first = axes[0, 0]
    first.set_yticks([*y, *y[starts] - 1], [*changes.change, *changes.kind[starts]])
    plt.setp(first.get_yticklabels()[len(y) :], fontweight="bold")
    first.set(ylim=(y[-1] + 0.6, y[0] - 1.8), xlim=(-1, 1))
    first.set_xticks((-1, -0.5, 0, 0.5, 1), (100, 50, 0, 50, 100))
    figure.legend(*first.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    healthy, ill, patients = changes.iloc[0][["negative", "positive", "patients"]]
    sizes = f"{healthy} {negative} and {ill} {positive} radiographs of {patients:,} patients"
    figure.supxlabel(f"answers turned, % of the {sizes} (lines: 95 % intervals)", fontsize=7)
    figure.set_label(f"Answers turned by each change. {' '.join(texts)}")
    return figure


@style.styled
def map_checks(likenesses, curves):
    """Do the maps depend on what was learned, and do they show what the answer rests on?

    likenesses: {title of a network: `explain.likeness` to an untrained one, float [n]}. curves: {title:
    `explain.deletion` table}.
    """
    figure, (left, right) = style.axes_mm(TWO_COLUMNS, 70, 1, 2)
    texts = []
    for (title, values), (marker, _) in zip(likenesses.items(), LOOKS, strict=False):
        values, table, name = values[np.isfinite(values)], curves[title], style.short(title)
        look = {"color": NETWORKS.get(title, "black")}
        left.hist(values, np.linspace(-1, 1, 41), histtype="step", label=f"{name}, n = {len(values)}", **look)
        right.plot(table.share, table["by map"], marker + "-", label=name, **look)
        right.plot(table.share, table["at random"], ":", label="the same, at random", **look)
        gap = (table["at random"] - table["by map"]).max()
        texts.append(f"{name}: {np.median(values):.2f} and {gap:.2f}")
    left.set(xlabel="rank correlation with the map of an untrained network", ylabel="images", xlim=(-1, 1))
    right.set(xlabel="share of the picture blanked", ylabel="probability of the answer", ylim=(0, 1.02))
    left.yaxis.get_major_locator().set_params(integer=True)
    for axis in (left, right):
        style.legend_above(axis, columns=1)
    style.letters((left, right))
    figure.set_label(f"Median correlation, and largest gap between the curves: {'; '.join(texts)}.")
    return figure
