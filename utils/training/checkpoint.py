"""The state of an unfinished training, kept at every epoch end so that a disconnect costs little."""

import contextlib
import dataclasses
import io
import json
import time
from pathlib import Path

import numpy as np
from filelock import Timeout

from .. import runs, workspace
from ..backend import keras
from . import recipes
from .mirror import bring_back, put
from .watch import TrainingError

SHARE = 0.1  # of the time may go into the copy on Drive; where it is slow, it is made less often


class Slots:
    """Two files that take turns, so that one whole state is there at any moment.

    They are overwritten in place and never deleted: what is deleted on Google Drive stays in its
    trash, where it takes room.
    """

    def __init__(self, folder):
        self.paths = [Path(folder) / f"state_{letter}.npz" for letter in "ab"]
        states = [_read(path) for path in self.paths]
        epochs = [state["epoch"] if state else 0 for state in states]
        self.turn = int(epochs[0] > epochs[1])  # the older one, or the damaged one, is written next
        self.newest = states[1 - self.turn]  # the last whole state, or None

    def write(self, content):
        """Write a state and read it back; raises OSError if that fails."""
        path = self.paths[self.turn]
        path.parent.mkdir(exist_ok=True)
        put(path, content)
        self.turn = 1 - self.turn


class KeepState(keras.callbacks.Callback):
    """At every epoch end, keep the state in `resume/` of the run folder and of its copy.

    State: every variable of the model and its optimizer (weights, moments, step count, the random
    states of augmentation and dropout, which Keras' own weight files leave out), the epoch, the
    history, the card, and the weights of the epoch with the lowest validation loss.
    """

    def __init__(self, run, validate, mirror):
        super().__init__()
        self.run, self.validate, self.mirror, self.next = run, validate, mirror, 0.0
        self.here, self.there = (Slots(folder / "resume") for folder in (run.path, mirror.target))

    def on_epoch_end(self, epoch, logs=None):
        content = _content(self.model, epoch + 1, self.validate, self.run.card)
        self.here.write(content)
        started = time.monotonic()
        if self.mirror.needed and started >= self.next:
            self.mirror.attempt(lambda: self.there.write(content))
            ended = time.monotonic()
            self.next = ended + (ended - started) / SHARE


def _variables(model):
    return [*model.variables, *model.optimizer.variables]


def _content(model, epoch, validate, card):
    """A state as the bytes of an .npz file."""
    best_epoch, best = validate.best
    texts = {"epoch": epoch, "best_epoch": best_epoch, "history": validate.rows, "card": card}
    arrays = {f"variable{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(_variables(model))}
    arrays |= {f"best{i}": value for i, value in enumerate(best)}
    content = io.BytesIO()
    np.savez(content, texts=json.dumps(texts), **arrays)
    return content.getvalue()


def _read(path):
    """The state in a file: {epoch, history, card, variables, best}; None if it cannot be used."""
    try:
        with np.load(path) as stored:  # the checksum of each array is compared as it is read
            arrays = dict(stored)
        texts = json.loads(str(arrays.pop("texts")))
        best = [arrays.pop(f"best{i}") for i in range(sum(name.startswith("best") for name in arrays))]
        variables = [arrays[f"variable{i}"] for i in range(len(arrays))]
        if not all(np.isfinite(value).all() for value in variables):
            return None  # a network that broke down cannot go on
    except Exception:  # whatever is wrong with it, the other file may be whole
        return None
    return texts | {"variables": variables, "best": (texts["best_epoch"], best)}


def restore(model, state):
    """Give a compiled model the variables of a state; raises ValueError if they do not fit it."""
    pairs = list(zip(_variables(model), state["variables"], strict=True))
    if any(tuple(variable.shape) != value.shape for variable, value in pairs):
        raise ValueError("The state is of another network.")
    for variable, value in pairs:
        variable.assign(value)


def find(ws, wanted):
    """Unfinished runs that can go on: yields (Run, state); state is None where no whole one is left.

    wanted: card entries that must be the same, such as recipe, seed and manifest. The state is the
    later one of the run folder here and of its copy in the project's home. Runs with a state come
    first, and of these the newest.
    """
    _restore_cards(ws)
    without = []
    for run in _alike(ws, wanted):
        if run.finished:
            continue
        places = {ws.local_runs / run.name, ws.runs / run.name}
        states = [state for place in places if (state := Slots(place / "resume").newest)]
        if states:
            yield run, max(states, key=lambda state: state["epoch"])
        else:
            without.append(run)
    for run in without:
        yield run, None


def finished_but_interrupted(ws, wanted):
    """The newest run with these card entries that was finished, but not returned by its training; or None."""
    alike = [run for run in _alike(ws, wanted) if run.finished and run.card.get("delivered") is False]
    return alike[0] if alike else None


def _alike(ws, wanted):
    """Own runs with these card entries, newest first."""
    wanted = json.loads(json.dumps(wanted))  # tuples are lists in a card
    found = []
    for run in reversed(runs.own_runs(ws)):
        card = run.card | {"recipe": recipes.completed(run.card["recipe"])}
        if wanted.items() <= card.items():
            found.append(run)
    return found


def _restore_cards(ws):
    """Write a run's card anew where it is damaged and a state still holds it."""
    for folder in {*ws.local_runs.glob("*/resume"), *ws.runs.glob("*/resume")}:
        run = runs.Run(folder.parent)
        try:
            _ = run.card
        except runs.RunError:
            if state := Slots(folder).newest:
                runs.write_card(run.path, state["card"])
                print(f"The card of {run.name} was damaged; it is restored from the kept state.")


@contextlib.contextmanager
def start_or_go_on(trainer, choices, circumstances, ws, afresh):
    """The Run to train and its state: an unfinished run with the same choices, or a new one.

    choices: the part of the card that must be the same. circumstances: the part that may differ. The
    state is None where the training begins with epoch 1. While the context is open, no other process
    of this machine trains this run. Raises TrainingError if one does.
    """
    with contextlib.ExitStack() as held:  # the lock of the chosen run, released however this ends
        yield _choose(trainer, choices, circumstances, ws, afresh, held)


def _choose(trainer, choices, circumstances, ws, afresh, held):
    try:
        workspace.check_connected(ws.runs)
    except OSError as error:
        print(
            f"{error}: unfinished runs there cannot go on. This training is kept in {ws.local_runs}, and "
            "copied as soon as Drive works again. To use Drive now, stop it and run the Setup cell again."
        )
        ws = dataclasses.replace(ws, home=ws.scratch)
    for run, state in () if afresh else find(ws, choices):
        held.enter_context(_lock(ws, run))
        try:
            if state:
                restore(trainer, state)
        except ValueError:
            print(
                f"The unfinished run {run.name} cannot go on here: it was computed in "
                f"{run.card['precision']} on {run.card['device']} with commit {run.card['code']}."
            )
            held.close()
            continue
        run = bring_back(run, ws)
        if state:
            epoch, earlier = state["epoch"], state["card"].get("continued", [])
            run.update_card(continued=[*earlier, {"after_epoch": epoch} | circumstances])
            of = choices["recipe"]["epochs"]
            print(f"Going on with the unfinished run {run.name} after epoch {epoch} of {of}.")
        else:
            run.update_card(**circumstances)
            print(f"The unfinished run {run.name} has no whole state, so it begins again with epoch 1.")
        return run, state
    run = runs.create(ws, choices | circumstances)
    held.enter_context(_lock(ws, run))
    return run, None


def _lock(ws, run):
    """Take the lock of a run on this machine; returns a context that releases it. Raises TrainingError."""
    try:
        return workspace.lock(ws.local_runs / run.name).acquire(blocking=False)
    except Timeout:
        raise TrainingError(
            f"The run {run.name} is being trained at this moment, in another notebook or process. Wait until "
            "it is done, stop it there, or set START_AFRESH = True to train another network."
        ) from None
