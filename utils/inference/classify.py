"""New radiographs -> answers: a file, a folder, a zip or a Drive link into one table, in flat memory.

The table grows on disk as it goes, so that an interrupted folder goes on where it stopped.
"""

import contextlib
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from .. import metrics, predict, runs, workspace
from ..data import gate, images, manifest
from ..sources import files

COLUMNS = ["file", "score", "side", "unlike", "problem", "normals_scoring_higher", "pneumonias_scoring_lower"]
COLUMNS += ["threshold", "scope", "run", "model", "manifest", "stamp"]
NUMBERS = {"score", "normals_scoring_higher", "pneumonias_scoring_lower", "threshold"}
BATCH = 256  # files between two writings of the table
SMALLEST = 100  # pixels; the smallest side of a radiograph that can be judged
LONGEST = 3  # times its width may a radiograph be high, or the reverse
EXAMPLES = (
    workspace.PROJECT / "examples" / "radiographs"
)  # three of the public test images, see the README there


def classify(place, to=None, run="", hide_names=False):
    """Answer a place (see `open_place`) into the CSV `to`, and return the table (see `answer`).

    run: the name of a run; without it, the newest finished one, else the released one. Without `to`
    the table goes into the folder of results. Raises what `open_place`, `answer` and `runs.find` raise.
    """
    ws = workspace.open_workspace()
    chosen = runs.find(ws, run)
    path = to or target(chosen, place, ws)
    answers = answer(chosen, open_place(chosen, place, ws, hide_names), path)
    unlike, unusable = (answers.unlike != "").sum(), (answers.problem != "").sum()
    print(f"{len(answers):,} files, {unlike:,} not like the training images, {unusable:,} not usable: {path}")
    return answers


def open_place(run, place, ws, hide_names=False):
    """The files to classify: {name: (reader, stamp)}, in the order of their names.

    place: a file, a folder (also nested), a zip, or a link to a file on Google Drive. hide_names: call
    them 00001, 00002, ... wherever something is shown or written. Raises images.UnreadableImage if
    there is nothing, runs.RunError for a run that learned from the synthetic phantom, and what
    `drive.fetch` raises.
    """
    if run.card["synthetic"]:
        raise runs.RunError(
            f"{run.name} learned from the synthetic phantom; its answers mean nothing on radiographs."
        )
    place = str(place).strip()
    if place.startswith("https://"):
        from ..sources import drive  # brings PyDrive2, which is not in every runtime

        place = drive.fetch(place, ws.scratch / "incoming" / drive.file_id(place))
    place = Path(place).expanduser()
    if not place.exists():
        raise images.UnreadableImage(
            f"There is nothing at {place}. Check the path, for example in the file browser."
        )
    found = files.every(place)
    if not found:
        raise images.UnreadableImage(f"{place} is empty. Put radiographs there, as DICOM, JPEG or PNG.")
    if hide_names:
        found = {f"{number:05d}": file for number, file in enumerate(found.values(), start=1)}
    return found


def upload(ws):
    """Let the user choose files in Colab's dialog; returns their folder, or "" if there are none."""
    if not workspace.in_colab():
        print("Uploading works in Colab only. Set IMAGES to the path of your files instead.")
        return ""
    from google.colab import files as dialog

    print(
        "Upload radiographs only if they are de-identified and your institution allows it. Names may be "
        "burnt into the picture as well. They stay in this runtime and are gone when it ends."
    )
    folder = ws.scratch / "uploaded"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):  # where the dialog puts them
        chosen = dialog.upload()
    print(f"{len(chosen)} files uploaded." if chosen else "Nothing was uploaded.")
    return str(folder) if chosen else ""


def scope(card):
    """What the network has learned from, in a few words; nothing is known about its answers elsewhere."""
    if card["synthetic"]:
        return "SYNTHETIC PHANTOM: the answer means nothing"
    if "adapted" in card or not manifest.is_public(card["manifest"]):
        return "known for radiographs like those of its own training data"
    return "known for children of 1 to 5 years, AP view, one hospital"


def target(run, place, ws):
    """Where the answers about a place go: one file for each place and run.

    Where the folder of results cannot be written, it is elsewhere, and a sentence says where.
    """
    place = str(place)
    folder = workspace.save_somewhere(ws.home / "answers", workspace.check_writable)
    return folder / f"{Path(place).stem[:40]}_{workspace.digest(place)[:6]}_{run.name}.csv"


def answer(run, found, path):
    """Answer every file into the CSV `path`, and return it as a table with COLUMNS.

    found: from `open_place`. A file that cannot be used gets a row with the problem in
    words. Rows that are there already, of the same network and unchanged files, are kept. side: of the
    threshold. unlike: why a picture is not like the training radiographs, empty if it is. Two columns
    compare the score with those of the run's validation images: the share of normal ones that score
    higher, and of pneumonia ones that score lower. Raises runs.RunError if `path` is another kind of file
    or cannot be written; what is answered by then is whole.
    """
    path = Path(path)
    kept = _kept(run, found, path)
    todo = [name for name in found if name not in set(kept.file)]
    if len(kept):
        print(f"{len(kept):,} of {len(found):,} files were answered before and are kept.")
    with _in_words(path):
        workspace.write_whole(path, _csv(kept))
    if todo:
        from .. import saved_models

        network = saved_models.load(run.path / "model.keras")
        known, validation, card = gate.load(run), run.scores("val"), run.card
        threshold = card["threshold"]["value"]
        origin = {
            "threshold": threshold,
            "scope": scope(card),
            "run": run.name,
            "model": card["model_digest"],
            "manifest": card["manifest"],
        }
        pictures = images.read_many([found[name][0] for name in todo], "Classifying", _picture)
        for first in range(0, len(todo), BATCH):
            names = todo[first : first + BATCH]
            rows = _answers(list(islice(pictures, len(names))), network, known, validation, threshold)
            rows = rows.assign(file=names, stamp=[found[name][1] for name in names], **origin)
            with _in_words(path):
                _append(path, _csv(rows, header=False))
    answers = _read(path).set_index("file").loc[list(found)].reset_index()
    with contextlib.suppress(OSError):  # then the rows stay in the order in which they were answered
        workspace.write_whole(path, _csv(answers))
    return answers


@contextlib.contextmanager
def _in_words(path):
    """Turn what keeps the table from being written into a RunError."""
    try:
        yield
    except OSError as error:
        raise runs.RunError(
            f"{path} cannot be written ({error}). What was answered before is kept. Free some space, or "
            "choose another place for the table, and run this again: it goes on from there."
        ) from None


def _append(path, text):
    """Append lines to a file, all of them or none."""
    before = path.stat().st_size
    try:
        with open(path, "a", encoding="utf8") as file:
            file.write(text)
    except OSError:
        os.truncate(path, before)
        raise


def pictures_of(found, names):
    """The squashed pictures of some readable files: uint8 [n, 224, 224]."""
    return np.stack([images.read_squashed(found[name][0]()) for name in names])


def _csv(rows, header=True):
    rows = rows.reindex(columns=COLUMNS)
    return rows.to_csv(index=False, header=header, float_format="%.6g", lineterminator="\n")


def _read(path):
    texts = {name: str for name in COLUMNS if name not in NUMBERS}
    empty = dict.fromkeys(NUMBERS, "")  # only there a field may be missing: a file may be called NA
    return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=empty)


def _kept(run, found, path):
    """Rows of an earlier, perhaps interrupted answer that still hold."""
    nothing = pd.DataFrame(columns=COLUMNS)
    if not path.exists():
        return nothing
    try:
        rows = _read(path)
    except ValueError:  # pandas' parser errors are ValueErrors
        rows = pd.DataFrame()
    if not {"file", "score", "model", "stamp"} <= set(rows.columns):
        raise runs.RunError(f"{path} exists and is no table of answers. Choose another name for the answers.")
    if list(rows.columns) != COLUMNS:  # written by another version: answered anew
        return nothing
    same = (rows.model == run.card["model_digest"]) & (rows.manifest == run.card["manifest"])
    stamps = rows.file.map({name: stamp for name, (_, stamp) in found.items()})
    return rows[same & (rows.stamp == stamps)].drop_duplicates("file")


def _picture(raw):
    """What is kept of a file in memory: the squashed picture, and why it cannot be a radiograph."""
    grey = images.read(raw, 2 * images.SIDE)
    height, width = grey.shape
    shape = ""
    if images.is_colour(raw):
        shape = "it is in colour"
    elif min(grey.shape) < SMALLEST:
        shape = f"it has only {width} x {height} pixels"
    elif max(grey.shape) > LONGEST * min(grey.shape):
        shape = f"it is a strip of {width} x {height} pixels"
    return images.squash(grey), shape


def _answers(batch, network, known, validation, threshold):
    """What one batch is answered; each element of it is what `_picture` gives, or an UnreadableImage."""
    rows = pd.DataFrame({"problem": ["" if isinstance(result, tuple) else str(result) for result in batch]})
    usable = rows.index[rows.problem == ""]
    if usable.empty:
        return rows
    pictures, shapes = zip(*[batch[place] for place in usable], strict=True)
    pictures = np.stack(pictures)
    scores = predict.score_pictures(network, pictures)
    reasons = known.reasons(pictures) if known else [""] * len(pictures)
    # Rounded, because the last digits depend on which pictures are scored together.
    compared = scores.astype(float).round(6)
    normal, ill = (np.sort(validation.score[those].round(6)) for _, those in manifest.classes(validation))
    answers = {
        "score": scores,
        "side": np.where(metrics.called(scores, threshold), "above", "below"),
        "unlike": [shape or reason for shape, reason in zip(shapes, reasons, strict=True)],
        "normals_scoring_higher": 1 - np.searchsorted(normal, compared, "right") / max(len(normal), 1),
        "pneumonias_scoring_lower": np.searchsorted(ill, compared, "left") / max(len(ill), 1),
    }
    return rows.join(pd.DataFrame(answers, index=usable))
