import numpy as np
import pandas as pd
import pytest
from conftest import scores_table as table

from utils import metrics
from utils.evaluation import evaluation
from utils.workspace import ExplainedError


def made(n=400, seed=0, sharpness=1.0, lift=0.0):
    """Scores of a network that is calibrated if sharpness is 1 and lift 0."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0.6, 1.8, n)
    labels = (rng.uniform(size=n) < 1 / (1 + np.exp(-logit))).astype(int)
    scores = 1 / (1 + np.exp(-(sharpness * logit + lift)))
    made = table(labels, scores, [f"p{number // 2}-{label}" for number, label in enumerate(labels)])
    subtype = np.where(labels, np.where(np.arange(n) % 3, "bacteria", "virus"), "IM")
    return made.assign(path=[f"{number}.png" for number in range(n)], subtype=subtype)


def test_subgroups_are_the_metrics_of_their_images():
    scores = made()
    found = evaluation.subgroups(scores, 0.5).set_index("group")
    for name, part in scores.groupby("subtype"):
        row = found.loc[name]
        assert row.value == pytest.approx(metrics.measure(part, 0.5)[row.metric])
        assert (row.images, row.patients) == (len(part), part.patient.nunique())
        assert row.low < row.value < row.high
    assert found.metric.to_dict() == {"IM": "specificity", "bacteria": "sensitivity", "virus": "sensitivity"}


def test_a_score_at_the_threshold_is_positive_wherever_answers_are_counted():
    on_edge = table([1, 1, 0, 0], [0.5, 0.4, 0.5, 0.4]).assign(subtype=list("iiww"))
    assert evaluation.subgroups(on_edge, 0.5).value.tolist() == [0.5, 0.5]
    assert evaluation.at_prevalence(on_edge, 0.5, (0.5,), 20).value.tolist() == [0.5, 0.5]


def test_predictive_values_follow_bayes_rule():
    scores = made()
    share = (scores.label == "PNEUMONIA").mean()
    found = evaluation.at_prevalence(scores, 0.5, (share, 0.05), 200)
    found = found.set_index(["metric", "prevalence"]).value
    point = metrics.measure(scores, 0.5)
    assert [found["PPV", share], found["NPV", share]] == pytest.approx([point.precision, point.npv])
    # sensitivity 90 %, specificity 80 %, prevalence 5 %: 45 hits and 190 false alarms in 1,000
    labels = np.repeat([1, 0], 100)
    answers = np.concatenate([np.repeat([1, 0], [90, 10]), np.repeat([1, 0], [20, 80])])
    found = evaluation.at_prevalence(table(labels, answers * 1.0), 0.5, (0.05,), 100)
    assert found.value.tolist() == pytest.approx([45 / 235, 760 / 765])


@pytest.mark.parametrize("prevalence", [0, 1, 30, -0.1])
def test_a_prevalence_in_percent_is_refused(prevalence):
    with pytest.raises(ExplainedError, match="a share between 0 and 1"):
        evaluation.at_prevalence(made(), 0.5, (0.1, prevalence))


def test_recalibration_undoes_shift_and_sharpness_and_keeps_the_order():
    validation, scores = made(seed=1, sharpness=2.5, lift=1), made(seed=2, sharpness=2.5, lift=1)
    found = evaluation.calibration(scores, validation, 20)
    before, after = (table.value for table in found.values())
    assert list(before.index) == list(metrics.CALIBRATION)
    assert before.slope < 0.5 and after.slope == pytest.approx(1, abs=0.3)
    assert after.brier < before.brier and after.ece < before.ece
    better = evaluation.recalibrate(scores, validation)
    before, after = (metrics.measure(each, 0.5) for each in (scores, better))
    assert after.auc == pytest.approx(before.auc)
    for no_line in (table([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]), made(sharpness=-1)):  # separated, reversed
        assert evaluation.recalibrate(scores, no_line) is None
        assert list(evaluation.calibration(scores, no_line, 2)) == ["as they are"]


def test_reliability_holds_every_image_once_in_any_order():
    found = evaluation.reliability(made())
    assert found.images.sum() == 400 and found.images.nunique() == 1 and found.score.is_monotonic_increasing
    assert (found.score - found.value).abs().max() < 0.2
    assert ((found.low < found.value) & (found.value < found.high)).sum() >= 8  # but for 0 and 100 %
    tied = made().assign(score=made().score.round(1).clip(0, 1))
    shuffled = tied.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(evaluation.reliability(tied), evaluation.reliability(shuffled))
    assert evaluation.reliability(made().assign(score=0.6)).images.tolist() == [400]


def test_decision_curve_by_hand():
    labels = np.repeat([1, 0], 100)
    answers = np.concatenate([np.repeat([0.99, 0.01], [90, 10]), np.repeat([0.99, 0.01], [20, 80])])
    scores = table(labels, answers)
    found = evaluation.decision_curves(scores, scores, None, 0.2).set_index("threshold").round(12)
    at = [0.25, 0.55]
    found.index = found.index.to_numpy().round(2)
    # of 100 ill 90 score 0.99, of 100 well 20: recalibrated 90 / 110, moved to a prevalence of 0.2: 0.53;
    # 0.99 itself, meant for the half of these images, moved: 0.961
    act = 0.9 * 0.2 - 0.2 * 0.8 / 3, 0.9 * 0.2 - 0.2 * 0.8 * 55 / 45
    assert found["recalibrated"][at].to_list() == pytest.approx([act[0], 0])
    assert found["as they are"][at].to_list() == pytest.approx(act)
    assert found.everyone[0.25] == pytest.approx(0.2 - 0.8 / 3)


def test_scores_as_they_are_mean_the_share_that_the_training_taught():
    """The score 0.6 at a prevalence of 0.2: from one half 0.27, from the share of validation, 0.8: 0.086."""
    scores, validation = table([1, 0], [0.6, 0.6]), table([1, 1, 1, 1, 0], [0.7, 0.2, 0.9, 0.4, 0.3])
    for weights, acted in (([1.2, 0.8], [True, True, False]), (None, [True, False, False])):
        found = evaluation.decision_curves(scores, validation, weights, 0.2)
        found = found[found.threshold.round(2).isin([0.08, 0.25, 0.3])]
        assert (found["as they are"] == found.everyone).to_list() == acted
    apart = table([0, 1], [0.1, 0.9])
    assert "recalibrated" not in evaluation.decision_curves(scores, apart, None, 0.2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s[s.label == "PNEUMONIA"], "All images are PNEUMONIA"),
        (lambda s: s.assign(score=0.4), "does not look at the picture"),
        (lambda s: s.assign(score=1 - s.score), "far below 0.5"),
    ],
)
def test_what_looks_wrong_is_said(change, words):
    scores = made()
    assert evaluation.check(scores, scores) == []
    (sentence,) = evaluation.check(change(scores), scores)
    assert words in sentence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.assign(score=s.score.mask(s.index < 3)), "3 of 400 scores are missing"),
        (lambda s: pd.concat([s, s.head(7)]), "7 of 407 scores are of images that are scored twice"),
        (lambda s: s.assign(path="x" + s.path), "400 of 400 scores belong to images"),
    ],
)
def test_scores_that_cannot_be_evaluated_are_refused(change, words):
    scores = made()
    with pytest.raises(ExplainedError, match=words):
        evaluation.check(change(scores), scores)


def test_the_main_table_has_a_column_that_always_answers_the_same_and_the_gap_is_said():
    found = evaluation.results(made(), made(seed=1), 0.6, 100)
    assert list(found)[-1] == "always pneumonia" and len(found) == 4
    always = found["always pneumonia"].value
    assert always.sensitivity == 1 and always.specificity == 0 and always.auc == 0.5
    rare = made()[lambda s: (s.label == "NORMAL") | (s.index % 4 == 0)]
    assert list(evaluation.results(rare, rare, 0.6, 10))[-1] == "always normal"
    test, validation = (metrics.measure(made(seed=seed), 0.6).balanced_accuracy for seed in (0, 1))
    assert f"a gap of {validation - test:+.3f}" in evaluation.gap(found)
