"""The packed cache: one file that holds a whole data set, checked against its manifest."""

import io
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import pandas as pd

from . import images, manifest

PREPROCESSING = "grey, exif-rotated, squashed to 224x224 by antialiased bilinear resizing; v1"
# Bits of the fingerprint: copies of one picture differ by 0-2, the nearest other picture by 4.
SAME_PICTURE = 6  # under its own name
RECOGNISED = 3  # under an unknown name
PROBLEMS = {
    "missing": "listed in the manifest, but there is no file. Harmless, but there is less to learn from.",
    "unreadable": "damaged or not an image, and left out. Copy or download these files again.",
    "changed": "not the picture that belongs to this name, and left out. Copy these files again.",
    "duplicate": "a second copy of a picture under another name, and left out.",
    "extra": "no radiograph of this data set, and left out.",
    "wrong folder": "in the folder of the other class. Used, with the label of the manifest.",
}


def write(readers, table, target, origin):
    """Write the packed cache of a data set and return a table of problems (path, problem).

    readers: {name in the source: callable returning the file's bytes}. A file belongs to the
    manifest row of the same name; one with an unknown name is recognised by its fingerprint.
    The problems are those of PROBLEMS; nothing is dropped silently.
    The cache is HDF5 with one contiguous uint8 array [n, 224, 224], row i = manifest row i;
    it appears under its name only when complete, and not at all if no image is usable.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    table = table.reset_index(drop=True)
    row_of = _rows_by_name(table.path)
    expected = np.array([int(value, 16) for value in table.fingerprint], dtype=np.uint64)
    present, explained = np.zeros((2, len(table)), bool)
    labels = {*manifest.CLASS_NAMES, *table.label}
    problems = []
    with h5py.File(partial, "w") as file:
        shape = (len(table), images.SIDE, images.SIDE)
        pixels = file.create_dataset("pixels", shape, np.uint8, fill_time="never")
        pictures = images.read_many(list(readers.values()), "Reading radiographs")
        for name, picture in zip(readers, pictures, strict=True):
            row = next((row_of[end] for end in _ends(name) if row_of.get(end) is not None), None)
            if isinstance(picture, images.UnreadableImage):
                problems.append((name, f"unreadable: {picture}"))
                if row is not None:
                    explained[row] = True
                continue
            away = images.distance(expected, images.fingerprint(picture[None])[0])
            if row is None:
                free = np.where(present, 64, away)  # of exact duplicates, the next free row
                row = int(free.argmin()) if free.min() <= RECOGNISED else None
            folder = PurePosixPath(name).parent.name
            if row is None and away.min() <= RECOGNISED:
                problems.append((name, f"duplicate: the same picture as {table.path[away.argmin()]}"))
            elif row is None:
                problems.append((name, "extra: the manifest has no such radiograph"))
            elif away[row] > SAME_PICTURE:
                problems.append((name, "changed: not the picture the manifest describes"))
                explained[row] = True
            else:
                pixels[row] = picture
                present[row] = True
                if folder in labels and folder != table.label[row]:
                    problems.append((name, f"wrong folder: it is used as {table.label[row]}"))
        problems += [(path, "missing") for path in table.path[~present & ~explained]]
        problems = pd.DataFrame(problems, columns=["path", "problem"])
        file["present"] = present
        file["manifest"] = manifest.to_csv(table)
        file["problems"] = problems.to_csv(index=False)
        file.attrs["preprocessing"] = PREPROCESSING
        file.attrs["origin"] = str(origin)
    if present.any():
        partial.replace(target)
    else:
        partial.unlink()
    return problems


def _ends(path):
    """The ends of a path that may name a radiograph, the longest first: a/b/c.png, b/c.png, c.png."""
    parts = PurePosixPath(path).parts
    return ["/".join(parts[-length:]) for length in range(len(parts), 0, -1)]


def _rows_by_name(paths):
    """{end of a path: its row}, None where several rows end so."""
    rows = {}
    for row, path in enumerate(paths):
        for end in _ends(path):
            rows[end] = None if end in rows else row
    return rows


def explain(problems):
    """One row per kind of problem: how many files, and what it means."""
    counts = problems.problem.astype(str).str.split(":").str[0].value_counts()
    return pd.DataFrame({"files": counts, "meaning": [PROBLEMS[kind] for kind in counts.index]})


def read(path):
    """Open a packed cache: (pixels, table, present, problems, origin).

    pixels: uint8 [n, 224, 224], memory-mapped, so only the rows in use take memory.
    table: the whole manifest, n rows. present: bool [n], which rows hold a picture.
    Raises images.UnreadableImage if the file is not a packed cache of this version.
    """
    try:
        with h5py.File(path) as file:
            if file.attrs["preprocessing"] != PREPROCESSING:
                raise images.UnreadableImage(f"{path} was packed by another version of this project")
            table = manifest.from_csv(file["manifest"].asstr()[()])
            problems = pd.read_csv(io.StringIO(file["problems"].asstr()[()]))
            dataset = file["pixels"]
            pixels = np.memmap(path, np.uint8, "r", dataset.id.get_offset(), dataset.shape)
            return pixels, table, file["present"][:], problems, file.attrs["origin"]
    except (OSError, KeyError) as error:
        raise images.UnreadableImage(f"{path} is not a packed cache of radiographs ({error})") from None
