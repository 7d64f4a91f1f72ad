"""What would fool a network: patients on both sides of a split, and clues that are not illness."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .. import workspace
from . import images, manifest

FILE_FACTS = Path(__file__).with_name("file_facts.csv")


def patient_keys(table):
    """How many patients train and test share, by this project's key and by others that are in use.

    Returns a table: patient key, shared, why. Own data have one key only.
    """

    def shared(keys):
        test = table.split[keys.index] == "test"
        return len(set(keys[test]) & set(keys[~test]))

    if "positive" in table:
        rows = [("collection and number (ours)", shared(table.patient), "the patients of your manifest")]
    else:
        number = table.patient.str.extract(r"(\d+)$")[0]
        ill = table.subtype.isin(["bacteria", "virus"])
        persons, merged = shared(number[ill]), shared(number[~ill])
        rows = [
            ("person number without the pathogen", persons, "bacteria and virus are counted separately"),
            ("IM and NORMAL2-IM merged", merged, "the two collections are counted separately"),
            ("the first two added", persons + merged, "a published 'leak'"),
            ("collection and number (ours)", shared(table.patient), "one counter a collection"),
        ]
    return pd.DataFrame(rows, columns=["patient key", "shared", "why"])


def sibling_rate(table):
    """Share of validation images with an image of the same patient in training, float [20].

    For 20 random 80/20 splits of the official training images by image instead of by patient.
    """
    patients = table.patient[table.split == "train"].to_numpy()
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(20):
        held_out = rng.permutation(len(patients)) < len(patients) // 5
        shares.append(np.isin(patients[held_out], patients[~held_out]).mean())
    return np.array(shares)


def duplicates(pixels, table):
    """Groups of radiographs with identical pixels: a table of their splits, labels and paths."""
    contents = pd.Series([hash(pixels[row].tobytes()) for row in table.index], table.index)
    groups = table[contents.duplicated(keep=False)].groupby(contents, sort=False)
    rows = [(_names(group.split), _names(group.label), list(group.path)) for _, group in groups]
    return pd.DataFrame(rows, columns=["splits", "labels", "paths"])


def _names(values):
    return ", ".join(sorted(set(values)))


def picture_clues(pixels, table):
    """Clues that need no look at the lungs: {name: float [n, features]}, rows as in `table`."""
    pictures = [np.asarray(pixels[row]) for row in table.index]
    thumbnails = [images.squash(picture, 8).ravel() for picture in pictures]
    return {
        "stretch (squash detector)": images.stretch(pictures)[:, None],
        "borders only": np.stack([_border(picture) for picture in pictures]),
        "8 x 8 thumbnail": np.stack(thumbnails).astype(float),
        "mean brightness": np.array([[picture.mean()] for picture in pictures]),
    }


def _border(picture):
    """Mean grey level along the outer 16 pixels, in 14 pieces at each edge: float [56]."""
    edges = (picture[:16].T, picture[-16:].T, picture[:, :16], picture[:, -16:])
    return np.concatenate([edge.reshape(14, -1).mean(1) for edge in edges])


def file_clues(facts):
    """Clues from the file alone: {name: float [n, 1]}. facts: see `read_file_facts`."""
    clues = {
        "encoder of the JPEG file": facts.luma_table_sum == 1858,  # libjpeg at quality 75
        "file size": np.log(facts.bytes),
        "EXIF data or none": facts.exif > 0,
        "number of pixels": np.log(facts.width * facts.height),
        "width / height": facts.width / facts.height,
    }
    return {name: values.to_numpy(float)[:, None] for name, values in clues.items()}


def read_file_facts(readers, table):
    """Facts of the original files (`images.file_facts`) beside their manifest rows, and whose they are.

    readers: `sources.open_files`. Copies that somebody resized have lost the facts, and then those of 1,706
    originals are taken that ship with the project. Returns a table and a sentence.
    """
    files = {path.rpartition("/")[2]: reader for path, reader in readers.items()}
    names = table.path.str.rpartition("/")[2]  # files are found by name, whatever their folder
    known = names[names.isin(files) & names.is_unique]
    measured = pd.DataFrame([images.file_facts(files[name]()) for name in known], known.index)
    if len(measured) and measured.width.nunique() > len(measured) / 10:
        return table.join(
            measured, how="inner"
        ), f"File facts measured on your {len(measured):,} original files."
    shipped = pd.read_csv(FILE_FACTS).merge(manifest.read(), on="path", validate="one_to_one")
    return shipped, f"File facts from {len(shipped):,} original files, measured for this project."


def classifier():
    """Logistic regression on standardised values, with the same weight for both classes."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))


def aucs(clues, table):
    """How well each clue alone tells the classes apart, with the `classifier`.

    train: the AUC where each fold is predicted by a fit on the other folds (no patient is in two folds).
    test: the same for test images, predicted by one fit on all development images. Returns clue, train,
    test and the numbers of images; the AUC of images of one class only is NaN.
    """
    ill, fold = manifest.positives(table), table.fold.to_numpy()
    known, test = fold >= 0, fold < 0
    rows = []
    for name, values in workspace.progress(clues.items(), "Trying clues"):
        x, y = values[known], ill[known]
        by_fold = {"groups": fold[known], "cv": LeaveOneGroupOut(), "method": "predict_proba"}
        inside = cross_val_predict(classifier(), x, y, **by_fold)[:, 1]
        outside = classifier().fit(x, y).predict_proba(values)[test, 1]
        rows.append((name, _auc(y, inside), _auc(ill[test], outside), known.sum(), test.sum()))
    return pd.DataFrame(rows, columns=["clue", "train", "test", "n train", "n test"])


def _auc(ill, scores):
    return roc_auc_score(ill, scores) if len(set(ill)) == 2 else np.nan
