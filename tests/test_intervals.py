import numpy as np
import pandas as pd
import pytest
from conftest import scores_table as table
from statsmodels.stats.proportion import proportion_confint

from utils import intervals, metrics

HAND = table([1, 1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.4, 0.6, 0.7, 0.2, 0.1])


def test_bootstrap_equals_drawing_patients_one_by_one():
    """The vectorised intervals agree with the plain way: draw patients of a class, collect their images."""
    rng = np.random.default_rng(2)
    labels = np.repeat([1, 0], [60, 40])
    numbers = rng.integers(0, 25, 100)
    patients = np.array([f"{label}-{number}" for label, number in zip(labels, numbers, strict=True)])
    data = table(labels, np.clip(labels * 0.25 + rng.normal(0.4, 0.2, 100), 0, 1), patients)
    members = {name: np.flatnonzero(patients == name) for name in np.unique(patients)}
    plain = []
    for _ in range(400):
        rows = []
        for label in "01":
            names = [name for name in members if name[0] == label]
            rows += [members[name] for name in rng.choice(names, len(names))]
        plain.append(metrics.measure(data.iloc[np.concatenate(rows)], 0.5))
    low, high = np.percentile(plain, [2.5, 97.5], axis=0)
    fast = intervals.evaluate(data, 0.5, 2000)
    kept = fast.low.notna().to_numpy()
    assert list(fast.index[~kept]) == ["ece"]
    np.testing.assert_allclose(fast.low[kept], low[kept], atol=0.035, rtol=0.1)
    np.testing.assert_allclose(fast.high[kept], high[kept], atol=0.035, rtol=0.1)


def test_values_are_those_of_the_metrics():
    found = intervals.evaluate(HAND, 0.5, 20)
    pd.testing.assert_series_equal(found.value, metrics.measure(HAND, 0.5), check_names=False)


def test_grouping_widens_the_interval():
    rng = np.random.default_rng(3)
    one_per_patient = np.repeat([1, 0], [40, 40]), np.clip(rng.normal([0.6] * 40 + [0.4] * 40, 0.2), 0, 1)
    labels, scores = (np.repeat(values, 5) for values in one_per_patient)
    alone = intervals.evaluate(table(labels, scores), 0.5).loc["accuracy"]
    grouped = intervals.evaluate(table(labels, scores, np.repeat(np.arange(80), 5)), 0.5).loc["accuracy"]
    assert grouped.high - grouped.low > 1.8 * (alone.high - alone.low)  # sqrt(5) in expectation


@pytest.mark.parametrize("asked", [1, 250, 620])
def test_as_many_bootstrap_samples_are_drawn_as_asked_for_and_always_the_same(asked):
    parts = list(intervals.resampled(HAND, asked))
    assert sum(map(len, parts)) == asked and max(map(len, parts)) <= 250
    samples = np.concatenate(parts)
    assert (samples[:, :4].sum(1) == 4).all() and (samples[:, 4:].sum(1) == 3).all()  # within each class
    assert np.array_equal(samples, np.concatenate(list(intervals.resampled(HAND, asked))))


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
    expected = [1 / (1 + np.exp(-np.log(area / (1 - area)) - sign * reach)) for sign in (-1, 1)]
    found = intervals.aucs(table(labels, scores, patients), np.stack([scores, 1 - scores], axis=1))
    assert found.iloc[0].to_list() == pytest.approx([area, *expected])
    assert found.iloc[1].to_list() == pytest.approx([1 - area, 1 - expected[1], 1 - expected[0]])


def share_of(hits, patients):
    """The low and high end of one share."""
    hits = np.asarray(hits)[:, None]
    found = intervals.shares(table(hits[:, 0], 0.5, patients), hits, np.ones_like(hits, bool))
    return found.iloc[0, 1:].to_list()


def wilson(value, images):
    return proportion_confint(value * images, images, method="wilson")


def test_the_interval_of_a_share_counts_patients_as_far_as_their_images_are_alike():
    rng = np.random.default_rng(5)
    hits = rng.random(300) < 0.9
    assert share_of(hits, range(300)) == pytest.approx(wilson(hits.mean(), 299), abs=0.008)
    # images of a patient differ as those of different patients do
    assert share_of(hits, np.arange(300) // 3) == pytest.approx(wilson(hits.mean(), 300), abs=0.008)
    alike = share_of(np.repeat(hits[:100], 3), np.arange(300) // 3)
    assert alike == pytest.approx(wilson(hits[:100].mean(), 99))


def test_a_share_never_counts_more_images_than_there_are():
    """One hit and one miss of nearly every patient: they vary less than independent images would."""
    hits, patients = [1, 0] * 20 + [1, 1], np.arange(42) // 2
    assert share_of(hits, patients) == pytest.approx(wilson(22 / 42, 42))


@pytest.mark.parametrize("value", [0, 1])
def test_a_share_without_an_error_counts_patients_who_may_have_many_images(value):
    """Of 20 images 11 are of one patient: by Kish as good as 20^2 / (11^2 + 9) independent ones."""
    low, high = share_of([value] * 20, ["a"] * 11 + list("bcdefghij"))
    assert (low, high) == pytest.approx(wilson(value, 20**2 / (11**2 + 9)), abs=1e-9)
    assert value in (low, high)


def test_the_interval_of_the_mean_of_two_shares_is_zous_and_donners():
    found = intervals.evaluate(HAND, 0.5, 20)
    one, two, mean = (found.loc[name] for name in ("sensitivity", "specificity", "balanced_accuracy"))
    below = np.sqrt((one.value - one.low) ** 2 + (two.value - two.low) ** 2) / 2
    above = np.sqrt((one.high - one.value) ** 2 + (two.high - two.value) ** 2) / 2
    expected = [mean.value - below, (3 / 4 + 2 / 3) / 2, mean.value + above]
    assert [mean.low, mean.value, mean.high] == pytest.approx(expected)


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


def test_a_statistic_that_most_samples_do_not_have_gets_no_interval():
    drawn = np.arange(80.0)[:, None] * [1, 1]
    drawn[:2, 0], drawn[:3, 1] = np.nan, np.nan  # 2 and 3 of 80
    low, high = intervals.limits(drawn)
    assert low[0] < high[0] and np.isnan([low[1], high[1]]).all()


@pytest.mark.parametrize(
    ("row", "printed"),
    [
        ((0.9583, 0.9312, 0.9811), "0.958 (0.931-0.981)"),
        ((0.5, 0.12, 0.88), "0.50 (0.12-0.88)"),
        ((1.24, -0.4, 3.1), "1.2 (-0.4 to 3.1)"),
        ((0.25, np.nan, np.nan), "0.250 (no interval)"),
        ((np.nan, np.nan, np.nan), "not defined"),
    ],
)
def test_numbers_are_printed_as_far_as_their_interval_supports_them(row, printed):
    assert intervals.text(pd.Series(row, ["value", "low", "high"])) == printed
