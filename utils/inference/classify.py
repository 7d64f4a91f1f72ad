"""New radiographs -> answers: a file, a folder, a zip or a Drive link into one table, in flat memory.

The table (see table.py) grows on disk as it goes, so that an interrupted folder goes on where it stopped.
"""

import contextlib
import re
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from .. import metrics, predict, runs, workspace
from ..data import dicom, gate, images, manifest
from ..sources import files
from . import summary, table

BATCH = 256  # files between two writings of the table
SMALLEST = 100  # pixels; the smallest side of a radiograph that can be judged
LONGEST = 3  # times its width may a radiograph be high, or the reverse
CHILDREN = "known for children of 1 to 5 years, AP view, one hospital"  # the scope of the public radiographs
EXAMPLES = workspace.PROJECT / "examples" / "radiographs"  # three of the public test images, see README there
ADVICE = (
    "Make space for the table, or see to it that you may write there, and run this again: it goes on from "
    "there. Or choose another place for the table."
)


class Stopped(workspace.ExplainedError, KeyboardInterrupt):
    """Stopped by hand; the message says what is done."""


@contextlib.contextmanager
def _in_words(place, so_far, advice):
    """Turn what the disk or the user stops into one message. so_far: a function that says what is done."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"Stopped by hand. {so_far()} To go on, run this again.") from None
    except OSError as error:
        other = Path(error.filename or place).parent != Path(place).parent  # not what is written for `place`
        where, reason = error.filename if other else place, error.strerror or error
        raise runs.RunError(f"{where} cannot be used ({reason}). {so_far()} {advice}") from None


def classify(place, to=None, run="", hide_names=False):
    """Answer a place (see `open_place`) into the CSV `to`, and return the table (see `answer`).

    run: the name of a run; without it, the newest finished one, else the released one. Without `to`
    the table goes into the folder of results. Raises what `open_place`, `answer` and `runs.find` raise.
    """
    ws = workspace.open_workspace()
    chosen = runs.find(ws, run)
    found = open_place(chosen, place, ws, hide_names)
    path = to or target(chosen, place, ws, hide_names)
    answers = answer(chosen, found, path)
    print(*summary.sentences(answers), f"The table, one row for each file: {path}", sep="\n")
    return answers


def open_place(run, place, ws, hide_names=False):
    """The files to classify: {name: (reader, stamp)}, in the order of their names.

    place: a file, a folder (also nested), a zip, or a link to a file on Google Drive. Names are printable
    (see `table.printable`). hide_names: call the files 00001, 00002, ... wherever something is shown or
    written. The stamps change when a file does, and are different for equal names in different places.
    Files that end in .csv are tables and left out. Raises images.UnreadableImage if there is nothing,
    runs.RunError for a run that learned from the synthetic phantom and for what the disk refuses, and
    what `drive.fetch` raises.
    """
    if run.card["synthetic"]:
        raise runs.RunError(
            f"{run.name} learned from the synthetic phantom; its answers mean nothing on radiographs."
        )
    place = str(place).strip()
    if not place:
        raise images.UnreadableImage("No place is given. Name a file, a folder, a zip or a Drive link.")
    with _in_words(place, lambda: "Nothing was answered.", "Check the path, and whether you may read there."):
        if place.startswith("https://"):
            from ..sources import drive  # brings PyDrive2, which is not in every runtime

            arriving = ws.scratch / "incoming" / drive.file_id(place)
            place = drive.fetch(place, arriving, hide_name=hide_names)
        place = Path(place).expanduser()
        if not place.exists():
            raise images.UnreadableImage(f"There is nothing at {place}. Check the path in a file browser.")
        listed = files.every(place, hide_names)
    found = {}
    for name, (reader, stamp) in listed.items():
        if not name.lower().endswith(".csv"):
            shown = f"{len(found) + 1:05d}" if hide_names else table.printable(name)
            found[shown] = partial(_read, reader), workspace.digest(f"{place.absolute()}/{name} {stamp}")
    if not found:
        raise images.UnreadableImage(
            f"{place} is empty, or holds tables only. Put radiographs there, as DICOM, JPEG or PNG."
        )
    return found


def _read(reader):
    """The bytes that a reader gives; Python's own words about a failure would tell the file's name."""
    try:
        return reader()
    except images.UnreadableImage:
        raise
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    except Exception:  # zip archives have many ways to be damaged
        reason = "it is damaged in the archive"
    raise images.UnreadableImage(f"the file cannot be opened ({reason})")


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
    return CHILDREN


def target(run, place, ws, hide_names=False):
    """Where the answers about a place go: one file for each place and run.

    Where the folder of results cannot be written, it is elsewhere, and a sentence says where.
    """
    named = "" if hide_names else re.sub(r"[^\w.-]+", "_", Path(place).stem)[:40]
    folder = workspace.save_somewhere(ws.home / "answers", workspace.check_writable)
    return folder / f"{named or 'radiographs'}_{workspace.digest(str(place))[:6]}_{run.name}.csv"


def answer(run, found, path):
    """Answer every file into the CSV `path`, and return it as a table with table.COLUMNS.

    found: from `open_place`. A file that cannot be used gets a row with the problem in words. Answers that
    are there already, of the same network and unchanged files, are kept; files with a problem are read
    again. unlike: why a picture is not like the training radiographs, empty if it is. side: of the
    threshold, empty if unlike. Two columns compare the score with those of the run's validation images:
    the share of normal ones that score higher, and of pneumonia ones that score lower. Raises
    runs.RunError if `path` is another kind of file or cannot be written, and Stopped; what is answered by
    then is whole.
    """
    path, done = Path(path).expanduser().resolve(), 0

    def so_far():
        return f"This run has answered {done:,} of {len(found):,} files; what {path} holds is kept."

    with _in_words(path, so_far, ADVICE), table.alone(path):
        card, stamps = run.card, {name: stamp for name, (_, stamp) in found.items()}
        kept = table.begin(path, stamps, model=card["model_digest"], manifest=card["manifest"])
        todo = [name for name in found if name not in set(kept.file)]
        for rows in _answers_in_batches(run, found, todo):
            table.append(path, rows)
            done += len(rows)
        answers = table.read(path).set_index("file").loc[list(found)].reset_index()
        with contextlib.suppress(OSError):  # then the rows stay in the order in which they were answered
            table.write(path, answers)
    return answers


def _answers_in_batches(run, found, todo):
    """Tables with the answers to the files named in todo, BATCH at a time."""
    if not todo:
        return
    from .. import saved_models

    card = run.card
    network = saved_models.load(run.path / "model.keras")
    known, validation, threshold = gate.load(run), run.scores("val"), card["threshold"]["value"]
    origin = {"threshold": threshold, "scope": scope(card), "run": run.name}
    origin |= {"model": card["model_digest"], "manifest": card["manifest"]}
    pictures = images.read_many([found[name][0] for name in todo], "Classifying", _picture)
    for first in range(0, len(todo), BATCH):
        names = todo[first : first + BATCH]
        batch = list(islice(pictures, len(names)))
        rows = _answers(batch, network, known, validation, threshold, scope(card))
        yield rows.assign(file=names, stamp=[found[name][1] for name in names], **origin)


def pictures_of(found, names):
    """The squashed pictures of some readable files: uint8 [n, 224, 224]."""
    return np.stack([images.read_squashed(found[name][0]()) for name in names])


def _picture(raw):
    """What is kept of a file: the squashed picture, why it cannot be a radiograph, and `dicom.beyond`."""
    grey = images.read(raw, 2 * images.SIDE)
    height, width = grey.shape
    shape = ""
    if images.is_colour(raw):
        shape = "it is in colour"
    elif min(grey.shape) < SMALLEST:
        shape = f"it has only {width} x {height} pixels"
    elif max(grey.shape) > LONGEST * min(grey.shape):
        shape = f"it is a strip of {width} x {height} pixels"
    return images.squash(grey), shape, dicom.beyond(raw) if dicom.is_dicom(raw) else ""


def _answers(batch, network, known, validation, threshold, scope):
    """What one batch is answered; each element of it is what `_picture` gives, or an UnreadableImage."""
    rows = pd.DataFrame({"problem": ["" if isinstance(result, tuple) else str(result) for result in batch]})
    usable = rows.index[rows.problem == ""]
    if usable.empty:
        return rows
    pictures, shapes, headers = zip(*[batch[place] for place in usable], strict=True)
    pictures = np.stack(pictures)
    scores = predict.score_pictures(network, pictures)
    reasons = known.reasons(pictures) if known else [""] * len(pictures)
    headers = headers if scope == CHILDREN else [""] * len(headers)
    unlike = [next(filter(None, of), "") for of in zip(shapes, headers, reasons, strict=True)]
    sides = np.where(metrics.called(scores, threshold), "above", "below")
    # Rounded, because the last digits depend on which pictures are scored together.
    compared = scores.astype(float).round(6)
    normal, ill = (np.sort(validation.score[those].round(6)) for _, those in manifest.classes(validation))
    answers = {
        "score": scores,
        "side": ["" if odd else side for odd, side in zip(unlike, sides, strict=True)],
        "unlike": unlike,
        "normals_scoring_higher": 1 - np.searchsorted(normal, compared, "right") / max(len(normal), 1),
        "pneumonias_scoring_lower": np.searchsorted(ill, compared, "left") / max(len(ill), 1),
    }
    return rows.join(pd.DataFrame(answers, index=usable))
