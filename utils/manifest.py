"""The table of radiographs: one row per image, the only source of split, label, patient and fold.

Columns: path (relative, as in the public archive), split (official: train, val, test),
fold (0-9 for train and val, grouped by patient; -1 for test), label (NORMAL or PNEUMONIA),
subtype (the collection the name tells: IM, NORMAL2-IM, bacteria, virus), patient, and
fingerprint (16 hexadecimal digits, see `images.fingerprint`).

The positive class is PNEUMONIA = 1, everywhere in this project.
"""

import hashlib
import io
import re
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from .workspace import PROJECT, write_whole

COLUMNS = ["path", "split", "fold", "label", "subtype", "patient", "fingerprint"]
CLASS_NAMES = ("NORMAL", "PNEUMONIA")
SPLITS = ("train", "val", "test")
FOLDS = 10
PUBLIC = PROJECT / "data_manifest.csv"

# The counters of the four collections are independent, so a patient is (collection, number).
_NAME = re.compile(
    r"(?:person(?P<person>\d+)_(?P<kind>bacteria|virus)|(?P<series>(?:NORMAL2-)?IM)-(?P<number>\d+))[-_]"
)


class ManifestError(ValueError):
    """A manifest that cannot be used; the message says what is wrong and what to do."""


def parse_name(path):
    """(split, label, subtype, patient) from a path such as `train/NORMAL/IM-0115-0001.jpeg`.

    The patient is a proxy read from the file name: (collection, number).
    Raises ManifestError for a path that does not follow the public archive's naming.
    """
    parts = PurePosixPath(path).parts
    match = _NAME.match(parts[-1])
    if len(parts) < 3 or parts[-3] not in SPLITS or parts[-2] not in CLASS_NAMES or not match:
        raise ManifestError(
            f"{path} does not follow the public archive's naming, for example "
            "train/NORMAL/IM-0115-0001.jpeg or test/PNEUMONIA/person1_virus_6.jpeg."
        )
    subtype = match["kind"] or match["series"]
    return parts[-3], parts[-2], subtype, f"{subtype}-{int(match['person'] or match['number'])}"


def build(paths, fingerprints):
    """Manifest of radiographs that follow the public naming.

    paths: relative paths, str. fingerprints: uint64 [n], same order.
    Folds are stratified by subtype and grouped by patient (scikit-learn's
    StratifiedGroupKFold with a fixed seed), over train and val together.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    rows = [(path, *parse_name(path)) for path in paths]
    table = pd.DataFrame(rows, columns=["path", "split", "label", "subtype", "patient"])
    table["fingerprint"] = [f"{int(value):016x}" for value in fingerprints]
    table = table.sort_values("path", ignore_index=True)
    table["fold"] = -1
    development = table.index[table.split != "test"]
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(
        development, table.subtype[development], table.patient[development]
    )
    for fold, (_, held_out) in enumerate(folds):
        table.loc[development[held_out], "fold"] = fold
    return table[COLUMNS]


def read(path=PUBLIC):
    """Read a manifest and check that it can be relied on. Raises ManifestError."""
    try:
        table = pd.read_csv(path, dtype={"fold": int, "patient": str, "fingerprint": str})
    except FileNotFoundError:
        raise ManifestError(f"No manifest at {path}. Copy data_manifest.csv there again.") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise ManifestError(f"{path} is not a readable manifest: {error}") from None
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise ManifestError(f"{path} has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}.")
    faults = problems(table)
    if faults:
        raise ManifestError(f"{path} cannot be used: " + " ".join(faults))
    return table[COLUMNS]


def problems(table):
    """Sentences that say what is wrong with a manifest; an empty list means nothing."""
    found = []
    if table.path.duplicated().any():
        found.append(f"{table.path.duplicated().sum()} paths stand there twice.")
    strange = sorted(set(table.label) - set(CLASS_NAMES))
    if strange:
        found.append(f"Unknown labels: {', '.join(map(str, strange))}.")
    for column, what in (("split", "train and test"), ("fold", "two folds")):
        groups = table[column].eq("test") if column == "split" else table[column]
        shared = groups.groupby(table.patient).nunique().gt(1).sum()
        if shared:
            found.append(f"{shared} patients are in {what}.")
    return found


def write(table, path):
    """Write a manifest as CSV, whole or not at all."""
    return write_whole(path, to_csv(table))


def to_csv(table):
    return table[COLUMNS].to_csv(index=False, lineterminator="\n")


def from_csv(text):
    return pd.read_csv(io.StringIO(text), dtype={"fold": int, "patient": str, "fingerprint": str})


def digest(table):
    """First 16 hexadecimal digits of the SHA-256 of the table's CSV: names a data set."""
    return hashlib.sha256(to_csv(table).encode()).hexdigest()[:16]


def select(table, part, fold=0):
    """Rows of one part: 'train' (development data without `fold`), 'val' (`fold`) or 'test'."""
    chosen = {
        "train": (table.fold >= 0) & (table.fold != fold),
        "val": table.fold == fold,
        "test": table.split == "test",
    }
    return table[chosen[part]]


def positives(table):
    """1 for PNEUMONIA, 0 for NORMAL: int array [n]."""
    return (table.label == CLASS_NAMES[1]).to_numpy(int)


def counts(table):
    """Images and patients per official split and class, as a table."""
    grouped = table.groupby(["split", "label"], sort=False)
    result = grouped.agg(images=("path", "size"), patients=("patient", "nunique")).reset_index()
    order = {name: place for place, name in enumerate(SPLITS)}
    return result.sort_values("split", key=lambda s: s.map(order), kind="stable", ignore_index=True)


def sample(table, per_group):
    """For quick runs: at most `per_group` development rows per fold and class, and all test rows."""

    def spread(group):
        places = np.linspace(0, len(group) - 1, min(per_group, len(group))).astype(int)
        return group.iloc[places]

    development = table[table.fold >= 0]
    groups = [spread(group) for _, group in development.groupby(["fold", "label"])]
    return pd.concat([*groups, table[table.fold < 0]]).sort_index()
