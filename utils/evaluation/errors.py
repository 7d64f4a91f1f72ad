"""Where the errors are: error rates of groups of radiographs that share a simple fact.

From stored scores; what pictures and files tell is added where it is known. No TensorFlow.
"""

import numpy as np
import pandas as pd

from .. import intervals, metrics
from ..data import gate, manifest, shortcuts

PARTS = 4  # groups of about equal count by each fact, in each class
BLOCK = 30  # images of neighbouring patient numbers, about
FEWEST = 10  # images in a group, or it is left out
TONE = "tone like the other class"


def facts(scores, radiographs=None, readers=None):
    """What is known of scored radiographs: {kind: table}, a row for each of them, a column for each fact.

    Kinds: "picture", see `_of_pictures` (radiographs: those that were scored); "file", see
    `shortcuts.read_file_facts` (readers: `sources.open_files`); "number", the patients' numbers, a column for
    each subtype, if every patient's key ends in one. What is not known is NaN, or left out.
    """
    keys = ["path", "patient"]  # the phantom has paths of the public data set, but other patients
    files, _ = shortcuts.read_file_facts(readers or {}, scores)
    files = scores[keys].merge(files.drop_duplicates(keys), "left", on=keys)
    files = {"file: width / height": files.width / files.height, "file: size in kB": files.bytes / 1000}
    number = pd.to_numeric(scores.patient.str.extract(r"(\d+)$")[0])
    subtypes = sorted(set(scores.subtype)) if number.notna().all() else []
    numbers = {f"patient number in {name}": number.where(scores.subtype == name) for name in subtypes}
    pictures = _of_pictures(radiographs).reindex(scores.path) if radiographs else pd.DataFrame()
    return {"picture": pictures, "file": pd.DataFrame(files), "number": pd.DataFrame(numbers)}


def _of_pictures(radiographs):
    """Facts of all pictures, a table indexed by path, computed from their tones (`gate.describe`).

    framing: mean grey-level difference from left to right over that from top to bottom; a picture taken wide
    and squashed has more. brightness: median grey, 0-255. contrast: deviation of the greys of a thumbnail.
    sharpness: mean difference to the neighbours, over contrast. TONE: the probability of the other class by
    a logistic regression on standardised grey-level quantiles and sharpness, fitted on development images.
    """
    table = radiographs.table.sort_index()
    _, tones = gate.describe(radiographs.pixels, table.index.to_numpy())
    tones = pd.DataFrame(tones, columns=gate.TONES, index=table.path)
    contrast, quantiles = np.exp(tones.contrast) - 1, 64 * tones.filter(like="%")
    sharpness = np.exp(tones.fine) / np.maximum(contrast, 1)
    standardised = quantiles.sub(quantiles.mean(axis=1), axis=0).div(np.maximum(contrast, 1), axis=0)
    inputs = np.column_stack([standardised, np.log(sharpness)])  # float [n, 6]
    ill, development = manifest.positives(table), (table.split != "test").to_numpy()
    model = shortcuts.classifier().fit(inputs[development], ill[development])
    looks_ill = model.predict_proba(inputs)[:, 1]
    return pd.DataFrame(
        {
            "framing": np.exp(tones.across - tones.down),
            "brightness": quantiles["50 %"],
            "contrast": contrast,
            "sharpness": sharpness,
            TONE: np.where(ill, 1 - looks_ill, looks_ill),
        }
    )


def rates(scores, threshold, facts):
    """Error rates of groups of scored radiographs, each of one class, with 95 % intervals.

    Groups: each class; each subtype; and, within a class, PARTS groups of about equal count by each of the
    `facts` (by patient numbers, groups of about BLOCK images), if these have FEWEST images each. Returns a
    row for each group: kind (class, subtype, or that of the fact), fact, label, part (0, 1, .. in the order
    of the fact), from, to (its range), images, patients, errors (counts), value, low, high (the share of
    wrong answers, see `intervals.shares`).
    """
    rows, members = zip(*_groups(scores, facts), strict=True)
    members = np.stack(members, axis=1)  # bool [n, groups]
    wrong = metrics.called(scores.score, threshold) != manifest.positives(scores)
    described = pd.DataFrame(rows).assign(
        images=members.sum(0),
        patients=[scores.patient[group].nunique() for group in members.T],
        errors=(members & wrong[:, None]).sum(0),
    )
    return pd.concat([described, intervals.shares(scores, wrong[:, None], members)], axis=1)


def _groups(scores, facts):
    """All groups: pairs of what describes one, and its rows, bool [n]."""
    for label, of_class in manifest.classes(scores):
        if not of_class.any():
            continue
        row = {"kind": "class", "fact": "class", "label": label, "part": 0, "from": np.nan, "to": np.nan}
        yield row, of_class
        for subtype in sorted(set(scores.subtype[of_class])):
            of_subtype = of_class & (scores.subtype == subtype).to_numpy()
            yield row | {"kind": "subtype", "fact": f"subtype {subtype}"}, of_subtype
        for kind, table in facts.items():
            for fact, values in table.items():
                values = values[of_class].dropna()
                count = max(1, round(len(values) / BLOCK)) if kind == "number" else PARTS
                if len(values) < FEWEST * count:
                    continue
                parts = pd.qcut(values, count, labels=False, duplicates="drop")
                for part, group in values.groupby(parts):
                    span = {"part": int(part), "from": group.min(), "to": group.max()}
                    yield row | {"kind": kind, "fact": fact} | span, table.index.isin(group.index)


def finding(rates):
    """One sentence on the group of `rates` that stands out most from its class, if one does."""
    of_class = rates[rates.kind == "class"].set_index("label").value
    parts = rates[(rates.kind != "class") & (rates.low > rates.label.map(of_class))]
    if not len(parts):
        return "No group has an error rate whose interval lies above the rate of its class."
    row = parts.loc[(parts.value - parts.label.map(of_class)).idxmax()]
    span = "" if np.isnan(row["from"]) else f" from {row['from']:.4g} to {row['to']:.4g}"
    label = row.label.lower()
    return (
        f"What stands out most: of {row.images} {label} radiographs with {row.fact}{span}, "
        f"{100 * row.value:.0f} % are answered wrongly (95 % interval {100 * row.low:.0f} to "
        f"{100 * row.high:.0f} %), of all {label} ones {100 * of_class[row.label]:.0f} %. Of "
        f"{len(rates)} groups some stand out by chance."
    )
