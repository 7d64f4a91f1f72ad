"""Trainings that are killed, run twice at once, or lose Google Drive end with the same result."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import make_workspace, thumbnail

from utils import backend, metrics, model, runs, saved_models, workspace
from utils.backend import keras
from utils.training import fit, recipes, resume
from utils.workspace import ExplainedError

FAST = recipes.recipe("fast", epochs=3)


class Killed(Exception):
    """Stands for the end of a process at this point."""


def killed(*_, **__):
    raise Killed


class Kill(keras.callbacks.Callback):
    """End the training in the middle of an epoch, counted from 1."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.here = epoch + 1 == self.epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.here and batch == 1:
            raise Killed


def train_until(epoch, radiographs, ws, recipe=FAST, **kwargs):
    """A training that is killed in this epoch; returns its run."""
    seen = []
    with pytest.raises(Killed):
        fit.train(recipe, radiographs, ws, **kwargs, callbacks=lambda run: seen.append(run) or [Kill(epoch)])
    return seen[0]


@pytest.fixture(scope="module")
def unbroken(radiographs, tmp_path_factory):
    """The run of FAST with the small network, never broken off."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(model.NETWORKS, "compact", thumbnail)
        return fit.train(FAST, radiographs, make_workspace(tmp_path_factory.mktemp("unbroken")))


def states(run):
    """The states of a run, by the epoch after which they were written."""
    return {resume._read_state(path)["epoch"]: path for path in (run.path / "resume").iterdir()}


def assert_equal(run, other):
    weights = [saved_models.load(each.path / "model.keras").get_weights() for each in (run, other)]
    for first, second in zip(*weights, strict=True):
        np.testing.assert_array_equal(first, second)
    pd.testing.assert_frame_equal(*(each.history().drop(columns="seconds") for each in (run, other)))
    assert run.card["epochs_done"] == other.card["epochs_done"] == len(run.history())


# Going on with the very same result.


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_training_that_was_broken_off_ends_as_if_it_never_was(
    bfloat16, radiographs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(backend, "_cpu_has_bfloat16", lambda: bfloat16)
    recipe = recipes.recipe("fast", side=48, epochs=3)  # with dropout, normalisation and augmentation
    unbroken = fit.train(recipe, radiographs, make_workspace(tmp_path / "unbroken"))
    ws = make_workspace(tmp_path)
    run = train_until(3, radiographs, ws, recipe)
    (run.path / "history.csv").unlink()
    assert fit.train(recipe, radiographs, ws) == run
    assert f"Going on with the unfinished run {run.name} after epoch 2 of 3." in capsys.readouterr().out
    assert_equal(run, unbroken)
    assert [entry["after_epoch"] for entry in run.card["continued"]] == [2]
    assert not (run.path / "resume").exists()


TRAIN = """
import sys
from conftest import make_workspace, thumbnail
from utils import sources, workspace
from utils.training import fit, recipes, watch
watch.LINES = 1000  # a line for every epoch
radiographs = sources.load(make_workspace(sys.argv[1]))
home, scratch, epochs = workspace.Path(sys.argv[2]), workspace.Path(sys.argv[3]), int(sys.argv[4])
ws = workspace.Workspace(home=home, scratch=scratch, quick=True, data=None)
fit.train(recipes.recipe("fast", side=48, epochs=epochs), radiographs, ws)
"""


def start_python(code, *arguments):
    """Start a Python process that knows this project and its tests."""
    path = os.pathsep.join([str(workspace.PROJECT), str(workspace.PROJECT / "tests")])
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def check_kills(ws, folder, kills):
    """Kill a training with a copy in its home at random moments; the disk is lost now and then, too."""
    epochs = str(4 + 5 * kills)  # from kill to kill it does about three
    start_python(TRAIN, ws.home, folder / "unbroken", folder / "unbroken", epochs).communicate()
    (unbroken,) = runs.all_runs(folder / "unbroken" / "runs")
    rng = random.Random(kills)
    places = folder / "killed", folder / "killed_scratch"
    went_on = 0
    for kill in range(kills):
        process, moments = start_python(TRAIN, ws.home, *places, epochs), [time.monotonic()]
        for line in process.stdout:
            went_on += line.startswith("Going on")
            if line.startswith(("Training", "epoch")):
                moments.append(time.monotonic())
            if len(moments) > (1 if kill % 4 == 3 else 3):  # before the first epoch ends, or after two
                break
        time.sleep(rng.uniform(0, moments[-1] - moments[-2]))
        process.kill()
        process.communicate()
        if kill % 3 == 1:
            shutil.rmtree(places[1])  # as Colab does with its runtimes
    process = start_python(TRAIN, ws.home, *places, epochs)
    printed = process.communicate()[0]
    assert process.returncode == 0 and went_on + ("Going on" in printed) >= kills / 2
    (finished,) = [run for run in runs.all_runs(places[0] / "runs") if run.finished]
    assert not (finished.path / "resume").exists()
    assert not [run for run in runs.all_runs(places[1] / "runs") if run.finished]
    assert_equal(unbroken, finished)


def test_a_training_killed_twice_ends_as_if_it_never_was(ws, radiographs, tmp_path):
    check_kills(ws, tmp_path, 2)


@pytest.mark.slow
def test_a_training_killed_twenty_times_ends_as_if_it_never_was(ws, radiographs, tmp_path):
    check_kills(ws, tmp_path, 20)


# Which run goes on.


def test_only_a_run_of_the_same_choices_goes_on(small_network, radiographs, tmp_path):
    ws = make_workspace(tmp_path)
    run = train_until(2, radiographs, ws)
    others = [
        train_until(1, radiographs, ws, seed=5),
        train_until(1, radiographs, ws, recipes.recipe("fast", epochs=3, label_smoothing=0.0)),
        train_until(1, radiographs, ws, fold=1),
        train_until(1, radiographs, ws, afresh=True),
    ]
    assert len({run, *others}) == 5
    shutil.rmtree(others[-1].path)
    assert fit.train(FAST, radiographs, ws) == run and run.finished
    assert train_until(1, radiographs, ws) != run, "asked for once more: another network"


def test_a_run_of_before_fields_of_recipes_came_and_went_goes_on(small_network, radiographs, tmp_path):
    run = train_until(3, radiographs, make_workspace(tmp_path))
    recipe = {name: value for name, value in run.card["recipe"].items() if name not in ("exchange", "title")}
    run.update_card(recipe=recipe | {"curve": 0.0})
    assert fit.train(FAST, radiographs, make_workspace(tmp_path)) == run and run.finished


def test_a_training_broken_off_while_it_finishes_is_finished_later(
    small_network, radiographs, tmp_path, monkeypatch
):
    ws = make_workspace(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(metrics, "choose_threshold", killed)  # after the scores were written
        fit.train(FAST, radiographs, ws)
    (run,) = runs.own_runs(ws)
    assert run.scores("val") is not None and not run.finished
    assert fit.train(FAST, radiographs, ws) == run and run.finished


def test_a_state_of_other_hardware_is_said_and_not_used(small_network, radiographs, tmp_path, capsys):
    ws = make_workspace(tmp_path)
    run = train_until(3, radiographs, ws)
    for path in states(run).values():
        with np.load(path) as stored:
            number = sum(name.startswith("variable") for name in stored)
            more = {f"variable{number}": np.zeros(3)}  # such as the loss scale of float16
            np.savez(path, **stored, **more)
    assert fit.train(FAST, radiographs, ws) != run and not run.finished
    assert f"{run.name} cannot go on here: it was computed in" in capsys.readouterr().out


HOLD = """
import sys
from utils import workspace
lock = workspace.lock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_that_another_process_trains_is_left_to_it(small_network, radiographs, tmp_path):
    ws = make_workspace(tmp_path)
    run = train_until(3, radiographs, ws)
    with start_python(HOLD, run.path) as other:
        assert other.stdout.readline() == "held\n"
        before = (run.path / "card.json").read_bytes()
        with pytest.raises(ExplainedError, match=f"{run.name} is being trained at this moment"):
            fit.train(FAST, radiographs, ws)
        assert (run.path / "card.json").read_bytes() == before and runs.own_runs(ws) == [run]
        other.kill()  # the system frees the lock
    assert fit.train(FAST, radiographs, ws) == run and run.finished


def test_a_training_holds_the_lock_of_its_run(small_network, radiographs, tmp_path):
    def try_again(run):
        with pytest.raises(ExplainedError, match="is being trained at this moment"):
            fit.train(FAST, radiographs, make_workspace(tmp_path))
        return []

    fit.train(FAST, radiographs, make_workspace(tmp_path), callbacks=try_again)


# Damaged states.


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "a byte flipped":
        content[len(content) // 2] ^= 0xFF
    path.write_bytes({"cut": content[:-50], "empty": b"", "a byte flipped": content}[how])


@pytest.mark.parametrize("how", ["cut", "empty", "a byte flipped"])
def test_a_damaged_state_is_passed_over_for_the_one_before(how, small_network, radiographs, tmp_path, capsys):
    unbroken = fit.train(FAST, radiographs, make_workspace(tmp_path / "unbroken"))
    ws = make_workspace(tmp_path)
    run = train_until(3, radiographs, ws)
    damage(states(run)[2], how)
    assert fit.train(FAST, radiographs, ws) == run
    assert "after epoch 1 of 3." in capsys.readouterr().out
    assert_equal(run, unbroken)


def test_a_run_without_a_whole_state_begins_again_in_its_folder(small_network, radiographs, tmp_path, capsys):
    ws = make_workspace(tmp_path)
    run = train_until(3, radiographs, ws)
    for path in states(run).values():
        damage(path, "cut")
    assert fit.train(FAST, radiographs, ws) == run and run.history().epoch.tolist() == [1, 2, 3]
    assert "after epoch 0 of 3." in capsys.readouterr().out


def test_the_best_network_of_before_a_break_is_kept_when_the_user_stops(
    small_network, radiographs, tmp_path, monkeypatch
):
    ws = make_workspace(tmp_path)
    run = train_until(3, radiographs, ws)
    best_epoch, best = resume._read_state(states(run)[2])["best"]

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            raise KeyboardInterrupt

    monkeypatch.setattr(workspace, "in_notebook", lambda: True)
    assert fit.train(FAST, radiographs, ws, callbacks=lambda run: [Stop()]) == run
    assert run.card["kept"].startswith(f"epoch {best_epoch}, which has the lowest validation loss")
    for value, kept in zip(saved_models.load(run.path / "model.keras").get_weights(), best, strict=True):
        np.testing.assert_array_equal(value, kept)


# The copy on Google Drive.

FAULTS = {"no space": errno.ENOSPC, "permission lost": errno.EACCES, "I/O error": errno.EIO}
EVERY_FAULT = [*FAULTS, "a file is cut", "the mount vanishes"]


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """A workspace whose home is on a "Drive" that fails on demand: drive.fault names how."""
    home, copy2 = tmp_path / "drive" / "MyDrive", shutil.copy2
    home.mkdir(parents=True)
    drive = SimpleNamespace(fault=None)
    drive.ws = workspace.Workspace(home=home, scratch=tmp_path / "local", quick=True, data=None)

    def faulty_copy2(source, target):
        if target.is_relative_to(home) and drive.fault in FAULTS:
            raise OSError(FAULTS[drive.fault], os.strerror(FAULTS[drive.fault]), str(target))
        copy2(source, target)
        if target.is_relative_to(home) and drive.fault == "a file is cut":
            os.truncate(target, target.stat().st_size // 2)

    monkeypatch.setattr(shutil, "copy2", faulty_copy2)
    monkeypatch.setattr(resume, "SHARE", np.inf)  # every state is copied, however fast the epochs are
    monkeypatch.setattr(workspace, "DRIVE", home)
    monkeypatch.setattr(os.path, "ismount", lambda path: drive.fault != "the mount vanishes")
    return drive


@pytest.mark.parametrize("fault", EVERY_FAULT)
def test_a_failing_drive_and_a_disconnect_change_nothing_in_the_end(
    fault, unbroken, small_network, drive, radiographs, capsys
):
    class Fail(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            drive.fault = fault if epoch else None

    with pytest.raises(Killed):
        fit.train(FAST, radiographs, drive.ws, callbacks=lambda run: [Fail(), Kill(3)])
    assert capsys.readouterr().out.count("cannot be written") == 1
    shutil.rmtree(drive.ws.scratch)  # the runtime is gone
    drive.fault = None
    run = fit.train(FAST, radiographs, drive.ws, callbacks=lambda run: [Fail()])
    said = capsys.readouterr().out
    assert "after epoch 1 of 3" in said and said.count("cannot be written") == 1
    assert run.finished and run.path.parent == drive.ws.local_runs
    resume.make_good(drive.ws)
    assert run.path.exists() and runs.all_runs(drive.ws.local_runs) == [run]
    drive.fault = None
    resume.make_good(drive.ws)
    moved = runs.find(drive.ws, run.name)
    assert moved.path == drive.ws.runs / run.name and not run.path.exists() and not runs.faults(moved)
    assert not (moved.path / "resume").exists()
    assert_equal(moved, unbroken)


def test_a_copy_that_fails_once_is_made_later_in_the_same_training(small_network, drive, radiographs, capsys):
    class Fail(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            drive.fault = "no space" if epoch == 1 else None

    run = fit.train(FAST, radiographs, drive.ws, callbacks=lambda run: [Fail()])
    assert capsys.readouterr().out.count("cannot be written") == 1
    assert run.finished and run.path.parent == drive.ws.runs and not list(drive.ws.local_runs.iterdir())


def test_a_training_without_drive_is_kept_here_and_copied_later(small_network, drive, radiographs, capsys):
    drive.fault = "the mount vanishes"
    run = fit.train(FAST, radiographs, drive.ws)
    assert run.finished and run.path.parent == drive.ws.local_runs
    assert "unfinished runs there cannot go on" in capsys.readouterr().out
    drive.fault = None
    resume.make_good(drive.ws)
    (kept,) = runs.own_runs(drive.ws)
    assert kept.path.parent == drive.ws.runs and kept.finished


def test_a_slow_drive_gets_fewer_copies(small_network, drive, radiographs, monkeypatch):
    monkeypatch.setattr(resume, "SHARE", 1e-9)
    run = train_until(3, radiographs, drive.ws)
    copy = runs.Run(drive.ws.runs / run.name)
    assert copy.card and not (copy.path / "resume").exists()


def test_of_two_sessions_that_finish_the_same_run_the_first_stays(
    small_network, drive, radiographs, tmp_path
):
    run = train_until(2, radiographs, drive.ws)
    other = workspace.Workspace(home=drive.ws.home, scratch=tmp_path / "other", quick=True, data=None)

    def times():
        return {path.name: path.stat().st_mtime for path in (drive.ws.runs / run.name).iterdir()}

    class FinishedMeanwhile(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                fit.train(FAST, radiographs, drive.ws)
                self.times = times()

    meanwhile = FinishedMeanwhile()
    second = fit.train(FAST, radiographs, other, callbacks=lambda run: [meanwhile])
    assert second.path == drive.ws.runs / run.name and second.finished and times() == meanwhile.times
    assert runs.Run(other.local_runs / run.name).finished, "this session's network is not deleted"


CARD = {"recipe": {"name": "compact"}, "seed": 0, "manifest": "x", "synthetic": True}
SWITCH = {}


def audit(event, arguments):
    """Fail the n-th and all later file operations below SWITCH["where"], and count them."""
    if SWITCH and arguments and str(arguments[0]).startswith(SWITCH["where"]):
        SWITCH["count"] += 1
        if SWITCH["count"] > SWITCH["good"]:
            raise OSError(errno.EIO, f"{event} fails", str(arguments[0]))


sys.addaudithook(audit)  # sees every opening, listing, renaming and removing; cannot be taken away again


def write_fake_state(run, epoch):
    trainer = SimpleNamespace(variables=[np.full(3, epoch)], optimizer=SimpleNamespace(variables=[]))
    resume.write_state(run, trainer, epoch, [{"epoch": epoch}], (epoch, [np.full(2, epoch)]))


def test_whatever_fails_first_on_drive_the_run_is_whole_in_the_end(drive, capsys):
    """Drive breaks at the n-th file operation, for every n, and works again later."""
    good = 0
    while True:
        shutil.rmtree(drive.ws.home)
        drive.ws.home.mkdir()
        run = runs.create(drive.ws, CARD)
        SWITCH.update(where=str(drive.ws.home), count=0, good=good)
        copy, copied = resume.DriveCopy(run, drive.ws), 0
        for epoch in (1, 2, 3):
            write_fake_state(run, epoch)
            copy.update()
            copied = epoch if not copy.failing else copied
        count, _ = SWITCH["count"], SWITCH.clear()
        left = [resume._read_state(path) for path in (drive.ws.runs / run.name).glob("resume/*")]
        assert max([state["epoch"] for state in left if state], default=0) >= copied
        SWITCH.update(where=str(drive.ws.home), count=count, good=good)
        (run.path / "model.keras").write_bytes(b"weights")
        run.seal("model.keras")
        run.update_card(finished=True)
        copy.deliver()
        broken, _ = SWITCH["count"] > good, SWITCH.clear()
        resume.make_good(drive.ws)
        moved = runs.find(drive.ws, run.name)
        assert moved.path == drive.ws.runs / run.name and not run.path.exists() and not runs.faults(moved)
        assert json.loads((moved.path / "card.json").read_text())["finished"]
        if not broken:
            break
        good += 1
    assert good > 20
    capsys.readouterr()
