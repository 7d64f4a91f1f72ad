import numpy as np
import pytest
import statsmodels.api as sm
from conftest import scores_table as table
from sklearn import metrics as theirs

from utils import metrics
from utils.workspace import ExplainedError

# 4 ill: 0.9 0.8 0.4 0.6; 3 well: 0.7 0.2 0.1. At 0.5: tp 3, fn 1, fp 1, tn 2. Pairs won: 10 of 12.
HAND = table([1, 1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.4, 0.6, 0.7, 0.2, 0.1])


def test_metrics_computed_by_hand():
    expected = {
        "accuracy": 5 / 7,
        "balanced_accuracy": (3 / 4 + 2 / 3) / 2,
        "sensitivity": 3 / 4,
        "specificity": 2 / 3,
        "precision": 3 / 4,
        "npv": 2 / 3,
        "f1": 6 / 8,
        "mcc": (3 * 2 - 1 * 1) / np.sqrt(4 * 4 * 3 * 3),
        "auc": 10 / 12,
        "brier": (0.01 + 0.04 + 0.36 + 0.16 + 0.49 + 0.04 + 0.01) / 7,
    }
    assert metrics.measure(HAND, 0.5)[list(expected)].to_dict() == pytest.approx(expected)
    assert metrics.confusion(HAND, 0.5) == {"tn": 2, "fp": 1, "fn": 1, "tp": 3}


def test_a_score_at_the_threshold_is_called_pneumonia():
    assert metrics.measure(table([1, 0], [0.5, 0.4]), 0.5).sensitivity == 1


def test_the_published_starting_point_is_482_of_624():
    labels = np.repeat([1, 0], [390, 234])
    answers = np.concatenate([np.repeat([1, 0], [380, 10]), np.repeat([1, 0], [132, 102])])
    assert round(metrics.measure(table(labels, answers * 1.0), 0.5).accuracy, 4) == 0.7724


def noisy(seed, n=300):
    """Labels, scores with ties, and how often each radiograph is in a bootstrap sample."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    scores = np.round(1 / (1 + np.exp(-rng.normal(2 * labels - 0.7, 1.5))), 2).clip(0.01, 0.99)
    return labels, scores, rng.integers(0, 4, n)


@pytest.mark.parametrize("seed", range(3))
def test_every_formula_agrees_with_scikit_learn_and_statsmodels(seed):
    labels, scores, _ = noisy(seed)
    answers, logit = scores >= 0.5, np.log(scores / (1 - scores))
    family = sm.families.Binomial()
    expected = {
        "accuracy": theirs.accuracy_score(labels, answers),
        "balanced_accuracy": theirs.balanced_accuracy_score(labels, answers),
        "sensitivity": theirs.recall_score(labels, answers),
        "specificity": theirs.recall_score(labels, answers, pos_label=0),
        "precision": theirs.precision_score(labels, answers),
        "npv": theirs.precision_score(labels, answers, pos_label=0),
        "f1": theirs.f1_score(labels, answers),
        "mcc": theirs.matthews_corrcoef(labels, answers),
        "auc": theirs.roc_auc_score(labels, scores),
        "auprc": theirs.average_precision_score(labels, scores),
        "brier": theirs.brier_score_loss(labels, scores),
        "slope": sm.GLM(labels, sm.add_constant(logit), family=family).fit().params[1],
        "intercept": sm.GLM(labels, np.ones(len(labels)), family=family, offset=logit).fit().params[0],
    }
    measured = metrics.measure(table(labels, scores), 0.5)
    assert measured[list(expected)].to_dict() == pytest.approx(expected, abs=1e-6)
    assert set(metrics.METRICS) - set(expected) == {"ece"}


@pytest.mark.parametrize("seed", range(3))
def test_a_weight_is_a_number_of_copies(seed):
    """Every metric of a bootstrap sample is that of a table in which radiographs are repeated or left out."""
    labels, scores, weights = noisy(seed)
    weights[scores == scores.max()] = 0  # the highest score is in no sample
    scores, once = table(labels, scores), np.ones(len(labels))
    found = metrics.weighted(scores, 0.5, np.stack([once, weights.astype(float)]))
    np.testing.assert_allclose(found[0], metrics.measure(scores, 0.5), atol=1e-9)
    copies = metrics.measure(scores.loc[scores.index.repeat(weights)], 0.5)
    ece = list(metrics.METRICS).index("ece")  # its bins are those of the whole table
    np.testing.assert_allclose(np.delete(found[1], ece), copies.drop("ece"), atol=1e-9)
    chosen = metrics.weighted(scores, 0.5, np.stack([once, weights]), ["auc", "brier", "npv"])
    order = [list(metrics.METRICS).index(name) for name in ("auc", "brier", "npv")]
    np.testing.assert_array_equal(chosen, found[:, order])


def test_the_threshold_maximises_sensitivity_plus_specificity_and_lies_half_way():
    """At 0.7: 8 of 10 ill, 8 of 10 well. At 0.3 all ill and half of the well; at 0.9 the reverse."""
    scores = np.repeat([0.9, 0.7, 0.3, 0.1, 0.4, 0.8], [5, 3, 2, 5, 3, 2])
    labels = np.repeat([1, 0], 10)
    assert metrics.choose_threshold(table(labels, scores)) == pytest.approx((0.7 + 0.4) / 2)
    more = np.repeat(np.arange(20), 1 + 4 * labels)  # five times as many ill: the mix does not count
    assert metrics.choose_threshold(table(labels[more], scores[more])) == pytest.approx((0.7 + 0.4) / 2)
    assert metrics.choose_threshold(table([1, 1], [0.2, 0.9])) == 0.5
    for useless in ([0.3, 0.3, 0.3, 0.3], [0.9, 0.8, 0.2, 0.1]):  # constant, then inverted scores
        assert 0 <= metrics.choose_threshold(table([0, 0, 1, 1], useless)) <= 1


def test_calibration_error_by_hand_and_for_a_calibrated_network():
    # ten bins of two images each, nobody ill: the mean score of each bin is its error
    scores = np.repeat(np.arange(10) / 10, 2)
    assert metrics.measure(table(np.zeros(20), scores), 0.5).ece == pytest.approx(0.45)
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, 40_000)
    labels = (rng.uniform(size=40_000) < scores).astype(int)
    found = metrics.measure(table(labels, scores), 0.5)
    assert found["ece"] < 0.01 and found["slope"] == pytest.approx(1, abs=0.05)
    assert found["intercept"] == pytest.approx(0, abs=0.05)
    sharp = scores**3 / (scores**3 + (1 - scores) ** 3)  # the log odds three times as large
    assert metrics.measure(table(labels, sharp), 0.5)["slope"] == pytest.approx(1 / 3, abs=0.02)


def test_bins_hold_equal_counts_and_equal_scores_share_one():
    assert metrics.bins(np.arange(20)[::-1]).tolist() == np.repeat(np.arange(10), 2)[::-1].tolist()
    # ten equal scores in the middle would fill bins 3 to 7; all of them are in the first of these
    assert metrics.bins([0.1] * 6 + [0.5] * 10 + [0.9] * 4).tolist() == [0] * 6 + [3] * 10 + [8] * 4


def test_what_is_not_defined_is_nan():
    ill = metrics.measure(table([1, 1, 1], [0.9, 0.2, 0.8]), 0.5)
    assert ill.sensitivity == pytest.approx(2 / 3) and ill[["auc", "specificity"]].isna().all()
    well = metrics.measure(table([0, 0], [0.1, 0.2]), 0.5)
    assert well.accuracy == 1 and well[["auc", "auprc", "sensitivity", "precision", "f1", "mcc"]].isna().all()
    apart = metrics.measure(table([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]), 0.5)
    assert np.isnan(apart.slope) and np.isfinite(apart.brier)
    equal = metrics.measure(table([0, 1, 1], [0.6, 0.6, 0.6]), 0.5)
    assert np.isnan(equal.slope) and equal.auc == 0.5


@pytest.mark.parametrize("bad", [[0.5, np.nan], [0.5, 1.5], [-0.1, 0.5]])
def test_scores_that_are_no_probabilities_are_refused(bad):
    with pytest.raises(ExplainedError, match="1 of 2 scores are missing or not between 0 and 1"):
        metrics.measure(table([1, 0], bad), 0.5)
