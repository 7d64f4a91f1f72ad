"""The figure of a stress test: tables in, Figure out."""

import numpy as np
from matplotlib.patches import Patch

from . import style
from .style import COLOURS, TWO_COLUMNS


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
        axis.set_title(title.replace(": ", "\n"))
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
    bars = [Patch(color=colour, label=text) for colour, text in zip(COLOURS, texts, strict=True)]
    figure.legend(handles=bars, loc="outside upper center", ncols=2)
    counts = table.iloc[0]
    each = f"{counts.negative} {negative} and {counts.positive} {positive}"
    of = each if counts.negative or counts.positive else f"all {counts.images}"
    figure.supxlabel(f"answers turned, % of the {of} radiographs (lines: 95 % intervals)", fontsize=7)
    return figure


def _bars(axis, y, rows):
    """Answers turned to the negative class to the left, to the positive one to the right."""
    for name, colour, side in zip(("down", "up"), COLOURS, (-100, 100), strict=True):
        if name in rows:
            value, low, high = (rows[f"{name}{end}"].to_numpy() for end in ("", "_low", "_high"))
            axis.barh(y, side * value, 0.7, color=colour)
            axis.hlines(y, side * low, side * high, color="black", lw=0.7)
    axis.axvline(0, color="black", lw=0.6)
    axis.grid(axis="x", **style.GRID)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
