"""New radiographs: what comes in, what is answered, what is kept."""

import errno
import io
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
from PIL import Image

from utils import __main__ as commands
from utils import runs, workspace
from utils.data import gate, images, manifest
from utils.inference import classify, table
from utils.sources import files


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """The run of the phantom, as if it had learned from radiographs."""
    path = tmp_path_factory.mktemp("real") / "runs" / trained.name
    shutil.copytree(trained.path, path)
    runs.Run(path).update_card(synthetic=False)
    return runs.Run(path)


@pytest.fixture
def place(radiographs, tmp_path):
    """A nested folder with three radiographs, an inverted one, a small one and three bad files."""
    validation = manifest.select(radiographs.table, "val").index[:3]
    folder = tmp_path / "new"
    (folder / "a" / "b").mkdir(parents=True)
    first, second, third = (Image.fromarray(radiographs.pixels[row]) for row in validation)
    first.save(folder / "a" / "first.png")
    second.save(folder / "a" / "b" / "first.png")
    third.save(folder / "third.tif")
    Image.fromarray(255 - radiographs.pixels[validation[0]]).save(folder / "negative.png")
    third.resize((60, 60)).save(folder / "small.png")
    (folder / "empty.png").touch()
    (folder / "page.jpg").write_bytes(b"<html>")
    (folder / "notes").write_text("no picture")
    (folder / ".hidden.png").write_text("hidden")
    return folder


def answers_of(run, place, path, ws=None, **kwargs):
    return classify.answer(run, classify.open_place(run, place, ws, **kwargs), path)


def test_every_file_of_a_folder_gets_an_answer_or_a_reason(run, place, tmp_path):
    answers = answers_of(run, place, tmp_path / "answers.csv").set_index("file")
    assert sorted(answers.index) == list(answers.index) and len(answers) == 8
    assert answers.problem[["empty.png", "page.jpg", "notes"]].tolist() == [
        "the file is empty",
        "this is a web page saved under an image's name; download it again",
        images.NO_IMAGE,
    ]
    good = answers[answers.problem == ""]
    assert good.score.between(0, 1).all() and answers.score[answers.problem != ""].isna().all()
    assert "inverted" in answers.unlike["negative.png"] and "60 x 60" in answers.unlike["small.png"]
    validation, threshold = run.scores("val"), run.card["threshold"]["value"]
    normal, ill = (validation.score[rows] for _, rows in manifest.classes(validation))
    for row in good.itertuples():
        assert row.side == ("" if row.unlike else "above" if row.score >= threshold else "below")
        low, high = row.score - 1e-5, row.score + 1e-5  # scores in the files are rounded
        assert (normal > high).mean() <= row.normals_scoring_higher + 1e-5 <= (normal > low).mean() + 2e-5
        assert (ill < low).mean() <= row.pneumonias_scoring_lower + 1e-5 <= (ill < high).mean() + 2e-5


def test_a_zip_and_a_single_file_give_the_same_answers(run, place, tmp_path):
    whole = answers_of(run, place, tmp_path / "folder.csv").drop(columns="stamp")
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
        for path in place.rglob("*"):
            archive.write(path, path.relative_to(place))
    zipped = answers_of(run, tmp_path / "new.zip", tmp_path / "zip.csv").drop(columns="stamp")
    pd.testing.assert_frame_equal(zipped, whole)
    single = answers_of(run, place / "a" / "first.png", tmp_path / "one.csv")
    assert single.score[0] == pytest.approx(whole.set_index("file").score["a/first.png"], abs=1e-5)


def test_an_interrupted_folder_goes_on_and_unchanged_files_are_not_read_again(
    run, place, tmp_path, monkeypatch, capsys
):
    path, expected = tmp_path / "answers.csv", answers_of(run, place, tmp_path / "at_once.csv")
    monkeypatch.setattr(classify, "BATCH", 2)
    found = classify.open_place(run, place, None)
    third = list(found)[4]  # in the third portion

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classify.answer(run, found | {third: (stop, found[third][1])}, path)
    assert 0 < len(pd.read_csv(path)) < len(found)
    with open(path, "a") as file:
        file.write("third.tif,0.1")  # a line that was cut off
    pd.testing.assert_frame_equal(classify.answer(run, found, path), expected)
    assert "were answered before" in capsys.readouterr().out
    (place / "third.tif").write_bytes((place / "negative.png").read_bytes())
    again = answers_of(run, place, path).set_index("file")
    assert "inverted" in again.unlike["third.tif"]
    printed = capsys.readouterr().out
    assert "4 of 8 files were answered before" in printed, "neither the changed file nor those with a problem"
    assert len(list(tmp_path.glob("answers_before_*.csv"))) == 1 and "_before_" in printed


def test_names_can_be_hidden(run, place, tmp_path):
    answers = answers_of(run, place, tmp_path / "answers.csv", hide_names=True)
    assert answers.file.tolist() == [f"{number:05d}" for number in range(1, 9)]
    text = (tmp_path / "answers.csv").read_text()
    assert not any(path.name in text for path in place.rglob("*.*"))
    found = classify.open_place(run, place, None, hide_names=True)
    shown = answers[answers.problem == ""].file[:2]
    assert classify.pictures_of(found, shown).shape == (2, 224, 224)


def test_the_three_examples_are_answered_by_a_released_network(tmp_path):
    best = runs.released("best")
    answers = answers_of(best, classify.EXAMPLES, tmp_path / "answers.csv")
    stored = best.scores("test").assign(file=lambda table: table.path.str.extract(r"([^/]+)\.jpeg$"))
    merged = answers.assign(file=answers.file.str.removesuffix(".png")).merge(stored, on="file")
    assert len(merged) == len(answers) == 3 and (answers.problem == "").all()
    np.testing.assert_allclose(merged.score_x, merged.score_y, atol=1e-3)


def test_a_file_may_be_called_like_a_missing_value(run, place, tmp_path):
    folder = tmp_path / "names"
    folder.mkdir()
    for name in ("NA", "nan", "null"):
        shutil.copy(place / "third.tif", folder / name)
    for _ in range(2):  # the second time they are kept
        answers = answers_of(run, folder, tmp_path / "answers.csv")
        assert answers.file.tolist() == ["NA", "nan", "null"] and (answers.problem == "").all()


def test_another_file_is_never_overwritten(run, place, tmp_path):
    path = tmp_path / "thesis.csv"
    path.write_text("year,result\n2026,mine\n")
    with pytest.raises(runs.RunError, match="no table of answers"):
        answers_of(run, place, path)
    assert "mine" in path.read_text()


def test_a_run_without_a_gate_still_answers(run, place, tmp_path):
    bare = tmp_path / run.name
    shutil.copytree(run.path, bare)
    (bare / gate.FILE).unlink()
    answers = answers_of(runs.Run(bare), place / "negative.png", tmp_path / "answers.csv")
    assert answers.unlike.tolist() == [""]


def test_a_file_too_large_to_be_a_radiograph_is_not_read(run, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    (tmp_path / "big.png").write_bytes(bytes(11))
    answers = answers_of(run, tmp_path / "big.png", tmp_path / "answers.csv")
    assert "too large" in answers.problem[0]


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_nothing_to_classify_gets_words(place, run, tmp_path):
    with pytest.raises(images.UnreadableImage, match=r"nothing at|empty"):
        classify.open_place(run, tmp_path / place, None)


def test_a_network_of_the_phantom_answers_no_radiographs(trained, place):
    with pytest.raises(runs.RunError, match="learned from the synthetic phantom"):
        classify.open_place(trained, place, None)


def test_each_place_and_run_has_its_own_table(run, tmp_path):
    ws = make_workspace(tmp_path)
    places = "", "/a/new", "/b/new", "/a/new.zip"
    assert len({classify.target(run, place, ws) for place in places}) == 4


def test_the_command_writes_the_table(run, place, tmp_path, monkeypatch):
    command = [
        "-m",
        "utils",
        "classify",
        str(place),
        "--run",
        run.name,
        "--to",
        str(tmp_path / "answers.csv"),
    ]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=workspace.PROJECT,
        env={"CXR_HOME": str(run.path.parents[1]), "PATH": "", "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "8 files" in done.stdout and "3 not usable" in done.stdout
    assert len(pd.read_csv(tmp_path / "answers.csv")) == 8
    monkeypatch.setenv("CXR_HOME", str(run.path.parents[1]))
    monkeypatch.setattr(sys, "argv", ["utils", "classify", str(tmp_path / "nowhere"), "--run", run.name])
    with pytest.raises(SystemExit, match="There is nothing at"):  # Python shows these words only
        commands.main()


def test_a_table_of_another_version_is_written_anew(run, place, tmp_path):
    path = tmp_path / "answers.csv"
    answers = answers_of(run, place, path)
    answers.drop(columns="scope").to_csv(path, index=False)
    pd.testing.assert_frame_equal(answers_of(run, place, path), answers)


def test_animated_and_coloured_pictures_are_named(run, radiographs, tmp_path):
    folder = tmp_path / "kinds"
    folder.mkdir()
    frames = [Image.fromarray(radiographs.pixels[row]) for row in radiographs.table.index[:2]]
    frames[0].save(folder / "film.gif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "still.gif")
    colour = np.stack([radiographs.pixels[0], radiographs.pixels[0] // 2, radiographs.pixels[0] // 3], axis=2)
    for name in ("colour.png", "colour.jpg"):
        Image.fromarray(colour).save(folder / name)
    frames[0].convert("RGB").save(folder / "grey.jpg")
    answers = answers_of(run, folder, tmp_path / "answers.csv").set_index("file")
    assert "animated" in answers.problem["film.gif"] and answers.problem["still.gif"] == ""
    in_colour = answers.unlike == "it is in colour"
    assert answers.index[in_colour].tolist() == ["colour.jpg", "colour.png"]


def test_upload_asks_in_colab_only_and_a_cancel_is_fine(tmp_path, monkeypatch, capsys):
    ws = make_workspace(tmp_path)
    assert classify.upload(ws) == "" and "Colab only" in capsys.readouterr().out
    dialog = types.SimpleNamespace(upload=dict)
    monkeypatch.setitem(sys.modules, "google.colab", types.SimpleNamespace(files=dialog))
    assert classify.upload(ws) == "" and "de-identified" in capsys.readouterr().out

    def choose():
        Path("a.png").write_bytes(b"x")
        return {"a.png": b"x"}

    dialog.upload = choose
    assert [path.name for path in Path(classify.upload(ws)).iterdir()] == ["a.png"]


def test_a_full_disk_leaves_whole_rows_and_the_next_call_goes_on(run, place, tmp_path, monkeypatch, capsys):
    path, found = tmp_path / "answers.csv", classify.open_place(run, place, workspace.open_workspace())
    appended = []

    class Full(io.TextIOWrapper):
        def write(self, text):
            appended.append(text)
            super().write(text if len(appended) == 1 else text[: len(text) // 2])
            if len(appended) > 1:
                self.flush()
                raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(classify, "BATCH", 2)
        patched.setattr(table, "open", lambda path, *_, **__: Full(io.FileIO(path, "a")), raising=False)
        with pytest.raises(runs.RunError, match=r"No space left.*is kept.*goes on from there"):
            classify.answer(run, found, path)
    assert len(pd.read_csv(path)) == 2 and path.read_text().endswith("\n")
    answers = classify.answer(run, found, path)
    assert answers.file.tolist() == list(found)
    assert "2 of" in capsys.readouterr().out


def test_answers_go_elsewhere_where_the_folder_of_results_is_full(run, tmp_path, monkeypatch, capsys):
    def full(folder):
        if folder.is_relative_to(tmp_path / "home"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return folder

    monkeypatch.setattr(workspace, "check_writable", full)
    place = classify.target(run, "somewhere", make_workspace(tmp_path / "home"))
    assert not place.is_relative_to(tmp_path / "home") and "No space left" in capsys.readouterr().out
