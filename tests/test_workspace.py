"""Files are written whole; where a place cannot be written, another is taken and named."""

import errno
import os
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from utils import predict, runs, workspace
from utils.data import manifest
from utils.evaluation import evaluation
from utils.report import documents


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Where files go that cannot be written in their place."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(workspace.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    return tmp_path / "temporary" / workspace.NAME


def full_below(folder, monkeypatch, after=0):
    """Make the disk look full for whole files below a folder, after some were written."""
    whole, written = workspace.whole, []

    def until_full(path):
        if Path(path).is_relative_to(folder):
            written.append(path)
            if len(written) > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(path)

    monkeypatch.setattr(workspace, "whole", until_full)


def test_a_file_is_the_old_or_the_new_one_and_leaves_nothing_beside_it(tmp_path):
    workspace.write_whole(tmp_path / "a.txt", "old")
    with pytest.raises(KeyError), workspace.whole(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise KeyError
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_home_that_cannot_be_written_is_replaced_and_named(tmp_path, elsewhere, monkeypatch, capsys):
    (tmp_path / "file").write_text("a file where the folder should be")
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "file"))
    ws = workspace.open_workspace()
    assert ws.home == ws.scratch == elsewhere / "file" and ws.home.is_dir()
    assert f"The files go to {ws.home} instead; copy them from there" in capsys.readouterr().out


def test_runs_in_a_home_that_is_full_are_still_used(tmp_path, elsewhere, monkeypatch, capsys):
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "home"))
    card = {"recipe": {"name": "mine"}, "manifest": "abc", "synthetic": False}
    run = runs.create(workspace.open_workspace(), card)
    run.update_card(finished=True)

    def check_writable(folder):
        if folder == tmp_path / "home":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return folder

    monkeypatch.setattr(workspace, "check_writable", check_writable)
    ws = workspace.open_workspace()
    assert ws.home == elsewhere / "home"
    assert runs.find(ws) == runs.find(ws, run.name) == run
    assert f"What lies in {tmp_path / 'home'} is still read" in capsys.readouterr().out


def test_a_drive_that_has_gone_is_no_empty_drive(tmp_path, monkeypatch):
    monkeypatch.setattr(workspace, "DRIVE", tmp_path / "drive/MyDrive")
    ws = workspace.Workspace(tmp_path / "drive/MyDrive/mine", tmp_path, quick=True, data=None)
    for look in (runs.find, runs.own_runs):
        with pytest.raises(workspace.ExplainedError, match=r"not connected.*Run the Setup cell again"):
            look(ws)


@pytest.mark.parametrize("after", [0, 1, 12])
def test_an_evaluation_on_a_full_disk_is_saved_whole_elsewhere(
    trained, radiographs, tmp_path, elsewhere, monkeypatch, capsys, after
):
    test = manifest.select(radiographs.table, "test").reset_index(drop=True)
    scores = test[["path", "patient", "label", "subtype"]].assign(score=0.4)
    results = evaluation.results(scores, trained.scores("val"), 0.5, 20)
    full_below(tmp_path / "full", monkeypatch, after)
    tables = {f"table{number}": pd.DataFrame({"a": [1]}) for number in range(9)}
    evaluated = (scores, results, {}, tables, 0.1, 20, [])
    files = documents.save(trained, tmp_path / "full", *evaluated)
    assert files[0].suffix == ".zip" and all(path.is_relative_to(elsewhere / "full") for path in files)
    assert all(path.stat().st_size for path in files)
    assert len(files) > 15
    assert "No space left" in capsys.readouterr().out


def test_scores_that_cannot_be_kept_are_used_all_the_same(trained, radiographs, monkeypatch):
    assert trained.scores("test") is None
    full_below(trained.path, monkeypatch)
    scores, sentence = predict.test_scores(trained, radiographs)
    assert len(scores) == (radiographs.table.split == "test").sum()
    assert "not kept" in sentence and "No space left" in sentence and trained.scores("test") is None


HOLD = """
import sys
import types
import zipfile
from utils import workspace
lock = workspace.lock(sys.argv[1])
lock.acquire(blocking=False)
print("held")
"""


def test_a_lock_is_free_again_when_its_process_has_ended(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    for _ in range(2):
        done = subprocess.run(command, cwd=workspace.PROJECT, capture_output=True, text=True)
        assert done.stdout == "held\n", done.stderr


def test_files_are_told_in_one_line_and_handed_over_as_one_zip(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    for name in ("a.csv", "b.json", "figures/c.png", "figures/d.svg"):
        (run / name).write_text(name)
    handed = []
    colab = types.ModuleType("google.colab")
    colab.files = types.SimpleNamespace(download=handed.append)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    workspace.show_files(run)
    assert capsys.readouterr().out == f"{run}: 4 files, 0.0 MB (a.csv, b.json, c.png ...)\n" and not handed
    workspace.show_files(run, "*.csv", download=True)
    workspace.show_files(run, download=True)
    assert handed[0] == str(run / "a.csv")
    assert sorted(zipfile.ZipFile(handed[1]).namelist()) == [
        "a.csv",
        "b.json",
        "figures/c.png",
        "figures/d.svg",
    ]
