"""What a network gets wrong: in which groups, and after which changes. Tables in, Figure out."""

import itertools
import math

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from . import style
from .style import COLOURS, TWO_COLUMNS

COLUMNS = 4


@style.styled
def rates(table):
    """Error rates over groups of radiographs, with 95 % intervals; filled where they stand out of their
    class.

    table: `errors.rates`. A panel for each fact, in the order of the table; dotted: the rate of the class.
    """
    classes = table[table.kind == "class"].set_index("label")
    whole = classes.value
    parts = table[~table.kind.isin(["class", "subtype"])]
    numbered = parts.kind == "number"
    facts = [*parts.fact[~numbered].unique()]
    facts += [""] * (-len(facts) % COLUMNS) + [*parts.fact[numbered].unique()]  # these begin a row
    rows = max(1, math.ceil(len(facts) / COLUMNS))
    figure, axes = style.axes_mm(TWO_COLUMNS, 15 + 45 * rows, rows, COLUMNS, sharey=True, squeeze=False)
    for axis, fact in itertools.zip_longest(axes.flat, facts, fillvalue=""):
        axis.set(title=fact, visible=fact != "")
        if fact:
            _panel(axis, parts[parts.fact == fact], whole)
    for axis in axes[:, 0]:
        axis.set_ylabel("wrong answers (%)")
    axes[0, 0].set_ylim(0, min(100, 5 + 100 * np.nanmax([0.1, *parts.high])))
    dot = {"marker": "o", "ls": "", "ms": 3}
    sizes = map(style.sample_size, classes.images, classes.patients)
    names = [f"{label.lower()}: {size}" for label, size in zip(classes.index, sizes, strict=True)]
    marks = [Line2D([], [], **dot, color=COLOURS[place], mfc="white") for place in range(len(names))]
    marks += [Line2D([], [], **dot, color="black"), Line2D([], [], **style.GUESSING)]
    names += ["interval above the rate of the class", "rate of the class"]
    figure.legend(marks, names, loc="outside upper center", ncols=4)
    above = parts[parts.low > parts.label.map(whole)]
    texts = [f"{row.label.lower()}, {row.fact}, {100 * row.value:.0f} %" for row in above.itertuples()]
    style.describe(
        figure,
        f"Panels of error rates of {len(parts)} groups with intervals. Above the rate of the class lies the "
        f"interval of {'; '.join(texts) or 'none'}.",
    )
    return figure


def _panel(axis, parts, whole):
    """One fact: both classes side by side, or the only one that it is known of."""
    labels = list(parts.label.unique())
    for label, rows in parts.groupby("label", sort=False):
        colour = COLOURS[list(whole.index).index(label)]
        x = rows.part + (0.2 * (2 * labels.index(label) - 1) if len(labels) > 1 else 0)
        above = rows.low > whole[label]
        reach = 100 * np.clip([rows.value - rows.low, rows.high - rows.value], 0, None)
        axis.errorbar(
            x, 100 * rows.value, reach, fmt="none", color=colour, lw=0.8, capsize=1.5, clip_on=False
        )
        looks = {"facecolors": np.where(above, colour, "white"), "linewidths": 0.8}
        axis.scatter(x, 100 * rows.value, 9, **looks, edgecolors=colour, zorder=3, clip_on=False)
        axis.axhline(100 * whole[label], **style.GUESSING | {"color": colour})
    first = parts.drop_duplicates("part")
    if first.kind.iloc[0] == "number":
        names = [f"{low:.0f}-{high:.0f}" for low, high in zip(first["from"], first["to"], strict=True)]
        axis.set_xticks(first.part, names, rotation=90)
    else:
        axis.set_xticks((first.part.min(), first.part.max()), ("lowest\nquarter", "highest\nquarter"))
    axis.set_xlim(-0.6, first.part.max() + 0.6)
    axis.grid(axis="y", **style.GRID)


@style.styled
def flips(found, names):
    """How many answers each change turns, and in which direction, with 95 % intervals.

    found: `stress.compare`, a panel for each network. names: of the negative and of the positive class.
    """
    results = dict(list(found[found.kind != ""].groupby("network", sort=False)))
    table = next(iter(results.values()))
    starts = table.kind.ne(table.kind.shift()).to_numpy()  # of a kind, which gets a row of its own above
    y = np.arange(len(table)) + 1.4 * starts.cumsum()
    figure, axes = style.axes_mm(
        TWO_COLUMNS, 24 + 4 * y[-1], 1, len(results), sharex=True, sharey=True, squeeze=False
    )
    for axis, (title, rows) in zip(axes[0], results.items(), strict=True):
        _bars(axis, y, rows)
        axis.set_title("\n".join(map(style.short, title.split(": "))))
    ticks = sorted([*zip(y, table.change, strict=True), *zip(y[starts] - 1, table.kind[starts], strict=True)])
    first = axes[0, 0]
    first.set_yticks(*zip(*ticks, strict=True))
    for label in first.get_yticklabels():
        if label.get_text() in set(table.kind):
            label.set_fontweight("bold")
    first.set(ylim=(y[-1] + 0.6, y[0] - 1.8), xlim=(-100, 100))
    first.set_xticks((-100, -50, 0, 50, 100), (100, 50, 0, 50, 100))
    negative, positive = (name.lower() for name in names)
    texts = f"{positive} turned {negative}", f"{negative} turned {positive}"
    bars = [Patch(color=colour, alpha=0.45, label=text) for colour, text in zip(COLOURS, texts, strict=True)]
    figure.legend(handles=bars, loc="outside upper center", ncols=2)
    counts = table.iloc[0]
    each = f"{counts.negative} {negative} and {counts.positive} {positive}"
    of = each if counts.negative or counts.positive else f"all {counts.images}"
    of += f" radiographs of {counts.patients:,} patients"
    figure.supxlabel(f"answers turned, % of the {of} (lines: 95 % intervals)", fontsize=7)
    told = map(_most, results, results.values())
    style.describe(figure, f"Bars of answers turned after each change. {' '.join(told)}")
    return figure


def _most(title, rows):
    """A sentence on the change that turns most answers of a network."""
    turned = rows[[name for name in ("up", "down") if name in rows]].max(axis=1)
    change = rows.change[turned.idxmax()]
    return f"{title}: most when {change}, {100 * turned.max():.0f} % of a class."


def _bars(axis, y, rows):
    """Answers turned to the negative class to the left, to the positive one to the right."""
    for name, colour, side in zip(("down", "up"), COLOURS, (-100, 100), strict=True):
        if name in rows:
            value, low, high = (rows[f"{name}{end}"].to_numpy() for end in ("", "_low", "_high"))
            axis.barh(y, side * value, 0.7, color=colour, alpha=0.45)
            axis.hlines(y, side * low, side * high, color=colour, lw=1)
    axis.axvline(0, color="black", lw=0.6)
    axis.grid(axis="x", **style.GRID)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
