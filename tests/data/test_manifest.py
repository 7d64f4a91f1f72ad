import pandas as pd
import pytest

from utils.data import images, manifest
from utils.workspace import ExplainedError

ILL = r"(?P<split>train|val|test)/(?P<label>PNEUMONIA)/person(?P<number>\d+)_(?P<subtype>bacteria|virus)_"
WELL = r"(?P<split>train|val|test)/(?P<label>NORMAL)/(?P<subtype>(?:NORMAL2-)?IM)-(?P<number>\d+)-[^/]+$"


@pytest.fixture(scope="module")
def public():
    return manifest.read()


def test_patient_is_collection_and_number_as_the_file_names_tell(public):
    """Of person12_virus_46.jpeg virus-12, of NORMAL2-IM-1427-0001.jpeg NORMAL2-IM-1427."""
    named = public.path.str.extract(ILL).fillna(public.path.str.extract(WELL))
    for column in ("split", "label", "subtype"):
        assert (public[column] == named[column]).all()
    assert (public.patient == named.subtype + "-" + named.number.astype(int).astype(str)).all()


def test_public_manifest_has_the_published_counts(public):
    counts = public.groupby(["split", "label"]).size().to_dict()
    assert counts == {
        ("train", "NORMAL"): 1341,
        ("train", "PNEUMONIA"): 3875,
        ("val", "NORMAL"): 8,
        ("val", "PNEUMONIA"): 8,
        ("test", "NORMAL"): 234,
        ("test", "PNEUMONIA"): 390,
    }
    assert public.patient[public.split == "test"].nunique() == 428
    assert public.groupby(["split", "subtype"]).size()["test", "virus"] == 148


def test_public_folds_keep_patients_together_and_classes_balanced(public):
    development = public[public.split != "test"]
    assert development.groupby("patient").fold.nunique().max() == 1
    assert (public.fold[public.split == "test"] == -1).all()
    share = development.groupby("fold").label.apply(lambda labels: (labels == "PNEUMONIA").mean())
    assert len(share) == 10 and share.max() - share.min() < 0.01


def test_parts_are_disjoint_and_complete(public):
    parts = [manifest.select(public, part) for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(public)
    patients = [set(part.patient) for part in parts]
    assert not (patients[0] & patients[1] or patients[0] & patients[2] or patients[1] & patients[2])


def test_classes_are_the_negative_then_the_positive(public):
    (negative, well), (positive, ill) = manifest.classes(public)
    assert (negative, positive) == ("NORMAL", "PNEUMONIA")
    assert (manifest.positives(public) == ill).all() and (well == ~ill).all() and ill.sum() == 4273


def test_own_classes_are_counted_and_positive_as_the_manifest_says(public):
    table = public.head(700)
    own = table.assign(label=table.label.map({"NORMAL": "well", "PNEUMONIA": "ill"}), positive=0)
    own.loc[own.label == "ill", "positive"] = 1
    assert manifest.problems(own) == [] and manifest.classes(own)[1][0] == "ill"
    assert (manifest.positives(own) == manifest.positives(table)).all()
    counts = manifest.counts(own)
    assert counts.split.tolist() == sorted(counts.split, key=manifest.SPLITS.index)
    assert counts.images.sum() == 700 and counts.positive.eq(counts.label == "ill").all()
    own.loc[own.index[0], "positive"] = 1 - own.positive.iloc[0]
    (fault,) = manifest.problems(own)
    assert "two labels, one positive (1) and one not (0)" in fault


def test_problems_are_named(public):
    table = public.head(5).copy()
    table.loc[1, "path"] = table.path[0]
    table.loc[2, "label"] = "CAT"
    table.loc[3, "fold"] = 10
    table.loc[4, "patient"] = ""
    text = " ".join(manifest.problems(table))
    assert "1 paths stand there twice" in text and "CAT (0)" in text
    assert "0 to 9" in text and "1 rows have no path" in text


@pytest.mark.parametrize("change", [{"split": "test", "fold": -1}, {"fold": 7}])
def test_a_patient_on_both_sides_is_refused(public, change, tmp_path):
    table = public.copy()
    pair = table[table.patient == "IM-429"].index  # several images of one patient, all in one fold
    assert len(pair) > 1 and set(table.fold[pair]) not in ({-1}, {7})
    table.loc[pair[0], list(change)] = list(change.values())
    path = manifest.write(table, tmp_path / "m.csv")
    with pytest.raises(ExplainedError, match="1 patients are in two folds, or in train and test") as caught:
        manifest.read(path)
    assert str(path) in str(caught.value) and "cannot be used" in str(caught.value)


def test_a_test_image_in_a_fold_is_refused(public):
    table = public.copy()
    table.loc[table.patient == table.patient[table.split == "test"].iloc[0], "fold"] = (
        3  # it would be trained on
    )
    assert "those of test images -1" in " ".join(manifest.problems(table))


def test_reading_says_what_is_wrong(tmp_path):
    with pytest.raises(ExplainedError, match="cannot be read as a manifest"):
        manifest.read(tmp_path / "none.csv")
    (tmp_path / "short.csv").write_text("path,label\na,NORMAL\n")
    with pytest.raises(ExplainedError, match="no column split"):
        manifest.read(tmp_path / "short.csv")


def test_digest_survives_writing_and_names_a_change(public, tmp_path):
    table = public.head(20)
    path = manifest.write(table, tmp_path / "m.csv")
    assert manifest.digest(manifest.read(path)) == manifest.digest(table)
    assert manifest.digest(table.assign(fold=table.fold + 1)) != manifest.digest(table)
    assert manifest.is_public(manifest.digest(public)) and not manifest.is_public(manifest.digest(table))


def test_a_completed_table_is_a_manifest(public):
    bare = public.drop(columns=["fold", "fingerprint"]).sample(frac=1, random_state=0)
    again = manifest.complete(bare, images.stored(public.fingerprint[bare.index]))
    assert manifest.problems(again) == [] and again.path.is_monotonic_increasing
    assert set(again.fold) == set(range(-1, 10)) and (again.fold[again.split == "test"] == -1).all()
    assert again.set_index("path").fingerprint.equals(public.set_index("path").fingerprint[again.path])


def test_too_few_patients_cannot_be_divided(public):
    with pytest.raises(ExplainedError, match="besides those of test images; to train takes at least 20"):
        list(manifest.divide(public.head(12), 10))


def test_quick_sample_keeps_all_test_images(public):
    small = manifest.sample(public, 3)
    assert len(manifest.select(small, "test")) == 624
    assert small[small.fold >= 0].groupby(["fold", "label"]).size().eq(3).all()
    assert isinstance(small, pd.DataFrame) and small.index.is_monotonic_increasing


def test_few_patients_are_whole_and_the_same_for_a_seed(public):
    rows = manifest.select(public, "val")
    few = manifest.few_patients(rows, 20)
    assert few.label.value_counts().between(20, 40).all()
    assert len(few) == rows.patient.isin(few.patient).sum(), "all rows of each patient"
    assert few.equals(manifest.few_patients(rows, 20)) and not few.equals(manifest.few_patients(rows, 20, 1))
    assert manifest.few_patients(rows, 1000).equals(rows)
