import pandas as pd
import pytest

from utils.data import manifest

ILL = r"(?P<split>train|val|test)/(?P<label>PNEUMONIA)/person(?P<number>\d+)_(?P<subtype>bacteria|virus)_"
WELL = r"(?P<split>train|val|test)/(?P<label>NORMAL)/(?P<subtype>(?:NORMAL2-)?IM)-(?P<number>\d+)-[^/]+$"


def test_patient_is_collection_and_number_as_the_file_names_tell():
    """Of person12_virus_46.jpeg virus-12, of NORMAL2-IM-1427-0001.jpeg NORMAL2-IM-1427."""
    table = manifest.read()
    told = table.path.str.extract(ILL).fillna(table.path.str.extract(WELL))
    for column in ("split", "label", "subtype"):
        assert (table[column] == told[column]).all()
    assert (table.patient == told.subtype + "-" + told.number.astype(int).astype(str)).all()


def test_public_manifest_has_the_published_counts():
    table = manifest.read()
    counts = table.groupby(["split", "label"]).size().to_dict()
    assert counts == {
        ("train", "NORMAL"): 1341,
        ("train", "PNEUMONIA"): 3875,
        ("val", "NORMAL"): 8,
        ("val", "PNEUMONIA"): 8,
        ("test", "NORMAL"): 234,
        ("test", "PNEUMONIA"): 390,
    }
    assert table.patient[table.split == "test"].nunique() == 428
    assert table.groupby(["split", "subtype"]).size()["test", "virus"] == 148


def test_public_folds_keep_patients_together_and_classes_balanced():
    table = manifest.read()
    development = table[table.split != "test"]
    assert development.groupby("patient").fold.nunique().max() == 1
    assert (table.fold[table.split == "test"] == -1).all()
    share = development.groupby("fold").label.apply(lambda labels: (labels == "PNEUMONIA").mean())
    assert len(share) == 10 and share.max() - share.min() < 0.01


def test_parts_are_disjoint_and_complete():
    table = manifest.read()
    parts = [manifest.select(table, part) for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(table)
    patients = [set(part.patient) for part in parts]
    assert not (patients[0] & patients[1] or patients[0] & patients[2] or patients[1] & patients[2])


def test_problems_are_named():
    table = manifest.read().head(4).copy()
    table.loc[1, "path"] = table.path[0]
    table.loc[2, "label"] = "CAT"
    table.loc[3, ["split", "patient"]] = ["train", table.patient[0]]
    text = " ".join(manifest.problems(table))
    assert (
        "1 paths stand there twice" in text and "CAT" in text and "1 patients are in train and test" in text
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"split": "test", "fold": -1}, "1 patients are in train and test"),
        ({"fold": 7}, "1 patients are in two folds"),
    ],
)
def test_a_patient_on_both_sides_is_refused(change, reason, tmp_path):
    table = manifest.read()
    pair = table[table.patient == "IM-429"].index  # several images of one patient, all in one fold
    assert len(pair) > 1 and set(table.fold[pair]) not in ({-1}, {7})
    for column, value in change.items():
        table.loc[pair[0], column] = value
    path = manifest.write(table, tmp_path / "m.csv")
    with pytest.raises(manifest.DataError, match=reason) as caught:
        manifest.read(path)
    assert str(path) in str(caught.value) and "cannot be used" in str(caught.value)


def test_own_classes_are_counted_and_positive_as_the_manifest_says():
    table = manifest.read().head(700)
    own = table.assign(label=table.label.map({"NORMAL": "well", "PNEUMONIA": "ill"}), positive=0)
    own.loc[own.label == "ill", "positive"] = 1
    assert manifest.problems(own) == []
    assert (manifest.positives(own) == manifest.positives(table)).all()
    counts = manifest.counts(own)
    assert counts.split.tolist() == sorted(counts.split, key=manifest.SPLITS.index)
    assert counts.images.sum() == 700 and counts.positive.eq(counts.label == "ill").all()


def test_reading_says_what_is_wrong(tmp_path):
    with pytest.raises(manifest.DataError, match="No manifest at"):
        manifest.read(tmp_path / "none.csv")
    (tmp_path / "short.csv").write_text("path,label\na,NORMAL\n")
    with pytest.raises(manifest.DataError, match="no column split"):
        manifest.read(tmp_path / "short.csv")


def test_digest_survives_writing_and_names_a_change(tmp_path):
    table = manifest.read().head(20)
    path = manifest.write(table, tmp_path / "m.csv")
    assert manifest.digest(manifest.read(path)) == manifest.digest(table)
    changed = table.assign(fold=table.fold + 1)
    assert manifest.digest(changed) != manifest.digest(table)


def test_quick_sample_keeps_all_test_images():
    table = manifest.read()
    small = manifest.sample(table, 3)
    assert len(manifest.select(small, "test")) == 624
    assert small[small.fold >= 0].groupby(["fold", "label"]).size().eq(3).all()
    assert isinstance(small, pd.DataFrame) and small.index.isin(table.index).all()
