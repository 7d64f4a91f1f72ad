import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from utils.data import manifest, shortcuts


@pytest.fixture(scope="module")
def public():
    return manifest.read()


def test_the_patient_keys_of_others_report_what_was_published(public):
    keys = shortcuts.patient_keys(public).set_index("patient key").shared
    assert keys.tolist() == [170, 94, 264, 0]


def test_own_data_have_one_patient_key(public):
    table = public.assign(positive=0)
    table.loc[table.split == "test", "patient"] = table.patient[0]
    table.loc[table.index[-1], "patient"] = table.patient[0]
    (row,) = shortcuts.patient_keys(table).itertuples()
    assert row.shared == 1 and row.why == "the patients of your manifest"


def test_a_random_split_by_image_separates_siblings(public):
    rates = shortcuts.sibling_rate(public)
    assert len(rates) == 20 and rates.mean() == pytest.approx(0.404, abs=0.0005), "notebook 02 prints it"
    alone = pd.DataFrame({"split": "train", "patient": [str(i) for i in range(50)]})
    assert shortcuts.sibling_rate(alone).max() == 0


def test_identical_pictures_are_grouped():
    pixels = np.zeros((4, 8, 8), np.uint8)
    pixels[1:3, 0, 0] = 7
    pixels[3] = 9
    table = pd.DataFrame(
        {"split": ["train", "train", "test", "test"], "label": "NORMAL", "path": list("abcd")}
    )
    (group,) = shortcuts.duplicates(pixels, table).itertuples()
    assert group.paths == ["b", "c"] and group.splits == "test, train" and group.labels == "NORMAL"
    assert shortcuts.duplicates(pixels, table.iloc[[0, 3]]).empty


def test_aucs_see_a_clue_that_holds_in_train_only(public):
    rng = np.random.default_rng(0)
    table = public.groupby(["fold", "label"]).head(40)
    ill, test = manifest.positives(table), (table.split == "test").to_numpy()
    trap = np.where(test, rng.normal(size=len(ill)), ill + rng.normal(0, 0.5, len(ill)))
    clues = {"trap": trap[:, None], "noise": rng.normal(size=(len(ill), 3))}
    table_of = shortcuts.aucs(clues, table).set_index("clue")
    assert table_of.train["trap"] > 0.85 and 0.3 < table_of.test["trap"] < 0.7
    assert 0.4 < table_of.train["noise"] < 0.6 and table_of["n test"]["trap"] == test.sum()


def test_aucs_without_test_images_are_not_a_number(public):
    table = manifest.select(public, "train").groupby(["fold", "label"]).head(5)
    assert np.isnan(shortcuts.aucs({"x": np.ones((len(table), 1))}, table).test[0])


def test_borders_do_not_see_the_middle():
    picture = np.zeros((224, 224), np.uint8)
    changed = picture.copy()
    changed[16:-16, 16:-16] = 255
    brighter = changed.copy()
    brighter[:16] = 100
    pixels = np.stack([picture, changed, brighter])
    clues = shortcuts.picture_clues(pixels, pd.DataFrame(index=range(3)))
    assert all(len(values) == 3 and np.isfinite(values).all() for values in clues.values())
    borders = clues["borders only"]
    np.testing.assert_array_equal(borders[0], borders[1])
    assert (borders[2] > 0).sum() >= 14


def test_shipped_file_facts_belong_to_the_manifest(public):
    facts, sentence = shortcuts.read_file_facts({}, public)
    assert "measured for this project" in sentence and len(facts) == 1706 and facts.notna().all().all()
    clues = shortcuts.file_clues(facts)
    assert all(len(values) == 1706 for values in clues.values())
    alone = shortcuts.aucs(clues, facts).set_index("clue").train
    assert alone.round(3).tolist() == [0.978, 0.997, 0.978, 0.915, 0.875], "notebook 02 draws them"


def jpeg(width):
    file = io.BytesIO()
    Image.new("L", (width, 100)).save(file, "JPEG", quality=75)
    return file.getvalue()


def test_originals_are_measured_and_resized_copies_are_not(public):
    table = public.head(20)
    originals = {f"any/{path}": (lambda n=n: jpeg(200 + n)) for n, path in enumerate(table.path)}
    facts, sentence = shortcuts.read_file_facts(originals | {"other.jpeg": lambda: 1 / 0}, table)
    assert sentence == "File facts measured on your 20 original files."
    assert facts.path.equals(table.path) and facts.width.tolist() == list(range(200, 220))
    assert set(facts.luma_table_sum) == {1858} and set(facts.exif) == {0}
    copies = {path: lambda: jpeg(224) for path in table.path}
    assert len(shortcuts.read_file_facts(copies, table)[0]) == 1706
    twins = table.assign(path=["a/1.jpeg", "b/1.jpeg", *table.path[2:]])  # which file is which cannot be told
    assert len(shortcuts.read_file_facts(originals, twins)[0]) == 1706
