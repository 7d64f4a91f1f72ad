import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from conftest import scores_table as table
from sklearn import metrics as theirs
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from utils import intervals, metrics

# 4 ill: 0.9 0.8 0.4 0.6; 3 well: 0.7 0.2 0.1. At 0.5: tp 3, fn 1, fp 1, tn 2. Pairs won: 10 of 12.
HAND = table([1, 1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.4, 0.6, 0.7, 0.2, 0.1])


def test_metrics_computed_by_hand():
    found = metrics.measure(HAND, 0.5)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert found["npv"] == pytest.approx(2 / 3)
    assert found["mcc"] == pytest.approx((3 * 2 - 1 * 1) / np.sqrt(4 * 4 * 3 * 3))
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.36 + 0.16 + 0.49 + 0.04 + 0.01) / 7)
    expected = {
        "accuracy": 5 / 7,
        "precision": 3 / 4,
        "sensitivity": 3 / 4,
        "specificity": 2 / 3,
        "f1": 6 / 8,
        "auc": 10 / 12,
    }
    assert found[list(expected)].to_dict() == pytest.approx(expected)
    assert metrics.confusion(HAND, 0.5) == {"tn": 2, "fp": 1, "fn": 1, "tp": 3}


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
    np.testing.assert_allclose(metrics.auc(ill, scores, weights), expected)


def test_bootstrap_equals_drawing_patients_one_by_one():
    """The vectorised intervals agree with the plain way: draw patients, collect their images."""
    rng = np.random.default_rng(2)
    labels = np.repeat([1, 0], [60, 40])
    patients = np.array(
        [f"{label}-{number}" for label, number in zip(labels, rng.integers(0, 25, 100), strict=True)]
    )
    scores = np.clip(labels * 0.25 + rng.normal(0.4, 0.2, 100), 0, 1)
    data = table(labels, scores, patients)
    fast = intervals.evaluate(data, 0.5, 2000)
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
    kept = fast.low.notna()
    assert list(fast.index[~kept]) == ["ece"]
    fast, low, high = fast[kept], low[kept], high[kept]
    np.testing.assert_allclose(fast.low, low, atol=0.035, rtol=0.1)
    np.testing.assert_allclose(fast.high, high, atol=0.035, rtol=0.1)


def test_grouping_widens_the_interval():
    rng = np.random.default_rng(3)
    one_per_patient = np.repeat([1, 0], [40, 40]), np.clip(rng.normal([0.6] * 40 + [0.4] * 40, 0.2), 0, 1)
    labels, scores = (np.repeat(values, 5) for values in one_per_patient)
    alone = intervals.evaluate(table(labels, scores), 0.5).loc["accuracy"]
    grouped = intervals.evaluate(table(labels, scores, np.repeat(np.arange(80), 5)), 0.5).loc["accuracy"]
    assert grouped.high - grouped.low > 1.8 * (alone.high - alone.low)  # sqrt(5) in expectation


@pytest.mark.parametrize("asked", [1, 250, 620])
def test_as_many_bootstrap_samples_are_drawn_as_asked_for(asked):
    parts = list(intervals.resampled(HAND, asked))
    assert sum(map(len, parts)) == asked and max(map(len, parts)) <= 250
    drawn = np.concatenate(parts)
    assert (drawn[:, :4].sum(1) == 4).all() and (drawn[:, 4:].sum(1) == 3).all()  # within each class


def test_the_same_seed_gives_the_same_interval():
    pd.testing.assert_frame_equal(intervals.evaluate(HAND, 0.5, 300), intervals.evaluate(HAND, 0.5, 300))


def test_the_auc_interval_is_obuchowskis_written_out():
    """Sums over pairs of images and over patients (Obuchowski 1997); some patients are in both classes."""
    rng = np.random.default_rng(4)
    labels, patients = rng.integers(0, 2, 60), rng.integers(0, 25, 60)
    scores = np.round(np.clip(rng.normal(0.3 + 0.3 * labels, 0.2), 0, 1), 1)  # with ties
    ill, well = np.flatnonzero(labels), np.flatnonzero(labels == 0)
    wins = [[(scores[i] > scores[j]) + (scores[i] == scores[j]) / 2 for j in well] for i in ill]
    area, of_ill, of_well = np.mean(wins), np.mean(wins, axis=1), np.mean(wins, axis=0)
    a = [sum(of_ill[k] - area for k, i in enumerate(ill) if patients[i] == p) for p in range(25)]
    b = [sum(of_well[k] - area for k, j in enumerate(well) if patients[j] == p) for p in range(25)]
    n_ill, n_well, n = (len(set(patients[rows])) for rows in (ill, well, range(60)))
    variance = n_ill / (n_ill - 1) * np.square(a).sum() / len(ill) ** 2
    variance += n_well / (n_well - 1) * np.square(b).sum() / len(well) ** 2
    variance += 2 * n / (n - 1) * np.dot(a, b) / len(ill) / len(well)
    reach = 1.959964 * np.sqrt(variance) / area / (1 - area)
    expected = [1 / (1 + np.exp(-np.log(area / (1 - area)) - side * reach)) for side in (-1, 1)]
    found = intervals.evaluate(table(labels, scores, patients), 0.5, 1).loc["auc"]
    assert found.to_list() == pytest.approx([area, *expected])


def test_the_interval_of_a_share_counts_patients_as_far_as_their_images_are_alike():
    rng = np.random.default_rng(5)
    hits, members = rng.random((300, 1)) < 0.9, np.ones((300, 1), bool)
    ones = [1] * 300
    for patients, size in (
        (range(300), 300 * 299 / 300),  # as independent: Wilson's own, but for the correction
        (np.arange(300) // 3, 300),  # images of a patient differ as those of different patients do
    ):
        found = intervals.shares(table(ones, 0.5, patients), hits, members).iloc[0]
        expected = proportion_confint(hits.mean() * size, size, method="wilson")
        assert (found.low, found.high) == pytest.approx(expected, abs=0.008)
    alike = intervals.shares(table(ones, 0.5, np.arange(300) // 3), np.repeat(hits[:100], 3, 0), members)
    expected = proportion_confint(hits[:100].mean() * 99, 99, method="wilson")
    assert alike.iloc[0, 1:].to_list() == pytest.approx(expected)


@pytest.mark.parametrize("value", [0, 1])
def test_a_share_without_an_error_counts_patients_who_may_have_many_images(value):
    """Of 20 images 11 are of one patient: by Kish as good as 20^2 / (11^2 + 9) independent ones."""
    scores = table([1] * 20, [0.9] * 20, ["a"] * 11 + list("bcdefghij"))
    found = intervals.shares(scores, np.full((20, 1), value), np.ones((20, 1), bool)).iloc[0]
    size = 20**2 / (11**2 + 9)
    assert (found.low, found.high) == pytest.approx(
        proportion_confint(value * size, size, method="wilson"), abs=1e-9
    )
    assert value in (found.low, found.high)


NO_LIMITS = {"f1", "mcc", "auprc", "brier", "slope", "intercept"}  # where no sample differs


@pytest.mark.parametrize(
    ("labels", "scores", "patients", "undefined"),
    [
        ([1, 1, 0, 0], [0.9, 0.8, 0.1, 0.2], "abcd", set()),
        ([1, 1, 0, 0], [0.1, 0.2, 0.9, 0.8], "abcd", set()),
        ([1, 0, 0, 0], [0.5, 0.2, 0.6, 0.4], "abcd", set()),
        ([1, 1, 0], [0.9, 0.2, 0.8], "aaa", set()),
        ([1, 1, 1], [0.9, 0.2, 0.8], "aab", {"specificity", "balanced_accuracy", "auc"}),
        ([0], [0.2], "a", {"sensitivity", "balanced_accuracy", "auc", "precision"}),
    ],
    ids=["no errors", "all wrong", "one ill patient", "one patient", "one class", "one image"],
)
@pytest.mark.filterwarnings("error")
def test_small_tables_have_an_interval_that_holds_the_value_wherever_there_is_a_value(
    labels, scores, patients, undefined
):
    found = intervals.evaluate(table(labels, scores, list(patients)), 0.5, 50).drop(["ece", *NO_LIMITS])
    assert set(found.index[found.value.isna()]) == undefined
    defined = found.dropna(subset="value")
    assert ((defined.low <= defined.value) & (defined.value <= defined.high)).all()
    assert (defined.low >= 0).all() and (defined.high <= 1).all() and (defined.low < defined.high).all()


def test_equal_scores_have_no_interval_of_the_auc():
    found = intervals.evaluate(table([1, 1, 0, 0], [0.6] * 4), 0.5, 20).loc["auc"]
    assert found.value == 0.5 and np.isnan(found.low) and np.isnan(found.high)


def test_one_class_gives_nan_where_nothing_is_defined():
    result = intervals.evaluate(table([1, 1, 1], [0.9, 0.2, 0.8]), 0.5, 100)
    assert np.isnan(result.value["auc"]) and np.isnan(result.value["specificity"])
    assert result.value["sensitivity"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("bad", [[0.5, np.nan], [0.5, 1.5], [-0.1, 0.5]])
def test_scores_that_are_no_probabilities_are_refused(bad):
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics.measure(table([1, 0], bad), 0.5)


def test_threshold_is_half_way_and_maximises_youden():
    labels, scores = [0, 0, 0, 1, 1, 1, 1], [0.1, 0.2, 0.6, 0.5, 0.7, 0.8, 0.9]
    # at 0.7: sensitivity 3/4, specificity 1; at 0.5: sensitivity 1, specificity 2/3
    assert metrics.choose_threshold(table(labels, scores)) == pytest.approx((0.7 + 0.6) / 2)
    assert metrics.choose_threshold(table([1, 1], [0.2, 0.9])) == 0.5
    for useless in ([0.3, 0.3, 0.3, 0.3], [0.9, 0.8, 0.2, 0.1]):  # constant, then inverted scores
        assert 0 <= metrics.choose_threshold(table([0, 0, 1, 1], useless)) <= 1


def noisy(seed, n=300):
    """Labels, scores with ties, and whole-numbered weights, as a bootstrap draws them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    scores = np.round(1 / (1 + np.exp(-rng.normal(2 * labels - 0.7, 1.5))), 2).clip(0.01, 0.99)
    return labels, scores, rng.integers(0, 4, n).astype(float)


@pytest.mark.parametrize("seed", range(3))
def test_every_formula_agrees_with_scikit_learn_and_statsmodels(seed):
    labels, scores, weights = noisy(seed)
    called = scores >= 0.5
    logit = np.log(scores / (1 - scores))
    found = metrics.weighted(table(labels, scores), 0.5, weights[None])[0]
    found = dict(zip(metrics.METRICS, found, strict=True))
    family, kept = sm.families.Binomial(), {"sample_weight": weights}
    line = sm.GLM(labels, sm.add_constant(logit), family=family, freq_weights=weights).fit()
    large = sm.GLM(labels, np.ones(len(labels)), family=family, freq_weights=weights, offset=logit).fit()
    expected = {
        "accuracy": theirs.accuracy_score(labels, called, **kept),
        "balanced_accuracy": theirs.balanced_accuracy_score(labels, called, **kept),
        "sensitivity": theirs.recall_score(labels, called, **kept),
        "specificity": theirs.recall_score(labels, called, pos_label=0, **kept),
        "precision": theirs.precision_score(labels, called, **kept),
        "npv": theirs.precision_score(labels, called, pos_label=0, **kept),
        "f1": theirs.f1_score(labels, called, **kept),
        "mcc": theirs.matthews_corrcoef(labels, called, **kept),
        "auc": theirs.roc_auc_score(labels, scores, **kept),
        "auprc": theirs.average_precision_score(labels, scores, **kept),
        "brier": theirs.brier_score_loss(labels, scores, **kept),
        "slope": line.params[1],
        "intercept": large.params[0],
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert set(metrics.METRICS) - set(expected) == {"ece"}


def test_calibration_error_by_hand_and_for_a_calibrated_network():
    # ten bins of two images each: every bin's mean score is 0.1 too low, except one that is right
    scores = np.repeat(np.arange(10) / 10, 2)
    ill = np.zeros(20)
    assert metrics.calibration_error(ill == 1, scores, np.ones((1, 20)))[0] == pytest.approx(0.45)
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, 40_000)
    labels = (rng.uniform(size=40_000) < scores).astype(int)
    found = metrics.measure(table(labels, scores), 0.5)
    assert found["ece"] < 0.01 and found["slope"] == pytest.approx(1, abs=0.05)
    assert found["intercept"] == pytest.approx(0, abs=0.05)
    sharp = scores**3 / (scores**3 + (1 - scores) ** 3)  # the logit three times as large
    assert metrics.measure(table(labels, sharp), 0.5)["slope"] == pytest.approx(1 / 3, abs=0.02)


def test_separated_classes_have_no_calibration_line():
    found = metrics.measure(table([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]), 0.5)
    assert np.isnan(found["slope"]) and np.isfinite(found["brier"])
