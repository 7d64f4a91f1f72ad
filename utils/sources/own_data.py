"""Own radiographs: a folder for each of two classes becomes a manifest that every notebook uses."""

import csv
import io
import zipfile
from pathlib import Path, PurePosixPath

import pandas as pd
from PIL import Image

from .. import workspace
from ..data import images, manifest
from ..data.formats import DataError
from . import files


def describe(folder, positive, patient=None):
    """Write the manifest of own radiographs into their folder, so that every notebook can use them.

    folder: holds one folder for each of two classes, below train and test or not; where there is no
    folder `test`, a fifth of the patients become the test images. positive: the name of the class to
    be found. patient: a regular expression whose first group is the patient, applied to the relative
    path; a CSV file with columns path and patient; or None: then every image counts as a patient of
    its own. Returns the manifest. Raises DataError.
    """
    folder = Path(folder).expanduser()
    target = folder / manifest.PUBLIC.name
    if target.exists():
        raise DataError(f"{target} exists already. Delete it to describe these images anew.")
    readers, _, _ = files.gather(folder)
    paths = pd.Series(readers.keys(), dtype=str)
    if patient is None:
        print(
            "NOTE: every image counts as a patient of its own. If some patients have several images, results "
            "will look better than they are; `patient=...` says how to tell them."
        )
        patients = paths
    elif str(patient).endswith(".csv"):
        patients = paths.map(_patients_in(patient))
    else:
        patients = paths.str.extract(patient).iloc[:, 0]
    fingerprints, unreadable = {}, []
    pictures = images.read_many(list(readers.values()), "Reading own radiographs")
    for path, picture in zip(readers, pictures, strict=True):
        if isinstance(picture, images.UnreadableImage):
            unreadable.append(f"{path}: {picture}")
        else:
            fingerprints[path] = images.fingerprint(picture[None])[0]
    print(f"{len(fingerprints):,} images read, {len(unreadable)} left out", *unreadable, sep="\n  ")
    table = pd.DataFrame({"path": paths, "patient": patients})
    table = _complete(table[paths.isin(fingerprints)], fingerprints.values(), positive)
    _warn_of_copies(table)
    manifest.write(table, target)
    return table


def bacterial_or_viral(radiographs, target):
    """Write the pneumonias of the public data set as own data of the classes bacteria (positive) and virus.

    radiographs: from `sources.load`. target: the zip to write; give it as DATA in any notebook. Pictures (as
    they are packed, 224 x 224, lossless), patients, official split and folds stay the same. Returns the path.
    Raises DataError if the two kinds are not among these radiographs.
    """
    table = radiographs.table[radiographs.table.subtype.isin(["bacteria", "virus"])]
    if table.subtype.nunique() < 2:
        raise DataError("Nothing here tells bacterial from viral pneumonia; the public data set does.")
    names = table.path.map(lambda path: f"{PurePosixPath(path).stem}.png")
    table = table.assign(path=table.split + "/" + table.subtype + "/" + names, label=table.subtype)
    table["positive"] = (table.label == "bacteria").astype(int)
    with workspace.whole(target) as partial, zipfile.ZipFile(partial, "w") as archive:
        archive.writestr(manifest.PUBLIC.name, manifest.to_csv(table))
        for row, path in table.path.items():
            picture = io.BytesIO()
            Image.fromarray(radiographs.pixels[row]).save(picture, "PNG", compress_level=1)
            archive.writestr(path, picture.getvalue())
    return Path(target)


def _patients_in(path):
    """The patients of a CSV file, a Series indexed by relative path. Raises DataError."""
    try:
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=None, engine="python"
        )
        return table.assign(path=table.path.str.replace("\\", "/")).set_index("path").patient
    except FileNotFoundError:
        raise DataError(f"There is no file {path}. Correct the path in patient=...") from None
    except (OSError, ValueError, AttributeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be used ({error}). It must be a CSV file in UTF-8, with columns path and patient."
        ) from None


def _warn_of_copies(table):
    """Say which pictures look alike across classes, splits or patients.

    Raises DataError for one and the same picture in both classes, for one of the labels must be wrong.
    """
    facts = table[["path", "label", "split", "patient"]]
    pairs = images.alike(table.fingerprint).join(facts, on="one").join(facts.add_suffix("_other"), on="other")
    labels, patients = pairs.label != pairs.label_other, pairs.patient != pairs.patient_other
    test = (pairs.split == "test") != (pairs.split_other == "test")
    wrong = pairs[labels & (pairs.distance == 0)]
    if len(wrong):
        raise DataError(
            f"{len(wrong)} pictures are in both classes, such as {wrong.path.iloc[0]} and "
            f"{wrong.path_other.iloc[0]}. One of the labels must be wrong: remove the wrong file, and "
            "describe the images again."
        )
    for kind, found in (
        ("in both classes", pairs[labels]),
        ("on both sides of the division into training and test", pairs[test]),
        ("of two patients", pairs[patients & ~labels & ~test]),
    ):
        if len(found):
            print(
                f"LOOK: {len(found)} pairs of pictures that are equal or nearly so are {kind}, for example "
                f"{found.path.iloc[0]} and {found.path_other.iloc[0]}. Results will look better than they "
                "are."
            )


def _complete(table, fingerprints, positive):
    """The checked manifest of a table with the columns path and patient. Raises DataError."""
    parts = [PurePosixPath(path).parts for path in table.path]
    split = [next((part for part in p[:-2] if part in manifest.SPLITS), "train") for p in parts]
    table = table.assign(split=split, label=[p[-2] if len(p) > 1 else "" for p in parts])
    labels = sorted(set(table.label))
    if len(labels) != 2 or positive not in labels:
        found = ", ".join(labels) or "none"
        raise DataError(f"Two class folders are needed, one of them {positive!r}; found: {found}.")
    lost = table.path[table.patient.isna()]
    if len(lost):
        raise DataError(f"No patient is known for {len(lost)} images, for example {lost.iloc[0]}.")
    table = table.assign(subtype=table.label, positive=(table.label == positive).astype(int))
    if not (table.split == "test").any():
        _, held_out = next(manifest.divide(table, 5))
        table.loc[held_out, "split"] = "test"
    table = manifest.complete(table, fingerprints)
    faults = manifest.problems(table)
    if faults:
        raise DataError("These images cannot be used as they are: " + " ".join(faults))
    return table
