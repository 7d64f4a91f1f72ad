"""New radiographs -> answers: a file, a folder, a zip or a Drive link becomes one table, in flat memory."""

import contextlib
import csv
import re
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from .. import metrics, predict, runs, workspace
from ..data import dicom, gate, images, manifest
from ..sources import drive, files
from ..workspace import ExplainedError

EXAMPLES = workspace.PROJECT / "examples" / "radiographs"  # three of the public test images, see README there
BATCH = 256  # files in memory at a time
SMALLEST = 100  # pixels; the smallest side of a radiograph that can be judged
LONGEST = 3  # times its width may a radiograph be high, or the reverse
CHILDREN = "known for children of 1 to 5 years, AP view, one hospital"  # the scope of the public radiographs


def classify(place, ws, run="", to=None, hide_names=False):
    """Answer every file in a place, and keep the table as a CSV file. Returns (answers, readers, path).

    place: a file, a folder with all that is in it, a zip, or the link to a file on Google Drive. Files that
    end in .csv are left out. run: the name of a run; without it, the one that `runs.find` chooses. to: the
    CSV file; without it, one in the folder of results. A file that is there already is never overwritten.
    hide_names: call the files 00001, 00002, ... wherever something is shown or written.

    answers: one row for each file, with the columns
        file, score (P(positive class) in [0, 1], NaN if the file cannot be used),
        answer (the class in small letters, empty if one of the next two is not),
        unlike (why the picture is not like the training radiographs),
        problem (why the file cannot be used),
        threshold, scope and run (the same in all rows).
    readers: {file: function that returns its bytes}. path: of the CSV file. Raises ExplainedError.
    """
    run = runs.find(ws, run)
    card = run.card
    print(f"The network: {run}")
    if card["synthetic"]:
        raise ExplainedError(f"{run.name} learned from the synthetic phantom; its answers mean nothing here.")
    readers = _readers(place, ws, hide_names)
    network, run_gate = predict.load(run), gate.load(run)
    read = partial(_picture, of_children=scope(card) == CHILDREN)
    pictures, parts = images.read_many(list(readers.values()), "Classifying", read), []
    while batch := list(islice(pictures, BATCH)):
        parts.append(_answers(batch, network, run_gate, card))
    answers = pd.concat(parts, ignore_index=True)
    answers.insert(0, "file", list(readers))
    answers = answers.assign(threshold=card["threshold"]["value"], scope=scope(card), run=run.name)
    name = "radiographs" if hide_names else re.sub(r"[^\w.-]+", "_", Path(place).stem)[:40]
    to = Path(to).expanduser().absolute() if to else ws.home / "answers" / f"{name}_{run.name}.csv"
    path = workspace.save_somewhere(to.parent, lambda folder: _write_new(answers, folder / to.name))
    return answers, readers, path


def scope(card):
    """Which radiographs a network knows, by its card; nothing is known about its answers on others."""
    if "adapted" in card or not manifest.is_public(card["manifest"]):
        return "known for radiographs like those of its own training data"
    return CHILDREN


def _readers(place, ws, hide_names):
    """The files of a place, in the order of their names: {name to show: function that returns the bytes}."""
    place = str(place).strip()
    if place.startswith("https://"):
        place = drive.fetch(place, ws.scratch / "incoming" / drive.file_id(place))
    if not place or not Path(place).expanduser().exists():
        raise ExplainedError(f"There is nothing at {place!r}. Name a file, a folder, a zip or a Drive link.")
    listed = files.every(Path(place).expanduser())
    listed = {name: file.read for name, file in listed.items() if not name.lower().endswith(".csv")}
    if not listed:
        raise ExplainedError(f"{place} is empty, or holds tables only. Put DICOM, JPEG or PNG files there.")
    if hide_names:
        return {f"{number:05d}": read for number, read in enumerate(listed.values(), 1)}
    return {_printable(name): read for name, read in listed.items()}


def _printable(name):
    """A file name as one line that no spreadsheet computes; different names stay different.

    What cannot be printed, and the backslash, become escapes such as \\n; a quote stands before a formula.
    """
    text = repr(name)[1:-1]
    return f"'{text}" if text.lstrip().startswith(tuple("=+-@＝＋－＠'")) else text


def _picture(raw, of_children):
    """A file's bytes -> its squashed picture, uint8 [224, 224], and why it is no radiograph of that kind.

    of_children: whether the network knows the public radiographs only, so that a DICOM header may tell more.
    """
    grey = images.read(raw, 2 * images.SIDE)  # uint8 [height, width]
    (height, width), unlike = grey.shape, ""
    if images.is_colour(raw):
        unlike = "it is in colour"
    elif min(grey.shape) < SMALLEST or max(grey.shape) > LONGEST * min(grey.shape):
        unlike = f"it has {width} x {height} pixels"
    elif of_children and dicom.is_dicom(raw):
        unlike = dicom.beyond(raw)
    return images.squash(grey), unlike


def _answers(batch, network, run_gate, card):
    """The answers to a batch of what `_picture` returns, or of the ExplainedError that it raised."""
    problems = [str(element) if isinstance(element, ExplainedError) else "" for element in batch]
    rows = pd.DataFrame({"score": np.nan, "answer": "", "unlike": "", "problem": problems})
    usable = rows.index[rows.problem == ""]
    if usable.empty:
        return rows
    pictures, unlike = zip(*(batch[row] for row in usable), strict=True)
    pictures = np.stack(pictures)  # uint8 [n, 224, 224]
    scores = predict.score_pictures(network, pictures)  # float32 [n]
    reasons = run_gate.reasons(pictures) if run_gate else [""] * len(pictures)
    unlike = np.array([first or second for first, second in zip(unlike, reasons, strict=True)])
    negative, positive = (name.lower() for name in card["class_names"])
    answer = np.where(metrics.called(scores, card["threshold"]["value"]), positive, negative)
    rows.loc[usable, "score"] = scores
    rows.loc[usable, "unlike"] = unlike
    rows.loc[usable, "answer"] = np.where(unlike == "", answer, "")
    return rows


def _write_new(answers, path):
    """Write the table to `path`, or under a name with a number where there is a file; returns the path."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}_{number}{path.suffix}")
    if free != path:
        print(f"{path} exists and stays as it is. The answers go to {free.name}.")
    # All is quoted: where spreadsheets separate by semicolons, one in a file name begins no cell.
    text = answers.to_csv(index=False, float_format="%.6g", lineterminator="\n", quoting=csv.QUOTE_ALL)
    return workspace.write_whole(free, text)


def summary(answers):
    """What came out, and what to do about it: a few sentences, the first with the numbers."""
    unlike, problems = (answers[column][answers[column] != ""] for column in ("unlike", "problem"))
    called = answers.answer[answers.answer != ""].value_counts()
    counts = [f"{count:,} called {answer}" for answer, count in called.items()]
    counts += [f"{len(unlike):,} not like the training radiographs", f"{len(problems):,} not usable"]
    yield f"{len(answers):,} {'file' if len(answers) == 1 else 'files'}: {', '.join(counts)}."
    if len(unlike):
        yield f"Not like the training radiographs: {_most(unlike)}. Their scores mean nothing: look at them."
    if len(problems):
        yield f"Not usable: {_most(problems)}. Repair or replace these files."


def _most(reasons):
    """The three most frequent of some texts, with their numbers."""
    return "; ".join(f"{reason} ({count:,})" for reason, count in reasons.value_counts().head(3).items())


def to_look_at(answers):
    """Usable rows in the order in which they need eyes: unlike pictures, then nearest to the threshold."""
    usable = answers[answers.problem == ""]
    away = abs(metrics.log_odds(usable.score) - metrics.log_odds(usable.threshold))
    return usable.iloc[np.lexsort([away, usable.unlike == ""])]


def pictures_of(readers, names):
    """The squashed pictures of some usable files: uint8 [n, 224, 224]."""
    return np.stack([images.read_squashed(readers[name]()) for name in names])


def upload(ws):
    """Let the user choose files in Colab's dialog; returns their folder, or "" if there are none."""
    if not workspace.in_colab():
        print("Uploading works in Colab only. Set IMAGES to the path of your files instead.")
        return ""
    from google.colab import files as dialog

    folder = ws.scratch / "uploaded"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):  # where the dialog puts them
        chosen = dialog.upload()
    print(f"{len(chosen)} files uploaded; they are gone when this runtime ends.")
    return str(folder) if chosen else ""
