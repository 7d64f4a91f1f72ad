"""What a thorough evaluation asks beyond the metrics of one table of scores. No TensorFlow, no images.

scores, validation: scores tables of test and of validation images, columns path, patient, label, score,
and subtype where groups are asked for.
"""

import numpy as np
import pandas as pd
from scipy.special import expit

from .. import intervals, metrics
from ..data import manifest
from ..workspace import ExplainedError

THRESHOLDS = np.linspace(0.01, 0.6, 60)  # of decision curves: the probability from which one would act


def check(scores, listed=None):
    """A list of sentences about what is wrong with these scores without being an error; mostly empty.

    listed: the manifest of the images in use. Raises ExplainedError if a score is no probability, an image
    is scored twice, or is not in the manifest.
    """
    auc = metrics.measure(scores, 0.5).auc
    faults = [(scores.path.duplicated(), "are of images that are scored twice")]
    if listed is not None:
        faults.append((~scores.path.isin(listed.path), "belong to images that the manifest does not list"))
    for rows, fault in faults:
        if rows.any():
            example = scores.path[rows].iloc[0]
            raise ExplainedError(f"{rows.sum()} of {len(scores):,} scores {fault}, such as of {example}.")
    if np.isnan(auc):
        only = scores.label.iloc[0]
        return [f"All images are {only}: what compares classes, such as the AUC, is not defined."]
    if scores.score.nunique() == 1:
        return ["All scores are equal: the network does not look at the picture."]
    if auc < 0.3:
        return ["The AUC is far below 0.5: the scores seem to be probabilities of the negative class."]
    return []


def results(scores, validation, threshold, resamples=2000):
    """The columns of the main table, each as `intervals.evaluate` gives it: {name: table}.

    At 0.5, as publications report; at the threshold of the training, if there are validation scores (not
    None). The last is someone who always answers with the more frequent class, whom any network has to beat,
    without intervals.
    """
    frequent = int(manifest.positives(scores).mean() >= 0.5)
    name, _ = manifest.classes(scores)[frequent]
    always = metrics.measure(scores.assign(score=float(frequent)), 0.5)
    tables = {"at 0.5": intervals.evaluate(scores, 0.5, resamples)}
    if validation is not None:
        tables["at the validation threshold"] = intervals.evaluate(scores, threshold, resamples)
        tables["validation, same threshold"] = intervals.evaluate(validation, threshold, resamples)
    tables[f"always {name.lower()}"] = pd.DataFrame({"value": always, "low": np.nan, "high": np.nan})
    return tables


def gap(tables):
    """One sentence on validation against test. tables: of `results`."""
    if len(tables) < 4:
        return "There are no validation scores: the threshold is 0.5, and nothing is recalibrated."
    _, test, validation, _ = (table.value.balanced_accuracy for table in tables.values())
    return (
        f"At the same threshold the balanced accuracy is {validation:.3f} on the validation images, "
        f"on which the threshold was chosen, and {test:.3f} on the test images: a gap of "
        f"{validation - test:+.3f}."
    )


def subgroups(scores, threshold):
    """Sensitivity or specificity of each subtype: group, metric, images, patients, value, low, high."""
    described = pd.DataFrame(
        {
            "group": name,
            "metric": "sensitivity" if manifest.positives(part)[0] else "specificity",
            "images": len(part),
            "patients": part.patient.nunique(),
        }
        for name, part in scores.groupby("subtype", sort=False)
    )
    members = scores.subtype.to_numpy()[:, None] == described.group.to_numpy()  # bool [n, groups]
    right = metrics.called(scores.score, threshold) == manifest.positives(scores)  # [n]
    return pd.concat([described, intervals.shares(scores, right[:, None], members)], axis=1)


def at_prevalence(scores, threshold, prevalences, resamples=2000):
    """Predictive values where pneumonia is rarer or more common than in these images (Bayes' rule).

    Returns prevalence, metric (PPV or NPV), value, low, high. Raises ExplainedError for a prevalence
    that is not between 0 and 1.
    """
    ill = np.asarray(prevalences, float)  # [prevalences], their share of the radiographs
    if len(wrong := ill[(ill <= 0) | (ill >= 1)]):
        raise ExplainedError(f"A prevalence is a share between 0 and 1, such as 0.05; not {wrong[0]:g}.")
    well = 1 - ill

    def predictive_values(weights):
        both = metrics.weighted(scores, threshold, weights, ["sensitivity", "specificity"])
        sensitivity, specificity = both[:, :1], both[:, 1:]  # [samples, 1]
        hits, false_alarms = sensitivity * ill, (1 - specificity) * well  # [samples, prevalences]
        cleared, missed = specificity * well, (1 - sensitivity) * ill
        ppv, npv = metrics.share(hits, hits + false_alarms), metrics.share(cleared, cleared + missed)
        return np.hstack([ppv, npv])

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

    Class weights and label smoothing shift and flatten scores by design; this undoes it. The order of the
    scores, and so the AUC, stays. None where the validation classes are separated, or one is missing, or
    validation is None.
    """
    if validation is None:
        return None
    ill, odds = manifest.positives(validation) == 1, metrics.log_odds(validation.score)
    inputs = np.stack([np.ones_like(odds), odds])
    intercept, slope = metrics.logistic(ill, inputs, np.zeros_like(odds), np.ones((1, len(odds))))[0]
    if not slope > 0:  # NaN neither
        return None
    return scores.assign(score=expit(intercept + slope * metrics.log_odds(scores.score)))


def reliability(scores):
    """Mean score and share of positives in bins of equal count: score, images, value, low, high."""
    bins = metrics.bins(scores.score)
    members = bins[:, None] == np.unique(bins)  # bool [n, bins]
    images = members.sum(0)
    described = pd.DataFrame({"score": scores.score.to_numpy() @ members / images, "images": images})
    positive = intervals.shares(scores, manifest.positives(scores)[:, None], members)
    return pd.concat([described, positive], axis=1)


def decision_curves(scores, validation, class_weights, prevalence):
    """Net benefit of acting on the network, on everyone, and on nobody (Vickers and Elkin 2006).

    A score as it is means what the training taught: the probability where half are positive, if there were
    class_weights (the entry of the card), else where as many are as in validation; a recalibrated one, the
    latter. Bayes' rule moves both to `prevalence`. Columns threshold (THRESHOLDS), everyone, "as they are"
    and, where there is a recalibration, "recalibrated"; acting on nobody is 0. None if validation is.
    """
    if validation is None:
        return None
    ill, share = manifest.positives(scores) == 1, manifest.positives(validation).mean()
    weight = THRESHOLDS / (1 - THRESHOLDS)  # of a false alarm, in hits
    curves = {"threshold": THRESHOLDS, "everyone": prevalence - (1 - prevalence) * weight}
    meant = {
        "as they are": (scores, 0.5 if class_weights else share),
        "recalibrated": (recalibrate(scores, validation), share),
    }
    for name, (table, taught) in meant.items():
        if table is not None:
            odds = metrics.log_odds(table.score) + metrics.log_odds(prevalence) - metrics.log_odds(taught)
            acted = metrics.called(odds, metrics.log_odds(THRESHOLDS)[:, None])  # bool [thresholds, n]
            sensitivity = metrics.share(acted[:, ill].sum(1), ill.sum())
            false_alarms = metrics.share(acted[:, ~ill].sum(1), (~ill).sum())
            curves[name] = sensitivity * prevalence - false_alarms * (1 - prevalence) * weight
    return pd.DataFrame(curves)
