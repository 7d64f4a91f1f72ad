"""The reader study: what is chosen, whose answers count, how readers are compared."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import run_cells

from utils import workspace
from utils.data import manifest
from utils.inference import reading
from utils.workspace import ExplainedError


@pytest.fixture
def rows(radiographs):
    return reading.choose_radiographs(radiographs.table)


def marks_of(*marks):
    return [*marks, *["?"] * (20 - len(marks))]


def test_validation_images_are_chosen_one_a_patient_and_as_many_of_each_class(radiographs, rows):
    assert rows.patient.is_unique and (rows.fold == 0).all()
    counts = np.bincount(manifest.positives(rows))
    assert counts[0] == counts[1] and 3 <= counts[0] <= 10
    assert rows.equals(reading.choose_radiographs(radiographs.table))
    assert not rows.equals(reading.choose_radiographs(radiographs.table, seed=1))
    assert not (np.diff(manifest.positives(rows)) >= 0).all()  # the order does not tell the class


def test_marks_are_kept_go_on_later_and_are_never_those_of_other_pictures(
    radiographs, rows, tmp_path, capsys
):
    pictures = radiographs.pixels[rows.index]
    answers = reading.sheet(rows, pictures, marks_of("pneumonia", "?", "normal"), tmp_path)
    assert answers.name == "you" and answers.index.equals(rows.index)
    assert answers.dropna().to_dict() == {rows.index[0]: 1, rows.index[2]: 0}
    assert f"2 of {len(rows)} are marked by you" in capsys.readouterr().out
    answers = reading.sheet(rows, pictures, marks_of(), tmp_path)  # later
    assert answers.name == "you" and answers.dropna().to_dict() == {rows.index[0]: 1, rows.index[2]: 0}
    assert "marked by you, earlier. To start again, delete" in capsys.readouterr().out
    answers = reading.sheet(rows, pictures, marks_of(" Normal", "PNEUMONIA"), tmp_path)
    assert answers.dropna().tolist() == [0, 1]  # the third is left out now
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ExplainedError, match="Number 2 is marked 'maybe'"):
        reading.sheet(rows, pictures, marks_of("?", "maybe"), tmp_path)
    answers = reading.sheet(rows, 255 - pictures, marks_of(), tmp_path)
    assert answers.name == "brightness rule" and "not of a person" in capsys.readouterr().out
    assert answers.tolist() == reading.brighter_half(255 - pictures).tolist()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    next(tmp_path.iterdir()).write_text("number,path,mark\n1,a,normal\n")  # cut off
    with pytest.raises(ExplainedError, match="Number 2 is marked"):
        reading.sheet(rows, pictures, marks_of(), tmp_path)


def test_the_rule_calls_the_half_with_the_brighter_lungs_positive():
    pictures = np.full((4, 224, 224), 100, np.uint8)
    for picture, grey in zip(pictures, (90, 150, 140, 60), strict=True):
        picture[70:140, 50:85] = picture[70:140, -85:-50] = grey
    assert reading.brighter_half(pictures).tolist() == [0, 1, 1, 0]
    pictures[0] += 60  # all of a picture brighter is no sign
    assert reading.brighter_half(pictures).tolist() == [0, 1, 1, 0]


@pytest.fixture
def four():
    """Rows of a manifest: four radiographs."""
    facts = {"path": list("wxyz"), "label": ["NORMAL", "PNEUMONIA"] * 2, "patient": list("abcd")}
    return pd.DataFrame(facts, index=[7, 5, 9, 2])


def test_readers_are_measured_named_where_wrong_and_compared(four, capsys):
    answers = pd.DataFrame({"you": [0.0, 1, 1, 1], "network": [0.0, 0, 1, 1]}, four.index)
    rates = reading.measured(answers, four)
    assert rates.group.tolist() == ["you: normal", "you: pneumonia", "network: normal", "network: pneumonia"]
    assert rates.value.tolist() == [0.5, 1, 0.5, 0.5] and rates.images.tolist() == [2] * 4
    assert ((rates.low < rates.value) & (rates.value <= rates.high)).all()
    assert "Too few to measure: fewer than 5 pictures" in capsys.readouterr().out
    errors = reading.wrong(answers, four)
    assert errors.to_dict("list") == {
        "you": [False, False, True, False],
        "network": [False, True, True, False],
    }
    assert list(reading.alone(errors)) == ["Wrong alone: you 0, network 1 (p = 1.00)"]
    assert list(reading.alone(errors[["network", "you"]])) == ["Wrong alone: network 1, you 0 (p = 1.00)"]
    errors = pd.DataFrame({"you": [False] * 8, "same": [False] * 8, "network": [True] * 8})
    assert list(reading.alone(errors)) == [
        "Wrong alone: you 0, same 0 (p = 1.00)",
        "Wrong alone: you 0, network 8 (p = 0.01)",  # 2 / 2 ** 8
    ]
    part = reading.wrong(answers.iloc[:1], four)
    assert not part.any(axis=None) and len(part) == 4  # what is open is not wrong


def test_who_reads_twice_is_compared_on_what_all_have_answered(four):
    first = pd.DataFrame({"you": [0.0, 1, 1, 1], "network": [0.0, 0, 1, 1]}, four.index)
    second = pd.DataFrame({"you": [1.0, 0, 0, np.nan], "network": [1.0, 1, 1, 0]}, four.index[::-1])
    before, after = reading.both_times(first, second)
    assert before.index.tolist() == after.index.tolist() == [5, 9, 2]
    assert reading.changed(before, after).T.to_dict("list") == {"you": [3, 0, 2], "network": [3, 1, 0]}
    before, after = reading.both_times(first.iloc[:2], second.rename(columns={"you": "rule"}))
    assert list(before) == list(after) == ["network"] and len(after) == 2  # who reads once is not compared
    none = reading.both_times(first[["you"]], second[["network"]])
    assert reading.changed(*none).empty and reading.measured(none[0], four).empty


def test_networks_answer_at_the_threshold_of_their_card(trained, radiographs, rows):
    reader = pd.Series(0.0, rows.index, name="you")
    answers = reading.ask(reader, {"network": trained}, radiographs.pixels[rows.index])
    stored = trained.scores("val").set_index("path").score.reindex(rows.path)
    called = stored >= trained.card["threshold"]["value"]
    assert list(answers) == ["you", "network"] and answers.network.tolist() == called.astype(float).tolist()


def test_who_reads_alone_needs_no_tensorflow():
    code = (
        "import sys; from utils.inference import reading; assert not {'tensorflow', 'keras'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], cwd=workspace.PROJECT, check=True)


def test_a_reader_who_marks_two_pictures_of_the_notebook_is_measured_on_these(tmp_path):
    done = run_cells("07_read_them_yourself.ipynb", tmp_path, A01="normal", A03="pneumonia", B02="normal")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 of" in done.stdout and "1 of" in done.stdout and "are marked by you" in done.stdout
    assert "Too few to measure" in done.stdout
    assert "The network is left out" in done.stdout  # nobody has trained on this phantom
    kinds = {path.suffix for path in (tmp_path / "reading").glob("[!.]*")}
    assert kinds == {".csv", ".png", ".svg", ".pdf"}
