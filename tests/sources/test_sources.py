"""Where radiographs come from: the order of places, what is recognised, and own data."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_workspace
from PIL import Image

from utils import sources, workspace
from utils.data import manifest
from utils.sources import own_data
from utils.sources import radiographs as finding
from utils.sources.phantom import write_phantom
from utils.workspace import ExplainedError


def zip_of(path, folder, prefixes=("set/",)):
    """A zip of a folder with radiographs, below each of the prefixes, with what macOS adds."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/set/train/NORMAL/._IM-0002-0001.jpeg", b"junk")
        archive.writestr("set/.DS_Store", b"junk")
        for prefix in prefixes:
            for file in sorted(folder.rglob("*.jpeg")):
                archive.write(file, prefix + file.relative_to(folder).as_posix())
        archive.write(folder / "data_manifest.csv", "set/data_manifest.csv")
    return path


def test_phantom_is_the_same_every_time(tmp_path, phantom_folder):
    again = write_phantom(tmp_path, patients=80)
    assert manifest.digest(again) == manifest.digest(manifest.read(phantom_folder / "data_manifest.csv"))
    assert again.groupby(["split", "label"]).size().min() >= 10
    assert again.patient.duplicated().any()


def test_where_nothing_is_there_the_phantom_is_used_loudly(tmp_path, capsys):
    ws = make_workspace(tmp_path)
    assert "SYNTHETIC PHANTOM will be used" in str(sources.find(ws))
    loaded = sources.load(ws)
    assert loaded.synthetic and "SYNTHETIC PHANTOM" in str(loaded)
    said = capsys.readouterr().out
    assert "NOTE: using the SYNTHETIC PHANTOM" in said and "chest_xray.zip" in said and str(tmp_path) in said


def kinds(ws):
    return [source.kind for source in finding._places(ws)]


def test_places_are_tried_in_this_order(tmp_path, phantom_folder, monkeypatch):
    ws = make_workspace(tmp_path, quick=False)
    assert kinds(ws) == ["phantom"]  # nothing is downloaded unasked
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    assert kinds(ws) == ["download", "phantom"] and sources.at_hand(ws) is None
    zip_of(tmp_path / "archive.zip", phantom_folder)
    assert kinds(ws) == ["zip", "download", "phantom"]
    shutil.copytree(phantom_folder, tmp_path / "chest_xray")
    assert kinds(ws) == ["folder", "zip", "download", "phantom"]
    sources.load(ws)
    assert kinds(ws) == ["cache", "folder", "zip", "download"]  # no phantom where there were real ones
    assert kinds(replace(ws, data=phantom_folder)) == ["folder"]  # the user's word: nothing else is tried
    with pytest.raises(ExplainedError, match=r"There is nothing at .*typo. Correct DATA"):
        sources.load(replace(ws, data=tmp_path / "typo"))
    with pytest.raises(ExplainedError, match=r"There is nothing at .*typo"):
        sources.choose(ws, str(tmp_path / "typo"))


def test_folder_zip_and_doubled_zip_give_the_same_data(tmp_path, phantom_folder):
    plain = zip_of(tmp_path / "plain.zip", phantom_folder)
    doubled = zip_of(tmp_path / "doubled.zip", phantom_folder, ["set/", "set/set/"])
    first, *others = [
        sources.load(make_workspace(tmp_path / data.stem, data, quick=False))
        for data in (phantom_folder, plain, doubled)
    ]
    for other in others:
        np.testing.assert_array_equal(other.pixels, first.pixels)
        assert other.problems.empty and other.digest == first.digest


def test_second_load_opens_the_same_pack(tmp_path, phantom_folder):
    ws = make_workspace(tmp_path, phantom_folder)
    sources.load(ws)
    (pack,) = (tmp_path / "cache").glob("*.h5")
    written = pack.stat().st_mtime_ns
    sources.load(ws)
    assert pack.stat().st_mtime_ns == written
    later = make_workspace(tmp_path)  # CXR_DATA not set any more: the packed file is found
    assert sources.find(later).where == pack
    assert sources.load(later).digest == sources.load(ws).digest and sources.open_files(later) == {}
    with workspace.whole(pack.with_name("another.h5")) as partial:  # a newer one, not complete yet
        partial.write_bytes(b"half a file")
        assert partial.parent == pack.parent and sources.find(later).where == pack
        partial.write_bytes(pack.read_bytes())
    assert sources.find(later).where == pack.with_name("another.h5")


def test_a_damaged_image_is_named_and_harms_no_earlier_pack(tmp_path, phantom_folder):
    data = tmp_path / "data"
    shutil.copytree(phantom_folder, data)
    ws = make_workspace(tmp_path / "home", data, quick=False)
    before = sources.load(ws)
    (pack,) = (tmp_path / "home/cache").glob("*.h5")
    content = pack.read_bytes()
    victim = sorted(data.rglob("*.jpeg"))[3]
    victim.write_bytes(victim.read_bytes()[:1500])
    after = sources.load(ws)
    assert len(after.table) == len(before.table) - 1
    assert after.problems.path.tolist() == [victim.relative_to(data).as_posix()]
    assert "cut off" in after.problems.problem[0] and "1 unreadable" in str(after)
    assert pack.read_bytes() == content


def test_pictures_are_recognised_under_other_names_in_other_folders(tmp_path, phantom_folder, capsys):
    """As in version 3 of the public archive: other names, no `val`, other pictures beside, not read."""
    table = manifest.read(phantom_folder / "data_manifest.csv")
    cells = np.random.default_rng(0).integers(0, 255, (300, 300), np.uint8)
    Image.fromarray(cells).save(tmp_path / "cells.png")
    with zipfile.ZipFile(tmp_path / "v3.zip", "w") as archive:
        archive.write(phantom_folder / "data_manifest.csv", "CellData/data_manifest.csv")
        archive.write(tmp_path / "cells.png", "CellData/OCT/train/CNV/CNV-1016042-1.png")
        for number, row in enumerate(table.itertuples()):
            part = "test" if row.split == "test" else "train"
            name = f"CellData/chest_xray/{part}/{row.label}/{row.label}-{1000000 + number}-0001.jpeg"
            archive.write(phantom_folder / row.path, name)
    loaded = sources.load(make_workspace(tmp_path / "home", tmp_path / "v3.zip", quick=False))
    same = sources.load(make_workspace(tmp_path / "home", phantom_folder, quick=False))
    assert len(loaded.table) == len(table) and loaded.digest == manifest.digest(table)
    np.testing.assert_array_equal(loaded.pixels, same.pixels)
    assert loaded.problems.empty and "1 left out: in a folder called OCT" in capsys.readouterr().out


def test_a_damaged_member_of_a_zip_is_named_and_the_rest_is_used(tmp_path, phantom_folder):
    path = zip_of(tmp_path / "x.zip", phantom_folder)
    content = bytearray(path.read_bytes())
    victim = sorted(phantom_folder.rglob("*.jpeg"))[5]
    content[content.find(victim.read_bytes()) + 300] ^= 255  # the checksum no longer fits
    path.write_bytes(content)
    loaded = sources.load(make_workspace(tmp_path, path, quick=False))
    assert len(loaded.table) == len(loaded.listed) - 1
    (problem,) = loaded.problems.itertuples()
    assert problem.path == f"set/{victim.relative_to(phantom_folder).as_posix()}"
    assert "unreadable" in problem.problem and "the file is damaged in its archive" in problem.problem


@pytest.fixture
def kaggle(tmp_path, phantom_folder, monkeypatch):
    """The real kagglehub without a connection, and with a prepared cache, as where a data set is mounted."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setenv("KAGGLE_API_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(finding, "KAGGLE", finding.KAGGLE + "/versions/2")
    cached = tmp_path / "kaggle/datasets/paultimothymooney/chest-xray-pneumonia/versions/2"
    shutil.copytree(phantom_folder, cached / "chest_xray")
    (cached.parent.parent / "2.complete").touch()
    return cached


def test_the_copy_on_kaggle_is_taken_where_it_is_asked_for_and_in_colab(kaggle, tmp_path, monkeypatch):
    (kaggle / "chest_xray/data_manifest.csv").rename(kaggle / "data_manifest.csv")
    digest = manifest.digest(manifest.read(kaggle / "data_manifest.csv"))
    ws = sources.choose(make_workspace(tmp_path / "asked"), "kaggle")
    loaded = sources.load(ws)
    assert loaded.digest == digest and loaded.problems.empty and len(sources.open_files(ws))
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    loaded = sources.load(make_workspace(tmp_path / "colab", quick=False))
    assert loaded.digest == digest and Path(loaded.origin).parts == Path(finding.KAGGLE).parts


def test_a_download_that_fails_is_explained(kaggle, tmp_path, monkeypatch, capsys):
    shutil.rmtree(kaggle.parents[1])
    with pytest.raises(ExplainedError, match=r"downloaded from Kaggle .* goes on from where it stopped"):
        sources.choose(make_workspace(tmp_path), "kaggle")  # the user's word: no phantom
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    monkeypatch.setattr(finding, "write_phantom", lambda folder, patients: write_phantom(folder, 80))
    assert sources.load(make_workspace(tmp_path, quick=False)).synthetic
    said = capsys.readouterr().out
    assert said.index("Going on without it") < said.index("NOTE: using the SYNTHETIC PHANTOM")


def test_own_classes_become_a_manifest_that_every_notebook_can_use(tmp_path, own_folder):
    (own_folder / "ill" / "broken.jpg").write_bytes(b"nothing")
    table = own_data.describe(own_folder, positive="ill", patient=r"(P\d+)_")
    assert set(table.label) == {"ill", "well"} and (table.positive == (table.label == "ill")).all()
    patients = table.groupby("patient")
    assert patients.split.nunique().max() == patients.fold.nunique().max() == 1
    assert 0.1 < (table.split == "test").mean() < 0.3 and "broken" not in " ".join(table.path)
    loaded = sources.load(make_workspace(tmp_path, own_folder, quick=False))
    assert len(loaded.table) == len(table) and not loaded.synthetic
    assert manifest.classes(loaded.table)[1][0] == "ill"
    with pytest.raises(ExplainedError, match="Delete it to describe"):
        own_data.describe(own_folder, positive="ill")


def test_patients_of_own_data_can_come_from_a_csv_file_or_be_left_out(tmp_path, own_folder, capsys):
    paths = [path.relative_to(own_folder).as_posix() for path in own_folder.rglob("*.jpg")]
    rows = "".join(f"{path},{number // 3}\n" for number, path in enumerate(sorted(paths)))
    (tmp_path / "who.csv").write_text("path,patient\n" + rows)
    table = own_data.describe(own_folder, "ill", tmp_path / "who.csv")
    assert table.patient.nunique() == -(-len(paths) // 3)
    (own_folder / "data_manifest.csv").unlink()
    assert own_data.describe(own_folder, "ill").patient.is_unique
    assert "every image counts as a patient of its own" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("positive", "patient", "words"),
    [
        ("cats", None, "one of them 'cats'; there are: ill, well"),
        ("ill", r"(X\d+)", "No patient is known for"),
    ],
)
def test_own_data_that_cannot_be_described_gets_words(own_folder, positive, patient, words):
    with pytest.raises(ExplainedError, match=words):
        own_data.describe(own_folder, positive, patient)
    assert not (own_folder / "data_manifest.csv").exists()
