"""The figure of where the errors are: tables in, Figure out."""

import itertools
import math

import numpy as np
from matplotlib.lines import Line2D

from . import style
from .style import COLOURS, TWO_COLUMNS

COLUMNS = 4
NUMBERED = "patient number"  # begins the names of facts that are one


@style.styled
def rates(table):
    """Error rates over groups of radiographs, with 95 % intervals; filled where they stand out of their
    class.

    table: `errors.rates`. A panel for each fact, in the order of the table; dotted: the rate of the class.
    """
    whole = table[table.fact == "class"].set_index("label").value
    parts = table[~table.fact.str.match("class$|subtype ")]
    numbered = parts.fact.str.startswith(NUMBERED)
    facts = [*parts.fact[~numbered].unique()]
    facts += [""] * (-len(facts) % COLUMNS) + [*parts.fact[numbered].unique()]  # these begin a row
    rows = max(1, math.ceil(len(facts) / COLUMNS))
    figure, axes = style.axes_mm(TWO_COLUMNS, 15 + 45 * rows, rows, COLUMNS, sharey=True, squeeze=False)
    for axis, fact in itertools.zip_longest(axes.flat, facts, fillvalue=""):
        axis.set(title=fact, visible=fact != "")
        if fact:
            _panel(axis, fact, parts[parts.fact == fact], whole)
    for axis in axes[:, 0]:
        axis.set_ylabel("wrong answers (%)")
    axes[0, 0].set_ylim(0, min(100, 5 + 100 * np.nanmax(parts.high, initial=0.1)))
    marks = [
        Line2D(
            [], [], marker="o", ls="", ms=4, color=colour, mfc="white", label=f"{label.lower()} radiographs"
        )
        for label, colour in zip(whole.index, COLOURS, strict=False)
    ]
    marks.append(
        Line2D([], [], marker="o", ls="", ms=4, color="black", label="interval above the rate of the class")
    )
    marks.append(Line2D([], [], **style.GUESSING, label="rate of the class"))
    figure.legend(handles=marks, loc="outside upper center", ncols=4)
    return figure


def _panel(axis, fact, parts, whole):
    """One fact: both classes side by side, or the only one that it is known of."""
    labels = list(parts.label.unique())
    for label, rows in parts.groupby("label", sort=False):
        colour = COLOURS[list(whole.index).index(label)]
        x = rows.part + (0.2 * (2 * labels.index(label) - 1) if len(labels) > 1 else 0)
        above = rows.low > whole[label]
        axis.vlines(x, 100 * rows.low, 100 * rows.high, color=colour, lw=0.9)
        axis.scatter(
            x, 100 * rows.value, 14, facecolors=np.where(above, colour, "white"), edgecolors=colour, zorder=3
        )
        axis.axhline(100 * whole[label], **style.GUESSING | {"color": colour})
    first = parts.drop_duplicates("part")
    if fact.startswith(NUMBERED):
        names = [f"{low:.0f}-{high:.0f}" for low, high in zip(first["from"], first["to"], strict=True)]
        axis.set_xticks(first.part, names, rotation=90)
    else:
        axis.set_xticks((first.part.min(), first.part.max()), ("lowest\nquarter", "highest\nquarter"))
    axis.set_xlim(-0.6, first.part.max() + 0.6)
    axis.grid(axis="y", **style.GRID)
