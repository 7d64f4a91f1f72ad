import numpy as np
import pandas as pd

from utils.data import manifest, shortcuts


def test_the_patient_keys_of_others_report_what_was_published():
    keys = shortcuts.patient_keys(manifest.read()).set_index("patient key").shared
    assert keys.tolist() == [170, 94, 264, 0]


def test_own_data_have_one_patient_key():
    table = manifest.read()
    table.loc[table.split == "test", "patient"] = table.patient[0]
    table.loc[table.index[-1], "patient"] = table.patient[0]
    (row,) = shortcuts.patient_keys(table.assign(positive=0)).itertuples()
    assert row.shared == 1 and row.why == "the patients of your manifest"


def test_a_random_split_by_image_separates_siblings():
    rates = shortcuts.sibling_rate(manifest.read())
    assert len(rates) == 20 and 0.37 < rates.mean() < 0.43
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


def test_aucs_see_a_clue_that_holds_in_train_only():
    rng = np.random.default_rng(0)
    table = manifest.read().groupby(["fold", "label"]).head(40)
    ill, test = manifest.positives(table), (table.split == "test").to_numpy()
    trap = np.where(test, rng.normal(size=len(ill)), ill + rng.normal(0, 0.5, len(ill)))
    found = shortcuts.aucs({"trap": trap[:, None], "noise": rng.normal(size=(len(ill), 3))}, table).set_index(
        "clue"
    )
    assert found.train["trap"] > 0.85 and 0.3 < found.test["trap"] < 0.7
    assert 0.4 < found.train["noise"] < 0.6 and found["n test"]["trap"] == test.sum()


def test_aucs_without_test_images_are_not_a_number():
    table = manifest.select(manifest.read(), "train").groupby(["fold", "label"]).head(5)
    assert np.isnan(shortcuts.aucs({"x": np.ones((len(table), 1))}, table).test[0])


def test_picture_clues_have_one_row_an_image(radiographs):
    part = radiographs.table.head(6)
    for values in shortcuts.picture_clues(radiographs.pixels, part).values():
        assert values.shape[0] == 6 and np.isfinite(values).all()


def test_borders_do_not_see_the_middle():
    picture = np.zeros((224, 224), np.uint8)
    changed = picture.copy()
    changed[16:-16, 16:-16] = 255
    brighter = changed.copy()
    brighter[:16] = 100
    pixels = np.stack([picture, changed, brighter])
    clues = shortcuts.picture_clues(pixels, pd.DataFrame(index=range(3)))["borders only"]
    np.testing.assert_array_equal(clues[0], clues[1])
    assert (clues[2] > 0).sum() >= 14


def test_shipped_file_facts_belong_to_the_manifest():
    facts, sentence = shortcuts.read_file_facts({}, manifest.read())
    assert "measured for this project" in sentence and len(facts) == 1706 and facts.notna().all().all()
    assert all(len(values) == 1706 for values in shortcuts.file_clues(facts).values())
