"""The copy of a run on Drive: no failure there stops or spoils a training, and all is made good later."""

import builtins
import errno
import io
import os
import shutil
import sys

import numpy as np
import pytest
from conftest import state_of

from utils import runs, saved_models, workspace
from utils.backend import keras
from utils.training import checkpoint, fit, mirror, recipes

FAULTS = {"no space": errno.ENOSPC, "permission lost": errno.EACCES, "I/O error": errno.EIO}


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """A workspace whose home is on a "Drive" that fails on demand: drive.fault names how."""
    home, scratch = tmp_path / "drive" / "MyDrive", tmp_path / "local"
    ws = workspace.Workspace(home=home, scratch=scratch, quick=True, data=None)
    home.mkdir(parents=True)

    class Drive:
        fault = None

    class Cut(io.FileIO):
        """A file that keeps half of what is written, and tells nobody."""

        def write(self, content):
            return super().write(content[: len(content) // 2])

    def faulty_open(path, mode="r"):
        on_drive = str(path).startswith(str(home)) and "w" in mode
        if on_drive and Drive.fault in FAULTS:
            raise OSError(FAULTS[Drive.fault], os.strerror(FAULTS[Drive.fault]), str(path))
        return (Cut if on_drive and Drive.fault == "a file is cut" else builtins.open)(path, mode)

    monkeypatch.setattr(mirror, "open", faulty_open, raising=False)
    monkeypatch.setattr(workspace, "DRIVE", home)
    monkeypatch.setattr(os.path, "ismount", lambda path: Drive.fault != "the mount vanishes")
    Drive.ws = ws
    return Drive


CARD = {"recipe": {"name": "compact"}, "seed": 0, "manifest": "x", "synthetic": True}
EVERY_FAULT = [*FAULTS, "a file is cut", "the mount vanishes"]


@pytest.mark.parametrize("fault", EVERY_FAULT)
def test_a_state_on_drive_survives_any_failure_and_is_made_good(drive, fault, capsys):
    run = runs.create(drive.ws, CARD)
    copy = mirror.Mirror(run, drive.ws)
    slots = checkpoint.Slots(copy.target / "resume")

    def keep(epoch):
        worked = copy.attempt(lambda: slots.write(state_of(epoch)))
        newest = checkpoint.Slots(copy.target / "resume").newest  # as a new session would find it
        return worked, newest["epoch"], capsys.readouterr().out

    assert keep(1) == (True, 1, "")
    drive.fault = fault
    worked, newest, said = keep(2)
    assert not worked and newest == 1 and "cannot be written" in said and str(run.path) in said
    assert keep(3) == (False, 1, "")
    drive.fault = None
    worked, newest, said = keep(4)
    assert worked and newest == 4 and "can be written again" in said
    assert keep(5) == (True, 5, "")


@pytest.mark.parametrize("fault", EVERY_FAULT)
def test_a_finished_run_that_cannot_be_copied_is_moved_later(drive, fault, capsys):
    run = runs.create(drive.ws, CARD)
    (run.path / "model.keras").write_bytes(b"weights")
    copy = mirror.Mirror(run, drive.ws)
    copy.attempt(lambda: checkpoint.Slots(copy.target / "resume").write(state_of(1)))
    run.update_card(finished=True, model_digest=runs.file_digest(run.path / "model.keras"))
    drive.fault = fault
    assert copy.finish() == run == runs.find(drive.ws, run.name)
    assert "moves the run there" in capsys.readouterr().out
    drive.fault = None
    mirror.make_good(drive.ws)
    found = runs.find(drive.ws, run.name)
    assert found.path == drive.ws.runs / run.name and not run.path.exists() and not runs.faults(found)
    assert {path.name for path in found.path.iterdir()} == {"card.json", "model.keras"}


def test_a_training_with_a_failing_drive_and_a_disconnect_ends_as_if_nothing_had_been(
    drive, trained, radiographs, capsys
):
    chosen = recipes.recipe("fast", quick=True)

    class Disconnect(Exception):
        pass

    class Trouble(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            drive.fault = {0: None, 1: "I/O error"}[epoch]

        def on_train_batch_end(self, batch, logs=None):
            if drive.fault and batch == 1:
                raise Disconnect

    with pytest.raises(Disconnect):
        fit.train(chosen, radiographs, drive.ws, callbacks=lambda run: [Trouble()])
    shutil.rmtree(drive.ws.scratch)  # the runtime is gone
    drive.fault = "no space"
    run = fit.train(chosen, radiographs, drive.ws)
    said = capsys.readouterr().out
    assert "after epoch 1 of 2" in said and said.count("cannot be written") == 1
    assert run.path.parent == drive.ws.local_runs and run.finished
    drive.fault = None
    mirror.make_good(drive.ws)
    moved = runs.find(drive.ws, run.name)
    assert moved.path.parent == drive.ws.runs
    weights = [saved_models.load(found.path / "model.keras").get_weights() for found in (trained, moved)]
    for first, second in zip(*weights, strict=True):
        np.testing.assert_array_equal(first, second)


SWITCH = {}


def audit(event, arguments):
    """Fail the n-th and all later file operations below SWITCH["where"], and count them."""
    if SWITCH and arguments and str(arguments[0]).startswith(SWITCH["where"]):
        SWITCH["count"] += 1
        if SWITCH["count"] > SWITCH["good"]:
            raise OSError(errno.EIO, f"{event} fails", str(arguments[0]))


sys.addaudithook(audit)  # sees every opening, listing, renaming and removing; cannot be taken away again


def test_whatever_fails_first_on_drive_the_run_is_whole_in_the_end(drive, capsys):
    """Drive breaks at the n-th file operation, for every n, and works again later."""
    good = 0
    while True:
        shutil.rmtree(drive.ws.home)
        drive.ws.home.mkdir()
        run = runs.create(drive.ws, CARD)
        SWITCH.update(where=str(drive.ws.home), count=0, good=good)
        copy = mirror.Mirror(run, drive.ws)
        slots = checkpoint.Slots(copy.target / "resume")
        worked = [copy.attempt(lambda s=slots, e=epoch: s.write(state_of(e))) for epoch in (1, 2, 3)]
        count, _ = SWITCH["count"], SWITCH.clear()
        newest = checkpoint.Slots(copy.target / "resume").newest  # as a new session would find it
        assert (newest["epoch"] if newest else 0) >= sum(worked)
        SWITCH.update(where=str(drive.ws.home), count=count, good=good)
        (run.path / "model.keras").write_bytes(b"weights")
        (run.path / "resume").mkdir()
        (run.path / "resume" / "state_a.npz").write_bytes(state_of(3))
        run.update_card(finished=True, model_digest=runs.file_digest(run.path / "model.keras"))
        copy.finish()
        broken, _ = SWITCH["count"] > good, SWITCH.clear()
        mirror.make_good(drive.ws)
        found = runs.find(drive.ws, run.name)
        assert found.path == drive.ws.runs / run.name and not run.path.exists() and not runs.faults(found)
        assert {path.name for path in found.path.iterdir()} <= {"card.json", "model.keras"}
        if not broken:
            break
        good += 1
    assert good > 20
    capsys.readouterr()


def test_a_card_that_was_cut_on_drive_is_written_again(drive):
    run = runs.create(drive.ws, CARD)
    copy = mirror.Mirror(run, drive.ws)
    copy.attempt(lambda: None)
    (copy.target / "card.json").write_bytes(b"")
    run.update_card(finished=True, model_digest="")
    assert copy.finish().card["finished"] and not run.path.exists()


def test_a_run_brought_back_half_is_brought_back_again(drive):
    run = runs.create(drive.ws, CARD)
    mirror.Mirror(run, drive.ws).attempt(lambda: None)
    (run.path / "card.json").unlink()  # killed while it was copied
    (found,) = runs.own_runs(drive.ws)
    assert found.path.parent == drive.ws.runs
    assert mirror.bring_back(found, drive.ws) == run and run.card["manifest"] == "x"


def test_a_training_that_was_complete_on_drive_is_finished_with_its_history(
    small_network, drive, radiographs, monkeypatch
):
    chosen = recipes.recipe("fast", epochs=2)
    monkeypatch.setattr(checkpoint, "SHARE", np.inf)  # every state is copied, however fast the epochs are

    def disconnect(*_, **__):
        raise ConnectionError

    with monkeypatch.context() as broken, pytest.raises(ConnectionError):
        broken.setattr(fit, "finish", disconnect)
        fit.train(chosen, radiographs, drive.ws)
    shutil.rmtree(drive.ws.scratch)
    run = fit.train(chosen, radiographs, drive.ws)
    assert run.path.parent == drive.ws.runs and run.finished
    assert len(run.history()) == run.card["epochs_done"] == 2 == run.card["continued"][0]["after_epoch"]


def test_a_training_without_drive_is_kept_here_and_copied_later(small_network, drive, radiographs, capsys):
    drive.fault = "the mount vanishes"
    run = fit.train(recipes.recipe("fast", epochs=1), radiographs, drive.ws)
    assert run.finished and run.path.parent == drive.ws.local_runs
    assert "unfinished runs there cannot go on" in capsys.readouterr().out
    drive.fault = None
    mirror.make_good(drive.ws)
    (kept,) = runs.own_runs(drive.ws)
    assert kept.path.parent == drive.ws.runs and kept.finished
