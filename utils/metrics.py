"""Scores in, numbers with confidence intervals out. No TensorFlow, no images.

Sensitivity: the share of radiographs with pneumonia that are called pneumonia (recall).
Specificity: the share of normal radiographs that are called normal.
Precision: the share of pneumonia calls that are right (positive predictive value).
"""

import warnings

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_curve
from statsmodels.stats.proportion import proportion_confint

from . import manifest

THRESHOLD_RULE = "largest sum of sensitivity and specificity on the validation images (Youden 1950)"
INTERVAL = "95 % interval: bootstrap of patients within each class, percentiles 2.5 and 97.5"
AT_THRESHOLD = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity (recall)",
    "specificity": "Specificity",
    "precision": "Precision (PPV)",
    "npv": "Negative predictive value",
    "f1": "F1 score",
    "mcc": "Matthews correlation",
}
RANKING = {"auc": "AUC", "auprc": "Area under precision-recall"}
CALIBRATION = {
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "slope": "Calibration slope",
    "intercept": "Calibration intercept",
}
METRICS = AT_THRESHOLD | RANKING | CALIBRATION
BINS = 10  # of equal count, for the expected calibration error


def choose_threshold(positive, scores):
    """The threshold by THRESHOLD_RULE, half-way between two neighbouring scores.

    positive: int [n], 1 = pneumonia. scores: float [n] in [0, 1]. A score at or above the
    threshold counts as pneumonia. Returns 0.5 if only one class is there to choose on.
    """
    positive, scores = np.asarray(positive), np.asarray(scores, float)
    if len(np.unique(positive)) < 2:
        return 0.5
    false_alarms, hits, thresholds = roc_curve(positive, scores)
    best = thresholds[1:][np.argmax((hits - false_alarms)[1:])]  # the first is infinite: nobody ill
    lower = scores[scores < best]
    return float((best + lower.max()) / 2) if len(lower) else float(best)


def confusion(positive, scores, threshold):
    """Counts {'tn', 'fp', 'fn', 'tp'} at a threshold."""
    positive, called = np.asarray(positive) == 1, np.asarray(scores) >= threshold
    return {
        "tn": int((~positive & ~called).sum()),
        "fp": int((~positive & called).sum()),
        "fn": int((positive & ~called).sum()),
        "tp": int((positive & called).sum()),
    }


def evaluate(scores, threshold, resamples=2000, seed=0):
    """All metrics of one scores table at one threshold, with intervals.

    scores: columns label, patient, score (the contract of `scores_*.csv`).
    Returns a table indexed by metric with value, low, high; a metric that is not defined,
    such as the AUC when one class is missing, is NaN.
    """
    measure(scores, threshold)  # refuses what are no scores
    positive, value = manifest.positives(scores), scores.score.to_numpy(float)
    table = bootstrap(scores, lambda weights: weighted(positive, value, threshold, weights), resamples, seed)
    table = table.set_index(pd.Index(METRICS, name="metric"))
    table.loc["ece", ["low", "high"]] = np.nan  # it only grows by resampling, so percentiles mislead
    return table


def bootstrap(scores, statistic, resamples=2000, seed=0):
    """Any statistics of a scores table with their intervals: columns value, low, high.

    statistic: function of weights, float [resamples, n], that returns [resamples, statistics].
    Interval: see INTERVAL; patients, not images, are drawn anew, because images of one patient are
    alike (Field and Welsh 2007), and within each class, so that both keep their size. There is none
    (NaN) where all samples give the same, or more than one in 40 gives nothing.
    """
    point = statistic(np.ones((1, len(scores))))[0]
    drawn = np.concatenate([statistic(weights) for weights in resampled(scores, resamples, seed)])
    low, high = limits(drawn)
    return pd.DataFrame({"value": point, "low": low, "high": high})


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


def measure(scores, threshold):
    """The metrics of one scores table without intervals: a Series indexed by metric."""
    value = scores.score.to_numpy(float)
    if not len(value) or not np.isfinite(value).all() or value.min() < 0 or value.max() > 1:
        raise ValueError("Scores must be numbers between 0 and 1: the probability of pneumonia.")
    point = weighted(manifest.positives(scores), value, threshold, np.ones((1, len(value))))
    return pd.Series(point[0], index=list(METRICS))


def as_if_independent(scores, threshold):
    """Intervals that take every image as independent: Wilson for shares, DeLong for the AUC.

    Returned like `evaluate`, for comparison with publications; they are too narrow where patients
    have several images. Wilson 1927; DeLong, DeLong and Clarke-Pearson 1988.
    """
    count = confusion(manifest.positives(scores), scores.score, threshold)
    tp, fp, fn, tn = (count[name] for name in ("tp", "fp", "fn", "tn"))
    shares = {
        "accuracy": (tp + tn, tp + tn + fp + fn),
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "precision": (tp, tp + fp),
        "npv": (tn, tn + fn),
    }
    rows = {
        name: (right / of, *proportion_confint(right, of, method="wilson"))
        for name, (right, of) in shares.items()
        if of
    }
    if min(tp + fn, tn + fp) > 1:
        hits, rejections = _placements(manifest.positives(scores) == 1, scores.score.to_numpy(float))
        error = np.sqrt(hits.var(ddof=1) / len(hits) + rejections.var(ddof=1) / len(rejections))
        reach = norm.ppf(0.975) * error
        rows["auc"] = (hits.mean(), max(hits.mean() - reach, 0), min(hits.mean() + reach, 1))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
    return table.rename_axis("as if images were independent")


def _placements(ill, scores):
    """For each ill image the share of well ones below it, and the reverse (ties count one half)."""
    together = rankdata(scores)
    hits = (together[ill] - rankdata(scores[ill])) / (~ill).sum()
    rejections = 1 - (together[~ill] - rankdata(scores[~ill])) / ill.sum()
    return hits, rejections


def weighted(positive, scores, threshold, weights):
    """Metrics [resamples, metrics] of weighted images; weights: float [resamples, n]."""
    ill, called = positive == 1, scores >= threshold
    tp, fn = weights[:, ill & called].sum(1), weights[:, ill & ~called].sum(1)
    fp, tn = weights[:, ~ill & called].sum(1), weights[:, ~ill & ~called].sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            "accuracy": (tp + tn) / (tp + tn + fp + fn),
            "balanced_accuracy": (tp / (tp + fn) + tn / (tn + fp)) / 2,
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "precision": tp / (tp + fp),
            "npv": tn / (tn + fn),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "mcc": (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)),
            "auc": _auc(ill, scores, weights),
            "auprc": _average_precision(ill, scores, weights),
            "brier": weights @ (scores - ill) ** 2 / weights.sum(1),
            "ece": _calibration_error(ill, scores, weights),
            **_recalibration(ill, scores, weights),
        }
    return np.stack([found[name] for name in METRICS], axis=1)


def _average_precision(ill, scores, weights):
    """Area under the precision-recall curve as a sum of steps, float [resamples]."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(-scores[order], prepend=-np.inf))
    found = np.add.reduceat(weights[:, order] * ill[order], starts, axis=1)
    called = np.cumsum(np.add.reduceat(weights[:, order], starts, axis=1), axis=1)
    precision = np.divide(np.cumsum(found, axis=1), called, out=np.zeros_like(called), where=called > 0)
    return (found * precision).sum(1) / found.sum(1)


def _calibration_error(ill, scores, weights):
    """Mean distance between score and share of pneumonia, over BINS of equal count, float [resamples].

    Naeini et al. 2015, with bins of equal count because most scores lie near 0 and 1.
    """
    members = np.eye(BINS)[bins(scores)]
    return np.abs((weights * (scores - ill)) @ members).sum(1) / weights.sum(1)


def bins(scores):
    """The bin 0 to BINS - 1 of each score; bins hold equal counts, and equal scores share one."""
    return ((rankdata(scores, "min") - 1) * BINS / len(scores)).astype(int)


def _recalibration(ill, scores, weights):
    """Slope and intercept of the calibration line on the scale of the logit, each float [resamples].

    Slope: of a logistic regression of the labels on the logit of the scores; 1 is right, below 1
    the scores are too extreme. Intercept: of that regression with a slope of 1; 0 is right, above 0
    the scores are too low (Van Calster et al. 2019). NaN where the classes are separated.
    """
    x = logit(scores)
    line = logistic(ill, np.stack([np.ones_like(x), x]), np.zeros_like(x), weights)
    if np.ptp(x) == 0:  # equal scores have no slope
        line[:] = np.nan
    large = logistic(ill, np.ones((1, len(x))), x, weights)
    return {"slope": line[:, 1], "intercept": large[:, 0]}


def logit(probability):
    """log(p / (1 - p)); 0 and 1 are taken as 0.000001 away from there."""
    clipped = np.clip(np.asarray(probability, float), 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def logistic(ill, inputs, offset, weights, steps=30):
    """Coefficients [resamples, k] of weighted logistic regressions, by Newton's method.

    inputs: float [k, n]. Rows that do not converge, as where the classes are separated, are NaN.
    """
    coefficients = np.zeros((len(weights), len(inputs)))
    with np.errstate(all="ignore"):
        for _ in range(steps):
            fitted = 1 / (1 + np.exp(-(coefficients @ inputs + offset)))
            slope = (weights * (ill - fitted)) @ inputs.T
            curvature = np.einsum("rn,in,jn->rij", weights * fitted * (1 - fitted), inputs, inputs)
            change = np.einsum("rij,rj->ri", np.linalg.pinv(curvature, hermitian=True), slope)
            coefficients = coefficients + np.clip(change, -5, 5)
    coefficients[~(np.abs(change).max(axis=1) < 1e-6)] = np.nan
    return coefficients


def _auc(ill, scores, weights):
    """Weighted area under the ROC curve (Mann-Whitney; ties count one half), float [resamples]."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    ill_weight = np.add.reduceat(weights[:, order] * ill[order], starts, axis=1)
    well_weight = np.add.reduceat(weights[:, order] * ~ill[order], starts, axis=1)
    below = np.cumsum(well_weight, axis=1) - well_weight / 2
    return (ill_weight * below).sum(1) / (ill_weight.sum(1) * well_weight.sum(1))
