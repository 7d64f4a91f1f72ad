"""What trainings leave behind that were killed, ran twice at once, or met a full disk: nothing is lost."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import make_workspace, state_of

from utils import runs, workspace
from utils.training import checkpoint, fit, mirror, recipes, watch

pytestmark = pytest.mark.usefixtures("small_network")
FAST = recipes.recipe("fast", epochs=2)


class Killed(Exception):
    """Stands for the end of a process at this point."""


def killed(*_, **__):
    raise Killed


@pytest.fixture
def interrupted(radiographs, tmp_path, monkeypatch):
    """A workspace with one run that was killed after its last epoch, before it was finished."""
    ws = make_workspace(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(fit, "finish", killed)
        fit.train(FAST, radiographs, ws)
    (run,) = runs.own_runs(ws)
    return ws, run


HOLD = """
import sys
from utils import workspace
lock = workspace.lock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_that_another_process_trains_is_left_to_it(interrupted, radiographs):
    ws, run = interrupted
    command = [sys.executable, "-c", HOLD, str(run.path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=workspace.PROJECT, text=True, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        before = (run.path / "card.json").read_bytes()
        with pytest.raises(watch.TrainingError, match=f"{run.name} is being trained at this moment"):
            fit.train(FAST, radiographs, ws)
        assert (run.path / "card.json").read_bytes() == before and runs.own_runs(ws) == [run]
        other.kill()  # the system frees the lock
    assert fit.train(FAST, radiographs, ws) == run and run.finished


def test_a_truncated_card_is_restored_from_the_state(interrupted, radiographs, capsys):
    ws, run = interrupted
    card = run.card
    (run.path / "card.json").write_text((run.path / "card.json").read_text()[:100])
    assert runs.own_runs(ws) == []
    assert fit.train(FAST, radiographs, ws) == run and run.finished
    assert run.card["created"] == card["created"] and run.card["counts"] == card["counts"]
    assert f"The card of {run.name} was damaged; it is restored" in capsys.readouterr().out


def test_a_run_from_before_fields_of_recipes_came_and_went_goes_on(interrupted, radiographs):
    ws, run = interrupted
    recipe = {name: value for name, value in run.card["recipe"].items() if name != "exchange"}
    run.update_card(recipe=recipe | {"curve": 0.0})
    assert fit.train(FAST, radiographs, ws) == run and run.finished


@pytest.mark.parametrize("damage", ["damaged", "not a number"])
def test_a_run_without_a_usable_state_begins_again_in_its_folder(interrupted, radiographs, capsys, damage):
    ws, run = interrupted
    for path in checkpoint.Slots(run.path / "resume").paths:
        if damage == "damaged":
            path.write_bytes(path.read_bytes()[:-100])
        else:
            with np.load(path) as stored:
                arrays = {name: value * np.nan if value.ndim > 1 else value for name, value in stored.items()}
            np.savez(path, **arrays)
    assert fit.train(FAST, radiographs, ws) == run and runs.own_runs(ws) == [run]
    assert len(run.history()) == 2 and run.history().epoch.tolist() == [1, 2]
    assert f"{run.name} has no whole state, so it begins again" in capsys.readouterr().out


def test_a_state_that_is_not_finite_is_passed_over_for_the_one_before(tmp_path):
    slots = checkpoint.Slots(tmp_path / "resume")
    slots.write(state_of(1))
    slots.write(state_of(np.nan))
    assert checkpoint.Slots(tmp_path / "resume").newest["epoch"] == 1


def test_a_training_killed_before_its_first_state_leaves_no_orphan(radiographs, tmp_path, monkeypatch):
    ws = make_workspace(tmp_path)
    for _ in range(2):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(fit, "run_epochs", killed)
            fit.train(FAST, radiographs, ws)
    (run,) = runs.own_runs(ws)
    assert fit.train(FAST, radiographs, ws) == run


@pytest.mark.parametrize("on_drive", [False, True])
def test_a_training_killed_between_finishing_and_clearing_up_is_not_trained_twice(
    radiographs, tmp_path, monkeypatch, capsys, on_drive
):
    home = tmp_path / "home" if on_drive else tmp_path
    ws = workspace.Workspace(home=home, scratch=tmp_path, quick=True, data=None)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(mirror, "discard", killed)
        fit.train(FAST, radiographs, ws)
    mirror.make_good(ws)  # as the Setup cell does
    again = fit.train(FAST, radiographs, ws)
    assert again.path == ws.runs / again.name and len(runs.own_runs(ws)) == 1
    assert again.card["delivered"] is True and not (again.path / "resume").exists()
    assert "This training was finished before" in capsys.readouterr().out
    assert fit.train(FAST, radiographs, ws).name != again.name  # asked for once more: another network


def test_two_sessions_that_finish_the_same_run_keep_both(radiographs, tmp_path, capsys):
    ws = workspace.Workspace(home=tmp_path / "home", scratch=tmp_path / "one", quick=True, data=None)
    first = fit.train(FAST, radiographs, ws)
    other = runs.Run(tmp_path / "two" / "runs" / first.name)
    other.path.mkdir(parents=True)
    for name in ("card.json", "history.csv", "scores_val.csv"):
        (other.path / name).write_bytes((first.path / name).read_bytes())
    (other.path / "model.keras").write_bytes(b"another network")
    other.update_card(model_digest=runs.file_digest(other.path / "model.keras"))
    before = (first.path / "model.keras").read_bytes()
    ws = workspace.Workspace(home=tmp_path / "home", scratch=tmp_path / "two", quick=True, data=None)
    second = mirror.Mirror(other, ws).finish()
    assert (
        second.name == f"{first.name}_2" and (second.path / "model.keras").read_bytes() == b"another network"
    )
    assert (first.path / "model.keras").read_bytes() == before
    assert "Another session finished" in capsys.readouterr().out


def test_a_full_disk_is_said_in_words_and_costs_one_epoch(radiographs, tmp_path, monkeypatch):
    ws, write = make_workspace(tmp_path), checkpoint.Slots.write

    def write_until_full(slots, content):
        if slots.newest is None and any(path.exists() for path in slots.paths):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(slots, content)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.Slots, "write", write_until_full)
        with pytest.raises(
            watch.TrainingError, match=r"cannot be written .*No space.* goes on after the last"
        ):
            fit.train(FAST, radiographs, ws)
    (run,) = runs.own_runs(ws)
    assert checkpoint.Slots(run.path / "resume").newest["epoch"] == 1
    assert fit.train(FAST, radiographs, ws) == run and run.finished


def test_a_disk_that_is_full_from_the_start_is_said_in_words_and_no_lock_stays(
    interrupted, radiographs, monkeypatch
):
    ws, run = interrupted

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(runs, "write_card", full)
        with pytest.raises(watch.TrainingError, match=r"cannot be written .*No space") as kept:
            fit.train(FAST, radiographs, ws)
    assert fit.train(FAST, radiographs, ws) == run and run.finished and kept
