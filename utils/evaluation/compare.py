"""Two recipes compared on the same images, from stored scores."""

import json

import numpy as np
import pandas as pd
from statsmodels.stats.contingency_tables import mcnemar

from .. import intervals, metrics
from ..data import manifest
from ..training import recipes
from ..workspace import ExplainedError

ENOUGH_SEEDS = 5  # networks of a recipe, for a claim about it


def paired(first, second, names=tuple(metrics.METRICS), resamples=2000):
    """Two recipes on the same images at 0.5: first, second, difference, low, high, indexed by metric.

    first, second: lists of scores tables, one per trained network (seed). names: of the metrics. Patients
    are drawn anew for all networks together, and networks within each recipe, so that the interval of the
    second minus the first holds what other patients and other seeds might have given. Raises ExplainedError
    if the tables are of different images.
    """
    tables = [table.sort_values("path", ignore_index=True) for table in (*first, *second)]
    if any(not table[["path", "label"]].equals(tables[0][["path", "label"]]) for table in tables):
        raise ExplainedError("The runs were scored on different images, so they cannot be compared.")

    def measured(weights):  # [networks, samples, names]
        return np.stack([metrics.weighted(table, 0.5, weights, names) for table in tables])

    count, rng, differences = len(first), np.random.default_rng(0), []
    for weights in intervals.resampled(tables[0], resamples):
        values = measured(weights)
        mean_of_first = _mean_of_drawn(values[:count], rng)
        differences.append(_mean_of_drawn(values[count:], rng) - mean_of_first)
    low, high = intervals.limits(np.concatenate(differences))
    values = measured(np.ones((1, len(tables[0]))))[:, 0]  # [networks, names]; each radiograph once
    one, two = values[:count].mean(0), values[count:].mean(0)
    return pd.DataFrame(
        {"first": one, "second": two, "difference": two - one, "low": low, "high": high},
        index=pd.Index(names, name="metric"),
    )


def _mean_of_drawn(values, rng):
    """The mean over as many networks, drawn anew for each sample: [networks, samples, k] -> [samples, k]."""
    networks, samples = values.shape[:2]
    drawn = rng.integers(0, networks, (samples, networks))
    return values[drawn, np.arange(samples)[:, None]].mean(1)


def by_recipe(run, others):
    """The runs by recipe: [those that differ from `run` in their seed at most, those of the other recipe].

    Raises ExplainedError if a run has no test scores, or the others are not of exactly one other recipe.
    """
    groups = {}
    for one in {one.name: one for one in (run, *others)}.values():
        if one.scores("test") is None:
            raise ExplainedError(f"{one.name} was never scored on the test images. Evaluate it first.")
        recipe = recipes.completed(one.card["recipe"]) | {"remark": ""}
        same = json.dumps([recipe, one.card.get("adapted"), one.card.get("manifest")], sort_keys=True)
        groups.setdefault(same, []).append(one)
    if len(groups) != 2:
        raise ExplainedError(f"The runs are of {len(groups)} recipes; compare that of RUN with one other.")
    return list(groups.values())


def titles(first, second):
    """What figures call two lists of runs: their recipes, or their runs if these have one name."""
    names = [recipes.title(runs[0].card) for runs in (first, second)]
    return names if names[0] != names[1] else [first[0].name, second[0].name]


def conclusion(table, first, second, scores):
    """One sentence on what a comparison shows, and what it cannot.

    table: of `paired`. first, second: the lists of runs. scores: a scores table of any of them.
    """
    row, names = table.loc["accuracy"], []
    for runs in (first, second):
        names.append(runs[0].name + f" and {len(runs) - 1} other seeds" * (len(runs) > 1))
    better, worse = names if row.difference < 0 else names[::-1]
    shown = f"{better} has a higher accuracy than {worse}"
    if row.low <= 0 <= row.high:
        shown = f"The difference in accuracy between {' and '.join(names)} may be chance"
    span = f"{row.difference:+.3f}, 95 % interval {row.low:+.3f} to {row.high:+.3f}"
    sentence = f"{shown} ({span}) on {len(scores):,} images of {scores.patient.nunique():,} patients."
    if min(len(first), len(second)) < ENOUGH_SEEDS:
        sentence += (
            f" With fewer than {ENOUGH_SEEDS} networks of each this is about them, not about the recipes."
        )
    return sentence


def discordant(first, second):
    """McNemar's exact test of two scores tables at 0.5, as if images were independent: a table of one row.

    Its columns: how many images only the first gets right, how many only the second, and p.
    """
    both = first.merge(second, on=["path", "label"], suffixes=("", "_second"))
    ill = manifest.positives(both) == 1
    right, right_second = (metrics.called(both[name], 0.5) == ill for name in ("score", "score_second"))
    one, two = int((right & ~right_second).sum()), int((right_second & ~right).sum())
    p = float(mcnemar([[0, one], [two, 0]], exact=True).pvalue)
    row = {"only the first is right": one, "only the second is right": two, "p": p}
    return pd.DataFrame([row], index=pd.Index(["McNemar, exact"], name="as if images were independent"))
