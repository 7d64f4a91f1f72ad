"""The state of an unfinished training, written at every epoch end so that a disconnect costs little."""

import io
import json
from pathlib import Path

import numpy as np

from . import runs
from .quiet import keras
from .workspace import digest, write_whole


class Keep(keras.callbacks.Callback):
    """Keep the last epoch's state in the run folder's `resume/`.

    State: every variable of the model and its optimizer (weights, moments, step count, the random
    states of augmentation and dropout, which Keras' own weight files leave out), the epoch, and the
    history. A new file is written, synced and read back before `state.json` points
    to it and the older one is removed; killed at any moment, one good state remains.
    """

    def __init__(self, run, watch):
        super().__init__()
        self.folder, self.watch = run.path / "resume", watch
        self.folder.mkdir(exist_ok=True)

    def on_epoch_end(self, epoch, logs=None):
        content = io.BytesIO()
        np.savez(content, *[keras.ops.convert_to_numpy(variable) for variable in _variables(self.model)])
        written = digest(content.getvalue())
        target = write_whole(self.folder / f"epoch{epoch + 1:04d}.npz", content.getvalue())
        if runs.file_digest(target) != written:
            return  # the disk is not to be trusted; the state of the epoch before stays
        state = {"epoch": epoch + 1, "file": target.name, "digest": written, "history": self.watch.rows}
        write_whole(self.folder / "state.json", json.dumps(state))
        for old in self.folder.glob("epoch*.npz"):
            if old != target:
                old.unlink()


def _variables(model):
    return [*model.variables, *model.optimizer.variables]


def restore(model, state):
    """Give a compiled model the variables of a state from `read`."""
    model.optimizer.build(model.trainable_variables)
    with np.load(state["path"]) as stored:
        for variable, value in zip(_variables(model), stored.values(), strict=True):
            variable.assign(value)


def read(run):
    """The kept state of a run: {epoch, file, digest, history, path, run}, or None if none is usable."""
    folder = run.path / "resume"
    try:
        state = json.loads((folder / "state.json").read_text())
        whole = runs.file_digest(folder / state["file"]) == state["digest"]
    except (OSError, ValueError, KeyError):
        return None
    return state | {"path": folder / state["file"], "run": run} if whole else None


def find(folder, wanted):
    """The state, as from `read`, of the newest unfinished run in `folder` that can go on, or None.

    wanted: card entries that must be the same, such as recipe, seed and manifest.
    """
    wanted = json.loads(json.dumps(wanted))  # tuples are lists in a card
    for run in reversed(runs.all_runs(Path(folder))):
        card = run.card
        same = all(card.get(key) == value for key, value in wanted.items())
        if same and not card["finished"] and (state := read(run)):
            return state
    return None


def discard(run):
    """Remove the state of a run that is finished."""
    for file in (run.path / "resume").glob("*"):
        file.unlink()
    (run.path / "resume").rmdir()
