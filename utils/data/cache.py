"""The packed cache: one file with all pictures of a data set, checked against its manifest.

HDF5 with one contiguous uint8 array [n, 224, 224], row i = manifest row i, the manifest, and the table of
problems. Behind it stands a seal, the SHA-256 of all before, which is compared before anything is opened:
HDF5 can hang on a damaged file.
"""

import hashlib
import io
import shutil
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import pandas as pd

from .. import workspace
from ..workspace import ExplainedError
from . import images, manifest

PREPROCESSING = "grey, exif-rotated, squashed to 224x224 by antialiased bilinear resizing; v1"
SAME_PICTURE = 6  # bits by which a picture under its own name may differ from its fingerprint
SEAL = b"packed chest radiographs, sha256 of all before: "
SEAL_SIZE = len(SEAL) + 64
PROBLEMS = {
    "missing": "listed in the manifest, but there is no file. Harmless, but there is less to learn from.",
    "unreadable": "damaged or not an image, and left out. Copy or download these files again.",
    "changed": "not the picture that belongs to this name, and left out. Copy these files again.",
    "duplicate": "a second copy of a picture under another name, and left out.",
    "extra": "no radiograph of this data set, and left out.",
    "wrong folder": "in the folder of the other class. Used, with the label of the manifest.",
}


def write(readers, table, target, origin):
    """Write the packed cache of a data set, and return a table of problems (columns path, problem).

    readers: {name of a file: function that returns its bytes}. A file belongs to the manifest row of the same
    name; one with an unknown name is recognised by its fingerprint. table: the manifest. origin: what is said
    of where the files come from. Nothing is dropped silently: see PROBLEMS. The cache takes its name `target`
    when it is complete, and is not written if no image is usable. Raises ExplainedError if the disk is full.
    """
    table, target = table.reset_index(drop=True), Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    needed = len(table) * images.SIDE**2 + 1_000_000  # bytes
    if shutil.disk_usage(target.parent).free < needed:  # HDF5 would crash Python
        raise ExplainedError(
            f"{target.parent} has no room for the packed file; it takes {needed / 1e6:,.0f} MB. Delete what "
            "you do not need there."
        )
    with workspace.whole(target) as partial:
        with h5py.File(partial, "w") as file:
            shape = (len(table), images.SIDE, images.SIDE)
            pixels = file.create_dataset("pixels", shape, np.uint8, fill_time="never")
            present, problems = _fill(pixels, readers, table)
            file["present"] = present
            file["manifest"] = manifest.to_csv(table)
            file["problems"] = problems.to_csv(index=False)
            file.attrs["preprocessing"] = PREPROCESSING
            file.attrs["origin"] = str(origin)
        if present.any():
            seal = SEAL + _digest(np.memmap(partial, np.uint8, "r"))
            with open(partial, "ab") as file:
                file.write(seal)
        else:
            partial.unlink()
    return problems


def read(path):
    """Open a packed cache: (pixels, table, present, problems, origin).

    pixels: uint8 [n, 224, 224], memory-mapped, so that only the rows in use take memory. table: the manifest,
    n rows. present: bool [n], which rows hold a picture. problems, origin: see `write`. Raises ExplainedError
    if the file is not as it was written, or was written by another version.
    """
    path = Path(path)
    content = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
    if content[-SEAL_SIZE:].tobytes() != SEAL + _digest(content[:-SEAL_SIZE]):
        raise ExplainedError(f"{path} is damaged, or not a packed cache of this version.")
    with h5py.File(path) as file:
        if file.attrs["preprocessing"] != PREPROCESSING:
            raise ExplainedError(f"{path} was packed by another version of this project.")
        table = manifest.from_csv(io.StringIO(file["manifest"].asstr()[()]))
        problems = pd.read_csv(io.StringIO(file["problems"].asstr()[()]), keep_default_na=False)
        present, origin, pixels = file["present"][:], file.attrs["origin"], file["pixels"]
        mapped = np.memmap(path, np.uint8, "r", pixels.id.get_offset(), pixels.shape)
    return mapped, table, present, problems, origin


def explain(problems):
    """One row for each kind of problem: how many files, and what it means."""
    counts = problems.problem.astype(str).str.split(":").str[0].value_counts()
    return pd.DataFrame({"files": counts, "meaning": [PROBLEMS[kind] for kind in counts.index]})


def _digest(content):
    """The SHA-256 of memory-mapped bytes, uint8 [n]: 64 hexadecimal digits, as bytes."""
    return hashlib.sha256(content).hexdigest().encode()


def _fill(pixels, readers, table):
    """Write each picture into its row of `pixels`; return which rows hold one, bool [n], and the problems."""
    expected = images.stored(table.fingerprint)
    classes = {*manifest.CLASS_NAMES, *table.label}
    rows = list(_rows_named(readers, table.path))
    present, problems = np.zeros(len(table), bool), []
    pictures = images.read_many(list(readers.values()), "Reading radiographs")
    for name, row, picture in zip(readers, rows, pictures, strict=True):
        if isinstance(picture, ExplainedError):
            problems.append((name, f"unreadable: {picture}"))
            continue
        bits = images.distance(expected, images.fingerprint(picture[None])[0])
        row, problem = _place(row, bits, present, table.path)
        if not problem:
            pixels[row], present[row] = picture, True
            if PurePosixPath(name).parent.name in classes - {table.label[row]}:
                problem = f"wrong folder: it is used as {table.label[row]}"
        if problem:
            problems.append((name, problem))
    without_file = ~present & ~table.index.isin(rows)
    problems += [(path, "missing") for path in table.path[without_file]]
    return present, pd.DataFrame(problems, columns=["path", "problem"])


def _rows_named(files, paths):
    """The row that the name of each file tells, or None: by its path, or by a name that stands there once."""
    names = paths.str.rpartition("/")[2]
    rows = {name: row for row, name in names[~names.duplicated(keep=False)].items()}
    rows |= {path: row for row, path in paths.items()}
    for file in files:
        parts = PurePosixPath(file).parts
        ends = ["/".join(parts[start:]) for start in range(len(parts))]  # a/b/c.png, b/c.png, c.png
        yield next((rows[end] for end in ends if end in rows), None)


def _place(row, bits, present, paths):
    """The row for one picture, and why it cannot be used, or "".

    row: that of its name, or None. bits: int [n], how far its fingerprint is from that of each row.
    present: bool [n], rows that hold a picture already.
    """
    if row is not None:
        return row, "" if bits[row] <= SAME_PICTURE else "changed: not the picture the manifest describes"
    free = np.where(present, 64, bits)  # of exact duplicates, the next free row
    if free.min() <= images.ALIKE:
        return free.argmin(), ""
    if bits.min() <= images.ALIKE:
        return None, f"duplicate: the same picture as {paths[bits.argmin()]}"
    return None, "extra: the manifest has no such radiograph"
