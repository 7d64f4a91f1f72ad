"""How far a number may be off: 95 % intervals of the metrics of a scores table.

The patient is the unit, not the image, because images of one patient are alike. Shares: Wilson (1927)
with a design effect (Rao and Scott 1992). AUC: DeLong et al. (1988) for clustered data (Obuchowski
1997), on the logit scale. All else: bootstrap of patients (Field and Welsh 2007). How often they hold
the truth, `tests/bench_intervals.py` measures.
"""

import warnings

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata
from statsmodels.stats.proportion import proportion_confint

from . import metrics
from .data import manifest

INTERVAL = (
    "95 % interval: by patient; shares by Wilson's method with a design effect, AUC by DeLong's for "
    "clustered data on the logit scale, all else by percentiles of a bootstrap of patients within each class"
)


def evaluate(scores, threshold, resamples=2000, seed=0):
    """All metrics of one scores table at one threshold, with intervals.

    scores: columns label, patient, score (the contract of `scores_*.csv`).
    Returns a table indexed by metric with value, low, high; a metric that is not defined,
    such as the AUC when one class is missing, is NaN.
    """
    metrics.measure(scores, threshold)  # refuses what are no scores
    ill, called = manifest.positives(scores) == 1, metrics.called(scores.score, threshold)
    among = {  # each is a share of right answers
        "accuracy": ill | True,
        "sensitivity": ill,
        "specificity": ~ill,
        "precision": called,
        "npv": ~called,
    }
    rest = [name for name in metrics.METRICS if name not in (*among, "auc")]
    found = [
        shares(scores, (called == ill)[:, None], np.stack(list(among.values()), axis=1)),
        aucs(scores, scores[["score"]]),
        bootstrap(
            scores, lambda weights: metrics.weighted(scores, threshold, weights, rest), resamples, seed
        ),
    ]
    table = pd.concat(found).set_axis(pd.Index([*among, "auc", *rest], name="metric"))
    sides = table.loc[["sensitivity", "specificity"]]  # of the mean of two: Zou and Donner 2008
    for end, side in (("low", -1), ("high", 1)):
        reach = np.sqrt(((sides[end] - sides.value) ** 2).sum(skipna=False)) / 2
        table.loc["balanced_accuracy", end] = sides.value.mean(skipna=False) + side * reach
    table.loc["ece", ["low", "high"]] = np.nan  # it only grows by resampling, so percentiles mislead
    return table.loc[list(metrics.METRICS)]


def text(row):
    """A value with its interval, rounded to what the interval supports: '0.958 (0.931-0.981)'.

    row: value, low, high. Two digits of the interval's width are kept, at most three decimals.
    """
    if row.value != row.value:
        return "not defined"
    if row.low != row.low:
        return f"{row.value:.3f} (no interval)"
    digits = int(np.clip(1 - np.floor(np.log10(max(row.high - row.low, 1e-3))), 1, 3))
    value, low, high = (f"{number:.{digits}f}" for number in (row.value, row.low, row.high))
    return f"{value} ({low}{' to ' if '-' in low else '-'}{high})"


def shares(scores, hits, members):
    """Shares of groups of a scores table with their intervals: columns value, low, high, a row a group.

    members: bool [n, groups], what each is a share of. hits: the same shape or [n, 1], bool, what counts, or
    float from 0 to 1, how much. Interval: Wilson's for as many independent images as would vary as much as
    the patients do. Where nothing or all counts, or there is one patient, that is not known: as if the
    images of each patient were all alike (Kish 1965). NaN for 0 of 0.
    """
    sizes, counts = _by_patient(scores, members), _by_patient(scores, hits * members)  # [patients, groups]
    images = sizes.sum(0)
    value = metrics.share(counts.sum(0), images)
    variance = _variance(metrics.share(counts - value * sizes, images) ** 2, sizes)
    independent = np.fmin(metrics.share(value * (1 - value), variance), images)
    return _wilson(value, np.where(variance > 0, independent, _alike(sizes)))


def aucs(scores, values):
    """AUCs of several scores of the same images with their intervals: columns value, low, high.

    values: float [n, columns], one row of the result a column. Where the classes are separated, or one of
    them has a single patient, the variance is not known: Wilson's for as many pairs as the smaller class has
    patients. No interval where all values are equal; NaN without both classes.
    """
    values, ill = np.asarray(values, float), manifest.positives(scores) == 1
    if ill.all() or not ill.any():
        return _wilson(np.full(values.shape[1], np.nan), 1)
    ranks, won = rankdata(values, axis=0), np.empty(values.shape)
    for own in (ill, ~ill):  # of the other class, the share that is ranked lower
        won[own] = (ranks[own] - rankdata(values[own], axis=0)) / (~own).sum()
    value = won[ill].mean(0)
    won[~ill] = 1 - won[~ill]  # that is ranked higher
    sizes = [_by_patient(scores, own[:, None]) for own in (ill, ~ill)]  # [patients, 1]
    parts = [_by_patient(scores, own[:, None] * (won - value) / own.sum()) for own in (ill, ~ill)]
    variance = sum(map(_variance, np.square(parts), sizes)) + 2 * _variance(
        np.prod(parts, axis=0), sum(sizes)
    )
    table = _wilson(value, np.minimum(*map(_alike, sizes)))
    known = variance > 0
    reach = norm.ppf(0.975) * np.sqrt(variance[known]) / (value * (1 - value))[known]
    for name, side in (("low", -1), ("high", 1)):
        table.loc[known, name] = metrics.from_log_odds(metrics.log_odds(value[known]) + side * reach)
    table.loc[np.ptp(values, axis=0) == 0, ["low", "high"]] = np.nan
    return table


def bootstrap(scores, statistic, resamples=2000, seed=0):
    """Any statistics of a scores table with their intervals: columns value, low, high.

    statistic: function of weights, float [resamples, n], that returns [resamples, statistics].
    Patients are drawn within each class, so that both keep their size. There is no interval (NaN) where all
    samples give the same, or more than one in 40 gives nothing.
    """
    point = statistic(np.ones((1, len(scores))))[0]
    drawn = np.concatenate([statistic(weights) for weights in resampled(scores, resamples, seed)])
    low, high = limits(drawn)
    table = pd.DataFrame({"value": point, "low": low, "high": high})
    table.loc[low == high, ["low", "high"]] = np.nan
    return table


def limits(drawn):
    """The 2.5 and 97.5 percentiles of bootstrap values [resamples, statistics]: [2, statistics].

    NaN where more than one in 40 is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a statistic that is NaN in every sample
        found = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    return np.where(np.isnan(drawn).mean(axis=0) > 0.025, np.nan, found)


def resampled(scores, resamples, seed=0):
    """Bootstrap samples as weights: yields float [at most 250, n] until there are `resamples`."""
    rng = np.random.default_rng(seed)
    positive, patients = manifest.positives(scores), scores.patient.to_numpy()
    for first in range(0, resamples, 250):  # in parts, so that memory stays small
        part = min(250, resamples - first)
        weights = np.zeros((part, len(scores)))
        for label in np.unique(positive):
            members = np.flatnonzero(positive == label)
            names, codes = np.unique(patients[members], return_inverse=True)
            times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=part)
            weights[:, members] = times[:, codes]
        yield weights


def _by_patient(scores, values):
    """Sums over the images of each patient: [n, columns] -> float [patients, columns]."""
    return pd.DataFrame(values).astype(float).groupby(scores.patient.to_numpy()).sum().to_numpy()


def _variance(products, sizes):
    """A sum over patients, where they have images, as a variance; NaN if that is one patient."""
    patients = (sizes > 0).sum(0)
    return products.sum(0) * patients / np.where(patients > 1, patients - 1, np.nan)


def _alike(sizes):
    """The number of independent images if those of each patient are all alike: float [groups]."""
    return metrics.share(sizes.sum(0) ** 2, (sizes**2).sum(0))


def _wilson(value, images):
    """The table of shares of so many independent images, which need not be a whole number."""
    low, high = proportion_confint(value * images, images, method="wilson")
    return pd.DataFrame(
        {"value": value, "low": np.round(low, 12), "high": np.round(high, 12)}
    )  # 0 and 1 are met
