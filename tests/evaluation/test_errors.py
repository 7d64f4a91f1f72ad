"""Where the errors are: groups of radiographs, their rates, and the one that stands out."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import scores_table

from utils import figures
from utils.data import manifest
from utils.evaluation import errors

EACH = 101  # radiographs of a class


@pytest.fixture(scope="module")
def clustered():
    """Scores without errors, but for ten healthy patients with neighbouring numbers."""
    labels, number = np.repeat([0, 1], EACH), np.tile(np.arange(EACH), 2)
    subtype = np.where(labels, "B", "A")
    patients = [f"{kind}-{n}" for kind, n in zip(subtype, number, strict=True)]
    table = scores_table(labels, np.where(labels, 0.9, 0.1), patients)
    table.loc[40:49, "score"] = 0.8
    return table.assign(subtype=subtype, path=[f"train/{n}.jpeg" for n in range(2 * EACH)])


def test_a_block_of_errors_is_found(clustered):
    facts = errors.facts(clustered)
    assert list(facts["number"]) == ["patient number in A", "patient number in B"]
    rates = errors.rates(clustered, 0.5, facts)
    worst = rates[rates.kind != "class"].nlargest(1, "value").iloc[0]
    assert (worst.kind, worst.fact) == ("number", "patient number in A")
    assert (worst["from"], worst["to"], worst.errors) == (34, 66, 10)
    sentence = errors.finding(rates)
    assert f"of {worst.images} normal radiographs with patient number in A from 34 to 66" in sentence
    assert "of all normal ones 10 %" in sentence and f"Of {len(rates)} groups" in sentence


def test_groups_of_a_class_cover_it_once_and_have_intervals(clustered):
    brightness = pd.DataFrame({"brightness": np.arange(2.0 * EACH) % 50})
    rates = errors.rates(clustered, 0.5, errors.facts(clustered) | {"picture": brightness})
    whole = rates[rates.kind == "class"].set_index("label")
    for (label, fact), parts in rates[rates.kind != "class"].groupby(["label", "fact"]):
        assert parts.images.sum() == whole.images[label] == EACH, fact
        assert parts.errors.sum() == whole.errors[label], fact
    assert rates[rates.kind == "picture"].groupby("label").part.apply(list).tolist() == [[0, 1, 2, 3]] * 2
    assert rates[["low", "high"]].notna().all(axis=None) and (rates.low <= rates.value).all()
    assert (rates.high[rates.errors == 0] > 0).all()


def test_without_errors_nothing_stands_out(clustered):
    right = clustered.assign(score=manifest.positives(clustered))
    assert errors.finding(errors.rates(right, 0.5, errors.facts(right))).startswith("No group")


def test_what_stands_out_is_measured_from_the_rate_of_its_class():
    rows = [  # kind, fact, label, value, low
        ("class", "class", "NORMAL", 0.1, 0.05),
        ("class", "class", "PNEUMONIA", 0.5, 0.4),
        ("picture", "contrast", "NORMAL", 0.3, 0.2),
        ("picture", "contrast", "PNEUMONIA", 0.65, 0.55),  # higher, but less so above its class
        ("picture", "framing", "NORMAL", 0.4, 0.05),  # higher, but perhaps by chance
    ]
    rates = pd.DataFrame(rows, columns=["kind", "fact", "label", "value", "low"])
    rates = rates.assign(images=9, high=0.9, **{"from": 1.0, "to": 2.0})
    assert "of 9 normal radiographs with contrast from 1 to 2, 30 %" in errors.finding(rates)


@pytest.mark.parametrize("patients", [["well/a.jpg"] * 2 * EACH, [f"P{n}x" for n in range(2 * EACH)]])
def test_without_patient_numbers_there_are_no_blocks(clustered, patients):
    facts = errors.facts(clustered.assign(patient=patients))
    assert facts["picture"].empty and facts["file"].isna().all(axis=None) and facts["number"].empty
    assert set(errors.rates(clustered, 0.5, facts).fact) == {"class", "subtype A", "subtype B"}


def test_facts_that_are_known_of_few_or_are_all_equal_make_no_quarters(clustered):
    few = np.where(np.arange(2 * EACH) < 20, 1.0, np.nan)
    facts = {"picture": pd.DataFrame({"few": few, "equal": np.ones(2 * EACH)})}
    rates = errors.rates(clustered, 0.5, facts)
    assert "few" not in set(rates.fact) and rates[rates.fact == "equal"].images.isin([EACH]).all()


def test_each_fact_gets_a_panel_with_its_quarters_or_its_numbers(clustered):
    brightness = pd.DataFrame({"brightness": np.arange(2.0 * EACH) % 50})
    facts = errors.facts(clustered) | {"picture": brightness}
    figure = figures.comparisons.error_rates(errors.rates(clustered, 0.5, facts))
    panels = {axis.get_title(): axis for axis in figure.axes if axis.get_visible()}
    ticks = {title: [t.get_text() for t in axis.get_xticklabels()] for title, axis in panels.items()}
    assert list(ticks) == ["brightness", "patient number in A", "patient number in B"]
    assert ticks["brightness"] == ["lowest\nquarter", "highest\nquarter"]
    assert ticks["patient number in A"] == ["0-33", "34-66", "67-100"]
    assert "normal, patient number in A, 30 %" in figure.get_label()


def test_facts_of_files_are_known_or_left_out():
    public = manifest.read().query("split == 'test'").assign(score=0.5).reset_index(drop=True)
    known = errors.facts(public)["file"]
    assert known["file: size in kB"].notna().sum() == 124  # shipped with the project
    phantom = public.assign(patient="phantom-" + public.patient)
    assert errors.facts(phantom)["file"].isna().all(axis=None)


def test_facts_of_pictures_follow_the_scores(radiographs):
    test = manifest.select(radiographs.table, "test")
    scores = test.assign(score=0.5).sample(frac=1, random_state=0).reset_index(drop=True)
    facts = errors.facts(scores, radiographs)["picture"]
    rows = radiographs.table.reset_index().set_index("path")["index"][scores.path]
    pixels = radiographs.pixels[np.sort(rows)][np.argsort(np.argsort(rows))]
    assert np.corrcoef(facts.brightness, np.median(pixels, axis=(1, 2)))[0, 1] > 0.98
    assert np.corrcoef(facts.contrast, pixels.std((1, 2)))[0, 1] > 0.9
    assert facts[errors.TONE].between(0, 1).all() and facts[["framing", "sharpness"]].gt(0).all(axis=None)


def test_a_tone_like_the_other_class_is_seen(radiographs):
    """Healthy pictures with the tone of the ill ones get a high value, and the reverse."""
    table = radiographs.table.reset_index(drop=True)
    pixels = np.random.default_rng(0).normal(100, 10, (len(table), 224, 224))
    ill = manifest.positives(table) == 1
    pixels[ill] = np.abs(pixels[ill] - 100) + 95  # skewed
    odd = (table.split == "test").to_numpy()

    def tone_of(table):
        of_test = table[odd].assign(score=0.5).reset_index(drop=True)
        strange = SimpleNamespace(table=table, pixels=pixels.astype(np.uint8))
        return errors.facts(of_test, strange)["picture"][errors.TONE]

    swapped = tone_of(table.assign(label=np.where(odd & ~ill, "PNEUMONIA", table.label)))
    assert swapped[~ill[odd]].min() > 0.5 > swapped[ill[odd]].max()
    right = tone_of(table)
    assert np.allclose(swapped[~ill[odd]], 1 - right[~ill[odd]]), "labels of test images teach nothing"
