"""How far a number may be off: 95 % intervals of the metrics of a scores table.

Patients, not images, are drawn anew, because images of one patient are alike (Field and Welsh 2007).
"""

import warnings

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from . import metrics
from .data import manifest

INTERVAL = "95 % interval: bootstrap of patients within each class, percentiles 2.5 and 97.5"


def evaluate(scores, threshold, resamples=2000, seed=0):
    """All metrics of one scores table at one threshold, with intervals.

    scores: columns label, patient, score (the contract of `scores_*.csv`).
    Returns a table indexed by metric with value, low, high; a metric that is not defined,
    such as the AUC when one class is missing, is NaN.
    """
    metrics.measure(scores, threshold)  # refuses what are no scores
    table = bootstrap(
        scores, lambda weights: metrics.weighted(scores, threshold, weights), resamples, seed
    ).set_index(pd.Index(metrics.METRICS, name="metric"))
    table.loc["ece", ["low", "high"]] = np.nan  # it only grows by resampling, so percentiles mislead
    return table


def bootstrap(scores, statistic, resamples=2000, seed=0):
    """Any statistics of a scores table with their intervals: columns value, low, high.

    statistic: function of weights, float [resamples, n], that returns [resamples, statistics].
    Interval: see INTERVAL; patients are drawn within each class, so that both keep their size. There
    is none (NaN) where all samples give the same, or more than one in 40 gives nothing.
    """
    point = statistic(np.ones((1, len(scores))))[0]
    drawn = np.concatenate([statistic(weights) for weights in resampled(scores, resamples, seed)])
    low, high = limits(drawn)
    return pd.DataFrame({"value": point, "low": low, "high": high})


def shares(scores, hits, members, resamples=2000, seed=0):
    """Shares of groups of a scores table with their intervals: columns value, low, high, a row a group.

    hits: bool [n, groups], the rows that count; members: bool, the same shape, those they are a share of.
    Interval: see INTERVAL. Where that is none, as where nothing or everything counts, it is Wilson's (1927)
    for as many independent observations as the group has patients.
    """
    hits, members = (np.asarray(rows, float) for rows in (hits & members, members))
    found = bootstrap(
        scores, lambda weights: metrics.share(weights @ hits, weights @ members), resamples, seed
    )
    patients = np.array([scores.patient[column > 0].nunique() for column in members.T])
    none = found.low.isna().to_numpy() & (patients > 0)
    wilson = proportion_confint(found.value * patients, np.maximum(patients, 1), method="wilson")
    low, high = np.round(wilson, 12)  # 0 and 1 are met but for the last digit
    return found.assign(low=found.low.mask(none, low), high=found.high.mask(none, high))


def limits(drawn):
    """The 2.5 and 97.5 percentiles of bootstrap values [resamples, statistics]; NaN where that misleads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a statistic that is NaN in every sample
        low, high = (np.nanpercentile(drawn, q, axis=0) for q in (2.5, 97.5))
    none = (np.isnan(drawn).mean(axis=0) > 0.025) | (low == high)
    return np.where(none, np.nan, low), np.where(none, np.nan, high)


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
