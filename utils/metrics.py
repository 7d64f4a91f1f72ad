"""Every number of an evaluation: scores in, numbers out. Intervals around them: `intervals`.

A scores table has one row per radiograph, with its label and its score, the probability of
pneumonia. PNEUMONIA is the positive class; with own data it is the class that was chosen as such.
At a threshold, every answer is one of four, and the counts of these are what the first functions
below take:

- tp, true positives: pneumonia, called pneumonia
- fn, false negatives: pneumonia, called normal (missed)
- tn, true negatives: normal, called normal
- fp, false positives: normal, called pneumonia (false alarms)
"""

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.metrics import confusion_matrix, roc_curve

from .data import manifest

THRESHOLD_RULE = "largest sum of sensitivity and specificity on the validation images (Youden 1950)"
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
METRICS = AT_THRESHOLD | RANKING | CALIBRATION  # {name: title}
BINS = 10  # of equal count, for the expected calibration error


def called(score, threshold):
    """Which answers are positive: those with a score at or above the threshold. The only such place.

    score: float, an array of any shape, in [0, 1]. threshold: float, or an array that fits. Returns bool.
    """
    return np.asarray(score) >= threshold


# The counts may be numbers or arrays of one shape. What is not defined, 0 of 0, is NaN.


def share(part, whole):
    """part / whole, NaN for 0 of 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.divide(part, whole)


def sensitivity(tp, fn):
    """Of the radiographs with pneumonia, the share that is called pneumonia (recall)."""
    return share(tp, tp + fn)


def specificity(tn, fp):
    """Of the normal radiographs, the share that is called normal."""
    return share(tn, tn + fp)


def precision(tp, fp):
    """Of the radiographs called pneumonia, the share that has it (positive predictive value, PPV)."""
    return share(tp, tp + fp)


def negative_predictive_value(tn, fn):
    """Of the radiographs called normal, the share that is normal (NPV)."""
    return share(tn, tn + fn)


def accuracy(tp, tn, fp, fn):
    """The share of right answers. It depends on how many of the radiographs have pneumonia."""
    return share(tp + tn, tp + tn + fp + fn)


def balanced_accuracy(tp, tn, fp, fn):
    """The mean of sensitivity and specificity, which does not depend on the mix of the classes."""
    return (sensitivity(tp, fn) + specificity(tn, fp)) / 2


def f1(tp, fp, fn):
    """The harmonic mean of precision and sensitivity."""
    return share(2 * tp, 2 * tp + fp + fn)


def matthews_correlation(tp, tn, fp, fn):
    """One number from all four counts: 1 without errors, 0 for guessing (Matthews 1975)."""
    return share(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def confusion(scores, threshold):
    """The counts {'tn', 'fp', 'fn', 'tp'} of a scores table at a threshold."""
    table = confusion_matrix(manifest.positives(scores), called(scores.score, threshold), labels=[0, 1])
    return dict(zip(("tn", "fp", "fn", "tp"), table.ravel().tolist(), strict=True))


def measure(scores, threshold):
    """All METRICS of one scores table at one threshold: a Series indexed by metric.

    A metric that is not defined, such as the AUC when one class is missing, is NaN. Raises
    ValueError if the scores are not between 0 and 1.
    """
    value = scores.score.to_numpy(float)
    if not len(value) or not np.isfinite(value).all() or value.min() < 0 or value.max() > 1:
        raise ValueError("Scores must be numbers between 0 and 1: the probability of pneumonia.")
    return pd.Series(weighted(scores, threshold, np.ones((1, len(value))))[0], index=list(METRICS))


def choose_threshold(scores):
    """The threshold by THRESHOLD_RULE, half-way between two neighbouring scores of the table.

    Returns 0.5 if only one class is there to choose on.
    """
    ill, value = manifest.positives(scores), scores.score.to_numpy(float)
    if len(np.unique(ill)) < 2:
        return 0.5
    false_alarms, hits, thresholds = roc_curve(ill, value)
    best = thresholds[1:][np.argmax((hits - false_alarms)[1:])]  # the first is infinite: nobody ill
    lower = value[~called(value, best)]
    return float((best + lower.max()) / 2) if len(lower) else float(best)


def weighted(scores, threshold, weights, names=tuple(METRICS)):
    """Metrics of a scores table whose rows count several times, as in a bootstrap sample, or not at all.

    weights: float [samples, n], how often each row counts. Returns float [samples, len(names)].
    """
    value = scores.score.to_numpy(float)  # [n]
    ill, positive_call = manifest.positives(scores) == 1, called(value, threshold)  # bool [n]
    tp, fn = weights[:, ill & positive_call].sum(1), weights[:, ill & ~positive_call].sum(1)  # [samples]
    fp, tn = weights[:, ~ill & positive_call].sum(1), weights[:, ~ill & ~positive_call].sum(1)
    formulas = {
        "accuracy": lambda: accuracy(tp, tn, fp, fn),
        "balanced_accuracy": lambda: balanced_accuracy(tp, tn, fp, fn),
        "sensitivity": lambda: sensitivity(tp, fn),
        "specificity": lambda: specificity(tn, fp),
        "precision": lambda: precision(tp, fp),
        "npv": lambda: negative_predictive_value(tn, fn),
        "f1": lambda: f1(tp, fp, fn),
        "mcc": lambda: matthews_correlation(tp, tn, fp, fn),
        "auc": lambda: auc(ill, value, weights),
        "auprc": lambda: average_precision(ill, value, weights),
        "brier": lambda: weights @ (value - ill) ** 2 / weights.sum(1),
        "ece": lambda: calibration_error(ill, value, weights),
        "slope": lambda: calibration_slope(ill, value, weights),
        "intercept": lambda: calibration_intercept(ill, value, weights),
    }
    return np.stack([formulas[name]() for name in names], axis=1)


# In the functions below: ill, bool [n]; value, the scores, float [n]; weights, float [samples, n].
# Each returns float [samples].


def auc(ill, value, weights):
    """Area under the ROC curve: how often a random ill radiograph scores higher than a random well one.

    The Mann-Whitney statistic; ties count one half.
    """
    order = np.argsort(value, kind="stable")
    starts = np.flatnonzero(np.diff(value[order], prepend=-np.inf))  # of runs of equal scores
    ill_weight = np.add.reduceat(weights[:, order] * ill[order], starts, axis=1)
    well_weight = np.add.reduceat(weights[:, order] * ~ill[order], starts, axis=1)
    below = np.cumsum(well_weight, axis=1) - well_weight / 2
    return share((ill_weight * below).sum(1), ill_weight.sum(1) * well_weight.sum(1))


def average_precision(ill, value, weights):
    """Area under the precision-recall curve, as a sum of steps."""
    order = np.argsort(-value, kind="stable")
    starts = np.flatnonzero(np.diff(-value[order], prepend=-np.inf))
    found = np.add.reduceat(weights[:, order] * ill[order], starts, axis=1)
    positive_calls = np.cumsum(np.add.reduceat(weights[:, order], starts, axis=1), axis=1)
    right = np.zeros_like(positive_calls)
    np.divide(np.cumsum(found, axis=1), positive_calls, out=right, where=positive_calls > 0)
    return share((found * right).sum(1), found.sum(1))


def calibration_error(ill, value, weights):
    """Mean distance between score and share of pneumonia, over BINS of equal count.

    Naeini et al. 2015, with bins of equal count because most scores lie near 0 and 1.
    """
    members = np.eye(BINS)[bins(value)]  # [n, BINS]
    return np.abs((weights * (value - ill)) @ members).sum(1) / weights.sum(1)


def bins(value):
    """The bin 0 to BINS - 1 of each score; bins hold equal counts, and equal scores share one."""
    return ((rankdata(value, "min") - 1) * BINS / len(value)).astype(int)


def calibration_slope(ill, value, weights):
    """Slope of a logistic regression of the labels on the log odds of the scores; 1 is right.

    Below 1 the scores are too extreme (Van Calster et al. 2019). NaN where the classes are separated.
    """
    odds = log_odds(value)
    if np.ptp(odds) == 0:  # equal scores have no slope
        return np.full(len(weights), np.nan)
    return logistic(ill, np.stack([np.ones_like(odds), odds]), np.zeros_like(odds), weights)[:, 1]


def calibration_intercept(ill, value, weights):
    """Intercept of that regression with a slope of 1; 0 is right, above 0 the scores are too low."""
    odds = log_odds(value)
    return logistic(ill, np.ones((1, len(odds))), odds, weights)[:, 0]


def log_odds(probability):
    """log(p / (1 - p)); 0 and 1 are taken as 0.000001 away from there."""
    clipped = np.clip(np.asarray(probability, float), 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def from_log_odds(odds):
    """The probability with these log odds."""
    return 1 / (1 + np.exp(-odds))


def logistic(ill, inputs, offset, weights, steps=30):
    """Coefficients [samples, k] of weighted logistic regressions, by Newton's method.

    inputs: float [k, n]. offset: float [n]. Rows that do not converge, as where the classes are
    separated, are NaN.
    """
    coefficients = np.zeros((len(weights), len(inputs)))
    with np.errstate(all="ignore"):
        for _ in range(steps):
            fitted = from_log_odds(coefficients @ inputs + offset)  # [samples, n]
            gradient = (weights * (ill - fitted)) @ inputs.T  # [samples, k]
            curvature = np.einsum("rn,in,jn->rij", weights * fitted * (1 - fitted), inputs, inputs)
            change = np.einsum("rij,rj->ri", np.linalg.pinv(curvature, hermitian=True), gradient)
            coefficients = coefficients + np.clip(change, -5, 5)
            if np.abs(change).max() < 1e-12:
                break
    coefficients[~(np.abs(change).max(axis=1) < 1e-6)] = np.nan
    return coefficients
