"""Every number of an evaluation: scores in, numbers out. Intervals around them: `intervals`.

A scores table has one row per radiograph, with its label and its score, the probability of pneumonia.
PNEUMONIA is the positive class; with own data it is the class that was chosen as such. At a threshold
every answer is one of four kinds, which are counted:

- tp, true positives: pneumonia, called pneumonia
- fn, false negatives: pneumonia, called normal (missed)
- tn, true negatives: normal, called normal
- fp, false positives: normal, called pneumonia (false alarms)
"""

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score, roc_curve

from .data import manifest
from .workspace import ExplainedError

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
THRESHOLD_RULE = "largest sum of sensitivity and specificity on the validation images (Youden 1950)"
BINS = 10  # of equal count, for the expected calibration error


def called(score, threshold):
    """Which radiographs are called pneumonia: those with a score at or above the threshold.

    Numbers, or arrays of any shape. No other place compares scores with a threshold.
    """
    return np.asarray(score) >= threshold


def share(part, whole):
    """part / whole, NaN for 0 of 0. Numbers, or arrays of one shape."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.divide(part, whole)


def at_threshold(tp, tn, fp, fn):
    """All AT_THRESHOLD of the four counts, which are numbers or arrays of one shape: {name: value}."""
    sensitivity = share(tp, tp + fn)  # of the radiographs with pneumonia, those called pneumonia
    specificity = share(tn, tn + fp)  # of the normal ones, those called normal
    return {
        "accuracy": share(tp + tn, tp + tn + fp + fn),  # right answers; it depends on the mix of the classes
        "balanced_accuracy": (sensitivity + specificity) / 2,  # it does not
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": share(tp, tp + fp),  # of those called pneumonia, those that have it
        "npv": share(tn, tn + fn),  # of those called normal, those that are
        "f1": share(2 * tp, 2 * tp + fp + fn),  # the harmonic mean of precision and sensitivity
        "mcc": share(  # 1 without errors, 0 for guessing (Matthews 1975)
            tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn))
        ),
    }


def confusion(scores, threshold):
    """The counts {'tn', 'fp', 'fn', 'tp'} of a scores table at a threshold."""
    table = confusion_matrix(manifest.positives(scores), called(scores.score, threshold), labels=[0, 1])
    return dict(zip(("tn", "fp", "fn", "tp"), table.ravel().tolist(), strict=True))


def measure(scores, threshold):
    """All METRICS of a scores table at a threshold: a Series; NaN for what is not defined.

    Raises ExplainedError if a score is missing or not between 0 and 1.
    """
    ill, score = manifest.positives(scores) == 1, scores.score.to_numpy(float)  # [n]
    if wrong := (~scores.score.between(0, 1)).sum():
        raise ExplainedError(f"{wrong} of {len(score):,} scores are missing or not between 0 and 1.")
    slope, intercept = calibration_line(ill, score, np.ones((1, len(score))))  # each radiograph counts once
    values = at_threshold(**confusion(scores, threshold)) | {
        # How often a random radiograph with pneumonia scores higher than a random normal one.
        "auc": roc_auc_score(ill, score) if 0 < ill.sum() < len(ill) else np.nan,
        "auprc": average_precision_score(ill, score) if ill.any() else np.nan,
        "brier": np.mean((score - ill) ** 2),
        "ece": np.abs(np.bincount(bins(score), score - ill)).sum() / len(score),
        "slope": slope[0],
        "intercept": intercept[0],
    }
    return pd.Series(values, index=list(METRICS), dtype=float)


def choose_threshold(scores):
    """The threshold by THRESHOLD_RULE, half-way between two neighbouring scores; 0.5 without both classes."""
    ill, score = manifest.positives(scores), scores.score.to_numpy(float)
    if len(np.unique(ill)) < 2:
        return 0.5
    fpr, tpr, thresholds = roc_curve(ill, score)  # 1 - specificity and sensitivity at each threshold
    best = thresholds[1:][np.argmax((tpr - fpr)[1:])]  # the first is infinite: nobody is called ill
    lower = score[~called(score, best)]
    return float((best + lower.max()) / 2) if len(lower) else float(best)


def bins(score):
    """The bin 0 to BINS - 1 of each score; bins hold equal counts, and equal scores share one.

    For the expected calibration error, the mean distance between score and share of pneumonia (Naeini et
    al. 2015); of equal count because most scores lie near 0 and 1.
    """
    return ((rankdata(score, "min") - 1) * BINS / len(score)).astype(int)


def log_odds(probability):
    """log(p / (1 - p)); 0 and 1 are taken as 0.000001 away from there. The reverse: scipy's expit."""
    return logit(np.clip(np.asarray(probability, float), 1e-6, 1 - 1e-6))


# Many bootstrap samples at once. weights: float [samples, n], how often each radiograph is in a sample;
# ill: bool [n]; score: float [n]. Arrays that are returned are float [samples].


def weighted(scores, threshold, weights, names=tuple(METRICS)):
    """What `measure` gives of each bootstrap sample: float [samples, len(names)]. names: of METRICS."""
    ill, score = manifest.positives(scores) == 1, scores.score.to_numpy(float)
    positive = called(score, threshold)
    values = at_threshold(
        tp=weights @ (ill & positive),
        tn=weights @ (~ill & ~positive),
        fp=weights @ (~ill & positive),
        fn=weights @ (ill & ~positive),
    )
    if not RANKING.keys().isdisjoint(names):
        values |= ranking(ill, score, weights)
    if not CALIBRATION.keys().isdisjoint(names):
        values |= calibration(ill, score, weights)
    return np.stack([values[name] for name in names], axis=1)


def ranking(ill, score, weights):
    """RANKING, {name: array}: areas under curves, of straight lines for the AUC, of steps for precision."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))  # of each group of equal scores
    tp = np.cumsum(weights[:, order] * ill[order], axis=1)[:, last]  # with each score as the threshold
    fp = np.cumsum(weights[:, order] * ~ill[order], axis=1)[:, last]
    new_tp, new_fp = np.diff(tp, prepend=0), np.diff(fp, prepend=0)
    return {
        "auc": share((new_fp * (tp - new_tp / 2)).sum(1), tp[:, -1] * fp[:, -1]),
        "auprc": share(np.nansum(new_tp * share(tp, tp + fp), axis=1), tp[:, -1]),
    }


def calibration(ill, score, weights):
    """CALIBRATION, {name: array}."""
    off, total = weights * (score - ill), weights.sum(1)
    slope, intercept = calibration_line(ill, score, weights)
    return {
        "brier": weights @ (score - ill) ** 2 / total,
        "ece": np.abs(off @ np.eye(BINS)[bins(score)]).sum(1) / total,
        "slope": slope,
        "intercept": intercept,
    }


def calibration_line(ill, score, weights):
    """Logistic regressions of the labels on the log odds of the scores (Van Calster et al. 2019).

    Returns the slope; 1 is right, below 1 the scores are too extreme. And the intercept where the slope is
    set to 1; 0 is right, above 0 the scores are too low. NaN where the classes are separated.
    """
    odds = log_odds(score)
    one, zero = np.ones_like(odds), np.zeros_like(odds)
    slope = logistic(ill, np.stack([one, odds]), zero, weights)[:, 1]
    intercept = logistic(ill, one[None], odds, weights)[:, 0]
    return np.where(np.ptp(odds) > 0, slope, np.nan), intercept  # equal scores have no slope


def logistic(ill, inputs, offset, weights):
    """Coefficients [samples, k] of logistic regressions, by Newton's method.

    inputs: float [k, n]. offset: float [n]. NaN where it does not converge, as with separated classes.
    """
    coefficients = np.zeros((len(weights), len(inputs)))
    with np.errstate(all="ignore"):
        for _ in range(30):
            fitted = expit(coefficients @ inputs + offset)  # [samples, n]
            gradient = (weights * (ill - fitted)) @ inputs.T  # [samples, k]
            spread = weights * fitted * (1 - fitted)  # [samples, n]
            curvature = (spread[:, None] * inputs) @ inputs.T  # [samples, k, k]
            step = np.einsum("sij,sj->si", np.linalg.pinv(curvature, hermitian=True), gradient)
            coefficients = coefficients + np.clip(step, -5, 5)
            if np.abs(step).max() < 1e-12:
                break
    coefficients[~(np.abs(step).max(axis=1) < 1e-6)] = np.nan
    return coefficients
