import numpy as np
import pandas as pd
import pytest
from conftest import scores_table
from PIL import Image

from utils.data import manifest
from utils.evaluation import errors, evaluation
from utils.sources import files

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
    found = errors.facts(clustered)
    assert list(found) == ["patient number in A", "patient number in B"]
    rates = errors.rates(clustered, 0.5, found)
    worst = rates[rates.fact != "class"].nlargest(1, "value").iloc[0]
    assert (worst.fact, worst["from"], worst["to"], worst.errors) == ("patient number in A", 34, 66, 10)
    sentence = errors.finding(rates)
    assert f"of {worst.images} normal radiographs with patient number in A from 34 to 66" in sentence
    assert "of all normal ones 10 %" in sentence and f"Of {len(rates)} groups" in sentence


def test_groups_of_a_class_cover_it_once_and_have_intervals(clustered):
    facts = errors.facts(clustered).assign(brightness=np.arange(2.0 * EACH) % 50)
    rates = errors.rates(clustered, 0.5, facts)
    whole = rates[rates.fact == "class"].set_index("label")
    for (label, fact), parts in rates[rates.fact != "class"].groupby(["label", "fact"]):
        assert parts.images.sum() == whole.images[label] == EACH, fact
        assert parts.errors.sum() == whole.errors[label], fact
    assert len(rates[rates.fact == "brightness"]) == 2 * errors.PARTS
    assert rates[["low", "high"]].notna().all(axis=None) and (rates.low <= rates.value).all()
    assert (rates.high[rates.errors == 0] > 0).all()


def test_without_errors_nothing_stands_out(clustered):
    right = clustered.assign(score=manifest.positives(clustered))
    assert errors.finding(errors.rates(right, 0.5, errors.facts(right))).startswith("No group")


@pytest.mark.parametrize("patients", [["well/a.jpg"] * 2 * EACH, [f"P{n}x" for n in range(2 * EACH)]])
def test_without_patient_numbers_there_are_no_blocks(clustered, patients):
    facts = errors.facts(clustered.assign(patient=patients))
    assert facts.empty
    assert set(errors.rates(clustered, 0.5, facts).fact) == {"class", "subtype A", "subtype B"}


def test_facts_that_are_known_of_few_or_are_all_equal_make_no_quarters(clustered):
    facts = pd.DataFrame({"few": np.where(np.arange(2 * EACH) < 20, 1.0, np.nan), "equal": np.ones(2 * EACH)})
    rates = errors.rates(clustered, 0.5, facts)
    assert "few" not in set(rates.fact) and rates[rates.fact == "equal"].images.isin([EACH]).all()


def test_facts_of_files_are_known_or_left_out():
    public = manifest.read().query("split == 'test'").assign(score=0.5).reset_index(drop=True)
    known = errors.facts(public)
    assert known["file: size in kB"].notna().sum() == 124  # shipped with the project
    phantom = public.assign(patient="phantom-" + public.patient)
    assert not any(name.startswith("file") for name in errors.facts(phantom))


def test_files_at_hand_are_measured(tmp_path):
    own = scores_table([0, 1] * 10, 0.5).assign(path=[f"x/{n}.png" for n in range(20)], subtype="x")
    for n, path in enumerate(own.path):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.new("L", (200 + n, 100)).save(tmp_path / path)
    readers, _, _ = files.gather(tmp_path)
    assert errors.facts(own, readers=readers)["file: width / height"].tolist() == [
        2 + n / 100 for n in range(20)
    ]
    twice = own.assign(path=["y/1.png", *own.path[1:]])  # which of the two files it is cannot be told
    assert "file: width / height" not in errors.facts(twice, readers=readers)


def test_facts_of_pictures_follow_the_scores(radiographs):
    test = manifest.select(radiographs.table, "test")
    scores = test.assign(score=0.5).sample(frac=1, random_state=0).reset_index(drop=True)
    facts = errors.facts(scores, radiographs)
    rows = radiographs.table.reset_index().set_index("path")["index"][scores.path]
    pixels = radiographs.pixels[np.sort(rows)][np.argsort(np.argsort(rows))]
    assert np.corrcoef(facts.brightness, np.median(pixels, axis=(1, 2)))[0, 1] > 0.98
    assert np.corrcoef(facts.contrast, pixels.std((1, 2)))[0, 1] > 0.9
    assert facts[errors.TONE].between(0, 1).all() and facts[["framing", "sharpness"]].gt(0).all(axis=None)


def test_a_tone_like_the_other_class_is_seen(radiographs):
    """Healthy pictures with the tone of the ill ones get a high value, and the reverse."""
    pixels = np.random.default_rng(0).normal(100, 10, (len(radiographs.table), 224, 224))
    ill = manifest.positives(radiographs.table) == 1
    pixels[ill] = np.abs(pixels[ill] - 100) + 95  # skewed
    odd = radiographs.table.split == "test"
    strange = type(
        "", (), {"table": radiographs.table.reset_index(drop=True), "pixels": pixels.astype(np.uint8)}
    )
    swapped = strange.table.assign(label=np.where(odd & ~ill, "PNEUMONIA", strange.table.label))
    scores = swapped[odd.to_numpy()].assign(score=0.5).reset_index(drop=True)
    tone = errors.facts(scores, type("", (), {"table": swapped, "pixels": strange.pixels}))[errors.TONE]
    wrong = ~ill[odd.to_numpy()]
    assert tone[wrong].min() > 0.5 > tone[~wrong].max()


def test_a_subtype_without_errors_gets_an_interval(clustered):
    groups = evaluation.subgroups(clustered, 0.5)
    assert groups.loc[groups.group == "B", ["low", "high"]].notna().all(axis=None)
