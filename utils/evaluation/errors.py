"""Where the errors are: among pictures of which look, and in which stretch of the patients' numbers?

From stored scores; what pictures and files tell is added where it is known. No TensorFlow.
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .. import intervals, metrics
from ..data import gate, manifest, shortcuts

PARTS = 4  # groups of about equal count by each fact, in each class
BLOCK = 30  # images of neighbouring patient numbers, about
FEWEST = 10  # images in a group, or it is left out
NUMBERS = "patient number in "  # begins the names of the facts that are such numbers
TONE = "tone like the other class"


def facts(scores, radiographs=None, readers=None):
    """Simple facts about scored radiographs: one row each, in their order; NaN where one is not known.

    radiographs: those in use, if the scores are of them, for `_picture_facts`. Width / height and size of the
    files, see `shortcuts.read_file_facts`; readers: `sources.open_files`. Patient numbers, one column for
    each subtype, where every patient's key ends in a number.
    """
    names = set(scores.path.str.rpartition("/")[2])
    if len(names) < len(scores):  # equal names in several folders: files are found by their names
        readers = None
    readers = {name: reader for name, reader in (readers or {}).items() if name.rpartition("/")[2] in names}
    files, _ = shortcuts.read_file_facts(readers, scores)
    keys = ["path", "patient"]  # the phantom has paths of the public data set, but other patients
    files = scores[keys].merge(files.drop_duplicates(keys), "left", on=keys)
    found = {"file: width / height": files.width / files.height, "file: size in kB": files.bytes / 1000}
    number = pd.to_numeric(scores.patient.str.extract(r"(\d+)$")[0])
    if number.notna().all():
        for subtype in sorted(set(scores.subtype)):
            found[NUMBERS + subtype] = number.where(scores.subtype == subtype)
    found = pd.DataFrame(found)
    if radiographs:
        pictures = _picture_facts(radiographs).reindex(scores.path).reset_index(drop=True)
        found = pd.concat([pictures, found], axis=1)
    return found.dropna(axis=1, how="all")


def _picture_facts(radiographs):
    """Facts of the pictures, indexed by path, from what the input gate measures (`gate.describe`).

    framing: mean grey-level difference from left to right over that from top to bottom; a picture taken wide
    and squashed has more. brightness: median grey, 0-255. contrast: deviation of the greys of a thumbnail.
    sharpness: mean difference to the neighbours, over contrast. TONE: of a negative radiograph, the
    probability of the positive class by a logistic regression on its standardised grey-level quantiles and
    its sharpness alone, fitted on development images; of a positive one, 1 minus that.
    """
    table = radiographs.table.sort_index()
    _, tones = gate.describe(radiographs.pixels, table.index.to_numpy(), "Measuring radiographs")
    across, down, fine, *quantiles, contrast, _, _ = tones.T
    contrast, quantiles = np.exp(contrast) - 1, 64 * np.array(quantiles)
    found = pd.DataFrame(
        {
            "framing": np.exp(across - down),
            "brightness": quantiles[2],
            "contrast": contrast,
            "sharpness": np.exp(fine) / np.maximum(contrast, 1),
        }
    )
    tone = np.column_stack(
        [((quantiles - quantiles.mean(0)) / np.maximum(contrast, 1)).T, np.log(found.sharpness)]
    )
    ill, development = manifest.positives(table), (table.split != "test").to_numpy()
    if len(set(ill[development])) == 2:
        fit = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
        looks_ill = fit.fit(tone[development], ill[development]).predict_proba(tone)[:, 1]
        found[TONE] = np.where(ill, 1 - looks_ill, looks_ill)
    return found.set_index(pd.Index(table.path))


def rates(scores, threshold, found):
    """Error rates over groups of scored radiographs, each of one class, with intervals.

    found: `facts`. Groups: each class; each subtype; in each class, PARTS groups of about equal count by each
    fact that is known for FEWEST images each, or, by patient number, groups of about BLOCK images. Returns
    one row a group: fact, label, part (0, 1, .. in the order of the fact), from, to (range of the fact),
    images, patients, errors, value, low, high: the share of wrong answers with its 95 % interval
    (`intervals.shares`).
    """
    groups = [group for _, rows in manifest.classes(scores) for group in _groups(scores, rows, found)]
    rows, members = zip(*groups, strict=True)
    members = np.stack(members, axis=1)  # bool [n, groups]
    wrong = metrics.called(scores.score, threshold) != manifest.positives(scores)
    described = pd.DataFrame(rows).assign(
        images=members.sum(0),
        patients=[scores.patient[group].nunique() for group in members.T],
        errors=(members & wrong[:, None]).sum(0),
    )
    return pd.concat([described, intervals.shares(scores, wrong[:, None], members)], axis=1)


def _groups(scores, of_class, found):
    """The groups of one class: pairs of what describes it, and its rows, bool [n]."""
    if not of_class.any():
        return
    about = {"label": scores.label[of_class].iloc[0], "part": 0, "from": np.nan, "to": np.nan}
    yield {"fact": "class"} | about, of_class
    for subtype in sorted(set(scores.subtype[of_class])):
        yield {"fact": f"subtype {subtype}"} | about, of_class & (scores.subtype == subtype).to_numpy()
    for fact, values in found.items():
        values = values.where(of_class)
        known = values.notna().sum()
        count = max(1, round(known / BLOCK)) if fact.startswith(NUMBERS) else PARTS
        if known >= FEWEST * count:
            parts = pd.qcut(values, count, labels=False, duplicates="drop")
            for part, group in values.groupby(parts):
                row = {"fact": fact, "part": int(part), "from": group.min(), "to": group.max()}
                yield about | row, values.index.isin(group.index)


def finding(found):
    """One sentence on the group of `rates` that stands out most from its class, if one does."""
    whole = found[found.fact == "class"].set_index("label").value
    parts = found[(found.fact != "class") & (found.low > found.label.map(whole))]
    if not len(parts):
        return "No group has an error rate whose interval lies above the rate of its class."
    row, name = parts.loc[(parts.value - parts.label.map(whole)).idxmax()], "{:.4g}".format
    span = "" if np.isnan(row["from"]) else f" from {name(row['from'])} to {name(row['to'])}"
    return (
        f"What stands out most: of {row.images} {row.label.lower()} radiographs with {row.fact}{span}, "
        f"{100 * row.value:.0f} % are answered wrongly (95 % interval {100 * row.low:.0f} to "
        f"{100 * row.high:.0f} %), of all {row.label.lower()} ones {100 * whole[row.label]:.0f} %. Of "
        f"{len(found)} groups some stand out by chance."
    )
