"""A training that goes on where it was broken off: its state on the local disk, a copy of the run on Drive.

Keras' own BackupAndRestore is not used: killed between its two files it repeats an epoch on top of itself,
a damaged file is not always noticed, and the random states of dropout and augmentation are left out.
"""

import contextlib
import dataclasses
import filecmp
import json
import os
import shutil
import time

import numpy as np
from filelock import Timeout

from .. import runs, workspace
from ..workspace import ExplainedError
from . import recipes

SHARE = 0.1  # of the time may go into copies to Drive; where it is slow, they are made less often


@contextlib.contextmanager
def start_or_go_on(trainer, choices, machine, ws, afresh):
    """The Run to train, and the state that the trainer was given; None where it begins with epoch 1.

    choices: the entries of the card that must be the same in an unfinished run. machine: those that may
    differ. While the context is open, no other process of this machine trains this run. Raises
    ExplainedError if one does.
    """
    try:
        workspace.check_connected(ws.runs)
    except OSError as error:
        print(
            f"{error}: unfinished runs there cannot go on. This training is kept in {ws.local_runs}, and "
            "copied as soon as Drive works again. To use Drive now, stop it and run the Setup cell again."
        )
        ws = dataclasses.replace(ws, home=ws.scratch)
    unfinished, state = (None, None) if afresh else _find_unfinished(trainer, choices, ws)
    run = unfinished or runs.create(ws, choices | machine)
    with _lock(run, ws):
        if unfinished:
            run = runs.Run(ws.local_runs / run.name)
            if run != unfinished:  # after a disconnect only the copy on Drive is left
                _copy_run(unfinished.path, run.path)
            if state:
                _restore(trainer, state)
            epoch = state["epoch"] if state else 0
            went_on = [*run.card.get("continued", []), {"after_epoch": epoch} | machine]
            run.update_card(continued=went_on)
            of = choices["recipe"]["epochs"]
            print(f"Going on with the unfinished run {run.name} after epoch {epoch} of {of}.")
        yield run, state


def _find_unfinished(trainer, choices, ws):
    """The newest unfinished run with these card entries and its last whole state; either may be None."""
    choices = json.loads(json.dumps(choices))  # tuples are lists in a card
    for run in reversed(runs.own_runs(ws)):
        card = run.card | {"recipe": recipes.completed(run.card["recipe"])}
        if run.finished or not choices.items() <= card.items():
            continue
        folders = {home / "runs" for home in ws.homes} | {ws.local_runs}  # without Drive one
        paths = [path for folder in folders for path in folder.glob(f"{run.name}/resume/state_?.npz")]
        states = [_read_state(path) for path in paths]
        state = max(filter(None, states), key=lambda state: state["epoch"], default=None)
        if not state or _shapes(state["variables"]) == _shapes(_variables(trainer)):
            return run, state
        print(
            f"The unfinished run {run.name} cannot go on here: it was computed in {card['precision']} on "
            f"{card['device']} with commit {card['code']}."
        )
    return None, None


def _lock(run, ws):
    """Take the lock of a run on this machine; returns a context that frees it."""
    try:
        return workspace.lock(ws.local_runs / run.name).acquire(blocking=False)
    except Timeout:
        raise ExplainedError(
            f"The run {run.name} is being trained at this moment, in another notebook or process. Wait until "
            "it is done, stop it there, or set START_AFRESH = True to train another network."
        ) from None


def write_state(run, trainer, epoch, history, best):
    """Keep all that decides how a training goes on, in the folder `resume` of its run. Raises OSError.

    trainer: its variables and those of its optimizer are kept, random states among them. epoch: how many are
    done. history: one dictionary per epoch. best: (epoch, weights of the network).
    Two files take turns, so that a whole one is there at any moment.
    """
    path = run.path / "resume" / f"state_{'ab'[epoch % 2]}.npz"
    path.parent.mkdir(exist_ok=True)
    texts = json.dumps({"epoch": epoch, "history": history, "best_epoch": best[0]})
    arrays = {f"variable{i}": np.asarray(value) for i, value in enumerate(_variables(trainer))}
    arrays |= {f"best{i}": value for i, value in enumerate(best[1])}
    np.savez(path, texts=texts, **arrays)


def _read_state(path):
    """A state: {epoch, history, variables, best: (epoch, weights)}; None if the file is damaged."""
    try:
        with np.load(path) as stored:  # the checksum of each array is compared as it is read
            arrays = dict(stored)
        texts = json.loads(str(arrays.pop("texts")))
        best = [arrays[f"best{i}"] for i in range(sum(name.startswith("best") for name in arrays))]
        variables = [arrays[f"variable{i}"] for i in range(len(arrays) - len(best))]
        return texts | {"variables": variables, "best": (texts["best_epoch"], best)}
    except Exception:  # whatever is wrong with it: the other file may be whole
        return None


def _restore(trainer, state):
    for variable, value in zip(_variables(trainer), state["variables"], strict=True):
        variable.assign(value)


def _variables(trainer):
    return [*trainer.variables, *trainer.optimizer.variables]


def _shapes(values):
    return [tuple(value.shape) for value in values]


class DriveCopy:
    """The copy of a run in the project's home, usually on Drive, where it outlives the session."""

    def __init__(self, run, ws):
        self.run, self.on_drive = run, runs.Run(ws.runs / run.name)
        self.due, self.failing = 0.0, False

    def update(self):
        """Copy what is new, if it is time. A failure stops nothing: it is printed once, and tried again."""
        started = time.monotonic()
        if self.run == self.on_drive or started < self.due or _network_digest(self.on_drive):
            return
        try:
            _copy_run(self.run.path, self.on_drive.path)
            self.failing = False
        except OSError as error:
            if not self.failing:
                print(
                    f"{self.on_drive.path} cannot be written ({error}). If it is on Google Drive: is Drive "
                    f"full, or its trash? The run is in {self.run.path}, which is lost when this runtime "
                    "ends. The copy is tried again after each epoch, and by the Setup cell, once finished."
                )
            self.failing = True
        ended = time.monotonic()
        self.due = ended + (ended - started) / SHARE

    def deliver(self):
        """Move a finished run to its copy; returns the Run where it is now.

        If another session has finished the same run there, that one stays and is returned.
        """
        _discard(self.run.path / "resume")
        self.due = 0.0
        self.update()
        there = _network_digest(self.on_drive)
        if self.run == self.on_drive or self.failing or not there:
            return self.run
        _discard(self.on_drive.path / "resume")
        if there == _network_digest(self.run):
            shutil.rmtree(self.run.path)
        return self.on_drive


def make_good(ws):
    """Move finished runs that could not be moved in their session to the project's home."""
    for run in runs.all_runs(ws.local_runs):
        with contextlib.suppress(ExplainedError), _lock(run, ws):  # a run that is being trained moves itself
            if run.finished and DriveCopy(run, ws).deliver() != run and not run.path.exists():
                print(f"The finished run {run.name} is now in {ws.runs}.")


def _network_digest(run):
    """The digest of a run's network; None if it is unfinished, or if there is no such run."""
    with contextlib.suppress(ExplainedError):
        return run.card["digests"]["model.keras"] if run.finished else None
    return None


def _copy_run(source, target):
    """Copy what is new in a run folder; its card comes last, for it says what is there. Raises OSError."""
    workspace.check_connected(target)
    for file in source.rglob("[!.]*"):
        copied = target / file.relative_to(source)
        if file.is_dir() or file.name == "card.json" or (copied.exists() and filecmp.cmp(file, copied)):
            continue
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copied)  # in place: what is replaced on Google Drive fills its trash
        if not filecmp.cmp(file, copied, shallow=False):
            raise OSError(f"{copied} holds something else than was written")
    workspace.write_whole(target / "card.json", (source / "card.json").read_bytes())


def _discard(folder):
    """Remove states that are no longer needed; emptied first, they take no room in the trash of Drive."""
    with contextlib.suppress(OSError):  # then they stay
        for file in folder.glob("*"):
            os.truncate(file, 0)
        shutil.rmtree(folder)
