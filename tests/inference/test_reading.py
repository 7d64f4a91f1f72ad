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
    assert len(reading.choose_radiographs(radiographs.table, each=2)) == 4
    assert not (np.diff(manifest.positives(rows)) >= 0).all()  # the order does not tell the class


def test_marks_are_kept_go_on_later_and_are_never_those_of_other_pictures(
    radiographs, rows, tmp_path, capsys
):
    pictures = radiographs.pixels[rows.index]
    reader, answers = reading.sheet(rows, pictures, marks_of("pneumonia", "?", "normal"), tmp_path)
    assert reader == "you" and answers.score.tolist() == [1, 0]
    assert answers.index.tolist() == [rows.index[0], rows.index[2]]
    assert f"2 of {len(rows)} are marked by you" in capsys.readouterr().out
    reader, answers = reading.sheet(rows, pictures, marks_of(), tmp_path)  # later
    assert reader == "you" and answers.score.tolist() == [1, 0]
    assert "marked by you, earlier. To start again, delete" in capsys.readouterr().out
    _, answers = reading.sheet(rows, pictures, marks_of(" Normal", "PNEUMONIA"), tmp_path)
    assert answers.score.tolist() == [0, 1]  # the third is left out now
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ExplainedError, match="Number 2 is marked 'maybe'"):
        reading.sheet(rows, pictures, marks_of("?", "maybe"), tmp_path)
    reader, answers = reading.sheet(rows, 255 - pictures, marks_of(), tmp_path)
    assert reader == "brightness rule" and "not of a person" in capsys.readouterr().out
    assert answers.score.tolist() == reading.brighter_half(255 - pictures).tolist()
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


def readers_table(scores):
    facts = {"path": list("wxyz"), "label": ["NORMAL", "PNEUMONIA"] * 2, "patient": list("abcd")}
    return pd.DataFrame(facts | {"score": scores}, index=[7, 5, 9, 2])


def test_readers_are_measured_named_where_wrong_and_compared_with_themselves(capsys):
    you, network = readers_table([0.0, 1, 1, 1]), readers_table([0.0, 0, 1, 1])
    before = {"you": you, "network": network}
    rates = reading.measured(before)
    assert rates.group.tolist() == ["you: normal", "you: pneumonia", "network: normal", "network: pneumonia"]
    assert rates.value.tolist() == [0.5, 1, 0.5, 0.5] and rates.images.tolist() == [2] * 4
    assert ((rates.low < rates.value) & (rates.value <= rates.high)).all()
    assert reading.wrong(you, before) == ["", "network", "you, network", ""]
    assert "Too few to measure: fewer than 5 pictures" in capsys.readouterr().out
    assert reading.wrong(you, {"you": you.iloc[:1]}) == [""] * 4  # what is open is not wrong
    assert list(reading.alone(before)) == ["Wrong alone: you 0, network 1 (p = 1.00)"]
    assert list(reading.alone({"network": network, "you": you})) == [
        "Wrong alone: network 1, you 0 (p = 1.00)"
    ]
    assert list(reading.alone({"a": you, "b": you})) == ["Wrong alone: a 0, b 0 (p = 1.00)"]
    right, all_wrong = (pd.concat([readers_table(scores)] * 2) for scores in ([0, 1, 0, 1], [1, 0, 1, 0]))
    right, all_wrong = right.reset_index(), all_wrong.reset_index()
    (sentence,) = reading.alone({"you": right, "network": all_wrong})
    assert sentence == "Wrong alone: you 0, network 8 (p = 0.01)"  # 2 / 2 ** 8
    after = {
        "you": readers_table([1.0, 0, 0, 1]).iloc[::-1].iloc[:3],
        "network": readers_table([1.0, 1, 1, 1]),
    }
    both = reading.both_times(before, after)
    assert [table.index.tolist() for times in both for table in times.values()] == [[5, 9, 2]] * 4
    assert reading.changed(*both).T.to_dict("list") == {"you": [3, 0, 2], "network": [3, 1, 0]}


def test_who_reads_once_stands_in_no_comparison(capsys):
    you, network = readers_table([0.0, 1, 1, 1]).iloc[:2], readers_table([0.0, 0, 1, 1])
    both = reading.both_times({"you": you, "network": network.iloc[:2]}, {"rule": you, "network": network})
    assert "Mark these, too" in capsys.readouterr().out
    assert [list(times) for times in both] == [["network"]] * 2 and len(both[1]["network"]) == 2
    none = reading.both_times({"you": you}, {"rule": network})
    assert none == ({}, {}) and reading.changed(*none).empty and reading.measured(none[0]).empty


def test_networks_answer_at_the_threshold_of_their_card(trained, radiographs, rows):
    answers = reading.ask({"network": trained}, radiographs.pixels[rows.index], rows)["network"]
    stored = trained.scores("val").set_index("path").score.reindex(answers.path)
    assert answers.score.tolist() == (stored >= trained.card["threshold"]["value"]).astype(float).tolist()


def test_who_reads_alone_needs_no_tensorflow():
    code = (
        "import sys; from utils.inference import reading; assert not {'tensorflow', 'keras'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], cwd=workspace.PROJECT, check=True)


def test_a_reader_who_marks_two_pictures_of_the_notebook_is_measured_on_these(tmp_path):
    done = run_cells("07_read_them_yourself.ipynb", tmp_path, A01="normal", A03="pneumonia", B02="normal")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 of" in done.stdout and "1 of" in done.stdout and "are marked by you" in done.stdout
    assert "Too few to measure" in done.stdout and "Mark these" not in done.stdout
    assert "The network is left out" in done.stdout  # nobody has trained on this phantom
    assert {path.suffix for path in (tmp_path / "reading").iterdir()} == {".csv", ".png", ".svg", ".pdf"}
