from types import SimpleNamespace

import numpy as np
import pytest
from conftest import scores_table as table
from test_evaluation import made

from utils import intervals
from utils.evaluation import compare
from utils.training import recipes
from utils.workspace import ExplainedError


def worse_than(scores, errors):
    """The same scores, but for so many images whose score is turned round."""
    return scores.assign(score=scores.score.mask(np.arange(len(scores)) < errors, 1 - scores.score))


def test_the_same_network_does_not_differ_from_itself():
    scores = made()
    found = compare.paired([scores], [scores.sample(frac=1, random_state=0)], resamples=200)
    assert (found.loc["accuracy", ["difference", "low", "high"]] == 0).all()


def test_a_difference_is_the_second_minus_the_first_with_a_paired_interval():
    better, worse = made(), worse_than(made(), 40)
    found = compare.paired([better], [worse], resamples=400)
    assert (found.difference == found["second"] - found["first"]).all()
    alone = intervals.evaluate(better, 0.5, 20)
    assert found["first"].to_list() == pytest.approx(alone.value.to_list())
    row, auc = found.loc["accuracy"], alone.loc["auc"]
    assert row.low < row.difference < row.high < 0
    assert found.high.auc - found.low.auc < auc.high - auc.low
    back = compare.paired([worse], [better], ["accuracy"], 400).loc["accuracy"]
    assert [back.low, back.difference, back.high] == pytest.approx([-row.high, -row.difference, -row.low])


def test_networks_are_drawn_within_each_recipe():
    """Whichever patients are drawn, one network is always right and one always wrong: only seeds count."""
    labels = np.arange(20) % 2
    right, wrong = (table(labels, abs(labels - off)).assign(path=np.arange(20)) for off in (0.1, 0.9))
    for first, second in (([right, wrong], [right]), ([wrong], [right, wrong])):
        row = compare.paired(first, second, ["accuracy"], 200).loc["accuracy"]
        assert row.difference == 0.5 and (row.low, row.high) == (0, 1)


def test_patients_are_drawn_for_all_networks_together():
    """Both networks err on the same images: whoever is drawn, the difference is the same."""
    scores = worse_than(made(), 40)
    row = compare.paired([scores] * 2, [scores.assign(score=scores.score**1.001)], ["accuracy"], 100)
    assert row.loc["accuracy", ["low", "high"]].abs().max() < 0.01


def test_only_the_same_images_are_compared():
    other_patients = made().assign(patient="phantom " + made().patient)
    for other in (made(seed=3), other_patients):
        with pytest.raises(ExplainedError, match="different images"):
            compare.paired([made()], [other])


def test_mcnemar_by_hand():
    """8 against 2 images that only one gets right: p = 2 * P(Binomial(10, 0.5) <= 2) = 0.109375."""
    labels, place = np.ones(30, int), np.arange(30)
    first = table(labels, np.where(place < 2, 0.1, 0.5)).assign(path=place)
    second = table(labels, np.where((place >= 2) & (place < 10), 0.1, 0.5)).assign(path=place)
    found = compare.discordant(first, second.sample(frac=1, random_state=0))
    assert found.iloc[0].tolist() == [8, 2, pytest.approx(0.109375)]
    assert found.index.name == "as if images were independent"
    assert compare.discordant(first, first).iloc[0].tolist() == [0, 0, 1]


def test_a_comparison_ends_in_one_sentence():
    scores, worse = made(), worse_than(made(), 40)
    found = compare.paired([scores], [worse], resamples=300)
    said = compare.conclusion(found, "a", "b", scores)
    assert said.startswith("a has a higher accuracy than b (-0.") and "not about the recipes" in said
    found = compare.paired([worse], [scores], resamples=300)
    assert compare.conclusion(found, "b", "a", scores).startswith("a has a higher accuracy than b (+0.")
    found = compare.paired([scores], [scores], resamples=50)
    said = compare.conclusion(found, "a", "b", scores)
    assert said.startswith("The difference in accuracy between a and b may be chance (+0.000, ")
    assert "on 400 images of 297 patients" in said


def test_networks_have_readable_titles_and_those_of_one_recipe_their_names():
    one, two, other = (
        SimpleNamespace(name=name, card={"recipe": {"name": name[:-1]}})
        for name in ("best0", "best1", "fast0")
    )
    other.card["changed"] = {"epochs": [8, 2]}
    assert compare.titles(one, other) == [recipes.title(one.card), recipes.title(other.card)]
    assert compare.titles(one, two) == ["best0", "best1"]
