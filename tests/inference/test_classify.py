"""New radiographs: what comes in, what is answered, what is kept, and what is never shown or overwritten."""

import errno
import os
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_workspace
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image

from utils import predict, runs, saved_models, workspace
from utils.data import gate, images
from utils.inference import classify
from utils.workspace import ExplainedError

NORMAL, BACTERIA, VIRUS = (
    classify.EXAMPLES / name
    for name in ("IM-0001-0001.png", "person100_bacteria_475.png", "person10_virus_35.png")
)
NAMES = ["None", "NA", "nan", " lead", "trail ", "end\r", "new\nline", "non\udcff", "=1+1", "+1", "-1", " =1"]
NAMES += [
    "@SUM(A1)",
    "＝1",
    "\t=1",
    "'=1",
    "\\n",
    "$\\bad_{$",
    "Case",
    "case",
    'quo"te',
    "a;=1",
    "a,b",
    "胸片",
]


@pytest.fixture
def ws(tmp_path):
    return make_workspace(tmp_path / "home")


@pytest.fixture
def run(ws):
    """A copy of the released run, to be changed; the only own run."""
    path = ws.runs / "mine"
    shutil.copytree(runs.released("best").path, path)
    return runs.Run(path)


@pytest.fixture
def brightness(monkeypatch, run):
    """A stand-in for the network and the gate: the score is the mean grey. Keeps the sizes of the batches."""
    sizes = []

    def score(network, pictures):
        sizes.append(len(pictures))
        return pictures.mean((1, 2), dtype=np.float32) / 255

    monkeypatch.setattr(saved_models, "load", lambda path: None)
    monkeypatch.setattr(predict, "score_pictures", score)
    monkeypatch.setattr(gate, "load", lambda run: None)
    return sizes


@pytest.fixture
def place(tmp_path):
    """A nested folder: the examples, pictures that are no radiographs, bad files, and what is left out."""
    folder = tmp_path / "new"
    (folder / "a" / "b").mkdir(parents=True)
    shutil.copy(NORMAL, folder / "a" / "first.png")
    shutil.copy(BACTERIA, folder / "a" / "b" / "first.png")
    grey = np.asarray(Image.open(VIRUS))
    Image.fromarray(grey).save(folder / "third.tif")
    Image.fromarray(255 - grey).save(folder / "negative.png")
    Image.fromarray(np.stack([grey, grey // 2, grey // 3], axis=2)).save(folder / "colour.jpg")
    Image.fromarray(grey).resize((60, 60)).save(folder / "small.png")
    Image.fromarray(grey).resize((110, 340)).save(folder / "strip.png")
    (folder / "empty.png").touch()
    (folder / "page.jpg").write_bytes(b"<html>")
    (folder / "notes").write_text("no picture")
    (folder / ".hidden.png").write_text("hidden")
    (folder / "answers.csv").write_text("a table is no radiograph")
    return folder


def test_every_file_gets_an_answer_or_a_reason_and_is_kept(ws, run, place, capsys):
    answers, readers, path = classify.classify(place, ws)
    assert capsys.readouterr().out.startswith("The network: run mine, recipe best")
    assert " ".join(answers) == "file score answer unlike problem threshold scope run"
    assert list(readers) == answers.file.tolist()
    kept = pd.read_csv(path, keep_default_na=False, na_values={"score": [""]})
    pd.testing.assert_frame_equal(kept, answers, check_dtype=False, rtol=1e-5)
    assert path == ws.home / "answers" / "new_mine.csv" and set(answers.run) == {"mine"}
    rows = answers.set_index("file")
    assert rows.answer.to_dict() == dict.fromkeys(rows.index, "") | {
        "a/first.png": "normal",
        "a/b/first.png": "pneumonia",
        "third.tif": "pneumonia",
    }
    reasons = rows[rows.problem != ""].problem.to_dict()
    assert set(reasons) == {"empty.png", "page.jpg", "notes"} and reasons["notes"] == images.NO_IMAGE
    assert (rows.score.isna() == (rows.problem != "")).all() and rows.score.dropna().between(0, 1).all()
    unlike = rows[rows.unlike != ""].unlike
    assert set(unlike.index) == {"negative.png", "colour.jpg", "small.png", "strip.png"}
    assert "inverted" in unlike["negative.png"] and unlike["colour.jpg"] == "it is in colour"
    assert unlike["small.png"] == "it has 60 x 60 pixels" and unlike["strip.png"] == "it has 110 x 340 pixels"
    assert classify.pictures_of(readers, ["third.tif", "small.png"]).shape == (2, 224, 224)


def test_the_examples_get_the_scores_that_the_released_network_gave_them(ws):
    best = runs.released("best")
    answers, _, path = classify.classify(classify.EXAMPLES, ws)
    stored = best.scores("test").assign(file=lambda table: table.path.str.extract(r"([^/]+)\.jpeg$") + ".png")
    merged = answers.merge(stored, on="file")
    assert len(merged) == 3 and path.name == f"radiographs_{best.name}.csv"
    np.testing.assert_allclose(merged.score_x, merged.score_y, atol=1e-3)


def test_a_zip_and_a_single_file_give_the_same_answers(ws, brightness, place, tmp_path):
    folder, *_ = classify.classify(place, ws)
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
        for path in place.rglob("*"):
            archive.write(path, path.relative_to(place))
    zipped, *_ = classify.classify(f" {tmp_path / 'new.zip'}\n", ws)
    pd.testing.assert_frame_equal(zipped, folder)
    single, *_ = classify.classify(place / "third.tif", ws)
    pd.testing.assert_frame_equal(single, folder[folder.file == "third.tif"].reset_index(drop=True))


def test_memory_stays_flat(ws, brightness, place, monkeypatch):
    at_once, *_ = classify.classify(place, ws)
    monkeypatch.setattr(classify, "BATCH", 3)
    again, *_ = classify.classify(place, ws)
    assert brightness[0] == 7 and max(brightness[1:]) <= 3
    pd.testing.assert_frame_equal(again, at_once)
    (place / "third.tif").unlink()
    only_bad, *_ = classify.classify(place / "notes", ws)
    assert only_bad.score.isna().all() and only_bad.answer.tolist() == only_bad.unlike.tolist() == [""]


def test_a_score_at_the_threshold_is_positive_and_classes_have_their_names(ws, run, brightness):
    run.update_card(class_names=["Well", "Ill"])
    scores = classify.classify(classify.EXAMPLES, ws)[0].score.astype(np.float32)
    middle = scores.sort_values().iloc[1]
    for threshold, expected in (
        (middle, ["ill", "ill", "well"]),
        (np.nextafter(middle, 1), ["ill", "well", "well"]),
    ):
        run.update_card(threshold={"value": float(threshold)})
        answers, *_ = classify.classify(classify.EXAMPLES, ws)
        assert sorted(answers.answer) == expected and set(answers.threshold) == {float(threshold)}
        assert set(answers.answer[answers.score >= threshold]) == {"ill"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, classify.CHILDREN),
        ({"adapted": {}}, "like those of its own training data"),
        ({"manifest": "another"}, "like those of its own training data"),
    ],
)
def test_the_scope_says_which_radiographs_the_network_knows(changes, words, ws, run, brightness, monkeypatch):
    run.update_card(**changes)
    monkeypatch.setattr(classify.dicom, "is_dicom", lambda raw: True)
    monkeypatch.setattr(classify.dicom, "beyond", lambda raw: "its header says: an adult")
    monkeypatch.setattr(images, "read", lambda raw, at_least: np.zeros((224, 224), np.uint8))
    answers, *_ = classify.classify(NORMAL, ws)
    assert words in answers.scope[0]
    assert answers.unlike[0] == ("" if changes else "its header says: an adult")
    assert answers.answer[0] == ("normal" if changes else "")


def test_a_network_of_the_phantom_answers_no_radiographs(ws, run, place):
    run.update_card(synthetic=True)
    with pytest.raises(ExplainedError, match="learned from the synthetic phantom"):
        classify.classify(place, ws, "mine")
    assert not (ws.home / "answers").exists()


@pytest.mark.parametrize("place", ["", "  ", "nowhere", "tables"])
def test_nothing_to_classify_gets_words(place, ws, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tables").mkdir()
    Path("tables/answers.csv").touch()
    with pytest.raises(ExplainedError, match=r"There is nothing at|holds tables only"):
        classify.classify(place, ws)


def test_no_file_is_overwritten_and_a_sentence_says_where_the_answers_are(ws, brightness, tmp_path, capsys):
    table = tmp_path / "thesis.csv"
    table.write_text("mine")
    paths = [classify.classify(NORMAL, ws, to=table)[2] for _ in range(2)]
    assert [path.name for path in paths] == ["thesis_2.csv", "thesis_3.csv"] and table.read_text() == "mine"
    assert all(len(pd.read_csv(path)) == 1 for path in paths)
    assert f"{table} exists and stays as it is. The answers go to thesis_3.csv" in capsys.readouterr().out


def test_answers_go_elsewhere_where_the_folder_of_results_is_full(
    ws, brightness, monkeypatch, capsys, tmp_path
):
    def full(path, content, write=workspace.write_whole):
        if path.is_relative_to(ws.home):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(workspace, "write_whole", full)
    monkeypatch.setattr(workspace.tempfile, "gettempdir", lambda: str(tmp_path / "else"))
    _, _, path = classify.classify(NORMAL, ws)
    assert path.is_relative_to(tmp_path / "else") and len(pd.read_csv(path)) == 1
    assert "No space left" in capsys.readouterr().out


@settings(deadline=None, max_examples=200)
@given(some.text(some.characters(), max_size=20), some.text(some.characters(), max_size=20))
def test_different_names_stay_different_single_lines_without_formulas(one, other):
    names = [classify._printable(name) for name in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    for name in names:
        assert name.isprintable() and not name.lstrip().startswith(tuple("=+-@＝＋－＠"))


def test_any_name_is_answered_and_read_back(ws, brightness, tmp_path):
    folder = tmp_path / "names"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(NORMAL, folder / name)
    answers, _, path = classify.classify(folder, ws)
    assert len(answers) == len(NAMES) and (answers.problem == "").all()
    assert pd.read_csv(path, keep_default_na=False).file.tolist() == answers.file.tolist()
    content = path.read_bytes()
    assert content.count(b"\n") == len(NAMES) + 1 and b"\r" not in content
    assert b'"a;=1"' in content, "where spreadsheets separate by semicolons, this is one cell"


def test_hidden_names_stand_nowhere(ws, brightness, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "Hans_Muster"
    folder.mkdir()
    (folder / "Hans_Muster_link").symlink_to(folder, target_is_directory=True)
    (folder / "Hans_Muster_gone").symlink_to(tmp_path / "nowhere")
    (folder / "Hans_Muster.txt").write_text("no picture")
    shutil.copy(NORMAL, folder / "Hans_Muster.png")
    with zipfile.ZipFile(tmp_path / "Hans_Muster.zip", "w") as archive:
        archive.writestr("Hans_Muster.png", b"x" * 100)
    damaged = (tmp_path / "Hans_Muster.zip").read_bytes().replace(b"x" * 100, b"y" * 100)
    (tmp_path / "Hans_Muster.zip").write_bytes(damaged)

    def fetch(link, target):
        return shutil.copy(NORMAL, target.parent / "x")

    monkeypatch.setattr(classify.drive, "fetch", fetch)
    (ws.scratch / "incoming").mkdir(parents=True)
    link = "https://drive.google.com/file/d/0123456789abcdef/view"
    for place in (folder, folder / "Hans_Muster.png", tmp_path / "Hans_Muster.zip", link):
        answers, readers, path = classify.classify(place, ws, hide_names=True)
        assert next(iter(readers)) == "00001" and len(answers) == len(readers)
        assert "Muster" not in path.name + path.read_text() + " ".join(classify.summary(answers))
    assert "Muster" not in "".join(capfd.readouterr())


def test_the_command_writes_the_table_and_a_wrong_place_gets_a_sentence(ws, run, place, tmp_path):
    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "utils", "classify", *arguments],
            cwd=workspace.PROJECT,
            env=os.environ | {"CXR_HOME": str(ws.home)},
            capture_output=True,
            text=True,
        )

    done = command(str(place), "--to", str(tmp_path / "answers.csv"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The network: run mine") and "3 not usable" in done.stdout
    assert len(pd.read_csv(tmp_path / "answers.csv")) == 10
    done = command(str(tmp_path / "nowhere"))
    assert done.returncode == 1 and "There is nothing at" in done.stderr and "Traceback" not in done.stderr


def test_the_summary_counts_and_says_what_to_do():
    rows = [("a", 0.9, "pneumonia", "", ""), ("b", 0.45, "normal", "", "")]
    rows += [("c", 0.99, "", "it is in colour", ""), ("d", np.nan, "", "", "the file is empty")]
    answers = pd.DataFrame(rows, columns=["file", "score", "answer", "unlike", "problem"]).assign(
        threshold=0.5
    )
    first, look, repair = classify.summary(answers)
    numbers = "1 called pneumonia, 1 called normal, 1 not like the training radiographs, 1 not usable"
    assert first == f"4 files: {numbers}."
    assert "it is in colour (1)" in look and "the file is empty (1)" in repair
    assert next(classify.summary(answers.head(1))).startswith("1 file: 1 called pneumonia, 0 not like")
    assert classify.to_look_at(answers).file.tolist() == ["c", "b", "a"]


def test_upload_asks_in_colab_only_and_a_cancel_is_fine(ws, monkeypatch, capsys):
    assert classify.upload(ws) == "" and "Colab only" in capsys.readouterr().out
    dialog = types.SimpleNamespace(upload=dict)
    monkeypatch.setitem(sys.modules, "google.colab", types.SimpleNamespace(files=dialog))
    assert classify.upload(ws) == "" and "0 files uploaded" in capsys.readouterr().out

    def choose():
        Path("a.png").write_bytes(b"x")
        return {"a.png": b"x"}

    dialog.upload = choose
    assert [path.name for path in Path(classify.upload(ws)).iterdir()] == ["a.png"]
