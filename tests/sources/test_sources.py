import io
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_workspace
from PIL import Image

from utils import sources, workspace
from utils.data import manifest
from utils.data.formats import DataError
from utils.sources import files, own_data
from utils.sources import radiographs as finding
from utils.sources.phantom import write_phantom


def test_phantom_is_the_same_every_time(tmp_path, phantom_folder):
    again = write_phantom(tmp_path, patients=80)
    assert manifest.digest(again) == manifest.digest(manifest.read(phantom_folder / "data_manifest.csv"))
    assert again.groupby(["split", "label"]).size().min() >= 10
    assert again.patient.duplicated().any()


def test_phantom_says_so(radiographs):
    assert radiographs.synthetic and "SYNTHETIC PHANTOM" in str(radiographs)


def test_nothing_set_finds_the_phantom_outside_colab(tmp_path):
    assert sources.find(make_workspace(tmp_path)).kind == "phantom"


def test_folder_zip_and_doubled_zip_give_the_same_data(tmp_path, phantom_folder):
    plain, doubled = tmp_path / "plain.zip", tmp_path / "doubled.zip"
    for path, prefixes in ((plain, ["set/"]), (doubled, ["set/", "set/set/"])):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__MACOSX/set/train/NORMAL/._IM-0002-0001.jpeg", b"junk")
            archive.writestr("set/.DS_Store", b"junk")
            for prefix in prefixes:
                for file in sorted(phantom_folder.rglob("*.jpeg")):
                    archive.write(file, prefix + file.relative_to(phantom_folder).as_posix())
            archive.write(phantom_folder / "data_manifest.csv", "set/data_manifest.csv")
    loaded = [
        sources.load(make_workspace(tmp_path / data.stem, data, quick=False))
        for data in (phantom_folder, plain, doubled)
    ]
    for other in loaded[1:]:
        np.testing.assert_array_equal(other.pixels, loaded[0].pixels)
        assert other.problems.empty and other.digest == loaded[0].digest


def test_second_load_opens_the_same_pack(tmp_path, phantom_folder, capfd):
    ws = make_workspace(tmp_path, phantom_folder)
    sources.load(ws)
    (pack,) = (tmp_path / "cache").glob("*.h5")
    written = pack.stat().st_mtime_ns
    sources.load(ws)
    assert pack.stat().st_mtime_ns == written
    later = make_workspace(tmp_path)  # CXR_DATA not set any more: the packed cache is found
    assert sources.find(later).where == pack
    assert sources.load(later).digest == sources.load(ws).digest
    with workspace.whole(pack.with_name("another.h5")) as partial:  # a newer one, not complete yet
        partial.write_bytes(b"half a file")
        assert partial.parent == pack.parent and sources.find(later).where == pack
        partial.write_bytes(pack.read_bytes())
    assert sources.find(later).where == pack.with_name("another.h5")


def test_truncated_image_is_reported_and_harms_no_earlier_pack(tmp_path, phantom_folder):
    ws = make_workspace(tmp_path / "home", phantom_folder, quick=False)
    before = sources.load(ws)
    (pack,) = (tmp_path / "home/cache").glob("*.h5")
    content = pack.read_bytes()
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in phantom_folder.rglob("*.*"):
        target = broken / file.relative_to(phantom_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    victim = sorted(broken.rglob("*.jpeg"))[3]
    victim.write_bytes(victim.read_bytes()[:1500])
    after = sources.load(make_workspace(tmp_path / "home", broken, quick=False))
    assert len(after.table) == len(before.table) - 1
    assert after.problems.path.tolist() == [victim.relative_to(broken).as_posix()]
    assert "cut off" in after.problems.problem[0] and "1 unreadable" in str(after)
    assert pack.read_bytes() == content


def web_page(folder):
    (folder / "data.zip").write_bytes(b"<html>quota</html>")
    return folder / "data.zip"


def cut_off_zip(folder):
    (folder / "data.zip").write_bytes(b"PK\x03\x04 cut off")
    return folder / "data.zip"


def empty(folder):
    return folder


def no_classes(folder):
    (folder / "cats").mkdir()
    Image.new("L", (9, 9)).save(folder / "cats" / "cat.png")
    return folder


def strangers(folder):
    (folder / "NORMAL").mkdir()
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300), np.uint8)).save(file, "PNG")
    (folder / "NORMAL" / "mine.png").write_bytes(file.getvalue())
    return folder


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda folder: folder / "typo", "There is nothing at .*typo. Correct DATA"),
        (empty, "There is no image file in"),
        (no_classes, r"No folder NORMAL or PNEUMONIA in .*found: cats"),
        (strangers, r"None of the 1 images .*mine\.png: extra"),
        (web_page, "web page saved under this name"),
        (cut_off_zip, "cut off while downloading"),
    ],
)
def test_wrong_input_gets_words_and_leaves_no_cache(tmp_path, prepare, words):
    data = tmp_path / "data"
    data.mkdir()
    with pytest.raises(files.DataError, match=words):
        sources.load(make_workspace(tmp_path / "home", prepare(data)))
    assert not list((tmp_path / "home").rglob("*.h5*"))


def test_damaged_pack_names_the_file_and_the_remedy(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "x.h5").write_bytes(b"half a file")
    with pytest.raises(files.DataError, match="Delete this file and run notebook 01 again"):
        sources.load(make_workspace(tmp_path))


def test_own_classes_become_a_manifest_that_every_notebook_can_use(tmp_path, own_folder):
    (own_folder / "ill" / "broken.jpg").write_bytes(b"nothing")
    table = own_data.describe(own_folder, positive="ill", patient=r"(P\d+)_")
    assert set(table.label) == {"ill", "well"} and (table.positive == (table.label == "ill")).all()
    assert (
        table.groupby("patient").split.nunique().max() == table.groupby("patient").fold.nunique().max() == 1
    )
    assert 0.1 < (table.split == "test").mean() < 0.3 and "broken" not in " ".join(table.path)
    loaded = sources.load(make_workspace(tmp_path, own_folder, quick=False))
    assert len(loaded.table) == len(table) and not loaded.synthetic
    assert manifest.classes(loaded.table)[1][0] == "ill"
    with pytest.raises(files.DataError, match="Delete it to describe"):
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
    [("cats", None, "one of them 'cats'; found: ill, well"), ("ill", r"(X\d+)", "No patient is known for")],
)
def test_own_data_that_cannot_be_described_gets_words(own_folder, positive, patient, words):
    with pytest.raises(files.DataError, match=words):
        own_data.describe(own_folder, positive, patient)
    assert not (own_folder / "data_manifest.csv").exists()


def test_many_threads_read_one_zip(tmp_path):
    """Members with extra fields, as most programs write them: in Python 3.13.0 threads read each other's."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number in range(400):
            member = zipfile.ZipInfo(f"{number}.png")
            member.extra = b"UT\x05\x00\x03" + bytes(4)
            archive.writestr(member, f"{number} " * 500)
    found = files.every(tmp_path / "x.zip")
    for _ in range(3):
        with ThreadPoolExecutor(8) as threads:
            contents = list(threads.map(lambda name: found[name][0](), found))
        assert [text.split()[0].decode() for text in contents] == [name[:-4] for name in found]


def test_a_zip_bomb_and_a_damaged_member_are_refused(tmp_path, phantom_folder, monkeypatch):
    pictures = sorted(phantom_folder.rglob("*.jpeg"))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for file in [*pictures[:20], phantom_folder / "data_manifest.csv"]:
            archive.write(file, file.relative_to(phantom_folder).as_posix())
    content = bytearray((tmp_path / "x.zip").read_bytes())
    at = content.find(pictures[5].read_bytes())
    content[at + 300] ^= 255  # the checksum no longer fits
    (tmp_path / "x.zip").write_bytes(content)
    loaded = sources.load(make_workspace(tmp_path, tmp_path / "x.zip", quick=False))
    assert len(loaded.table) == 19 and loaded.problems.problem.str.startswith("unreadable").sum() == 1
    monkeypatch.setattr(files, "MAX_BYTES", 100)
    with pytest.raises(files.DataError, match="too large"):
        sources.load(make_workspace(tmp_path, tmp_path / "x.zip"))


def test_the_routes_and_their_order_can_be_set(tmp_path, phantom_folder, monkeypatch):
    ws = make_workspace(tmp_path, quick=False)
    shutil.copytree(phantom_folder, tmp_path / "chest_xray")
    assert sources.find(ws).kind == "folder"
    assert sources.find(ws, ["zip", "download", "folder"]).kind == "download"
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    assert [place.kind for place in finding._places(ws, finding.ROUTES)] == [
        "folder",
        "download",
        "phantom",
    ]
    with pytest.raises(files.DataError, match="Unknown routes: floppy"):
        sources.find(ws, ["floppy"])


def test_kagglehub_gives_its_cached_copy_without_a_connection(tmp_path, phantom_folder, monkeypatch):
    """The real kagglehub with a prepared cache, as in Colab, where the data set may be mounted."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setattr(finding, "KAGGLE", finding.KAGGLE + "/versions/2")
    cached = tmp_path / "kaggle/datasets/paultimothymooney/chest-xray-pneumonia/versions/2"
    shutil.copytree(phantom_folder, cached / "chest_xray")
    (cached.parent.parent / "2.complete").touch()
    shutil.copy(phantom_folder / "data_manifest.csv", cached)
    table = manifest.read(cached / "data_manifest.csv")
    (cached / "chest_xray" / "data_manifest.csv").unlink()
    loaded = sources.load(make_workspace(tmp_path), ["download"])
    assert loaded.digest == manifest.digest(table) and loaded.problems.empty


def test_a_route_that_fails_is_explained_and_the_next_one_taken(
    tmp_path, phantom_folder, monkeypatch, capsys
):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setenv("KAGGLE_API_ENDPOINT", "http://127.0.0.1:9")
    shutil.copytree(phantom_folder, tmp_path / "chest_xray")
    loaded = sources.load(make_workspace(tmp_path), ["download", "folder"])
    said = capsys.readouterr().out
    assert (
        "downloaded from Kaggle (no connection)" in said
        and "goes on from where it stopped. Going on without it" in said
    )
    assert loaded.digest == manifest.digest(manifest.read(phantom_folder / "data_manifest.csv"))


def test_bacterial_against_viral_keeps_pictures_patients_split_and_folds(radiographs, tmp_path):
    packed = own_data.bacterial_or_viral(radiographs, tmp_path / "two.zip")
    own = sources.load(make_workspace(tmp_path / "home", packed, quick=False))
    ill = radiographs.table[radiographs.table.label == "PNEUMONIA"]
    assert own.problems.empty and own.synthetic and len(own.table) == len(own.listed) == len(ill)
    assert [name for name, _ in manifest.classes(own.table)] == ["virus", "bacteria"]
    assert (manifest.positives(own.table) == ill.path.str.contains("bacteria")).all()
    for column in ("patient", "split", "fold", "fingerprint"):
        assert own.table[column].tolist() == ill[column].tolist()
    np.testing.assert_array_equal(own.pixels[own.table.index], radiographs.pixels[ill.index])
    with pytest.raises(DataError, match="the public data set does"):
        healthy = radiographs.table[radiographs.table.label == "NORMAL"]
        own_data.bacterial_or_viral(replace(radiographs, table=healthy), tmp_path / "none.zip")
    assert not (tmp_path / "none.zip").exists()
