"""Scores in, numbers with confidence intervals out. No TensorFlow, no images.

Sensitivity: the share of radiographs with pneumonia that are called pneumonia (recall).
Specificity: the share of normal radiographs that are called normal.
Precision: the share of pneumonia calls that are right (positive predictive value).
"""

import warnings

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from . import manifest

THRESHOLD_RULE = "largest sum of sensitivity and specificity on the validation images (Youden 1950)"
INTERVAL = "95 % interval: bootstrap of patients within each class, percentiles 2.5 and 97.5"
METRICS = {
    "accuracy": "Accuracy",
    "precision": "Precision (PPV)",
    "sensitivity": "Sensitivity (recall)",
    "specificity": "Specificity",
    "f1": "F1 score",
    "auc": "AUC",
}


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
    such as the AUC when one class is missing, is NaN. Interval: see INTERVAL; patients, not
    images, are resampled, because images of one patient are alike (Field and Welsh 2007).
    """
    positive, value = manifest.positives(scores), scores.score.to_numpy(float)
    point = measure(scores, threshold)
    spread = _resample(positive, value, threshold, scores.patient.to_numpy(), resamples, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a metric that is NaN in every resample
        low, high = (np.nanpercentile(spread, q, axis=0) for q in (2.5, 97.5))
    return pd.DataFrame({"value": point, "low": low, "high": high}, index=pd.Index(METRICS, name="metric"))


def measure(scores, threshold):
    """The metrics of one scores table without intervals: a Series indexed by metric."""
    value = scores.score.to_numpy(float)
    if not len(value) or not np.isfinite(value).all() or value.min() < 0 or value.max() > 1:
        raise ValueError("Scores must be numbers between 0 and 1: the probability of pneumonia.")
    point = _measure(manifest.positives(scores), value, threshold, np.ones((1, len(value))))
    return pd.Series(point[0], index=list(METRICS))


def _measure(positive, scores, threshold, weights):
    """Metrics [resamples, metrics] of weighted images; weights: float [resamples, n]."""
    ill, called = positive == 1, scores >= threshold
    tp, fn = weights[:, ill & called].sum(1), weights[:, ill & ~called].sum(1)
    fp, tn = weights[:, ~ill & called].sum(1), weights[:, ~ill & ~called].sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack(
            [
                (tp + tn) / (tp + tn + fp + fn),
                tp / (tp + fp),
                tp / (tp + fn),
                tn / (tn + fp),
                2 * tp / (2 * tp + fp + fn),
                _auc(ill, scores, weights),
            ],
            axis=1,
        )


def _auc(ill, scores, weights):
    """Weighted area under the ROC curve (Mann-Whitney; ties count one half), float [resamples]."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    ill_weight = np.add.reduceat(weights[:, order] * ill[order], starts, axis=1)
    well_weight = np.add.reduceat(weights[:, order] * ~ill[order], starts, axis=1)
    below = np.cumsum(well_weight, axis=1) - well_weight / 2
    return (ill_weight * below).sum(1) / (ill_weight.sum(1) * well_weight.sum(1))


def _resample(positive, scores, threshold, patients, resamples, seed):
    """Metrics of bootstrap samples [resamples, metrics]: patients drawn within each class."""
    rng = np.random.default_rng(seed)
    drawn = []
    for first in range(0, resamples, 250):  # in parts, so that memory stays small
        part = min(250, resamples - first)
        weights = np.zeros((part, len(scores)))
        for label in np.unique(positive):
            members = np.flatnonzero(positive == label)
            names, codes = np.unique(patients[members], return_inverse=True)
            times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=part)
            weights[:, members] = times[:, codes]
        drawn.append(_measure(positive, scores, threshold, weights))
    return np.concatenate(drawn)
