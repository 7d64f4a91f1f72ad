"""Own radiographs: a folder for each of two classes becomes a manifest that every notebook uses."""

from pathlib import Path, PurePosixPath

import pandas as pd

from ..data import images, manifest
from ..workspace import ExplainedError
from . import files


def describe(folder, positive, patient=None):
    """Write the manifest of own radiographs into their folder, so that every notebook can use them.

    folder: holds one folder for each of two classes, below train and test or not; where there is no
    folder `test`, a fifth of the patients become the test images. positive: the name of the class to
    be found. patient: a regular expression whose first group is the patient, applied to the relative
    path; a CSV file with columns path and patient; or None: then every image counts as a patient of
    its own. Returns the manifest. Raises ExplainedError.
    """
    folder = Path(folder).expanduser()
    target = folder / manifest.PUBLIC.name
    if target.exists():
        raise ExplainedError(f"{target} exists already. Delete it to describe these images anew.")
    pictures = files.image_files(files.every(folder))
    table = pd.DataFrame({"path": list(pictures)}, dtype=str)
    table["patient"] = _patients(table.path, patient)
    parts = [PurePosixPath(path).parts for path in table.path]
    table["split"] = [next((part for part in p[:-2] if part in manifest.SPLITS), "train") for p in parts]
    table["label"] = table["subtype"] = [p[-2] if len(p) > 1 else "" for p in parts]
    table["positive"] = (table.label == positive).astype(int)
    fingerprints = _fingerprints(pictures)
    table = table[table.path.isin(fingerprints)].copy()
    labels = sorted(set(table.label))
    if len(labels) != 2 or positive not in labels:
        there = ", ".join(labels) or "none"
        raise ExplainedError(f"Two class folders are needed, one of them {positive!r}; there are: {there}.")
    unknown = table.path[table.patient.isna()]
    if len(unknown):
        raise ExplainedError(f"No patient is known for {len(unknown)} images, for example {unknown.iloc[0]}.")
    if not (table.split == "test").any():
        table.loc[next(manifest.divide(table, 5)), "split"] = "test"
    table = manifest.complete(table, fingerprints.values())
    if faults := manifest.problems(table):
        raise ExplainedError("These images cannot be used as they are: " + " ".join(faults))
    _check_copies(table)
    manifest.write(table, target)
    return table


def _fingerprints(pictures):
    """{path: fingerprint} of the images that can be read; says which cannot, and why."""
    fingerprints, left_out = {}, []
    readers = [file.read for file in pictures.values()]
    for path, picture in zip(pictures, images.read_many(readers, "Reading own radiographs"), strict=True):
        if isinstance(picture, ExplainedError):
            left_out.append(f"{path}: {picture}")
        else:
            fingerprints[path] = images.fingerprint(picture[None])[0]
    print(f"{len(fingerprints):,} images read, {len(left_out)} left out", *left_out, sep="\n  ")
    return fingerprints


def _patients(paths, patient):
    """The patient of each path, NaN where it is not known; patient: see `describe`."""
    if patient is None:
        print(
            "NOTE: every image counts as a patient of its own. If some patients have several images, results "
            "will look better than they are; `patient=...` says how to tell them."
        )
        return paths
    if not str(patient).endswith(".csv"):
        return paths.str.extract(patient)[0]
    # Columns may be parted by comma, semicolon or tab.
    table = pd.read_csv(
        patient, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=None, engine="python"
    )
    return paths.map(table.set_index(table.path.str.replace("\\", "/")).patient)


def _check_copies(table):
    """Say how many pictures of different patients look alike.

    Raises ExplainedError for one and the same picture in both classes, for one of the labels must be wrong.
    """
    facts = table[["path", "label", "split", "patient"]]
    pairs = images.alike(table.fingerprint).join(facts, on="one").join(facts.add_suffix("_other"), on="other")
    wrong = pairs[(pairs.label != pairs.label_other) & (pairs.distance == 0)]
    if len(wrong):
        raise ExplainedError(
            f"{len(wrong)} pictures are in both classes, such as {wrong.path.iloc[0]} and "
            f"{wrong.path_other.iloc[0]}. One of the labels must be wrong: remove the wrong file, and "
            "describe the images again."
        )
    pairs = pairs[pairs.patient != pairs.patient_other]
    divided = ((pairs.split == "test") != (pairs.split_other == "test")).sum()
    if len(pairs):
        print(
            f"LOOK: {len(pairs)} pairs of pictures of different patients are equal or nearly so, {divided} "
            f"of them in the test and the training images, for example {pairs.path.iloc[0]} and "
            f"{pairs.path_other.iloc[0]}. Results will look better than they are."
        )
