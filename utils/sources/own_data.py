"""Own radiographs: a folder for each of two classes becomes a manifest that every notebook uses."""

from pathlib import Path, PurePosixPath

import pandas as pd

from ..data import images, manifest
from . import files


def describe(folder, positive, patient=None):
    """Write the manifest of own radiographs into their folder, so that every notebook can use them.

    folder: holds one folder for each of two classes, below train and test or not. positive: the
    name of the class to be found. patient: a regular expression whose first group is the patient,
    applied to the relative path; a CSV file with columns path and patient; or None: then every
    image counts as a patient of its own. Returns the manifest. Raises files.DataError.
    """
    folder = Path(folder).expanduser()
    target = folder / manifest.PUBLIC.name
    if target.exists():
        raise files.DataError(f"{target} exists already. Delete it to describe these images anew.")
    readers, _, _ = files.gather(folder)
    if str(patient).endswith(".csv"):
        patient = pd.read_csv(patient, dtype=str).set_index("path").patient
    if patient is None:
        print(
            "NOTE: every image counts as a patient of its own. If some patients have several images, results "
            "will look better than they are; `patient=...` says how to tell them."
        )
    pictures = images.read_many(list(readers.values()), "Reading own radiographs")
    prints, bad = {}, []
    for name, picture in zip(readers, pictures, strict=True):
        if isinstance(picture, images.UnreadableImage):
            bad.append(f"{name}: {picture}")
        else:
            prints[name] = images.fingerprint(picture[None])[0]
    print(f"{len(prints):,} images read, {len(bad)} left out", *bad, sep="\n  ")
    try:
        table = build(list(prints), list(prints.values()), positive, patient)
    except manifest.ManifestError as error:
        raise files.DataError(str(error)) from None
    manifest.write(table, target)
    return table


def build(paths, fingerprints, positive, patient=None):
    """The manifest of radiographs that lie in one folder for each of two classes.

    paths: relative paths, str, such as `train/healthy/a.png` or `healthy/a.png`; where there is no
    folder `test`, a fifth of the patients become the test images. fingerprints: uint64 [n], same
    order. positive: the folder of the class to be found. patient: a regular expression whose
    first group is the patient, a Series of patients indexed by path, or None for one patient an
    image. Raises manifest.ManifestError.
    """
    parts = [PurePosixPath(path).parts for path in paths]
    table = pd.DataFrame({"path": paths, "label": [part[-2] if len(part) > 1 else "" for part in parts]})
    names = sorted(set(table.label))
    if len(names) != 2 or positive not in names:
        raise manifest.ManifestError(
            f"Two class folders are needed, one of them {positive!r}; found: {', '.join(names) or 'none'}."
        )
    table["split"] = [next((p for p in part[:-2] if p in manifest.SPLITS), "train") for part in parts]
    table["subtype"], table["positive"] = table.label, (table.label == positive).astype(int)
    if patient is None:
        table["patient"] = table.path
    elif isinstance(patient, str):
        table["patient"] = table.path.str.extract(f"({patient})").iloc[:, 1]
    else:
        table["patient"] = table.path.map(patient)
    if table.patient.isna().any():
        lost = table.path[table.patient.isna()]
        raise manifest.ManifestError(
            f"No patient is known for {len(lost)} images, for example {lost.iloc[0]}."
        )
    table["patient"] = table.patient.astype(str)
    if not (table.split == "test").any():
        for _, held_out in manifest.divide(table, 5):
            table.loc[held_out, "split"] = "test"
            break
    table = manifest.complete(table, fingerprints)
    faults = manifest.problems(table)
    if faults:
        raise manifest.ManifestError("These images cannot be used as they are: " + " ".join(faults))
    return table
