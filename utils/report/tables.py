"""From tables of numbers to tables as they are printed, and the numbers of an evaluation as one file."""

import json

import numpy as np
import pandas as pd

from .. import intervals, metrics

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


def printed(table):
    """A table as it is printed: text only, with titles, and each interval beside its value.

    table: its index is the first column; columns low and high, or x_low and x_high, are the interval of value
    or difference, or x.
    """
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
    if isinstance(value, float | np.floating):
        return EMPTY if value != value else f"{value:.{digits}g}"
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
