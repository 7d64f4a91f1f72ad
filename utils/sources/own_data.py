"""Own radiographs: a folder for each of two classes becomes a manifest that every notebook uses."""

import re
import unicodedata
from pathlib import Path

import pandas as pd

from .. import workspace
from ..data import images, manifest
from ..workspace import ExplainedError
from . import files

SPLITS = {  # words in the names of folders, in languages of courses, without accents
    "train": "train training trainset trainingsdaten treino treinamento entrenamiento apprentissage",
    "val": "val valid validation valset validierung validacion validacao validazione dev",
    "test": "test tests testing testset testdaten teste testes prueba pruebas essai",
}
NO_MEANING = ("images", "image", "imgs", "img", "pictures", "png", "jpg", "jpeg", "dicom", "dcm")
PATIENTS = 2 * manifest.FOLDS  # the least that can be divided; so many folders inside classes are patients


def describe(folder, positive, patient=None):
    """Write the manifest of own radiographs into their folder, so that every notebook can use them.

    folder: holds one folder for each of two classes, below folders for train, val and test or not; where
    there is none for test, a fifth of the patients become the test images. positive: the name of the class to
    be found. patient: a regular expression whose first group is the patient, applied to the relative path; a
    CSV file with columns path and patient; or None: then the folders inside those of the classes are the
    patients, and without such folders every image counts as a patient of its own. Says what each folder was
    taken for, and which files are left out. Returns the manifest. Raises ExplainedError.
    """
    folder, positive = Path(folder).expanduser(), _one_spelling(positive)
    if not folder.is_dir():
        raise ExplainedError(f"There is no folder {folder}. Correct the path; unpack a zip first.")
    target = folder / manifest.PUBLIC.name
    if target.exists():
        raise ExplainedError(f"{target} exists already. Delete it to describe these images anew.")
    try:
        workspace.check_writable(folder)
    except OSError as error:
        raise ExplainedError(
            f"The manifest must lie beside the images, and {folder} cannot be written ({error}). Copy them."
        ) from None
    listed = files.every(folder)
    pictures, left_out = files.image_files(listed)
    table = _meanings(pictures, positive)
    _say_back(table, positive)
    left_out |= dict.fromkeys(table.path[table.label == ""], "in no class folder")
    table = table[table.label != ""].copy()
    table["patient"] = _patients(table, patient)
    fingerprints = _fingerprints({path: pictures[path] for path in table.path}, left_out)
    table = table[table.path.isin(fingerprints)].copy()
    print(f"{len(listed):,} files = {len(table):,} used + {len(left_out):,} left out")
    files.print_reasons(left_out)
    unknown = table.path[table.patient.isna()]
    if len(unknown):
        raise ExplainedError(f"No patient is known for {len(unknown)} images, for example {unknown.iloc[0]}.")
    if not (table.split == "test").any():
        table.loc[next(manifest.divide(table, 5)), "split"] = "test"
        print("No folder is called test: the images of a fifth of the patients are the test images.")
    table = manifest.complete(table, fingerprints.values())
    if faults := manifest.problems(table):
        raise ExplainedError("These images cannot be used as they are: " + " ".join(faults))
    _check_copies(table)
    manifest.write(table, target)
    return table


def _meanings(paths, positive):
    """What folders say of each image: path, folder (to show), split, label, subtype, positive, and inside.

    Names of splits and names without a meaning are set aside. Of the others, the class is the one at the
    place of `positive`, together with those above it unless they are the same everywhere. inside: the folder
    inside that of the class. label and inside are "" where there is none.
    """
    rows = []
    for path in paths:
        *parts, _ = _one_spelling(path).split("/")
        splits = [_split(part) for part in parts if _split(part)]
        others = [part for part in parts if not _split(part) and part.casefold() not in NO_MEANING]
        rows.append((path, splits[-1] if splits else "train", others))
    level = min((others.index(positive) for _, _, others in rows if positive in others), default=0)
    classed = [others for _, _, others in rows if len(others) > level]
    same = next((place for place in range(level) if len({one[place] for one in classed}) > 1), level)
    table = []
    for path, split, others in rows:
        label = "/".join(others[same : level + 1]) if len(others) > level else ""
        inside = others[level + 1] if len(others) > level + 1 else ""
        folder = _one_spelling(path).rpartition(f"/{inside}/" if inside else "/")[0] + "/*" * bool(inside)
        table.append((path, folder, split, label, label, int(label == positive), inside))
    columns = ["path", "folder", "split", "label", "subtype", "positive", "inside"]
    return pd.DataFrame(table, columns=columns)


def _one_spelling(name):
    """A name in one spelling of its accents; macOS spells them in another way than keyboards do."""
    return unicodedata.normalize("NFC", name)


def _split(name):
    """The split that the name of a folder tells, or ""."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    words = re.findall("[a-z]+", "".join(one for one in letters if not unicodedata.combining(one)))
    told = [split for split, usual in SPLITS.items() if set(words) & set(usual.split())]
    return told[0] if len(told) == 1 else ""


def _say_back(table, positive):
    """Print what each folder is taken for. Raises ExplainedError unless there are two classes."""
    labels = sorted(set(table.label) - {""})
    usable = len(labels) == 2 and positive in labels
    told = (table.split + ", " + table.label).where(table.label != "", "in no class folder")
    for (folder, meaning), count in told.groupby([table.folder, told]).size().head(30).items():
        print(f"  {folder or '(top)'} -> {meaning if usable else '?'}, {count:,}")
    if not usable:
        raise ExplainedError(
            f"Two class folders are needed, one of them {positive!r}; there are: "
            f"{', '.join(labels[:10]) or 'none'}. Move what you do not need elsewhere; call folders for "
            "parts of the data train, val and test."
        )


def _patients(table, patient):
    """The patient of each image, NaN where it is not known; patient: see `describe`."""
    if patient is None and (table.inside != "").all() and table.inside.nunique() >= PATIENTS:
        print("Each folder inside a class is a patient, the same one where it is in both classes.")
        return table.inside
    if patient is None and (table.inside != "").any():
        names = ", ".join(table.inside[table.inside != ""].unique()[:5])
        raise ExplainedError(
            f"Is each folder inside the classes ({names}) a patient? If so, every image must be in such a "
            f"folder, and there must be {PATIENTS} of them; else `patient` says how to tell patients, or "
            'patient="(.+)" that every image is of another one.'
        )
    if patient is None:
        print(
            "NOTE: every image counts as a patient of its own. If some patients have several images, results "
            "will look better than they are; `patient=...` says how to tell them."
        )
        return table.path
    if not str(patient).lower().endswith(".csv"):
        try:
            return table.path.str.extract(patient)[0]
        except (ValueError, re.error):
            raise ExplainedError(
                f"patient={patient!r} needs brackets around the patient, such as {f'({patient})'!r}."
            ) from None
    try:  # columns may be parted by comma, semicolon or tab
        known = pd.read_csv(
            patient, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=None, engine="python"
        )
        pairs = {"path": known["path"].str.replace("\\", "/"), "patient": known["patient"]}
        return table.path.map(pd.DataFrame(pairs).drop_duplicates().set_index("path").patient)
    except (OSError, ValueError, KeyError, pd.errors.InvalidIndexError) as error:
        raise ExplainedError(
            f"{patient} must be a table in UTF-8 with the columns path and patient, and one patient for each "
            f"path (wrong: {error})."
        ) from None


def _fingerprints(pictures, left_out):
    """{path: fingerprint} of the images that can be read; adds the others to `left_out`, with the reason."""
    fingerprints = {}
    readers = [file.read for file in pictures.values()]
    for path, picture in zip(pictures, images.read_many(readers, "Reading own radiographs"), strict=True):
        if isinstance(picture, ExplainedError):
            left_out[path] = str(picture)
        else:
            fingerprints[path] = images.fingerprint(picture[None])[0]
    return fingerprints


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
