"""What a thorough evaluation asks beyond the metrics of one table of scores. No TensorFlow, no images."""

import numpy as np
import pandas as pd

from .. import intervals, metrics
from ..data import manifest
from ..workspace import ExplainedError

ACT_FROM = np.linspace(0.01, 0.6, 60)  # probabilities of pneumonia
FEW = 30  # images; below this an interval is a rough guess


class ScoresError(ExplainedError):
    """Scores that cannot be evaluated; the message says what is wrong and what to do."""


def check(scores, listed=None):
    """Sentences about what limits an evaluation of these scores; empty if nothing does.

    listed: the manifest of the images in use. Raises ScoresError if the scores are not of its images.
    """
    if not len(scores):
        raise ScoresError("There are no scores.")
    missing = {"path", "patient", "label", "score"} - set(scores)
    if missing:
        raise ScoresError(f"The scores have no column {', '.join(sorted(missing))}. They need all four.")
    if not scores.score.between(0, 1).all():
        raise ScoresError(
            f"{(~scores.score.between(0, 1)).sum()} of {len(scores):,} scores are missing or not between 0 "
            "and 1. A score is the probability of pneumonia."
        )
    if scores.path.duplicated().any():
        raise ScoresError(f"{scores.path.duplicated().sum()} images are scored twice.")
    if listed is not None and (unknown := ~scores.path.isin(listed.path)).any():
        raise ScoresError(
            f"{unknown.sum()} of {len(scores):,} scores are of images that the manifest does not list, such "
            f"as {scores.path[unknown].iloc[0]}. They belong to other images."
        )
    found = []
    labels = scores.groupby("patient").label.nunique()
    if scores.label.nunique() < 2:
        found.append(
            f"All images are {scores.label.iloc[0]}: what compares classes, such as the AUC, is not defined."
        )
    if (labels > 1).any():
        found.append(
            f"{(labels > 1).sum()} patients have images in both classes; they are drawn separately in each."
        )
    if len(scores) < FEW:
        found.append(f"{len(scores)} images are few: the intervals are rough guesses.")
    if scores.score.nunique() == 1:
        found.append("All scores are equal: the network does not look at the picture.")
    elif metrics.measure(scores, 0.5).auc < 0.3:
        found.append(
            "The AUC is far below 0.5: the scores seem to be those of the other class. Check which output of "
            "the network means pneumonia."
        )
    return found


def results(scores, validation, threshold, resamples=2000):
    """The columns of the main table, each as `metrics.evaluate` gives it: {name: table}.

    The test images at 0.5, as publications report them; at the threshold that was fixed in training;
    the validation images at that threshold; and someone who always answers with the more frequent
    class, whom any network has to beat, without intervals.
    """
    names = [name.lower() for name, _ in manifest.classes(scores)]
    often = int(manifest.positives(scores).mean() >= 0.5)
    lazy = metrics.measure(scores.assign(score=float(often)), 0.5)
    return {
        "at 0.5": intervals.evaluate(scores, 0.5, resamples),
        "at the validation threshold": intervals.evaluate(scores, threshold, resamples),
        "validation, same threshold": intervals.evaluate(validation, threshold, resamples),
        f"always {names[often]}": pd.DataFrame({"value": lazy, "low": np.nan, "high": np.nan}),
    }


def gap(found):
    """One sentence on validation against test, from `results`."""
    _, test, validation, _ = (table.value.balanced_accuracy for table in found.values())
    return (
        f"At the same threshold the balanced accuracy is {validation:.3f} on the validation images, "
        f"on which the threshold was chosen, and {test:.3f} on the test images: a gap of "
        f"{validation - test:+.3f}."
    )


def calibration(scores, validation, resamples=2000):
    """Calibration of the scores as they are and, where that is possible, recalibrated: {name: table}."""
    both = {"as they are": scores, "recalibrated on validation": recalibrate(scores, validation)}
    return {
        name: intervals.evaluate(table, 0.5, resamples).loc[list(metrics.CALIBRATION)]
        for name, table in both.items()
        if table is not None
    }


def subgroups(scores, threshold):
    """Sensitivity or specificity of each subtype: group, metric, images, patients, value, low, high."""
    groups = dict(list(scores.groupby("subtype", sort=False)))
    described = pd.DataFrame(
        {
            "group": name,
            "metric": "sensitivity" if manifest.positives(part)[0] else "specificity",
            "images": len(part),
            "patients": part.patient.nunique(),
        }
        for name, part in groups.items()
    )
    members = scores.subtype.to_numpy()[:, None] == described.group.to_numpy()  # bool [n, groups]
    right = metrics.called(scores.score, threshold) == manifest.positives(scores)
    return pd.concat([described, intervals.shares(scores, right[:, None], members)], axis=1)


def at_prevalence(scores, threshold, prevalences=(0.05, 0.1, 0.2), resamples=2000):
    """Predictive values where pneumonia is rarer or more common than in these images (Bayes' rule).

    Returns prevalence, metric (PPV or NPV), value, low, high. Raises ScoresError for a prevalence
    that is none.
    """
    _check_prevalence(prevalences)
    prevalence = np.asarray(prevalences, float)

    def values(weights):
        both = metrics.weighted(scores, threshold, weights, ["sensitivity", "specificity"])
        sensitivity, specificity = both[:, :1], both[:, 1:]  # [samples, 1]
        hits, misses = sensitivity * prevalence, (1 - sensitivity) * prevalence
        rejections, alarms = specificity * (1 - prevalence), (1 - specificity) * (1 - prevalence)
        ppv = metrics.precision(hits, alarms)  # [samples, prevalences]
        return np.hstack([ppv, metrics.negative_predictive_value(rejections, misses)])

    rows = [(share, metric) for metric in ("PPV", "NPV") for share in prevalence]
    described = pd.DataFrame(rows, columns=["prevalence", "metric"])
    return pd.concat([described, intervals.bootstrap(scores, values, resamples)], axis=1)


def _check_prevalence(prevalences):
    for prevalence in prevalences:
        if not 0 < prevalence < 1:
            raise ScoresError(f"The prevalence is {prevalence}; it is a share between 0 and 1, such as 0.05.")


def recalibrate(scores, validation):
    """Scores recalibrated on validation scores: a straight line on the logit scale (Platt 1999).

    Class weights and label smoothing shift and flatten scores by design; this undoes it as far as
    validation images can tell. The order of the scores, and so the AUC, stays. Returns None where the
    validation classes are separated, or one is missing: there is no such line.
    """
    ill = manifest.positives(validation) == 1
    odds = metrics.log_odds(validation.score)
    inputs = np.stack([np.ones_like(odds), odds])
    shift, slope = metrics.logistic(ill, inputs, np.zeros_like(odds), np.ones((1, len(odds))))[0]
    if not np.isfinite(slope) or slope <= 0:
        return None
    return scores.assign(score=metrics.from_log_odds(shift + slope * metrics.log_odds(scores.score)))


def reliability(scores):
    """Mean score and share of positives in bins of equal count: columns score, images, value, low, high."""
    bins = metrics.bins(scores.score)
    members = bins[:, None] == np.unique(bins)  # bool [n, bins]
    score = members.T @ scores.score.to_numpy() / members.sum(0)
    described = pd.DataFrame({"score": score, "images": members.sum(0)})
    found = intervals.shares(scores, manifest.positives(scores)[:, None], members)
    return pd.concat([described, found], axis=1)


def decision_curves(scores, validation, class_weights, prevalence, thresholds=ACT_FROM):
    """Net benefit of acting on the network, on everyone, and on nobody (Vickers and Elkin 2006).

    The scores as they are mean what the training taught: the probability where a share of one half is
    positive with class_weights (the entry of the card; any but None), else the share among the validation
    images. The recalibrated ones mean it for that share. Bayes' rule moves both to `prevalence`. thresholds:
    the probability from which one would act. Columns threshold, everyone, "as they are" and, where there is a
    recalibration, "recalibrated"; acting on nobody is 0. Raises ScoresError for a prevalence that is none.
    """
    _check_prevalence([prevalence])
    ill, share = manifest.positives(scores) == 1, manifest.positives(validation).mean()
    weight = thresholds / (1 - thresholds)
    found = {"threshold": thresholds, "everyone": prevalence - (1 - prevalence) * weight}
    meant = {"as they are": (scores, 0.5 if class_weights else share)}
    meant["recalibrated"] = recalibrate(scores, validation), share
    for name, (table, before) in meant.items():
        if table is not None:
            moved = metrics.log_odds(table.score) + metrics.log_odds(prevalence) - metrics.log_odds(before)
            called = metrics.called(moved[None, :], metrics.log_odds(thresholds)[:, None])
            hits, alarms = (metrics.share(called[:, rows].sum(1), rows.sum()) for rows in (ill, ~ill))
            found[name] = hits * prevalence - alarms * (1 - prevalence) * weight
    return pd.DataFrame(found)
