"""What a thorough evaluation asks beyond the metrics of one table of scores. No TensorFlow, no images.

scores, validation: scores tables of test and of validation images, columns path, patient, label, score,
and subtype where groups are asked for.
"""

import numpy as np
import pandas as pd

from .. import intervals, metrics
from ..data import manifest
from ..workspace import ExplainedError

THRESHOLDS = np.linspace(0.01, 0.6, 60)  # of decision curves: the probability from which one would act


def check(scores, listed=None):
    """A list of sentences about what is wrong with these scores without being an error; mostly empty.

    listed: the manifest of the images in use. Raises ExplainedError if a score is no probability, an image
    is scored twice, or is not in the manifest.
    """
    if not len(scores):
        raise ExplainedError("There are no scores. Score the network on the images first.")
    faults = [
        (~scores.score.between(0, 1), "are missing or not between 0 and 1, as a probability is"),
        (scores.path.duplicated(), "are of images that are scored twice"),
    ]
    if listed is not None:
        faults.append((~scores.path.isin(listed.path), "belong to images that the manifest does not list"))
    for rows, fault in faults:
        if rows.any():
            example = scores.path[rows].iloc[0]
            raise ExplainedError(f"{rows.sum()} of {len(scores):,} scores {fault}, such as of {example}.")
    if scores.label.nunique() < 2:
        only = scores.label.iloc[0]
        return [f"All images are {only}: what compares classes, such as the AUC, is not defined."]
    if scores.score.nunique() == 1:
        return ["All scores are equal: the network does not look at the picture."]
    if metrics.measure(scores, 0.5).auc < 0.3:
        return [
            "The AUC is far below 0.5: the scores seem to be those of the other class. Check which output of "
            "the network means pneumonia."
        ]
    return []


def results(scores, validation, threshold, resamples=2000):
    """The columns of the main table, each as `intervals.evaluate` gives it: {name: table}.

    The test images at 0.5, as publications report them; at the threshold that was fixed in training;
    the validation images at that threshold; and someone who always answers with the more frequent
    class, whom any network has to beat, without intervals.
    """
    names = [name.lower() for name, _ in manifest.classes(scores)]
    frequent = int(manifest.positives(scores).mean() >= 0.5)
    always = metrics.measure(scores.assign(score=float(frequent)), 0.5)
    return {
        "at 0.5": intervals.evaluate(scores, 0.5, resamples),
        "at the validation threshold": intervals.evaluate(scores, threshold, resamples),
        "validation, same threshold": intervals.evaluate(validation, threshold, resamples),
        f"always {names[frequent]}": pd.DataFrame({"value": always, "low": np.nan, "high": np.nan}),
    }


def gap(tables):
    """One sentence on validation against test. tables: of `results`."""
    _, test, validation, _ = (table.value.balanced_accuracy for table in tables.values())
    return (
        f"At the same threshold the balanced accuracy is {validation:.3f} on the validation images, "
        f"on which the threshold was chosen, and {test:.3f} on the test images: a gap of "
        f"{validation - test:+.3f}."
    )


def subgroups(scores, threshold):
    """Sensitivity or specificity of each subtype: group, metric, images, patients, value, low, high."""
    groups = scores.groupby("subtype", sort=False)
    described = pd.DataFrame(
        {
            "group": name,
            "metric": "sensitivity" if manifest.positives(part)[0] else "specificity",
            "images": len(part),
            "patients": part.patient.nunique(),
        }
        for name, part in groups
    )
    members = scores.subtype.to_numpy()[:, None] == described.group.to_numpy()  # bool [n, groups]
    right = metrics.called(scores.score, threshold) == manifest.positives(scores)  # [n]
    return pd.concat([described, intervals.shares(scores, right[:, None], members)], axis=1)


def at_prevalence(scores, threshold, prevalences=(0.05, 0.1, 0.2), resamples=2000):
    """Predictive values where pneumonia is rarer or more common than in these images (Bayes' rule).

    Returns prevalence, metric (PPV or NPV), value, low, high. Raises ExplainedError for a prevalence
    that is not between 0 and 1.
    """
    for prevalence in prevalences:
        if not 0 < prevalence < 1:
            raise ExplainedError(f"A prevalence is a share between 0 and 1, such as 0.05; not {prevalence}.")
    ill = np.asarray(prevalences, float)  # [prevalences], their share of the radiographs
    well = 1 - ill

    def predictive_values(weights):
        both = metrics.weighted(scores, threshold, weights, ["sensitivity", "specificity"])
        sensitivity, specificity = both[:, :1], both[:, 1:]  # [samples, 1]
        counts = sensitivity * ill, specificity * well, (1 - specificity) * well, (1 - sensitivity) * ill
        measured = metrics.at_threshold(*counts)  # each [samples, prevalences]
        return np.hstack([measured["precision"], measured["npv"]])

    rows = [(share, metric) for metric in ("PPV", "NPV") for share in ill]
    described = pd.DataFrame(rows, columns=["prevalence", "metric"])
    return pd.concat([described, intervals.bootstrap(scores, predictive_values, resamples)], axis=1)


def calibration(scores, validation, resamples=2000):
    """Calibration of the scores as they are and, where that is possible, recalibrated: {name: table}."""
    both = {"as they are": scores, "recalibrated on validation": recalibrate(scores, validation)}
    return {
        name: intervals.evaluate(table, 0.5, resamples).loc[list(metrics.CALIBRATION)]
        for name, table in both.items()
        if table is not None
    }


def recalibrate(scores, validation):
    """Scores recalibrated on validation scores: a straight line on the logit scale (Platt 1999).

    Class weights and label smoothing shift and flatten scores by design; this undoes it as far as
    validation images can tell. The order of the scores, and so the AUC, stays. Returns None where the
    validation classes are separated, or one is missing: there is no such line.
    """
    ill, odds = manifest.positives(validation) == 1, metrics.log_odds(validation.score)
    inputs = np.stack([np.ones_like(odds), odds])
    intercept, slope = metrics.logistic(ill, inputs, np.zeros_like(odds), np.ones((1, len(odds))))[0]
    if not slope > 0:  # NaN neither
        return None
    return scores.assign(score=metrics.from_log_odds(intercept + slope * metrics.log_odds(scores.score)))


def reliability(scores):
    """Mean score and share of positives in bins of equal count: columns score, images, value, low, high."""
    bins = metrics.bins(scores.score)
    members = bins[:, None] == np.unique(bins)  # bool [n, bins]
    images = members.sum(0)
    described = pd.DataFrame({"score": scores.score.to_numpy() @ members / images, "images": images})
    positive = intervals.shares(scores, manifest.positives(scores)[:, None], members)
    return pd.concat([described, positive], axis=1)


def decision_curves(scores, validation, class_weights, prevalence):
    """Net benefit of acting on the network, on everyone, and on nobody (Vickers and Elkin 2006).

    The scores as they are mean what the training taught: the probability where a share of one half is
    positive with class_weights (the entry of the card; any but None), else the share among the validation
    images. The recalibrated ones mean it for that share. Bayes' rule moves both to `prevalence`. Columns
    threshold (THRESHOLDS), everyone, "as they are" and, where there is a recalibration, "recalibrated";
    acting on nobody is 0.
    """
    ill, taught = manifest.positives(scores) == 1, manifest.positives(validation).mean()
    weight = THRESHOLDS / (1 - THRESHOLDS)  # of a false alarm, in hits
    curves = {"threshold": THRESHOLDS, "everyone": prevalence - (1 - prevalence) * weight}
    meant = {"as they are": (scores, 0.5 if class_weights else taught)}
    meant["recalibrated"] = recalibrate(scores, validation), taught
    for name, (table, share) in meant.items():
        if table is not None:
            odds = metrics.log_odds(table.score) + metrics.log_odds(prevalence) - metrics.log_odds(share)
            acted = metrics.called(odds, metrics.log_odds(THRESHOLDS)[:, None])  # bool [thresholds, n]
            hits, alarms = acted[:, ill].sum(1), acted[:, ~ill].sum(1)
            hits, alarms = metrics.share(hits, ill.sum()), metrics.share(alarms, (~ill).sum())
            curves[name] = hits * prevalence - alarms * (1 - prevalence) * weight
    return pd.DataFrame(curves)
