"""The packed cache: one file that holds a whole data set, checked against its manifest."""

import hashlib
import io
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import pandas as pd

from .. import workspace
from . import images, manifest
from .formats import DataError

PREPROCESSING = "grey, exif-rotated, squashed to 224x224 by antialiased bilinear resizing; v1"
# Bits of the fingerprint: copies of one picture differ by 0-2, the nearest other picture by 4.
SAME_PICTURE = 6  # under its own name
RECOGNISED = 3  # under an unknown name
SEAL = b"packed chest radiographs, sha256 of all before: "
SEAL_SIZE = len(SEAL) + 64
REPACK = "Delete this file and run notebook 01 again."
_checked = set()  # files that were found whole in this session, as they lay there
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
    The cache is HDF5 with one contiguous uint8 array [n, 224, 224], row i = manifest row i, and a
    seal behind it. It appears under its name only when it is complete and was read back as it was
    written, and not at all if no image is usable. Raises OSError if it was not.
    """
    table = table.reset_index(drop=True)
    with workspace.whole(target) as partial:
        with h5py.File(partial, "w") as file:
            shape = (len(table), images.SIDE, images.SIDE)
            pixels = file.create_dataset("pixels", shape, np.uint8, fill_time="never")
            prints, present, problems = _fill(pixels, readers, table)
            file["present"] = present
            file["manifest"] = manifest.to_csv(table)
            file["problems"] = problems.to_csv(index=False)
            file.attrs["preprocessing"] = PREPROCESSING
            file.attrs["origin"] = str(origin)
            file.attrs["sealed"] = True
        if present.any():
            if (_fingerprints(read(partial)[0], present) != prints[present]).any():
                raise OSError(f"{Path(target).parent} gave back other pictures than were written there")
            seal = SEAL + _digest(np.memmap(partial, np.uint8, "r"))
            with open(partial, "ab") as file:
                file.write(seal)
        else:
            partial.unlink()
    return problems


def check(path):
    """Raise DataError if a packed cache is not as it was written.

    Its seal, the digest of all before it, is compared: less than a second for 300 MB, once in a
    session for a file that stays as it is. A cache of an earlier version has no seal; there the
    fingerprint of each picture is compared with the manifest.
    """
    path = Path(path)
    stat = path.stat()
    known = (path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if known in _checked:
        return
    pixels, table, present, _, _ = read(path)
    with h5py.File(path) as file:
        sealed = "sealed" in file.attrs
    if sealed:
        content = np.memmap(path, np.uint8, "r")
        whole = content[-SEAL_SIZE:].tobytes() == SEAL + _digest(content[:-SEAL_SIZE])
    else:
        expected = images.stored(table.fingerprint[present])
        whole = (images.distance(expected, _fingerprints(pixels, present)) <= SAME_PICTURE).all()
    if not whole:
        raise DataError(f"{path} was damaged or changed after it was packed. {REPACK}")
    _checked.add(known)


def _digest(content):
    """The SHA-256 of a file's content, memory-mapped uint8 [bytes]: 64 hexadecimal digits, as bytes."""
    return hashlib.sha256(content).hexdigest().encode()


def _fingerprints(pixels, present):
    """Fingerprints of the rows that hold a picture, uint64; in portions, so that memory stays small."""
    rows = np.flatnonzero(present)
    portions = [rows[first : first + 256] for first in range(0, len(rows), 256)]
    found = [images.fingerprint(np.asarray(pixels[portion])) for portion in portions]
    return np.concatenate(found) if found else np.empty(0, np.uint64)


def _fill(pixels, readers, table):
    """Write each picture into its row of `pixels`.

    Returns their fingerprints, uint64 [n], which rows hold one, bool [n], and the table of problems.
    """
    row_of = _rows_by_name(table.path)
    expected = images.stored(table.fingerprint)
    labels = {*manifest.CLASS_NAMES, *table.label}
    present, named = np.zeros((2, len(table)), bool)  # named: a file has the row's name, whatever is in it
    prints = np.zeros(len(table), np.uint64)
    problems = []
    pictures = images.read_many(list(readers.values()), "Reading radiographs")
    for name, picture in zip(readers, pictures, strict=True):
        row = next((row_of[end] for end in _ends(name) if end in row_of), None)
        if row is not None:
            named[row] = True
        if isinstance(picture, images.UnreadableImage):
            problems.append((name, f"unreadable: {picture}"))
            continue
        fingerprint = images.fingerprint(picture[None])[0]
        away = images.distance(expected, fingerprint)
        if row is None:
            free = np.where(present, 64, away)  # of exact duplicates, the next free row
            row = int(free.argmin()) if free.min() <= RECOGNISED else None
        if row is None and away.min() <= RECOGNISED:
            problems.append((name, f"duplicate: the same picture as {table.path[away.argmin()]}"))
        elif row is None:
            problems.append((name, "extra: the manifest has no such radiograph"))
        elif away[row] > SAME_PICTURE:
            problems.append((name, "changed: not the picture the manifest describes"))
        else:
            pixels[row] = picture
            prints[row], present[row] = fingerprint, True
            folder = PurePosixPath(name).parent.name
            if folder in labels and folder != table.label[row]:
                problems.append((name, f"wrong folder: it is used as {table.label[row]}"))
    problems += [(path, "missing") for path in table.path[~present & ~named]]
    return prints, present, pd.DataFrame(problems, columns=["path", "problem"])


def _ends(path):
    """The ends of a path that may name a radiograph, the longest first: a/b/c.png, b/c.png, c.png."""
    parts = PurePosixPath(path).parts
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _rows_by_name(paths):
    """{end of a path: its row}, without the ends that several paths share."""
    rows = {}
    for row, path in enumerate(paths):
        for end in _ends(path):
            rows.setdefault(end, []).append(row)
    return {end: found[0] for end, found in rows.items() if len(found) == 1}


def explain(problems):
    """One row per kind of problem: how many files, and what it means."""
    counts = problems.problem.astype(str).str.split(":").str[0].value_counts()
    return pd.DataFrame({"files": counts, "meaning": [PROBLEMS[kind] for kind in counts.index]})


def read(path):
    """Open a packed cache: (pixels, table, present, problems, origin). Whether it is whole: `check`.

    pixels: uint8 [n, 224, 224], memory-mapped, so only the rows in use take memory.
    table: the whole manifest, n rows. present: bool [n], which rows hold a picture.
    Raises DataError if the file is not a packed cache of this version.
    """
    try:
        with h5py.File(path) as file:
            if file.attrs["preprocessing"] != PREPROCESSING:
                raise DataError(f"{path} was packed by another version of this project. {REPACK}")
            table = manifest.from_csv(io.StringIO(file["manifest"].asstr()[()]))
            problems = pd.read_csv(io.StringIO(file["problems"].asstr()[()]), keep_default_na=False)
            present, dataset, origin = file["present"][:], file["pixels"], file.attrs["origin"]
            shape, at = (len(table), images.SIDE, images.SIDE), dataset.id.get_offset()
            if (dataset.shape, present.shape) != (shape, shape[:1]) or dataset.dtype != np.uint8 or not at:
                raise ValueError("its pictures are not stored as this project does")
        return np.memmap(path, np.uint8, "r", at, shape), table, present, problems, origin
    except DataError:
        raise
    except Exception as error:  # HDF5 and pandas have many kinds for a damaged file
        raise DataError(f"{path} is not a packed cache of radiographs ({error}). {REPACK}") from None
