"""The table of answers: names that nobody thought of, and every way to be stopped. Scores are stand-ins."""

import os
import subprocess
import sys
import types
import zipfile

import pandas as pd
import pytest
from conftest import make_workspace
from hypothesis import given, settings
from hypothesis import strategies as some

from utils import __main__ as commands
from utils import runs, workspace
from utils.data import images
from utils.inference import classify, summary, table

NAMES = [
    "None",
    "NA",
    "nan",
    "null",
    "",
    " ",
    " lead",
    "trail ",
    "end\r",
    "new\nline",
    "crlf\r\n",
    "non\udcff",
]
NAMES += [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    " =1",
    "＝1",
    "\t=1",
    "'=1",
    "'",
    "\\n",
    "\\",
    "$\\bad_{$",
    "a" * 250,
]
NAMES += ["Case", "case", 'quo"te', '"', "a;=1", "a,b", "\x00", "\u2028", "胸片", "a\udcffb", "\\udcff"]


class StandIn(types.SimpleNamespace):
    """What the table needs of a run."""

    name, path = "stand-in", None
    card = {"synthetic": False, "model_digest": "m", "manifest": "d"}  # noqa: RUF012


@pytest.fixture
def asked(monkeypatch):
    """The names of the files that were read, in order; their answers depend on nothing but their bytes."""
    asked = []

    def answers(run, found, todo):
        for name in todo:
            reader, stamp = found[name]
            asked.append(name)
            try:
                row = {"score": len(reader()) / 1000, "side": "below", "problem": "", "threshold": 0.5}
            except images.UnreadableImage as error:
                row = {"problem": str(error)}
            row |= {"file": name, "unlike": "", "stamp": stamp, "model": "m", "manifest": "d", "scope": "s"}
            yield pd.DataFrame([row])

    monkeypatch.setattr(classify, "_answers_in_batches", answers)
    return asked


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    for size, name in enumerate(["=1.png", "end\r", 'quo"te, ', "x"], start=1):
        (folder / name).write_bytes(bytes(size))
    return folder


def answers_of(place, path, **kwargs):
    return classify.answer(StandIn(), classify.open_place(StandIn(), place, None, **kwargs), path)


def row(name, **more):
    return (
        {column: "" for column in table.COLUMNS} | dict.fromkeys(table.NUMBERS, 0.5) | {"file": name} | more
    )


@settings(deadline=None, max_examples=200)
@given(some.text(some.characters(), max_size=20), some.text(some.characters(), max_size=20))
def test_different_names_stay_different_single_lines_without_formulas(one, other):
    names = [table.printable(name) for name in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    for name in names:
        assert name.isprintable() and not name.lstrip().startswith(table.FORMULA)


@pytest.mark.parametrize("reader", [lambda path: pd.read_csv(path, keep_default_na=False), table.read])
def test_any_name_is_read_back_by_pandas_too(reader, tmp_path):
    names = [table.printable(name) for name in NAMES]
    assert len(set(names)) == len(NAMES)
    table.write(tmp_path / "t.csv", pd.DataFrame([row(name, problem="a\r\nb") for name in names]))
    found = reader(tmp_path / "t.csv")
    assert found.file.tolist() == names and set(found.problem) == {"a b"}
    content = (tmp_path / "t.csv").read_bytes()
    assert content.count(b"\n") == len(NAMES) + 1 and b"\r" not in content


def test_a_folder_with_such_names_is_answered_once_and_kept(asked, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    names = {name for name in NAMES if name and "\0" not in name}
    for name in names:
        (folder / name).write_bytes(b"x")
    (folder / "answers.csv").write_text("a table is no radiograph")
    first = answers_of(folder, tmp_path / "t.csv")
    assert set(first.file) == set(map(table.printable, names)) and len(first) == len(names) == len(asked)
    pd.testing.assert_frame_equal(answers_of(folder, tmp_path / "t.csv"), first)
    assert len(asked) == len(names)


def test_cut_off_at_any_byte_no_row_is_lost_doubled_or_wrong(asked, folder, tmp_path):
    path = tmp_path / "t.csv"
    expected, content = answers_of(folder, path), path.read_bytes()
    found = classify.open_place(StandIn(), folder, None)
    start = content.index(b'"quo') - 1
    for cut in range(start, content.index(b"\n", start + 1) + 2):
        path.write_bytes(content[:cut])
        asked.clear()
        pd.testing.assert_frame_equal(classify.answer(StandIn(), found, path), expected)
        assert len(asked) == content[cut:].count(b"\n")
        assert path.read_bytes() == content
    assert list(tmp_path.glob("t_before*")) == [], "a row that was cut off is no answer that could be lost"


def test_rubbish_in_the_middle_costs_its_own_rows_only(asked, folder, tmp_path):
    path = tmp_path / "t.csv"
    expected, content = answers_of(folder, path), path.read_bytes()
    lines = content.split(b"\n")
    lines[2] = b'"torn' + bytes(30) + b"\xff,,\r"
    path.write_bytes(b"\n".join(lines))
    asked.clear()
    pd.testing.assert_frame_equal(answers_of(folder, path), expected)
    assert len(asked) == 1


def test_what_failed_is_asked_again_and_what_is_answered_is_not(asked, folder, tmp_path, monkeypatch, capsys):
    found = classify.open_place(StandIn(), folder, None)

    def missing():
        raise images.UnreadableImage("for DICOM files, run %pip install")

    first = classify.answer(StandIn(), found | {"x": (missing, found["x"][1])}, tmp_path / "t.csv")
    assert (first.problem != "").sum() == 1
    asked.clear()
    assert (answers_of(folder, tmp_path / "t.csv").problem == "").all() and asked == ["x"]
    assert "_before_" not in capsys.readouterr().out, "a failure is no answer that could be lost"


@pytest.mark.parametrize("what", ["changed", "vanished", "another folder", "another network", "names hidden"])
def test_earlier_answers_are_kept_beside_and_a_sentence_says_so(what, asked, folder, tmp_path, capsys):
    path, run, hidden = tmp_path / "t.csv", StandIn(), what == "names hidden"
    earlier = answers_of(folder, path)
    asked.clear()
    if what == "changed":
        (folder / "x").write_bytes(bytes(9))
    elif what == "vanished":
        (folder / "x").unlink()
    elif what == "another folder":  # with the same names, sizes and times
        subprocess.run(["cp", "-a", folder, tmp_path / "other"], check=True)
        folder = tmp_path / "other"
    elif what == "another network":
        run = StandIn(card=StandIn.card | {"model_digest": "n"})
    found = classify.open_place(StandIn(), folder, None, hide_names=hidden)
    assert classify.answer(run, found, path).file.tolist() == list(found)
    (beside,) = tmp_path.glob("t_before_*.csv")
    pd.testing.assert_frame_equal(table.read(beside), earlier)
    assert beside.name in capsys.readouterr().out
    assert len(asked) == {"changed": 1, "vanished": 0}.get(what, 4)


def test_hidden_numbers_do_not_hand_on_answers_of_other_files(asked, folder, tmp_path):
    """Radiographs of one device have one size, and from a zip often one time."""
    for name in ("a", "b", "c"):
        (folder / name).write_bytes(bytes(5))
        os.utime(folder / name, ns=(0, 0))
    answers_of(folder, tmp_path / "t.csv", hide_names=True)
    (folder / "a").unlink()
    asked.clear()
    answers_of(folder, tmp_path / "t.csv", hide_names=True)
    assert len(asked) == 5, "each file behind it has another number now"


def test_names_are_hidden_everywhere(asked, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "Hans_Muster"
    folder.mkdir()
    (folder / "Hans_Muster_link").symlink_to(folder, target_is_directory=True)
    (folder / "Hans_Muster_gone").symlink_to(tmp_path / "nowhere")
    (folder / "Hans_Muster.png").write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "Hans_Muster.zip", "w") as archive:
        archive.writestr("Hans_Muster.png", b"x" * 100)
    damaged = (tmp_path / "Hans_Muster.zip").read_bytes().replace(b"x" * 100, b"y" * 100)
    (tmp_path / "Hans_Muster.zip").write_bytes(damaged)
    ws = make_workspace(tmp_path / "home")
    for place in (folder, folder / "Hans_Muster.png", tmp_path / "Hans_Muster.zip"):
        path = classify.target(StandIn(), place, ws, hide_names=True)
        found = classify.open_place(StandIn(), place, ws, hide_names=True)
        (folder / "Hans_Muster.png").unlink(missing_ok=True)  # between listing and reading
        assert list(found) == ["00001"]
        answers = classify.answer(StandIn(), found, path)
        assert "cannot be opened" in answers.problem[0]
        assert "Muster" not in path.name + path.read_text() + " ".join(summary.sentences(answers))
        (folder / "Hans_Muster.png").write_bytes(b"x")
    assert "Muster" not in capsys.readouterr().out


SECOND = """
import sys, types
from utils.inference import classify
card = {"synthetic": False, "model_digest": "m", "manifest": "d"}
run = types.SimpleNamespace(card=card, name="stand-in")
classify.answer(run, classify.open_place(run, sys.argv[1], None), sys.argv[2])
"""


def test_a_second_run_on_one_table_waits_and_answers_only_what_the_first_has_not(asked, folder, tmp_path):
    path = tmp_path / "t.csv"
    expected = answers_of(folder, path)
    path.unlink()
    with workspace.lock(path):  # as the first run does
        command = [sys.executable, "-u", "-c", SECOND, str(folder), str(path)]
        second = subprocess.Popen(command, cwd=workspace.PROJECT, stdout=subprocess.PIPE, text=True)
        assert "Another run is writing" in second.stdout.readline()
        table.write(path, expected)
    assert "4 of 4 files were answered before" in second.communicate()[0] and second.returncode == 0
    pd.testing.assert_frame_equal(table.read(path), expected)


def test_stopped_by_hand_says_what_is_done_and_goes_on(asked, folder, tmp_path, monkeypatch, capsys):
    found = classify.open_place(StandIn(), folder, None)

    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(
        commands,
        "classify",
        lambda **_: classify.answer(StandIn(), found | {"x": (stop, found["x"][1])}, tmp_path / "t.csv"),
    )
    monkeypatch.setattr(sys, "argv", ["utils", "classify", "anything"])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    assert stopped.value.code == 130
    assert f"answered 3 of 4 files; what {tmp_path / 't.csv'} holds is kept" in capsys.readouterr().err
    asked.clear()
    assert len(classify.answer(StandIn(), found, tmp_path / "t.csv")) == 4 and asked == ["x"]


@pytest.mark.parametrize("kind", ["a folder", "below a file", "a notebook's output"])
def test_an_output_that_cannot_be_written_gets_one_sentence(kind, asked, folder, tmp_path):
    path = tmp_path / "taken"
    if kind == "a folder":
        path.mkdir()
    else:
        path.write_text("year;result\n")
    expected = "no table" if kind == "a notebook's output" else "cannot be used.*answered 0 of 4"
    with pytest.raises(runs.RunError, match=expected):
        answers_of(folder, path / "t.csv" if kind == "below a file" else path)
    assert not asked


@pytest.mark.parametrize("place", ["", "  ", "a" * 300, "nowhere\udcff"])
def test_a_wrong_place_gets_one_sentence(place, monkeypatch):
    with pytest.raises(workspace.ExplainedError, match=r"No place|cannot be used|nothing at"):
        classify.open_place(StandIn(), place, None)


def test_a_table_saved_by_a_spreadsheet_is_kept_beside(asked, folder, tmp_path):
    path = tmp_path / "t.csv"
    expected = answers_of(folder, path)
    saved = path.read_bytes().replace(b'","', b";").replace(b'"', b"").replace(b"\n", b"\r\n")
    path.write_bytes(saved)
    pd.testing.assert_frame_equal(answers_of(folder, path), expected)
    assert [file.read_bytes() for file in tmp_path.glob("t_before_*")] == [saved]


def test_the_summary_counts_and_says_what_to_do():
    above, below = row("a", side="above", score=0.9), row("b", side="below", score=0.45)
    odd, bad = row("c", unlike="it is in colour", score=0.99), row("d", problem="the file is empty")
    answers = pd.DataFrame([above, below, odd, bad])
    first, look, repair = summary.sentences(answers)
    numbers = "1 above the threshold, 1 below, 1 not like the training images, 1 not usable"
    assert first == f"4 files: {numbers}."
    assert "it is in colour (1)" in look and "the file is empty (1)" in repair and "again" in repair
    assert next(summary.sentences(answers.head(1))).startswith("1 file: 1 above")
    assert summary.to_look_at(answers).file.tolist() == ["c", "b", "a"]
