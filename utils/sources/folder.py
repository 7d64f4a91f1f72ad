"""Radiographs of any folder or zip, labelled or not, to try a model on."""

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ..data import images, manifest
from ..data.formats import DataError
from . import files


def read(place, most):
    """Pictures, uint8 [n, 224, 224], and their manifest rows, index 0 to n - 1.

    Labels and patients are those of the folder's own manifest (`own_data.describe`), or of the public data
    set, which is known by its file names: then its validation images are taken, never its test images.
    Without a manifest the folders NORMAL and PNEUMONIA tell the labels, and every image counts as a
    patient; without such folders all labels are empty. At most `most` images of each class, twice as many
    without labels. Raises DataError if there is nothing to use; single files that cannot be read are left
    out, with a sentence.
    """
    place = Path(place).expanduser()
    if not place.exists():
        raise DataError(f"There is nothing at {place}. Check the path.")
    readers, _, own = files.gather(place)
    if not readers:  # DICOM files often have no suffix
        readers = {name: reader for name, (reader, _) in files.every(place).items()}
    table = _known(list(readers), own)
    table = _by_folder(place, list(readers)) if table is None else _not_test(table, place)
    table = manifest.draw(table, most if (table.label != "").all() else 2 * most)
    found = list(images.read_many([readers[name] for name in table.name], "Reading radiographs"))
    good = np.array([not isinstance(picture, images.UnreadableImage) for picture in found], bool)
    for name, problem in zip(table.name[~good], np.array(found, object)[~good], strict=True):
        print(f"{name} is left out: {problem}")
    if not good.any():
        raise DataError(
            f"No radiograph could be read in {place}. Put JPEG, PNG, TIFF, BMP or DICOM files there."
        )
    pictures = np.stack([picture for picture, use in zip(found, good, strict=True) if use])
    return pictures, table[good].reset_index(drop=True)


def _known(names, own):
    """The manifest rows of these files, and their names; None if there is no manifest that lists them."""
    listed = manifest.read(own) if own else manifest.read()
    keys = names if own else [PurePosixPath(name).name for name in names]
    at = listed.path if own else listed.path.str.rpartition("/")[2]
    rows = listed.set_index(pd.Index(at)).reindex(keys).assign(name=names)
    listed = rows.path.notna()
    return rows[listed] if names and (listed.any() if own else listed.all()) else None


def _not_test(table, place):
    """The validation images, or where there are none all but the test images. Raises DataError."""
    rest = table[table.split != "test"]
    chosen = rest[rest.fold == 0] if (rest.fold == 0).any() else rest
    if not len(chosen):
        raise DataError(
            f"All images in {place} are test images, kept for the final evaluation. Take others, such as "
            "those of the folder train."
        )
    left_out = len(table) - len(rest)
    print(f"Images of a known data set: {len(chosen):,} may be used, {left_out:,} test images may not.")
    return chosen


def _by_folder(place, names):
    """A table of files that no manifest lists; those outside of class folders are left out where there are
    such."""
    folders = [(place / name).parent.name.upper() for name in names]
    table = pd.DataFrame({"path": names, "name": names, "patient": names, "label": folders, "subtype": ""})
    table.label = table.label.where(table.label.isin(manifest.CLASS_NAMES), "")
    labelled = table[table.label != ""]
    print("No manifest: every image counts as a patient of its own.")
    if not len(labelled):
        print(f"No labels: there are no folders {' and '.join(manifest.CLASS_NAMES)}.")
    elif len(labelled) < len(table):
        print(f"{len(table) - len(labelled)} images outside of these folders are left out.")
    return labelled if len(labelled) else table
