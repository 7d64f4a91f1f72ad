"""Two recipes compared on the same images, from stored scores."""

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from .. import intervals, metrics
from ..data import manifest
from ..training import recipes
from ..workspace import ExplainedError


def paired(first, second, names=tuple(metrics.METRICS), resamples=2000):
    """Two recipes on the same images at 0.5: first, second, difference, low, high, indexed by metric.

    first, second: lists of scores tables, one per trained network (seed). names: of the metrics. Patients
    are drawn anew for all networks together, and networks within each recipe, so that the interval of the
    second minus the first holds what other patients and other seeds might have given. Raises ExplainedError
    if the tables are of different images.
    """
    tables = [table.sort_values("path", ignore_index=True) for table in (*first, *second)]
    same = ["path", "patient", "label"]
    if any(not table[same].equals(tables[0][same]) for table in tables):
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


def titles(first, second):
    """What figures call two runs: their recipes, or their names if these are the same."""
    names = [recipes.title(run.card) for run in (first, second)]
    return names if names[0] != names[1] else [first.name, second.name]


def conclusion(table, first, second, scores):
    """What a comparison of two networks shows. table: of `paired`. first, second: their names."""
    row = table.loc["accuracy"]
    better, worse = (first, second) if row.difference < 0 else (second, first)
    shown = f"{better} has a higher accuracy than {worse}"
    if row.low <= 0 <= row.high:
        shown = f"The difference in accuracy between {first} and {second} may be chance"
    span = f"{row.difference:+.3f}, 95 % interval {row.low:+.3f} to {row.high:+.3f}"
    return (
        f"{shown} ({span}) on {len(scores):,} images of {scores.patient.nunique():,} patients. With one "
        "network on a side, this is about these networks, not about the recipes."
    )


def discordant(first, second):
    """McNemar's exact test of two scores tables at 0.5, as if images were independent: a table of one row.

    Its columns: how many images only the first gets right, how many only the second, and p.
    """
    both = first.merge(second, on=["path", "label"], suffixes=("", "_second"))
    ill = manifest.positives(both) == 1
    right, right_second = (metrics.called(both[name], 0.5) == ill for name in ("score", "score_second"))
    one, two = int((right & ~right_second).sum()), int((right_second & ~right).sum())
    p = binomtest(one, one + two).pvalue if one + two else 1.0
    row = {"only the first is right": one, "only the second is right": two, "p": p}
    return pd.DataFrame([row], index=pd.Index(["McNemar, exact"], name="as if images were independent"))
