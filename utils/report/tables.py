"""From tables of numbers to tables as they are printed, and the numbers of an evaluation as one file."""

import json

import numpy as np
import pandas as pd

from .. import intervals, metrics
from ..data import manifest

TITLES = {  # of columns, as they are printed; others begin with a capital letter
    "group": "Subtype",
    "metric": "Measure",
    "value": "Share",
    "images": "Images, n",
    "patients": "Patients, n",
    "errors": "Wrong, n",
    "fact": "Radiographs by",
    "label": "Class",
    "up": "Negative turned positive, share",
    "down": "Positive turned negative, share",
    "auc": "AUC",
    "p": "p",
}
EMPTY = "-"  # what is not defined, or does not apply


def with_intervals(results):
    """One row per metric and one column per result, as text: '0.958 (0.931-0.981)'.

    What needs no threshold is written once where the second column has the same scores as the first. Where
    a calibration slope is not defined, as of equal scores, neither is the intercept.
    """
    columns = {name: [intervals.text(row) for row in table.itertuples()] for name, table in results.items()}
    names = list(next(iter(results.values())).index)
    text = pd.DataFrame(columns, index=names)
    if {"slope", "intercept"} <= set(names):
        text.loc["intercept", text.loc["slope"] == "not defined"] = "not defined"
    for name in text.columns[1:]:
        same = text[name] == text[text.columns[0]]
        text.loc[same & ~text.index.isin(list(metrics.AT_THRESHOLD)), name] = "the same"
    titles = [metrics.METRICS[name] for name in names]
    return text.set_axis(pd.Index(titles, name="metric (95 % interval)"))


def characteristics(card, scores, validation):
    """How many images and patients each part has, by class and subtype, as whole numbers.

    scores, validation: of test and validation images; validation may be None. Of the training images it is
    known where these were all others of the public data.
    """
    parts = {"validation": validation, "test": scores}
    if validation is not None and manifest.is_public(card["manifest"]):
        listed = manifest.read()
        training = listed[(listed.split != "test") & ~listed.path.isin(validation.path)]
        if len(training) == card["counts"].get("train"):
            parts = {"training": training} | parts
    every = pd.concat(parts, names=["part"]).reset_index("part")
    label = every.label.str.lower()
    groups = [every.assign(group="all"), every.assign(group=label)]
    if every.groupby("label").subtype.nunique().max() > 1:
        groups.append(every.assign(group=label + ": " + every.subtype))
    by = pd.concat(groups).groupby(["group", "part"], sort=False)
    found = by.agg(images=("path", "size"), patients=("patient", "nunique")).unstack(fill_value=0)
    found = found.reindex(columns=list(parts), level="part").rename_axis("radiographs")
    return found.set_axis([f"{what}, {part}" for what, part in found], axis=1)


def printed(table):
    """A table as it is printed: text only, with titles, and each interval beside its value.

    table: its index is the first column; columns low and high, or x_low and x_high, are the interval of value
    or difference, or x. Or results: {column: table of value, low, high}.
    """
    if isinstance(table, dict):
        return with_intervals(table).reset_index()
    table = table.reset_index().drop(columns="part", errors="ignore")
    if {"from", "to"} <= set(table):
        ends = [table[end].map(lambda number: _cell(number, 4)) for end in ("from", "to")]
        table["from"] = [low if low == high else f"{low} to {high}" for low, high in zip(*ends, strict=True)]
        table = table.drop(columns="to").rename(columns={"from": "range"})
        table["label"] = table.label.str.lower()
    for low in [name for name in table if str(name).rpartition("_")[2] == "low"]:
        high = low.removesuffix("low") + "high"
        of = low.removesuffix("_low") if low != "low" else "value" if "value" in table else "difference"
        rows = table[[of, low, high]].set_axis(["value", "low", "high"], axis=1)
        found = [intervals.text(row) for row in rows.itertuples()]
        title = f"{TITLES.get(of, of)} (95 % interval)"
        table = table.assign(**{of: found}).drop(columns=[low, high]).rename(columns={of: title})
    text = table.apply(lambda column: column.map(_cell)).replace(metrics.METRICS)
    return text.rename(columns=lambda name: TITLES.get(name, str(name)[:1].upper() + str(name)[1:]))


def _cell(value, digits=3):
    """A cell as text: counts in full, other numbers with so many digits."""
    if pd.isna(value):
        return EMPTY
    if isinstance(value, float | np.floating):
        return f"{value:.{digits}g}"
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


def numbers(run, scores, results, resamples):
    """The text of metrics.json: every number of one evaluation of test scores, and what it rests on."""
    threshold = run.card["threshold"]
    found = {
        "part": "test",
        "images": len(scores),
        "patients": int(scores.patient.nunique()),
        "synthetic": run.card["synthetic"],
        "threshold": threshold,
        "interval": f"{intervals.INTERVAL}; {resamples} resamples",
        "results": {name: json.loads(table.to_json(orient="index")) for name, table in results.items()},
        "confusion": {
            name: metrics.confusion(scores, at)
            for name, at in (("at 0.5", 0.5), ("at the validation threshold", threshold["value"]))
            if name in results
        },
    }
    return json.dumps(found, indent=2) + "\n"
