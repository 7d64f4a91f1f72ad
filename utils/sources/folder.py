"""Radiographs of any folder or zip, labelled or not, to try a model on."""

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ..data import cache, images, manifest
from ..data.formats import DataError
from . import files

ENOUGH = 100  # validation images of the public data set in a folder: then only these are taken


def read(place, most):
    """Pictures, uint8 [n, 224, 224], and their manifest rows, index 0 to n - 1.

    Labels and patients are those of the folder's own manifest (`own_data.describe`). Without one the
    folders NORMAL and PNEUMONIA tell the labels, without such folders all are empty, and every image
    counts as a patient; pictures of the public data set are recognised by their fingerprint. Test images of
    a manifest are never taken, and of a data set with its manifest the validation images only. About `most`
    images of each class, twice as many without labels. Raises DataError if there is nothing to use;
    files that cannot be read are left out, with a sentence.
    """
    place = Path(place).expanduser()
    if not place.exists():
        raise DataError(f"There is nothing at {place}. Check the path.")
    alone = place.is_file() and place.suffix.lower() != ".zip"  # one image
    readers, _, own = ({}, None, None) if alone else files.gather(place)
    if not readers:  # DICOM files often have no suffix
        readers = {name: reader for name, (reader, _) in files.every(place).items()}
    table = _listed(list(readers), own, place) if own else _by_folder(place, list(readers))
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
    table = table[good].reset_index(drop=True)
    if own:
        return pictures, table
    table = _recognised(table, pictures, place)
    return pictures[table.index], table.reset_index(drop=True)


def _listed(names, own, place):
    """The rows of a folder's own manifest: its validation images, or else all but the test images."""
    listed = manifest.read(own)
    rows = listed.set_index(pd.Index(listed.path)).reindex(names).assign(name=names).dropna(subset="path")
    rest = rows[rows.split != "test"]
    chosen = rest[rest.fold == 0] if (rest.fold == 0).any() else rest
    if not len(chosen):
        raise _only_test(place)
    kind = "validation" if len(chosen) < len(rest) else "development"
    print(f"Its manifest lists {len(rows):,} of {len(names):,} images; {len(chosen):,} {kind} ones are used.")
    return chosen


def _only_test(place):
    return DataError(
        f"All images in {place} are test images, kept for the final evaluation. Take others, such as "
        "those of the folder train."
    )


def _by_folder(place, names):
    """A table of files without a manifest; where some lie in class folders, of these only.

    Where many have names of validation images of the public data set, of these only: the released networks
    have learned from the others.
    """
    folders = [(place / name).parent.name.upper() for name in names]
    table = pd.DataFrame({"path": names, "name": names, "patient": names, "label": folders, "subtype": ""})
    table.label = table.label.where(table.label.isin(manifest.CLASS_NAMES), "")
    labelled = table[table.label != ""]
    if not len(labelled):
        print(f"No labels: there are no folders {' and '.join(manifest.CLASS_NAMES)}.")
    elif len(labelled) < len(table):
        print(f"{len(table) - len(labelled)} images outside of these folders are left out.")
    table = labelled if len(labelled) else table
    validation = set(manifest.select(manifest.read(), "val").path.str.rpartition("/")[2])
    known = table.name.map(lambda name: PurePosixPath(name).name in validation)
    if known.sum() >= ENOUGH:
        print(
            f"The public data set: {known.sum()} validation images are used, {(~known).sum():,} others not."
        )
        return table[known]
    return table


def _recognised(table, pictures, place):
    """The table with what the public manifest knows of its pictures, without official test images."""
    public = manifest.read()
    away = images.distance(images.fingerprint(pictures)[:, None], images.stored(public.fingerprint)[None])
    rows, known = public.iloc[away.argmin(1)].reset_index(drop=True), away.min(1) <= cache.SAME_PICTURE
    if not known.any():
        print("No manifest: every image counts as a patient of its own.")
        return table
    wrong = known & (table.label != "") & (table.label != rows.label)
    if wrong.any():
        name, label = table.name[wrong].iloc[0], rows.label[wrong].iloc[0]
        raise DataError(
            f"{name} is a picture of the public data set, where it is {label}; "
            f"{wrong.sum() - 1} more lie in the folder of the wrong class, too. "
            "Put them where they belong, or take them out."
        )
    for column in ("patient", "subtype", *(["label"] if known.all() else [])):
        table[column] = table[column].mask(known, rows[column])
    test = known & (rows.split == "test")
    if test.all():
        raise _only_test(place)
    print(f"{known.sum()} pictures are of the public data set; {test.sum()} test images of it are left out.")
    return table[~test]
