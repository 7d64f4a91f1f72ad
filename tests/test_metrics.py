import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from utils import metrics


def table(labels, scores, patients=None):
    return pd.DataFrame(
        {
            "label": np.where(labels, "PNEUMONIA", "NORMAL"),
            "score": scores,
            "patient": patients if patients is not None else [f"p{i}" for i in range(len(labels))],
        }
    )


# 4 ill: 0.9 0.8 0.4 0.6; 3 well: 0.7 0.2 0.1. At 0.5: tp 3, fn 1, fp 1, tn 2. Pairs won: 10 of 12.
HAND = table([1, 1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.4, 0.6, 0.7, 0.2, 0.1])


def test_metrics_computed_by_hand():
    found = metrics.measure(HAND, 0.5)
    expected = {
        "accuracy": 5 / 7,
        "precision": 3 / 4,
        "sensitivity": 3 / 4,
        "specificity": 2 / 3,
        "f1": 6 / 8,
        "auc": 10 / 12,
    }
    assert found.to_dict() == pytest.approx(expected)
    assert metrics.confusion([1, 1, 1, 1, 0, 0, 0], HAND.score, 0.5) == {"tn": 2, "fp": 1, "fn": 1, "tp": 3}


def test_a_score_at_the_threshold_is_a_call():
    assert metrics.measure(table([1, 0], [0.5, 0.4]), 0.5).sensitivity == 1


def test_the_published_starting_point_is_482_of_624():
    labels = np.repeat([1, 0], [390, 234])
    called = np.concatenate([np.repeat([1, 0], [380, 10]), np.repeat([1, 0], [132, 102])])
    assert round(metrics.measure(table(labels, called * 1.0), 0.5).accuracy, 4) == 0.7724


def test_auc_matches_scikit_learn_with_weights_and_ties():
    rng = np.random.default_rng(1)
    ill, scores = rng.integers(0, 2, 200) == 1, rng.integers(0, 12, 200) / 12
    weights = rng.integers(0, 4, (5, 200)).astype(float)
    expected = [roc_auc_score(ill, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(metrics._auc(ill, scores, weights), expected)


def test_bootstrap_equals_drawing_patients_one_by_one():
    """The vectorised intervals agree with the plain way: draw patients, collect their images."""
    rng = np.random.default_rng(2)
    labels = np.repeat([1, 0], [60, 40])
    patients = np.array(
        [f"{label}-{number}" for label, number in zip(labels, rng.integers(0, 25, 100), strict=True)]
    )
    scores = np.clip(labels * 0.25 + rng.normal(0.4, 0.2, 100), 0, 1)
    data = table(labels, scores, patients)
    fast = metrics.evaluate(data, 0.5, 2000)
    members = {name: np.flatnonzero(patients == name) for name in np.unique(patients)}
    plain = []
    for _ in range(600):
        drawn = [
            rng.choice([n for n in members if n[0] == label], sum(n[0] == label for n in members))
            for label in "01"
        ]
        rows = np.concatenate([members[name] for name in np.concatenate(drawn)])
        plain.append(metrics.measure(data.iloc[rows], 0.5))
    low, high = np.percentile(plain, [2.5, 97.5], axis=0)
    np.testing.assert_allclose(fast.low, low, atol=0.035)
    np.testing.assert_allclose(fast.high, high, atol=0.035)


def test_grouping_widens_the_interval():
    rng = np.random.default_rng(3)
    one_per_patient = np.repeat([1, 0], [40, 40]), np.clip(rng.normal([0.6] * 40 + [0.4] * 40, 0.2), 0, 1)
    labels, scores = (np.repeat(values, 5) for values in one_per_patient)
    alone = metrics.evaluate(table(labels, scores), 0.5).loc["accuracy"]
    grouped = metrics.evaluate(table(labels, scores, np.repeat(np.arange(80), 5)), 0.5).loc["accuracy"]
    assert grouped.high - grouped.low > 1.8 * (alone.high - alone.low)  # sqrt(5) in expectation


def test_the_same_seed_gives_the_same_interval():
    pd.testing.assert_frame_equal(metrics.evaluate(HAND, 0.5, 300), metrics.evaluate(HAND, 0.5, 300))


def test_one_class_gives_nan_where_nothing_is_defined():
    result = metrics.evaluate(table([1, 1, 1], [0.9, 0.2, 0.8]), 0.5, 100)
    assert np.isnan(result.value["auc"]) and np.isnan(result.value["specificity"])
    assert result.value["sensitivity"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("bad", [[0.5, np.nan], [0.5, 1.5], [-0.1, 0.5]])
def test_scores_that_are_no_probabilities_are_refused(bad):
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics.measure(table([1, 0], bad), 0.5)


def test_threshold_is_half_way_and_maximises_youden():
    labels, scores = [0, 0, 0, 1, 1, 1, 1], [0.1, 0.2, 0.6, 0.5, 0.7, 0.8, 0.9]
    # at 0.7: sensitivity 3/4, specificity 1; at 0.5: sensitivity 1, specificity 2/3
    assert metrics.choose_threshold(labels, scores) == pytest.approx((0.7 + 0.6) / 2)
    assert metrics.choose_threshold([1, 1], [0.2, 0.9]) == 0.5
    for useless in ([0.3, 0.3, 0.3, 0.3], [0.9, 0.8, 0.2, 0.1]):  # constant, then inverted scores
        assert 0 <= metrics.choose_threshold([0, 0, 1, 1], useless) <= 1
