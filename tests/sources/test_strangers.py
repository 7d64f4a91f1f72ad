"""Folders, archives and tables that nobody here made: each is read, or refused in a sentence."""

import io
import os
import shutil
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import psutil
import pytest
from conftest import make_workspace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from PIL import Image

from utils import sources, workspace
from utils.data import images, manifest
from utils.sources import files, own_data
from utils.workspace import ExplainedError

QUICK = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def picture(seed, kind="PNG"):
    """The bytes of a picture of its own."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((240, 240), Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def two_classes(tmp_path):
    """40 pictures in two folders."""
    for number in range(40):
        path = tmp_path / "mine" / ("ill" if number % 2 else "well") / f"P{number:02d}_a.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return tmp_path / "mine"


def test_the_same_picture_in_both_classes_is_refused(two_classes):
    (two_classes / "well" / "P77_a.png").write_bytes((two_classes / "ill" / "P01_a.png").read_bytes())
    with pytest.raises(ExplainedError, match="1 pictures are in both classes, such as ill/P01_a"):
        own_data.describe(two_classes, positive="ill", patient=r"(P\d+)_")
    assert not (two_classes / "data_manifest.csv").exists()


def test_a_study_that_was_filed_in_both_classes_is_refused(tmp_path, capsys):
    """Its file has the same name in the same folders inside, and the same content."""
    names = both_classes("{}/{}/study/series/1.png")
    (tmp_path / "PNEUMONIA/0/study/series").mkdir(parents=True)
    names.remove("PNEUMONIA/0/study/series/1.png")
    (tmp_path / "PNEUMONIA/0/study/series/1.png").write_bytes(picture(0, "PNG"))
    sentence, _ = described(tmp_path, names, capsys)
    assert "1 pictures are in both classes" in sentence


def test_equal_pictures_in_test_and_training_and_of_two_patients_are_said_loudly(two_classes, capsys):
    for part in ("train", "test"):
        for label in ("ill", "well"):
            (two_classes / part / label).mkdir(parents=True)
    for number, path in enumerate(sorted(two_classes.glob("*/P*.png"))):
        path.rename(two_classes / ("train" if number % 4 else "test") / path.parent.name / path.name)
    copied = sorted((two_classes / "train" / "ill").iterdir())[0]
    with Image.open(copied) as shown:  # saved again: nearly equal
        shown.save(two_classes / "test" / "ill" / "P90_a.jpg", quality=90)
    (two_classes / "train" / "ill" / "P91_a.png").write_bytes(copied.read_bytes())
    table = own_data.describe(two_classes, positive="ill", patient=r"(P\d+)_")
    said = capsys.readouterr().out
    assert "LOOK: 3 pairs of pictures of different patients are equal or nearly so, 2 of them in the" in said
    assert (table.split == table.path.str.partition("/")[0]).all()  # the user's own division stays


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("path,patient\n{}", "utf8"), ("path;patient\r\n{}", "utf-8-sig"), ("path\tpatient\r\n{}", "utf8")],
)
def test_tables_of_patients_as_other_programs_write_them(two_classes, tmp_path, text, encoding):
    end = "\r\n" if "\r" in text else "\n"
    mark = text[4]
    names = [path.relative_to(two_classes) for path in two_classes.glob("*/*.png")]
    rows = end.join(f"{str(name).replace('/', chr(92))}{mark}{name.name[:3]}" for name in names)
    (tmp_path / "patients.csv").write_bytes(text.format(rows).encode(encoding))
    table = own_data.describe(two_classes, positive="ill", patient=tmp_path / "patients.csv")
    assert table.patient.tolist() == [path.rpartition("/")[2][:3] for path in table.path]


def test_a_manifest_with_problems_inside_a_zip_is_named(tmp_path, phantom_folder):
    table = manifest.read(phantom_folder / "data_manifest.csv")
    broken = table.assign(patient=["x"] * len(table))
    members = {"set/data_manifest.csv": broken.to_csv(index=False), "set/NORMAL/a.png": picture(0)}
    path = zipped(tmp_path / "mine.zip", members)
    with pytest.raises(ExplainedError, match=r"set/data_manifest\.csv in .*mine\.zip cannot be used: 1 pat"):
        sources.load(make_workspace(tmp_path / "home", path))


OTHERS = {
    "a 7z": b"7z\xbc\xaf\x27\x1c" + bytes(50),
    "a web page": b"\n<!DOCTYPE html><html>Sign in</html>",
    "cut off": b"PK\x03\x04" + bytes(50),
    "empty": b"",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_zip_is_named_with_what_to_do(tmp_path, kind):
    (tmp_path / "images.zip").write_bytes(OTHERS[kind])
    words = r"images\.zip is not a zip archive .* a web page .* 7z archive: unpack it"
    with pytest.raises(ExplainedError, match=words):
        sources.load(make_workspace(tmp_path / "home", tmp_path / "images.zip"))
    assert not list((tmp_path / "home").rglob("*.h5*"))


def test_a_tar_and_a_zip_with_a_password_are_named(tmp_path):
    with tarfile.open(tmp_path / "images.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("NORMAL/a.png"))
    with pytest.raises(ExplainedError, match=r"no image file in .*images\.tar\.gz.*unpack other archives"):
        sources.load(make_workspace(tmp_path / "home", tmp_path / "images.tar.gz"))
    path = zipped(tmp_path / "locked.zip", {"NORMAL/a.png": picture(0)})
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag of encryption, in the member's header and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(
        ExplainedError, match=r"locked\.zip .*NORMAL/a\.png: unreadable: .* locked by a password"
    ):
        sources.load(make_workspace(tmp_path / "home", path))


def test_folders_without_radiographs_of_the_manifest_get_words_and_no_cache(tmp_path):
    (tmp_path / "data/cats").mkdir(parents=True)
    with pytest.raises(ExplainedError, match=r"There is no image file in .*data\. Expected"):
        sources.load(make_workspace(tmp_path / "home", tmp_path / "data"))
    (tmp_path / "data/cats/mine.png").write_bytes(picture(0))
    words = r"Most of the 1 images in .*data cannot .*cats/mine\.png: extra.* own_data\.describe"
    with pytest.raises(ExplainedError, match=words):
        sources.load(make_workspace(tmp_path / "home", tmp_path / "data"))
    assert not list((tmp_path / "home").rglob("*.h5*"))


def test_many_threads_read_one_zip(tmp_path):
    """Members with extra fields, as most programs write them: in Python 3.13.0 threads read each other's."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number in range(400):
            member = zipfile.ZipInfo(f"{number}.png")
            member.extra = b"UT\x05\x00\x03" + bytes(4)
            archive.writestr(member, f"{number} " * 500)
    listed = files.every(tmp_path / "x.zip")
    for _ in range(3):
        with ThreadPoolExecutor(8) as threads:
            contents = list(threads.map(lambda file: file.read(), listed.values()))
        assert [text.split()[0].decode() for text in contents] == [name[:-4] for name in listed]


def test_files_that_are_too_large_or_gone_are_refused_without_their_names(tmp_path, monkeypatch):
    (tmp_path / "Miller.png").write_bytes(picture(0))
    (file,) = files.every(tmp_path).values()
    (tmp_path / "Miller.png").unlink()
    with pytest.raises(ExplainedError, match=r"^the file cannot be opened \(No such file or directory\)$"):
        file.read()
    monkeypatch.setattr(files, "MAX_BYTES", 100)
    with pytest.raises(ExplainedError, match=r"^the file is too large, 0 MB; no radiograph is$"):
        file.read()


def test_only_equal_content_is_a_second_copy(tmp_path):
    """In a folder as in a zip; three pictures have the same name and size, and two the same content."""
    tree = {
        f"{top}chest/train/NORMAL/1.bmp": picture(seed, "BMP")
        for top, seed in (("", 1), ("a/", 1), ("a/z/", 2))
    }
    for name, content in tree.items():
        (tmp_path / "x" / name).parent.mkdir(parents=True)
        (tmp_path / "x" / name).write_bytes(content)
    for place in (tmp_path / "x", zipped(tmp_path / "x.zip", tree)):
        chosen, left_out = files.image_files(files.every(place))
        assert list(chosen) == ["a/chest/train/NORMAL/1.bmp", "a/z/chest/train/NORMAL/1.bmp"]
        assert left_out == {"chest/train/NORMAL/1.bmp": "a second copy of the same file"}


def test_a_zip_with_backslashes_is_read_as_one_with_slashes(tmp_path):
    members = {"mine\\ill\\": b"", "mine\\ill\\a.png": picture(0)}
    (file,) = files.every(zipped(tmp_path / "x.zip", members)).values()
    assert file.name == "mine/ill/a.png" and file.read() == picture(0)


def described(folder, names, capsys, positive="PNEUMONIA", patient=None):
    """What `describe` makes of pictures with these names, or its sentence, and what it prints."""
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        kind = {".png": "PNG", ".bmp": "BMP"}.get((folder / name).suffix, "JPEG")
        (folder / name).write_bytes(picture(seed, kind))
    try:
        result = own_data.describe(folder, positive, patient)
    except ExplainedError as error:
        result = str(error)
    return result, capsys.readouterr().out


def both_classes(pattern, count=30, classes=("NORMAL", "PNEUMONIA")):
    return [pattern.format(label, number) for label in classes for number in range(count)]


@pytest.mark.parametrize(
    ("train", "test"),
    [("Train", "Test"), ("TRAINING SET", "testing"), ("treino", "teste"), ("Entrenamiento", "prueba")],
)
def test_the_usual_names_of_splits_are_known(tmp_path, capsys, train, test):
    data = tmp_path / "test" / "mine"  # what stands above the folder tells nothing
    names = both_classes(train + "/{}/{}.jfif", 40) + both_classes(test + "/{}/{}.JPG", 10)
    table, said = described(data, names, capsys)
    assert table[table.split == "test"].path.tolist() == sorted(both_classes(test + "/{}/{}.JPG", 10))
    assert f"{test}/NORMAL -> test, NORMAL, 10" in said and "100 files = 100 used + 0 left out" in said


@pytest.mark.parametrize(
    ("names", "positive", "words"),
    [
        (
            both_classes("Exam/{}/{}.png") + both_classes("Lesson/{}/{}.png"),
            "PNEUMONIA",
            "there are: Exam/NORMAL",
        ),
        (
            both_classes("train/{}/{}.png") + both_classes("Exam/{}/{}.png"),
            "PNEUMONIA",
            "there are: Exam, NORM",
        ),
        (
            both_classes("{}/{}.png", 5, ("COVID", "Lung", "Normal")),
            "COVID",
            "there are: COVID, Lung, Normal",
        ),
        (both_classes("{}/{}.png"), "pneu", "one of them 'pneu'; there are: NORMAL, PNEUMONIA"),
        (
            [*both_classes("NORMAL/{}/{}.png", 30, ("a", "b")), "PNEUMONIA/1.png"],
            "PNEUMONIA",
            r"classes (a, b) a ",
        ),
        ([], "PNEUMONIA", "there are: none"),
    ],
)
def test_what_is_not_understood_is_asked(tmp_path, capsys, names, positive, words):
    sentence, said = described(tmp_path, names, capsys, positive)
    assert words in sentence and not (tmp_path / "data_manifest.csv").exists()
    assert "there are" not in words or not names or "-> ?, " in said


def test_masks_tables_and_loose_pictures_are_left_out_by_reason(tmp_path, capsys):
    """As the COVID-19 radiography database comes: images and masks in each class, tables beside."""
    names = both_classes("set/{}/images/{}.png") + both_classes("set/{}/masks/{}.png") + ["set/loose.png"]
    (tmp_path / "set").mkdir()
    (tmp_path / "set/NORMAL.metadata.xlsx").write_bytes(b"PK")
    (tmp_path / "set/README").write_bytes(b"Thank you")
    table, said = described(tmp_path, names, capsys)
    assert len(table) == 60 and not table.path.str.contains("masks").any()
    assert "123 files = 60 used + 63 left out" in said
    for line in (
        "60 left out: in a folder called masks",
        "1 left out: no image, by its name",
        "2 left out: in no",
    ):
        assert line in said


def test_folders_inside_the_classes_are_patients(tmp_path, capsys):
    names = [
        f"{label}/p{number // 3}/{number % 3}.png" for label in ("NORMAL", "ill") for number in range(60)
    ]
    table, said = described(tmp_path, [name.replace("ill/p", "ill/q") for name in names], capsys, "ill")
    assert table.patient.tolist() == [path.split("/")[1] for path in table.path]
    assert "NORMAL/* -> train, NORMAL, 60" in said and "inside a class is a patient" in said


def test_files_named_as_dicom_often_is_need_no_suffix(tmp_path, capsys):
    names = [f"{label}/1.2.840.{number}" for label in ("NORMAL", "ill") for number in range(25)]
    table, _ = described(tmp_path, names, capsys, "ill")
    assert len(table) == 50


def test_places_and_patterns_that_cannot_be_described_get_a_sentence(tmp_path, two_classes):
    path = zipped(tmp_path / "x.zip", {"ill/a.png": picture(0)})
    for place in (path, tmp_path / "nowhere"):
        with pytest.raises(ExplainedError, match=r"There is no folder .* unpack a zip"):
            own_data.describe(place, "ill")
    with pytest.raises(ExplainedError, match=r"needs brackets around the patient, such as '\(P\\\\d\+\)'"):
        own_data.describe(two_classes, "ill", patient=r"P\d+")
    two_classes.rename(tmp_path / "Test")
    (tmp_path / "mine").mkdir()
    (tmp_path / "Test").rename(tmp_path / "mine/Test")
    with pytest.raises(ExplainedError, match="Only 0 patients besides those of test images"):
        own_data.describe(tmp_path / "mine", "ill")


def test_a_folder_that_cannot_be_written_and_a_full_disk_get_a_sentence(tmp_path, two_classes, monkeypatch):
    def refuse(folder):
        raise OSError(30, "Read-only file system")

    own_data.describe(two_classes, "ill")
    usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
    with monkeypatch.context() as full, pytest.raises(ExplainedError, match=r"no room .* takes 3 MB"):
        full.setattr(shutil, "disk_usage", lambda folder: usage)
        sources.load(make_workspace(tmp_path / "home", two_classes))
    (two_classes / "data_manifest.csv").unlink()
    monkeypatch.setattr(workspace, "check_writable", refuse)
    with pytest.raises(ExplainedError, match=r"cannot be written .*Read-only"):
        own_data.describe(two_classes, "ill")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "No such file"),
        ("patientid,filename\n1,P01_a.png\n", r"columns path and patient.*wrong: 'path'"),
        ("path,patient\nill/P01_a.png,1\nill/P01_a.png,2\n", "one patient for each path"),
    ],
)
def test_tables_of_patients_that_do_not_fit_get_a_sentence(tmp_path, two_classes, table, words):
    if table:
        (tmp_path / "who.csv").write_text(table)
    with pytest.raises(ExplainedError, match=words):
        own_data.describe(two_classes, "ill", patient=tmp_path / "who.csv")
    with pytest.raises(ExplainedError, match="needs brackets"):
        own_data.describe(two_classes, "ill", patient="(P")


def test_accents_may_be_spelled_as_on_a_mac_and_the_directory_of_a_disk_is_no_picture(tmp_path, capsys):
    names = both_classes("{}/p{}/1.png", 20, ("sain", "malade e\u0301"))
    names = [name.replace("/p", "/q") if name.startswith("sain") else name for name in names]
    (tmp_path / "sain").mkdir()
    (tmp_path / "sain/DICOMDIR").write_bytes(bytes(128) + b"DICM")
    table, said = described(tmp_path, names, capsys, "malade \u00e9")
    assert table.positive.sum() == 20 and table.patient.nunique() == 40
    assert "41 files = 40 used + 1 left out" in said


def test_own_folders_called_as_the_public_ones_are_not_taken_for_them(tmp_path):
    """Most pictures are not of the manifest, though some are."""
    shutil.copytree(workspace.PROJECT / "examples" / "radiographs", tmp_path / "data" / "NORMAL")
    for seed in range(9):
        (tmp_path / f"data/NORMAL/IM-{seed}.png").write_bytes(picture(seed))
    with pytest.raises(ExplainedError, match=r"Most of the .* own_data\.describe"):
        sources.load(make_workspace(tmp_path / "home", tmp_path / "data"))
    assert not list((tmp_path / "home").rglob("*.h5*"))


def test_hidden_files_are_left_out_and_links_and_pipes_counted_and_never_followed(tmp_path, capsys):
    (tmp_path / "mine/__MACOSX").mkdir(parents=True)
    (tmp_path / "mine/__MACOSX/b.png").write_bytes(picture(0))
    (tmp_path / "mine/.c.png").write_bytes(picture(0))
    (tmp_path / "mine/a.png").write_bytes(picture(0))
    (tmp_path / "mine/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "mine/loop").symlink_to(tmp_path / "mine")
    os.mkfifo(tmp_path / "mine/pipe.png")
    assert list(files.every(tmp_path / "mine")) == ["a.png"]
    assert "Left out: 3 links to folders, or files and folders that" in capsys.readouterr().out


def test_unreadable_files_leave_memory_as_it_was(tmp_path):
    junk = os.urandom(16_000_000)
    before = psutil.Process().memory_info().rss
    results = list(images.read_many([lambda: b"\xff\xd8\xff" + bytes(junk)] * 120, "Reading"))
    assert all(isinstance(one, ExplainedError) for one in results)
    assert psutil.Process().memory_info().rss - before < 300e6


@pytest.mark.parametrize(
    "start", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"8BPS\0\1", b"SIMPLE  =                    T"]
)
def test_formats_that_are_not_listed_are_not_decoded(start):
    with pytest.raises(ExplainedError, match="not an image file"):
        images.read(start + bytes(5000))


@QUICK
@given(
    some.binary(max_size=400),
    some.sampled_from(["", "PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"]),
    some.data(),
)
def test_any_bytes_are_a_picture_or_a_reason(content, kind, draw):
    if kind:
        whole = bytearray(picture(0, kind))
        at = draw.draw(some.integers(0, len(whole)))
        whole[at : at + len(content)] = content
        content = bytes(whole[: draw.draw(some.integers(0, len(whole)))])
    try:
        grey = images.read(content)
        assert grey.dtype == np.uint8 and grey.ndim == 2
    except ExplainedError as error:
        assert str(error)


LETTERS = some.characters(exclude_characters="\0", exclude_categories=["Cs"])  # of file names
NAMES = some.one_of(
    some.sampled_from(["None", "NA", "nan", "null", "=1+1", "a\r", "$\\bad_{$"]),
    some.text(LETTERS, max_size=12),
)


@QUICK
@given(some.lists(NAMES, min_size=1, max_size=4), some.binary(max_size=20), some.integers(0, 400))
def test_any_archive_is_read_or_refused_in_words(tmp_path, names, damage, at):
    members = {f"{name}{number}": b"x" for number, name in enumerate(names)}
    content = bytearray(zipped(tmp_path / "x.zip", members).read_bytes())
    content[at : at + len(damage)] = damage
    (tmp_path / "x.zip").write_bytes(content)
    try:
        listed = files.every(tmp_path / "x.zip")
    except ExplainedError as error:
        assert "x.zip" in str(error)
        return
    for file in listed.values():
        try:
            assert isinstance(file.read(), bytes)
        except ExplainedError as error:
            assert str(error).startswith("the file ") and "x.zip" not in str(error)


@QUICK
@given(NAMES.filter(lambda name: name.strip()), some.binary(max_size=60), some.integers(0, 300))
def test_any_manifest_is_read_as_it_was_written_or_refused_in_words(tmp_path, name, damage, at):
    table = manifest.read().head(3).assign(patient=[name + "1", name + "2", name + "3"])
    path = manifest.write(table, tmp_path / "data_manifest.csv")
    if "\r" not in name:
        pd.testing.assert_frame_equal(manifest.read(path), table, check_dtype=False)
    content = bytearray(path.read_bytes())
    content[at : at + len(damage)] = damage
    path.write_bytes(content)
    try:
        manifest.read(path)
    except ExplainedError as error:
        assert "data_manifest.csv" in str(error)
