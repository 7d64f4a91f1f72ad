"""From scores to the tables and files that go into a report."""

import json

import pandas as pd

from .. import intervals, metrics
from ..figures import style
from ..workspace import write_whole


def with_intervals(results):
    """One row per metric and one column per result, as text: '0.958 (0.931-0.981)'."""
    columns = {name: [with_interval(row) for row in table.itertuples()] for name, table in results.items()}
    titles = [metrics.METRICS[name] for name in next(iter(results.values())).index]
    return pd.DataFrame(columns, index=pd.Index(titles, name="metric (95 % interval)"))


def with_interval(row):
    """A value with its interval as text; row: value, low, high."""
    if row.value != row.value:
        return "not defined"
    if row.low != row.low:
        return f"{row.value:.3f} (no interval)"
    to = " to " if row.low < 0 else "-"
    return f"{row.value:.3f} ({row.low:.3f}{to}{row.high:.3f})"


def save_table(table, folder, name):
    """Write a table as CSV, Markdown and LaTeX (booktabs); returns the three paths."""
    latex = table.reset_index().style.hide(axis="index").format(precision=3, escape="latex")
    latex = latex.format_index(escape="latex", axis=1)
    texts = {"csv": table.to_csv(), "md": table.to_markdown() + "\n", "tex": latex.to_latex(hrules=True)}
    return [write_whole(folder / f"{name}.{kind}", text) for kind, text in texts.items()]


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
            "at 0.5": metrics.confusion(scores, 0.5),
            "at the validation threshold": metrics.confusion(scores, threshold["value"]),
        },
    }
    return json.dumps(found, indent=2) + "\n"


def save_evaluation(run, folder, scores, results, drawn, tables, resamples):
    """Write metrics.json, tables/ and figures/ of one evaluation of test scores; returns their paths.

    results: `evaluation.results`. drawn: {name: Figure}. tables: {name: further table}. resamples: how
    often patients were drawn for the intervals.
    """
    written = [write_whole(folder / "metrics.json", numbers(run, scores, results, resamples))]
    for name, table in {"test_metrics": with_intervals(results), **tables}.items():
        if note := style.note(run.card["synthetic"]):
            table = table.rename_axis(f"{table.index.name or 'row'}; {note}")
        written += save_table(table, folder / "tables", name)
    for name, figure in drawn.items():
        files = style.encode(figure, name)
        written += [write_whole(folder / "figures" / file, content) for file, content in files.items()]
    return written
