"""How far a number may be off: 95 % intervals of the metrics of a scores table.

The patient is the unit, not the image, because images of one patient are alike. Shares: Wilson (1927)
with a design effect (Rao and Scott 1992). AUC: DeLong et al. (1988) for clustered data (Obuchowski
1997), on the logit scale. All else: bootstrap of patients (Field and Welsh 2007). How often they hold
the truth, `tests/bench_intervals.py` measures.
"""

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm, rankdata

from . import metrics
from .data import manifest

INTERVAL = (
    "95 % interval: by patient; shares by Wilson's method with a design effect, AUC by DeLong's for "
    "clustered data on the logit scale, all else by percentiles of a bootstrap of patients within each class"
)
# Not ece, which only grows by resampling, so that percentiles would mislead.
BOOTSTRAPPED = ["f1", "mcc", "auprc", "brier", "slope", "intercept"]


def evaluate(scores, threshold, resamples=2000):
    """All metrics of a scores table at a threshold: value, low, high, indexed by metric.

    What is not defined, such as the AUC when one class is missing, is NaN.
    """
    values = metrics.measure(scores, threshold)
    ill, positive = manifest.positives(scores) == 1, metrics.called(scores.score, threshold)
    members = {  # each is a share of right answers among these
        "accuracy": np.ones_like(ill),
        "sensitivity": ill,
        "specificity": ~ill,
        "precision": positive,
        "npv": ~positive,
    }
    by_wilson = shares(scores, (positive == ill)[:, None], np.stack(list(members.values()), axis=1))
    by_delong = aucs(scores, scores[["score"]])
    by_bootstrap = bootstrap(
        scores, lambda weights: metrics.weighted(scores, threshold, weights, BOOTSTRAPPED), resamples
    )
    table = pd.concat([by_wilson, by_delong, by_bootstrap]).set_axis([*members, "auc", *BOOTSTRAPPED])
    table = table.reindex(pd.Index(metrics.METRICS, name="metric")).assign(value=values)
    one, two = table.loc["sensitivity"], table.loc["specificity"]  # of their mean: Zou and Donner 2008
    below = np.hypot(one.value - one.low, two.value - two.low) / 2
    above = np.hypot(one.high - one.value, two.high - two.value) / 2
    mean = values.balanced_accuracy
    table.loc["balanced_accuracy", ["low", "high"]] = mean - below, mean + above
    return table


def text(row):
    """A row of value, low, high to two digits of its width, at most three decimals: '0.958 (0.931-0.981)'."""
    if np.isnan(row.value):
        return "not defined"
    if np.isnan(row.low):
        return f"{row.value:.3f} (no interval)"
    digits = int(np.clip(1 - np.floor(np.log10(max(row.high - row.low, 1e-3))), 1, 3))
    value, low, high = (f"{number:.{digits}f}" for number in (row.value, row.low, row.high))
    return f"{value} ({low}{' to ' if '-' in low else '-'}{high})"


def shares(scores, hits, members):
    """Shares of groups of radiographs with their intervals: value, low, high, a row a group.

    scores: only the patients are used. members: bool, what each is a share of. hits: bool, what counts, or
    float from 0 to 1, how much. Both [n, groups], or [n, 1] for all groups. NaN for 0 of 0.

    The interval is Wilson's for the number of independent images that would vary as much as the patients
    do, at most the number of images. Where nothing or all counts, or there is one patient, the variation
    is not known; then the images of each patient are taken as all alike (Kish 1965).
    """
    images, counts = _by_patient(scores, members), _by_patient(scores, hits * members)  # [patients, groups]
    total = images.sum(0)  # [groups]
    value = metrics.share(counts.sum(0), total)
    deviation = metrics.share(counts - value * images, total)  # [patients, groups]; each patient's part
    variance = (deviation**2).sum(0) * _correction((images > 0).sum(0))
    independent = np.fmin(metrics.share(value * (1 - value), variance), total)
    return wilson(value, np.where(variance > 0, independent, _if_alike(images)))


def aucs(scores, values):
    """AUCs of several scores of the same images with their intervals: value, low, high, a row a column.

    scores: labels and patients are used. values: float [n, columns], the scores. The names are those of
    DeLong et al. (1988), for patients with several images those of Obuchowski (1997). Where the classes are
    separated, or one of them has a single patient, the variance is not known: Wilson's interval for as many
    pairs as the smaller class has patients. No interval where all values are equal; NaN without both classes.
    """
    values, ill = np.asarray(values, float), manifest.positives(scores) == 1
    m, n = ill.sum(), (~ill).sum()
    if not m or not n:
        return wilson(np.full(values.shape[1], np.nan), 1)
    ranks = rankdata(values, axis=0)
    v10 = (ranks[ill] - rankdata(values[ill], axis=0)) / n  # [m, columns]: of the well, the share below
    v01 = 1 - (ranks[~ill] - rankdata(values[~ill], axis=0)) / m  # [n, columns]: of the ill, the share above
    auc = v10.mean(0)
    patients = scores.patient.to_numpy()
    x = pd.DataFrame(v10 - auc).groupby(patients[ill]).sum()  # [patients with ill images, columns]
    y = pd.DataFrame(v01 - auc).groupby(patients[~ill]).sum()
    s10 = _correction(len(x)) * (x**2).sum() / m
    s01 = _correction(len(y)) * (y**2).sum() / n
    s11 = _correction(scores.patient.nunique()) * (x * y).sum()  # over patients who have both kinds of images
    variance = (s10 / m + s01 / n + 2 * s11 / (m * n)).to_numpy()
    table = wilson(auc, min(_if_alike(scores.patient[own].value_counts()) for own in (ill, ~ill)))
    known = variance > 0
    odds, auc = metrics.log_odds(auc[known]), auc[known]
    reach = norm.ppf(0.975) * np.sqrt(variance[known]) / (auc * (1 - auc))
    table.loc[known, "low"] = expit(odds - reach)
    table.loc[known, "high"] = expit(odds + reach)
    table.loc[np.ptp(values, axis=0) == 0, ["low", "high"]] = np.nan
    return table


def bootstrap(scores, statistic, resamples=2000):
    """Any statistics of a scores table with their intervals: value, low, high.

    statistic: function of weights, float [resamples, n], that returns [resamples, statistics]. There is no
    interval (NaN) where all samples give the same, or more than one in 40 gives nothing.
    """
    value = statistic(np.ones((1, len(scores))))[0]
    low, high = limits(np.concatenate([statistic(weights) for weights in resampled(scores, resamples)]))
    table = pd.DataFrame({"value": value, "low": low, "high": high})
    table.loc[low == high, ["low", "high"]] = np.nan
    return table


def limits(drawn):
    """The 2.5 and 97.5 percentiles of [resamples, statistics]; NaN if more than one value in 40 is NaN."""
    percentiles = pd.DataFrame(drawn).quantile([0.025, 0.975]).to_numpy()  # of those that are not NaN
    return np.where(np.isnan(drawn).mean(axis=0) > 1 / 40, np.nan, percentiles)


def resampled(scores, resamples):
    """Bootstrap samples as weights: yields float [at most 250, n] until there are `resamples`.

    Patients are drawn within each class, so that both keep their size; the same ones in every call.
    """
    rng = np.random.default_rng(0)
    positive, patients = manifest.positives(scores), scores.patient.to_numpy()
    for first in range(0, resamples, 250):  # in parts, so that memory stays small
        weights = np.zeros((min(250, resamples - first), len(scores)))
        for label in np.unique(positive):
            members = np.flatnonzero(positive == label)
            names, codes = np.unique(patients[members], return_inverse=True)
            times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=len(weights))
            weights[:, members] = times[:, codes]
        yield weights


def _by_patient(scores, values):
    """Sums over the images of each patient: [n, columns] -> float [patients, columns]."""
    return pd.DataFrame(values, dtype=float).groupby(scores.patient.to_numpy()).sum().to_numpy()


def _correction(patients):
    """k / (k - 1), which makes a mean of squares over k patients a variance; NaN for one patient."""
    return patients / np.where(patients > 1, patients - 1, np.nan)


def _if_alike(images):
    """Number of independent images if those of each patient are all alike. images: of each patient."""
    return metrics.share(images.sum(axis=0) ** 2, (images**2).sum(axis=0))


def wilson(value, images):
    """Wilson's interval (1927): value, low, high.

    value: share in [0, 1], float [k]. images: how many independent ones, not always whole.
    """
    value, z = np.asarray(value, float), norm.ppf(0.975)
    middle = (value + z**2 / (2 * images)) / (1 + z**2 / images)
    reach = z * np.sqrt(value * (1 - value) / images + z**2 / (4 * images**2)) / (1 + z**2 / images)
    low, high = np.round(middle - reach, 12), np.round(middle + reach, 12)  # so that 0 and 1 are met
    return pd.DataFrame({"value": value, "low": low, "high": high})
