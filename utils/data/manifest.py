"""The table of radiographs: one row per image, the only source of split, label, patient and fold.

Columns: path (relative, as in the public archive), split (official: train, val, test), fold (0-9 for train
and val, grouped by patient; -1 for test), label (NORMAL or PNEUMONIA), subtype (the collection that the file
name tells: IM, NORMAL2-IM, bacteria, virus), patient (collection and number in the file name, for each
collection counts its own), and fingerprint (16 hexadecimal digits, see `images.fingerprint`).

The positive class is PNEUMONIA = 1, everywhere in this project. A manifest of own data has other class names
and one more column, positive (0 or 1).
"""

import numpy as np
import pandas as pd

from .. import workspace
from ..workspace import ExplainedError

COLUMNS = ["path", "split", "fold", "label", "subtype", "patient", "fingerprint"]
TYPES = {"fold": int, "patient": str, "fingerprint": str, "label": str, "subtype": str}
CLASS_NAMES = ("NORMAL", "PNEUMONIA")
SPLITS = ("train", "val", "test")
FOLDS = 10
PUBLIC = workspace.PROJECT / "data_manifest.csv"


def complete(table, fingerprints):
    """The manifest of a table with path, split, label, subtype and patient, in the order of the paths.

    fingerprints: uint64 [n], in the order of the rows.
    """
    table["fingerprint"] = [f"{int(value):016x}" for value in fingerprints]
    table = table.sort_values("path", ignore_index=True)
    table["fold"] = -1
    for fold, rows in enumerate(divide(table[table.split != "test"], FOLDS)):
        table.loc[rows, "fold"] = fold
    return table[columns(table)]


def divide(table, parts):
    """The row labels of each of `parts` parts, stratified by subtype, grouped by patient."""
    from sklearn.model_selection import StratifiedGroupKFold

    if (count := table.patient.nunique()) < 2 * parts:
        raise ExplainedError(
            f"Only {count} patients besides those of test images; to train takes at least {2 * parts}."
        )
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=0)
    for _, rows in splitter.split(table.index, table.subtype, table.patient):
        yield table.index[rows]


def read(path=PUBLIC):
    """The checked manifest of a path, or an open file with a name; raises ExplainedError."""
    name = path.name if hasattr(path, "read") else path
    try:
        table = from_csv(path)
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise ExplainedError(f"{name} cannot be read as a manifest, a CSV file in UTF-8: {error}") from None
    if missing := [column for column in COLUMNS if column not in table]:
        raise ExplainedError(f"{name} has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}.")
    if faults := problems(table):
        raise ExplainedError(f"{name} cannot be used: " + " ".join(faults))
    return table[columns(table)]


def from_csv(file):
    """A table with manifest columns from a CSV file; NA, None and the like are names as any other."""
    missing = {"score": ["", "nan"]}
    return pd.read_csv(file, dtype=TYPES, keep_default_na=False, na_values=missing, encoding="utf-8-sig")


def problems(table):
    """Sentences that say what is wrong with a manifest; an empty list means nothing."""
    twice = table.path.duplicated().sum()
    empty = (table[["path", "label", "patient"]] == "").any(axis=1).sum()
    is_test = table.split == "test"
    no_fold = ~table.fold.between(np.where(is_test, -1, 0), np.where(is_test, -1, FOLDS - 1))
    torn = table.groupby("patient").fold.nunique().gt(1).sum()
    named = pd.DataFrame({"label": table.label, "positive": positives(table)}).drop_duplicates()
    unclear = named.label.duplicated().any() or named.positive.duplicated().any()
    names = ", ".join(f"{label} ({value})" for label, value in named.itertuples(index=False))
    faults = [
        (twice, f"{twice} paths stand there twice."),
        (empty, f"{empty} rows have no path, label or patient."),
        (no_fold.any(), f"Folds must be 0 to {FOLDS - 1}; those of test images -1."),
        (torn, f"{torn} patients are in two folds, or in train and test."),
        (unclear, f"There must be two labels, one positive (1) and one not (0), and not {names}."),
    ]
    return [sentence for wrong, sentence in faults if wrong]


def write(table, path):
    """Write a manifest as CSV, whole or not at all."""
    return workspace.write_whole(path, to_csv(table))


def columns(table):
    """The columns of a manifest, in order; own data have one more."""
    return COLUMNS + ["positive"] * ("positive" in table)


def to_csv(table):
    """The text of the manifest's CSV file; other columns are left out."""
    return table[columns(table)].to_csv(index=False, lineterminator="\n")


def digest(table):
    """Digest of the table's CSV: names a data set."""
    return workspace.digest(to_csv(table))


def is_public(name):
    """Whether this digest is that of the public data set, as it ships with the project."""
    return name == digest(read())


def select(table, part, fold=0):
    """Rows of one part: 'train' (development data without `fold`), 'val' (`fold`) or 'test'."""
    chosen = {
        "train": (table.fold >= 0) & (table.fold != fold),
        "val": table.fold == fold,
        "test": table.split == "test",
    }
    return table[chosen[part]]


def positives(table):
    """1 for PNEUMONIA, 0 for NORMAL, or as the column positive of own data says: int array [n]."""
    if "positive" in table:
        return table.positive.to_numpy(int)
    return (table.label == CLASS_NAMES[1]).to_numpy(int)


def classes(table):
    """The negative, then the positive class: two pairs of its name and its rows, bool [n]."""
    pairs = []
    for value, usual in enumerate(CLASS_NAMES):
        rows = positives(table) == value
        pairs.append((table.label[rows].iloc[0] if rows.any() else usual, rows))
    return pairs


def counts(table):
    """Images and patients per official split and class, as a table."""
    keys = [name for name in ("split", "label", "positive") if name in table]
    groups = table.groupby(keys, sort=False, as_index=False)
    result = groups.agg(images=("path", "size"), patients=("patient", "nunique"))
    return result.sort_values("split", key=pd.Index(SPLITS).get_indexer, kind="stable", ignore_index=True)


def sample(table, per_group):
    """For quick runs: `per_group` development rows per fold and class, evenly spread, and all test rows."""
    parts = [table[table.fold < 0]]
    for _, group in table[table.fold >= 0].groupby(["fold", "label"]):
        places = np.linspace(0, len(group) - 1, min(per_group, len(group))).astype(int)
        parts.append(group.iloc[places])
    return pd.concat(parts).sort_index()


def few_patients(table, most, seed=0):
    """Patients with all their rows, in random order until a class has `most` rows, or all it has."""
    patients = table.patient.unique()
    order = table.patient.map(pd.Series(np.random.default_rng(seed).permutation(len(patients)), patients))
    return table[order.groupby(positives(table)).rank(method="min") <= most]
