"""What would fool a network: patients on both sides of a split, and clues that are not illness."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from . import images, manifest

FILE_FACTS = Path(__file__).with_name("file_facts.csv")


def patient_keys(table):
    """How many 'patients' train and test would share under patient keys in use elsewhere.

    Returns a table: key, patients shared by train and test, and why. Own data have one key only.
    """
    test = table.split == "test"

    def shared(keys):
        in_test = test[keys.index]
        return len(set(keys[in_test]) & set(keys[~in_test]))

    ours = "collection and number (ours)", shared(table.patient)
    rows = [(*ours, "the patients of your manifest")]
    if "positive" not in table:
        number = table.patient.str.extract(r"(\d+)$")[0]
        ill = table.subtype.isin(["bacteria", "virus"])
        persons, merged = shared(number[ill]), shared(number[~ill])
        rows = [
            ("person number without the pathogen", persons, "bacteria and virus are counted separately"),
            ("IM and NORMAL2-IM merged", merged, "the two collections are counted separately"),
            ("the first two added", persons + merged, "a published 'leak'"),
            (*ours, "one counter a collection"),
        ]
    return pd.DataFrame(rows, columns=["patient key", "shared", "why"])


def sibling_rate(table, draws=20, seed=0):
    """Share of validation images with an image of the same patient in training, float [draws].

    For random 80/20 splits of the official training images by image instead of by patient.
    """
    patients = table.patient[table.split == "train"].to_numpy()
    rng = np.random.default_rng(seed)
    shares = []
    for _ in range(draws):
        held_out = rng.permutation(len(patients)) < len(patients) // 5
        shares.append(np.isin(patients[held_out], patients[~held_out]).mean())
    return np.array(shares)


def duplicates(pixels, table):
    """Groups of radiographs with identical pixels: a table of split, label and names."""
    digests = pd.Series([hash(pixels[row].tobytes()) for row in table.index], table.index)
    copies = table[digests.duplicated(keep=False)]
    rows = []
    for _, group in copies.groupby(digests, sort=False):
        splits, labels = (", ".join(sorted(set(group[column]))) for column in ("split", "label"))
        rows.append((splits, labels, list(group.path)))
    return pd.DataFrame(rows, columns=["splits", "labels", "paths"])


def picture_clues(pixels, table):
    """Clues that need no look at the lungs: {name: float [n, features]}, rows as in `table`."""
    shown = [np.asarray(pixels[row]) for row in table.index]
    return {
        "stretch (squash detector)": images.stretch(shown)[:, None],
        "borders only": np.stack([_border(picture) for picture in shown]),
        "8 x 8 thumbnail": np.stack([images.squash(picture, 8).ravel() for picture in shown]).astype(float),
        "mean brightness": np.array([[picture.mean()] for picture in shown]),
    }


def _border(picture, width=16, parts=14):
    """Mean grey level along the outer `width` pixels, in `parts` pieces a side: float [4 * parts]."""
    sides = (picture[:width].T, picture[-width:].T, picture[:, :width], picture[:, -width:])
    return np.concatenate([side.reshape(parts, -1).mean(1) for side in sides])


def file_clues(facts):
    """Clues from the file alone: {name: float [n, 1]}. facts: see `read_file_facts`."""
    return {
        "encoder of the JPEG file": (facts.luma_table_sum == 1858).to_numpy(float)[:, None],
        "file size": np.log(facts[["bytes"]].to_numpy(float)),
        "EXIF data or none": (facts.exif > 0).to_numpy(float)[:, None],
        "number of pixels": np.log((facts.width * facts.height).to_numpy(float))[:, None],
        "width / height": (facts.width / facts.height).to_numpy(float)[:, None],
    }


def read_file_facts(readers, table):
    """Facts of the original files, with manifest columns, and a sentence saying whose they are.

    readers: `sources.open_files`. If those are originals they are measured; copies that somebody
    resized have lost the facts, and then the table of 1,706 originals is taken that ships with
    the project.
    """
    rows = {name.rpartition("/")[2]: images.file_facts(reader()) for name, reader in readers.items()}
    own = pd.DataFrame.from_dict(rows, orient="index")
    if len(own) and own.width.nunique() > len(own) / 10:
        names = table.path.str.rpartition("/")[2]
        own = table.merge(own, left_on=names, right_index=True)
        return own, f"File facts measured on your {len(own):,} original files."
    shipped = pd.read_csv(FILE_FACTS).merge(manifest.read(), on="path", validate="one_to_one")
    return shipped, f"File facts from {len(shipped):,} original files, measured for this project."


def aucs(clues, table):
    """How well each clue alone tells the classes apart, with a logistic regression.

    train: predicted for each fold by a fit on the other folds (patients are never on both
    sides). test: predicted by one fit on all development images. Returns clue, train, test and
    the numbers of images; a part with one class only gives NaN.
    """
    ill = manifest.positives(table)
    fold = table.fold.to_numpy()
    known, test = fold >= 0, fold < 0
    rows = []
    for name, values in tqdm(clues.items(), "Trying clues", unit=" clues", delay=2):
        fit = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
        inside = cross_val_predict(
            fit, values[known], ill[known], groups=fold[known], cv=LeaveOneGroupOut(), method="predict_proba"
        )[:, 1]
        outside = fit.fit(values[known], ill[known]).predict_proba(values[test])[:, 1] if test.any() else []
        rows.append((name, _auc(ill[known], inside), _auc(ill[test], outside), known.sum(), test.sum()))
    return pd.DataFrame(rows, columns=["clue", "train", "test", "n train", "n test"])


def _auc(ill, scores):
    return roc_auc_score(ill, scores) if len(set(ill)) == 2 else np.nan
