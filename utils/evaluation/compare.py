"""Two recipes compared on the same images, from stored scores."""

import numpy as np
import pandas as pd
from statsmodels.stats.contingency_tables import mcnemar

from .. import intervals, metrics
from ..data import manifest
from ..training import recipes
from . import evaluation

ENOUGH_SEEDS = 5  # networks of a recipe, for a claim about it


def paired(first, second, threshold=0.5, names=tuple(metrics.METRICS), resamples=2000):
    """Two recipes on the same images: metrics of each, and the difference with a paired interval.

    first, second: lists of scores tables, one per trained network (seed). names: of the metrics.
    Patients are drawn anew for all networks together, and networks within each recipe, so that the
    interval holds what other patients and other seeds might have given. Returns a table indexed by
    metric with first, second, difference, low, high. Raises ScoresError if the tables are of
    different images.
    """
    tables = [table.sort_values("path", ignore_index=True) for table in (*first, *second)]
    if any(not table[["path", "label"]].equals(tables[0][["path", "label"]]) for table in tables):
        raise evaluation.ScoresError(
            "The runs were scored on different images; only the same images can be compared."
        )
    rng = np.random.default_rng(0)

    def means(weights, draw):
        measured = np.stack([metrics.weighted(table, threshold, weights, names) for table in tables])
        sides = []
        for start, count in ((0, len(first)), (len(first), len(second))):
            chosen = rng.integers(0, count, (weights.shape[0], count)) if draw else np.arange(count)[None]
            rows = np.arange(weights.shape[0])[:, None]
            sides.append(measured[start + chosen, rows].mean(1))
        return sides

    one, two = (side[0] for side in means(np.ones((1, len(tables[0]))), draw=False))
    drawn = [means(weights, draw=True) for weights in intervals.resampled(tables[0], resamples)]
    difference = np.concatenate([second - first for first, second in drawn])
    low, high = intervals.limits(difference)  # 0 to 0 where nothing differs
    return pd.DataFrame(
        {"first": one, "second": two, "difference": two - one, "low": low, "high": high},
        index=pd.Index(names, name="metric"),
    )


def by_recipe(run, others):
    """Two sides to compare: runs that differ from `run` in their seed at most, and those of another recipe.

    Returns two lists of runs. Raises ScoresError if a run has no test scores, or the others are not
    of exactly one other recipe.
    """
    different = {one.name: one for one in [run, *others]}.values()
    unscored = [one.name for one in different if one.scores("test") is None]
    if unscored:
        raise evaluation.ScoresError(
            f"{', '.join(unscored)}: never scored on the test images. Evaluate it first."
        )
    sides = []
    for one in different:
        recipe = recipes.completed(one.card["recipe"]) | {"remark": ""}
        identity = [recipe, one.card.get("adapted"), one.card.get("manifest")]
        for known, side in sides:
            if known == identity:
                side.append(one)
                break
        else:
            sides.append((identity, [one]))
    if len(sides) != 2:
        raise evaluation.ScoresError(
            f"The runs to compare are of {len(sides)} recipes; two are needed: that of RUN and one other, "
            "each with any number of seeds."
        )
    return [side for _, side in sides]


def titles(*sides):
    """What figures call the sides of a comparison: their recipes, or their runs if these have one name."""
    found = [recipes.title(side[0].card) for side in sides]
    return found if len(set(found)) == len(found) else [side[0].name for side in sides]


def conclusion(table, first, second, scores):
    """One sentence on what a comparison shows, and what it cannot. first, second: lists of runs."""
    row = table.loc["accuracy"]
    names = [f"{side[0].name} and {len(side) - 1} other seeds" for side in (first, second)]
    names = [name.removesuffix(" and 0 other seeds") for name in names]
    better, worse = names if row.difference < 0 else names[::-1]
    span = f"{row.difference:+.3f}, 95 % interval {row.low:+.3f} to {row.high:+.3f}"
    where = f"on {len(scores):,} images of {scores.patient.nunique():,} patients"
    if row.low > 0 or row.high < 0:
        found = f"{better} has a higher accuracy than {worse} ({span}) {where}."
    else:
        found = f"The difference in accuracy between {' and '.join(names)} ({span}) may be chance {where}."
    fewest = min(len(first), len(second))
    if fewest == 1:
        found += " With one network on a side, this is about these networks, not about the recipes."
    elif fewest < ENOUGH_SEEDS:
        found += (
            f" With {fewest} networks on a side, the interval is too narrow for a claim about the recipes."
        )
    return found


def discordant(first, second):
    """McNemar's exact test of two networks at 0.5, as if images were independent.

    Returns a table of one row: images that only one of them gets right, and p.
    """
    both = first.merge(second, on=["path", "label"], suffixes=("", "_second"))
    ill = manifest.positives(both) == 1
    right, right_second = (metrics.called(both[name], 0.5) == ill for name in ("score", "score_second"))
    counts = pd.crosstab(right, right_second, rownames=["first"], colnames=["second"]).reindex(
        index=[True, False], columns=[True, False], fill_value=0
    )
    only_first, only_second = int(counts.loc[True, False]), int(counts.loc[False, True])
    p = float(mcnemar(counts.to_numpy(), exact=True).pvalue)
    row = {"only the first is right": only_first, "only the second is right": only_second, "p": p}
    return pd.DataFrame([row], index=pd.Index(["McNemar, exact"], name="as if images were independent"))
