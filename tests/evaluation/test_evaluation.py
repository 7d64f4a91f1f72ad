from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import scores_table as table

from utils import intervals, metrics
from utils.evaluation import compare, evaluation
from utils.training import recipes


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


def test_predictive_values_follow_bayes_rule():
    scores = made()
    point = metrics.measure(scores, 0.5)
    share = (scores.label == "PNEUMONIA").mean()
    found = evaluation.at_prevalence(scores, 0.5, (share, 0.05), 200)
    found = found.set_index(["metric", "prevalence"]).value
    assert found["PPV", share] == pytest.approx(point.precision)
    assert found["NPV", share] == pytest.approx(point.npv)
    # sensitivity 90 %, specificity 80 %, prevalence 5 %: 45 hits and 190 false alarms in 1,000
    labels = np.repeat([1, 0], 100)
    called = np.concatenate([np.repeat([1, 0], [90, 10]), np.repeat([1, 0], [20, 80])])
    found = evaluation.at_prevalence(table(labels, called * 1.0), 0.5, (0.05,), 100)
    assert found.value.tolist() == pytest.approx([45 / 235, 760 / 765])


def test_recalibration_undoes_shift_and_sharpness_and_keeps_the_order():
    validation, scores = made(seed=1, sharpness=2.5, lift=1), made(seed=2, sharpness=2.5, lift=1)
    better = evaluation.recalibrate(scores, validation)
    before, after = (metrics.measure(scores_, 0.5) for scores_ in (scores, better))
    assert before.slope < 0.5 and after.slope == pytest.approx(1, abs=0.3)
    assert after.brier < before.brier and after.ece < before.ece and after.auc == pytest.approx(before.auc)
    apart = table([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert evaluation.recalibrate(scores, apart) is None
    assert list(evaluation.calibration(scores, apart, 20)) == ["as they are"]


def test_reliability_holds_every_image_once():
    found = evaluation.reliability(made())
    assert found.images.sum() == 400 and found.images.nunique() == 1 and found.score.is_monotonic_increasing
    assert (found.score - found.value).abs().max() < 0.2
    assert ((found.low < found.value) & (found.value < found.high)).sum() >= 8  # but for 0 and 100 %


def test_decision_curve_by_hand():
    labels = np.repeat([1, 0], 100)
    called = np.concatenate([np.repeat([0.99, 0.01], [90, 10]), np.repeat([0.99, 0.01], [20, 80])])
    scores = table(labels, called)
    found = evaluation.decision_curves(scores, scores, None, 0.2, np.array([0.25, 0.55, 0.97]))
    # of 100 ill 90 score 0.99, of 100 well 20: recalibrated 90 / 110, moved to a prevalence of 0.2: 0.53;
    # 0.99 itself, meant for the half of these images, moved: 0.961
    act = 0.9 * 0.2 - 0.2 * 0.8 / 3, 0.9 * 0.2 - 0.2 * 0.8 * 55 / 45
    assert found["recalibrated"].to_list() == pytest.approx([act[0], 0, 0])
    assert found["as they are"].to_list() == pytest.approx([*act, 0])
    assert found.everyone[0] == pytest.approx(0.2 - 0.8 / 3)


def test_scores_as_they_are_mean_the_share_that_the_training_taught():
    """The score 0.6 at a prevalence of 0.2: from one half 0.27, from the share of validation, 0.8: 0.086."""
    scores, validation = table([1, 0], [0.6, 0.6]), table([1, 1, 1, 1, 0], [0.7, 0.2, 0.9, 0.4, 0.3])
    for weights, acted in (([1.2, 0.8], [True, True, False]), (None, [True, False, False])):
        found = evaluation.decision_curves(scores, validation, weights, 0.2, np.array([0.08, 0.25, 0.3]))
        assert (found["as they are"] == found.everyone).to_list() == acted
    apart = table([0, 1], [0.1, 0.9])
    assert "recalibrated" not in evaluation.decision_curves(scores, apart, None, 0.2)


def test_the_same_network_does_not_differ_from_itself():
    scores = made()
    found = compare.paired([scores], [scores.sample(frac=1, random_state=0)], resamples=200)
    assert (found.loc["accuracy", ["difference", "low", "high"]] == 0).all()


def test_a_paired_interval_is_narrower_than_an_unpaired_one_and_seeds_widen_it():
    first = made()
    second = first.assign(score=first.score.mask(first.index < 12, 1 - first.score))
    found = compare.paired([first], [second], resamples=400).loc["auc"]
    alone = intervals.evaluate(first, 0.5, 400).loc["auc"]
    assert found["second"] < found["first"]
    assert found.difference == pytest.approx(found["second"] - found["first"])
    assert found.high - found.low < alone.high - alone.low
    several = compare.paired([first] * 3, [second, first, first], resamples=400).loc["auc"]
    assert several.low < several.difference < 0 <= several.high  # the worse network may not be drawn


def test_only_the_same_images_are_compared():
    with pytest.raises(evaluation.ScoresError, match="different images"):
        compare.paired([made()], [made(seed=3)])


def test_mcnemar_by_hand():
    """8 against 2 discordant images: p = 2 * P(Binomial(10, 0.5) <= 2) = 0.109375."""
    labels, place = np.ones(30, int), np.arange(30)
    first = table(labels, np.where(place < 2, 0.1, 0.9)).assign(path=place)
    second = table(labels, np.where((place >= 2) & (place < 10), 0.1, 0.9)).assign(path=place)
    found = compare.discordant(first, second)
    assert found.iloc[0].tolist() == [8, 2, pytest.approx(0.109375)]
    assert found.index.name == "as if images were independent"


@pytest.mark.parametrize("prevalence", [0, 1, 30, -0.1])
def test_a_prevalence_that_is_none_is_refused(prevalence):
    with pytest.raises(evaluation.ScoresError, match="a share between 0 and 1"):
        evaluation.at_prevalence(made(), 0.5, (0.1, prevalence))
    with pytest.raises(evaluation.ScoresError, match="a share between 0 and 1"):
        evaluation.decision_curves(made(), made(), None, prevalence)


def test_bins_do_not_depend_on_the_order_of_rows():
    constant = made().sort_values("label").assign(score=0.6)
    found = evaluation.reliability(constant)
    assert len(found) == 1 and found.images[0] == 400
    share = (constant.label == "PNEUMONIA").mean()
    assert metrics.measure(constant, 0.5).ece == pytest.approx(abs(0.6 - share))
    tied = made().assign(score=made().score.round(1).clip(0, 1))
    shuffled = tied.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(evaluation.reliability(tied), evaluation.reliability(shuffled))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s[s.label == "PNEUMONIA"], "All images are PNEUMONIA"),
        (lambda s: s.assign(patient="p1"), "1 patients have images in both classes"),
        (lambda s: s.head(20), "20 images are few"),
        (lambda s: s.assign(score=0.4), "does not look at the picture"),
        (lambda s: s.assign(score=1 - s.score), "far below 0.5"),
    ],
)
def test_what_limits_an_evaluation_is_said(change, words):
    scores = made()
    assert evaluation.check(scores, scores) == []
    limited = change(scores)
    assert any(words in sentence for sentence in evaluation.check(limited, scores))
    assert len(intervals.evaluate(limited, 0.5, 50)) == len(metrics.METRICS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.assign(score=s.score.mask(s.index < 3)), "3 of 400 scores are missing"),
        (lambda s: s.assign(score=s.score * 3 - 1), "not between 0 and 1"),
        (lambda s: s.drop(columns="patient"), "no column patient"),
        (lambda s: s.head(0), "no scores"),
        (lambda s: pd.concat([s, s.head(7)]), "7 images are scored twice"),
        (lambda s: s.assign(path="x" + s.path), "belong to other images"),
    ],
)
def test_scores_that_cannot_be_evaluated_are_refused(change, words):
    scores = made()
    with pytest.raises(evaluation.ScoresError, match=words):
        evaluation.check(change(scores), scores)


def test_the_main_table_has_a_lazy_column_and_the_gap_is_said():
    found = evaluation.results(made(), made(seed=1), 0.6, 100)
    assert list(found)[-1] == "always pneumonia" and len(found) == 4
    rare = made()[lambda s: (s.label == "NORMAL") | (s.index % 4 == 0)]
    assert list(evaluation.results(rare, rare, 0.6, 10))[-1] == "always normal"
    lazy = found["always pneumonia"].value
    assert lazy.sensitivity == 1 and lazy.specificity == 0 and lazy.auc == 0.5
    two = [found[name].value.balanced_accuracy for name in list(found)[1:3]]
    assert f"a gap of {two[1] - two[0]:+.3f}" in evaluation.gap(found)


def test_calibration_is_shown_before_and_after():
    found = evaluation.calibration(made(sharpness=2.5), made(seed=1, sharpness=2.5), 50)
    before, after = (table.value for table in found.values())
    assert list(before.index) == list(metrics.CALIBRATION) and after.brier < before.brier


def run_of(recipe, scores, name):
    return SimpleNamespace(name=name, card={"recipe": {"name": recipe}}, scores=lambda part: scores)


def test_a_comparison_ends_in_one_sentence():
    scores = made()
    worse = scores.assign(score=scores.score.mask(scores.index < 40, 1 - scores.score))
    a, b, again = run_of("a", scores, "a0"), run_of("b", worse, "b0"), run_of("a", scores, "a1")
    first, second = compare.by_recipe(a, [b, again, a])
    assert (first, second) == ([a, again], [b])
    table = compare.paired([scores], [worse], resamples=300)
    said = compare.conclusion(table, first, second, scores)
    assert said.startswith("a0 and 1 other seeds has a higher accuracy than b0 (")
    assert "not about the recipes" in said
    two = compare.conclusion(table, first, [b, b], scores)
    assert "too narrow for a claim about" in two
    same = compare.paired([scores], [scores], resamples=50)
    assert "may be chance on 400 images" in compare.conclusion(same, [a], [b], scores)
    for others, words in (
        ([again], "of 1 recipes"),
        ([b, run_of("c", scores, "c0")], "of 3 recipes"),
        ([run_of("c", None, "fresh")], "fresh: never scored"),
    ):
        with pytest.raises(evaluation.ScoresError, match=words):
            compare.by_recipe(a, others)


def test_sides_of_a_comparison_have_readable_names_and_older_cards_stay_with_their_recipe():
    scores = made()
    old, new, other = run_of("best", scores, "b0"), run_of("best", scores, "b1"), run_of("fast", scores, "f0")
    new.card["recipe"] |= {"sharpening": 0.0, "remark": "in other words"}  # a field with its default
    sides = compare.by_recipe(old, [new, other])
    assert sides == [[old, new], [other]]
    other.card["changed"] = {"epochs": [8, 2]}
    names = ["compact network, our handling", "compact network, short training, epochs 2"]
    assert compare.titles(*sides) == names
    assert (
        compare.titles([old], [new]) == ["b0", "b1"] and recipes.title({"recipe": {"name": "own"}}) == "own"
    )


def test_a_score_at_the_threshold_is_a_call_wherever_answers_are_counted():
    """Two ill images at exactly 0.5 and at 0.4, two well ones at exactly 0.5 and at 0.4."""
    on_edge = table([1, 1, 0, 0], [0.5, 0.4, 0.5, 0.4]).assign(path=list("abcd"), subtype=list("iiww"))
    assert evaluation.subgroups(on_edge, 0.5).value.tolist() == [0.5, 0.5]
    assert evaluation.at_prevalence(on_edge, 0.5, (0.5,), 20).value.tolist() == [0.5, 0.5]
    below = on_edge.assign(score=np.nextafter(on_edge.score, 0))
    found = compare.paired([below], [on_edge], 0.5, ["sensitivity", "specificity"], 20)
    assert found.difference.tolist() == [0.5, -0.5]
    assert compare.discordant(below, on_edge).iloc[0, :2].tolist() == [1, 1]
